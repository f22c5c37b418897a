import errno
import json
import os
import stat
import zlib
from pathlib import Path

import pytest

from candid.errors import OutputError, RunError
from candid.storage.files import (
    atomic,
    open_regular,
    read_bytes,
    reading,
    regular,
    write_json,
    write_text,
    writing,
)
from candid.storage.jobs import locked


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_written_whole(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "häns\n")
    assert path.read_text(encoding="utf-8") == "häns\n"
    assert names(path.parent) == ["file.txt"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o400


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic(path) as part:
        part.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize(
    ("code", "says"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "denied")],
)
def test_refusals_of_the_system_are_told(tmp_path, code, says):
    with pytest.raises(OutputError, match=says), atomic(tmp_path / "file.txt"):
        raise OSError(code, os.strerror(code))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        (errno.ENOSPC, "free some space there"),
        (errno.EDQUOT, "free some space there"),
        (errno.EFBIG, "raise the limit"),
        (errno.EROFS, "mount it so that it can be written to"),
        (errno.EACCES, "let this user write there"),
        (errno.EISDIR, "move what stands there"),
    ],
)
def test_the_advice_fits_the_refusal_and_names_an_option_only_where_there_is_one(code, todo):
    with pytest.raises(OutputError) as caught, writing(Path("x")):
        raise OSError(code, os.strerror(code))
    assert todo in caught.value.todo and "--" not in caught.value.todo
    assert ("space" in caught.value.todo) == (code in (errno.ENOSPC, errno.EDQUOT))
    with pytest.raises(OutputError) as caught, writing(Path("x"), "--cache"):
        raise OSError(code, os.strerror(code))
    assert caught.value.todo.endswith(", or name another place with --cache")


def test_a_job_on_a_full_disk_names_its_output():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    full, told = Path("/dev/full"), {"expected": "one", "todo": "wait"}
    with (
        pytest.raises(OutputError, match="Cannot write labels: the disk is full"),
        locked(full, output="labels", **told) as file,
    ):
        file.write(b"what is written where the file is closed")


def test_a_really_full_disk():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    with (
        pytest.raises(OutputError, match="the disk is full"),
        writing(Path("/dev/full")),
        open("/dev/full", "w") as full,
    ):
        full.write("x")


def test_other_errors_pass(tmp_path):
    with pytest.raises(OSError, match="odd"), atomic(tmp_path / "f"):
        raise OSError(errno.EINVAL, "odd")


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder should go"):
        write_text(tmp_path / "file" / "inner.txt", "x")


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        1.5,
        None,
        "ä\n",
        [[], {}],
        {"a": {"b": [1, {"c": None}]}, 'q"': (1, [2, 3])},
        {1: [[2]]},
    ],
)
def test_json_is_what_json_says_and_leaves_stand_on_one_line(tmp_path, value):
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(json.dumps(value))
    if isinstance(value, dict) and "a" in value:
        assert text.splitlines()[3] == "   1,"
        assert ' "q\\"": [\n  1,\n  [2, 3]\n ]\n}\n' in text


def test_a_name_that_is_no_utf_8_survives(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "a.json", {"data": name, "more": "é"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "data": name,
        "more": "é",
    }


# --- reading -------------------------------------------------------------------------------------


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link") == b"x"
    assert regular(tmp_path / "link") == tmp_path / "link"
    for name in ("pipe", "zero"):
        for way in (open_regular, read_bytes, regular):
            with pytest.raises(OSError, match="not a regular file"):
                way(tmp_path / name)


def test_what_is_read_whole_has_a_bound(tmp_path):
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="too large"):
        read_bytes(tmp_path / "holes")


@pytest.mark.parametrize("error", [zlib.error("x"), MemoryError(), KeyError("a"), OSError(5, "io")])
def test_any_damage_is_a_run_error(tmp_path, error):
    with (
        pytest.raises(RunError, match=r"a\.npz is damaged") as caught,
        reading(tmp_path / "a.npz", expected="arrays", todo="make them again"),
    ):
        raise error
    assert (caught.value.expected, caught.value.todo) == ("arrays", "make them again")
