"""The file of decisions: what it holds, what stands, what several people settle."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from candid.errors import DataError, OutputError
from candid.tables.corrections import (
    COLUMNS,
    Correction,
    active_corrections,
    merged,
    open_log,
    read_corrections,
    tally,
    words_by_image,
    write_corrections,
)


def label(image: str, now: str, who: str = "ann", **more) -> Correction:  # type: ignore[no-untyped-def]
    return Correction(image, more.pop("was", ""), now, more.pop("kind", "label"), who, **more)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = [
        label("a.jpg", "Male", was="Female", when="2026-01-01T10:00:00", seconds=1.25, blind=True),
        label("=b, c.jpg", "", kind="leave out"),
        label("'=d\udce9\n.jpg", "a.jpg", kind="same image", who='"ben"'),
    ]
    write_corrections(tmp_path / "c.csv", rows)
    read = read_corrections(tmp_path / "c.csv")
    assert read[0] == rows[0]
    assert [replace(c, seconds=0.0) for c in read] == [replace(c, seconds=0.0) for c in rows]
    assert math.isnan(read[1].seconds)


def test_three_columns_are_enough(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("kind,id,now\nlabel,a.jpg,Male\n")
    (found,) = read_corrections(tmp_path / "c.csv")
    assert (found.id, found.kind, found.now, found.blind) == ("a.jpg", "label", "Male", False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,now\na,b\n", "'kind'"),
        ("", "'id'"),
        ("id,kind,now\na,lable,b\n", "line 2: its kind is 'lable' (did you mean 'label'?)"),
        ("id,kind,now\na,label\n", "line 2: it has more or fewer cells"),
        ("id,kind,now\na,label,b,c\n", "line 2: it has more or fewer cells"),
        ("id,kind,now\na,label,\n", "does not say what is now"),
        ("id,kind,now\n,label,b\n", "names no image"),
        ("id,kind,now\na,same image,a\n", "against itself"),
        ("id,kind,now,seconds\na,label,b,soon\n", "'soon' are no seconds"),
        ("id,kind,now,blind\na,label,b,maybe\n", "blind is 'maybe'"),
        ('id,kind,now\na,label,b\nc,label,"d\n', "line 3"),
    ],
)
def test_what_cannot_be_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DataError) as error:
        read_corrections(tmp_path / "c.csv")
    assert said in error.value.what
    assert error.value.expected and error.value.todo


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read the corrections"):
        read_corrections(tmp_path / "none.csv")


def test_a_later_word_counts_and_undo_takes_back_the_last() -> None:
    rows = [label("a", "x"), label("a", "y"), label("b", "x"), label("a", "z")]
    assert tally(rows).label == {"a": "z", "b": "x"}
    rows.append(label("a", "", kind="undo"))
    assert tally(rows).label == {"a": "y", "b": "x"}
    rows += [label("b", "", kind="undo", who="ben")]  # not his
    assert tally(rows).label == {"a": "y", "b": "x"}
    rows += [label("a", "", kind="undo")] * 5
    assert tally(rows).label == {"b": "x"}
    assert [c.id for c in active_corrections(rows)] == ["b"]


def test_what_is_about_different_things_stands_together() -> None:
    rows = [
        label("a", "x"),
        label("a", "b", kind="person"),
        label("a", "b", kind="same image"),
        label("c", "x"),
        label("c", "", kind="leave out"),  # in place of the label
        label("d", "b", kind="not the same"),
    ]
    found = tally(rows)
    assert found.label == {"a": "x"}
    assert found.person == {"a": "b"}
    assert found.copy_of == {"a": "b"}
    assert found.left_out == {"c"}
    assert found.who["a", "person"] == ("ann",)


def test_of_several_the_majority_counts_and_a_draw_changes_nothing() -> None:
    rows = [label("a", "x", "ann"), label("a", "y", "ben"), label("b", "x", "ann")]
    assert tally(rows).disputed == ("a",)
    assert tally(rows).label == {"b": "x"}
    rows.append(label("a", "", "cleo", kind="cannot say"))
    assert tally(rows).disputed == ("a",)
    rows.append(label("a", "y", "cleo"))
    assert tally(rows).label == {"a": "y", "b": "x"}
    assert tally(rows).who["a", "label"] == ("ben", "cleo")


def test_two_files_become_one_in_the_order_of_time() -> None:
    early, late = label("a", "x", when="2026-01-01"), label("a", "y", when="2026-01-02")
    assert merged([late], [early, late]) == [early, late]
    assert words_by_image([late, label("b", "", kind="cannot say")]) == {
        "a": "y",
        "b": "cannot say",
    }


# --- the log that a page writes to ---------------------------------------------------------------


def test_each_line_is_there_at_once_and_a_torn_one_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    with open_log(path) as log:
        assert path.read_text() == ",".join(COLUMNS) + "\n"
        log.add(label("a", "x"))
        assert [c.id for c in read_corrections(path)] == ["a"]
    with path.open("a") as file:
        file.write("b,,y,la")
    with open_log(path) as log:
        assert [c.id for c in log.rows] == ["a"]
        log.add(label("c", "x"), label("d", "x"))
    assert [c.id for c in read_corrections(path)] == ["a", "c", "d"]


TOGETHER = [label(f"{n}.jpg", "x", when="2026-01-01") for n in range(12)]


@pytest.mark.parametrize("cut", [0, 1, 40, 200, 10_000])
@pytest.mark.parametrize("error", [SystemExit, OSError(errno.ENOSPC, "full")])
def test_lines_that_belong_together_are_there_all_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int, error: type | OSError
) -> None:
    path, write = tmp_path / "c.csv", os.write

    def torn(handle: int, data: bytes) -> int:
        write(handle, data[:cut])
        raise error  # after so many bytes the process is killed, or the disk is full

    with open_log(path) as log:
        log.add(label("a", "x"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", torn)
            with pytest.raises((SystemExit, OutputError)):
                log.add(*TOGETHER)
        assert [c.id for c in log.rows] == ["a"]
    assert [c.id for c in read_corrections(path)] == ["a"]
    with open_log(path) as log:
        assert [c.id for c in log.rows] == ["a"]
        log.add(*TOGETHER)
    assert b"\0" not in path.read_bytes()
    assert read_corrections(path)[1:] == log.rows[1:] and len(log.rows) == 13


@pytest.mark.parametrize("truncating", [True, False])
@pytest.mark.parametrize("rows", [TOGETHER, TOGETHER[:1]])
def test_what_a_full_disk_tore_is_gone_before_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[Correction], truncating: bool
) -> None:
    path, write = tmp_path / "c.csv", os.write

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    def torn(handle: int, data: bytes) -> int:
        write(handle, data[:9])
        full()
        return 0

    with open_log(path) as log:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", torn)
            if not truncating:
                patch.setattr(os, "ftruncate", full)
            for _ in range(2):
                with pytest.raises(OutputError):
                    log.add(*rows)
        log.add(label("z", "x"))
    assert [c.id for c in read_corrections(path)] == ["z"]


WRITER = """
import sys
from pathlib import Path
from candid.tables.corrections import Correction, open_log
with open_log(Path(sys.argv[1])) as log:
    print(len(log.rows), flush=True)
    for press in range(len(log.rows) // 12, 10**6):
        log.add(*(Correction(f"{press}/{n}", "", "x" * 400, "label", "ann") for n in range(12)))
        print(press, flush=True)
"""


def test_kill_9_leaves_whole_key_presses_and_all_that_were_confirmed(tmp_path: Path) -> None:
    path, confirmed = tmp_path / "c.csv", -1
    for wait in (3, 7, 12):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) >= 12 * (confirmed + 1)
            said = [process.stdout.readline() for _ in range(wait)]
            process.kill()
            confirmed = int([*said, *process.stdout.read().splitlines()][-1])
        names = [c.id for c in read_corrections(path)]
        presses, rest = divmod(len(names), 12)
        assert rest == 0 and presses in (confirmed + 1, confirmed + 2)
        assert names == [f"{press}/{n}" for press in range(presses) for n in range(12)]


def test_where_it_cannot_be_written_another_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.csv").mkdir()
    with pytest.raises(OutputError) as caught, open_log(tmp_path / "c.csv"):
        pass
    assert "a folder stands where" in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught, open_log(tmp_path / "file" / "c.csv"):
        pass
    assert "--out" in caught.value.todo


def test_two_pages_do_not_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    with open_log(path), pytest.raises(OutputError, match="Another process"), open_log(path):
        pass


@pytest.mark.parametrize(
    "text", ["id,kind,now\na,label,x\n", "id,kind,now\na,label,x", "a note of one line", "\n"]
)
def test_a_file_of_another_form_is_not_written_to(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DataError, match="other columns"), open_log(tmp_path / "c.csv"):
        pass
    assert (tmp_path / "c.csv").read_text() == text


@pytest.mark.parametrize(
    ("last", "kept"),
    [
        ("b,,y,label,ben,,,no", ["a", "b"]),
        ('"b, c",x,y,label,ben,,,', ["a", "b, c"]),
        ("b,,y,label,ben,,", ["a"]),  # a cell is missing
        ("b,,y,label,ben,,,ye", ["a"]),
        ('"b', ["a"]),
        ("\0,,y,label,ben,,,no", ["a"]),
    ],
)
def test_a_decision_written_by_hand_needs_no_end_of_its_line(
    tmp_path: Path, last: str, kept: list[str]
) -> None:
    path = tmp_path / "c.csv"
    path.write_text(",".join(COLUMNS) + "\na,x,y,label,ann,,,no\n" + last)
    with open_log(path) as log:
        assert [c.id for c in log.rows] == kept
        log.add(label("d", "x"))
    assert [c.id for c in read_corrections(path)] == [*kept, "d"]
