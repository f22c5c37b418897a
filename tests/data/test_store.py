"""Packing is held to the pixels that the test wrote, and to kills, races and full disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from by_hand import MemorySource, dataset, png, texture

from candid.data.store import Store, default_cache, fingerprint, pack, repack
from candid.errors import DataError, OutputError
from candid.settings import DataConfig

CONFIG = DataConfig(side=16, workers=1)


def pixels_of(n: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3)).astype(np.uint8)


def reads(log: Path) -> list[int]:
    return [int(word) for word in log.read_text().split()] if log.exists() else []


# --- what is packed ------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_row_i_is_image_i_bit_for_bit(tmp_path: Path, workers: int) -> None:
    pixels = pixels_of(600)
    data = dataset([png(p) for p in pixels])
    store = pack(data, replace(CONFIG, workers=workers), cache=tmp_path, quiet=True)
    np.testing.assert_array_equal(store.pixels, pixels)
    assert store.usable.all()
    assert not store.reasons
    assert set(store.modes) == {"RGB"}
    assert set(store.formats) == {"PNG"}
    assert set(store.widths) == set(store.heights) == {16}
    assert (len(store), store.side) == (600, 16)


def test_the_pixels_cannot_be_written_to(tmp_path: Path) -> None:
    store = pack(dataset([png(p) for p in pixels_of(3)]), CONFIG, cache=tmp_path, quiet=True)
    assert isinstance(store.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.pixels[0] = 0


def test_digests_are_equal_where_the_bytes_are(tmp_path: Path) -> None:
    a, b, c = (png(p) for p in pixels_of(3))
    store = pack(dataset([a, b, a, c, b]), CONFIG, cache=tmp_path, quiet=True)
    assert store.digests[0] == store.digests[2]
    assert store.digests[1] == store.digests[4]
    assert len(set(store.digests)) == 3


def test_a_bad_image_is_listed_with_its_reason_and_skipped(tmp_path: Path) -> None:
    good = [png(p) for p in pixels_of(60)]
    images = [*good, b"no picture", b"", good[0][:100], good[1]]
    source = MemorySource(tuple(images), missing=frozenset({63}))
    store = pack(
        dataset(images, source=source),
        replace(CONFIG, max_bad_share=0.1),
        cache=tmp_path,
        quiet=True,
    )
    assert sorted(store.reasons) == [60, 61, 62, 63] == np.flatnonzero(~store.usable).tolist()
    assert store.reasons[60] == "not a picture in a known format, but text"
    assert "empty" in store.reasons[61]
    assert store.reasons[62]
    assert store.reasons[63] == "there is no such file"
    assert not store.pixels[60:].any()
    assert store.modes[60] == store.formats[60] == ""
    assert store.widths[60] == 0
    assert store.digests[60] != ""
    assert store.digests[63] == ""


def test_too_many_bad_images_are_an_error_that_names_the_first(tmp_path: Path) -> None:
    images = [png(p) for p in pixels_of(18)] + [b"", b"text"]
    with pytest.raises(DataError) as caught:
        pack(dataset(images), replace(CONFIG, max_bad_share=0.09), cache=tmp_path, quiet=True)
    message = str(caught.value)
    assert "2 of 20 images cannot be read (10.0%)" in message
    assert "00018.png: empty file" in message
    assert "00019.png: not a picture" in message
    pack(dataset(images), replace(CONFIG, max_bad_share=0.1), cache=tmp_path, quiet=True)
    with pytest.raises(DataError, match="2 of 2 images"):
        pack(dataset([b"", b""]), replace(CONFIG, max_bad_share=1.0), cache=tmp_path, quiet=True)


def test_no_image_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        pack(dataset([]), CONFIG, cache=tmp_path, quiet=True)


def test_a_name_that_is_not_utf8_does_no_harm(tmp_path: Path) -> None:
    data = dataset([png(p) for p in pixels_of(30)] + [b""])
    ids = data.ids.tolist()
    ids[30] = os.fsdecode(b"\xff.png")
    data = replace(data, ids=np.asarray(ids))
    assert list(pack(data, CONFIG, cache=tmp_path, quiet=True).reasons) == [30]


# --- reuse ---------------------------------------------------------------------------------------


def test_a_second_start_decodes_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    images = [png(p) for p in pixels_of(20)]
    data = dataset(images, source=MemorySource(tuple(images), log=log))
    first = pack(data, CONFIG, cache=tmp_path, quiet=True)
    assert len(reads(log)) == 20
    second = pack(data, CONFIG, cache=tmp_path, quiet=True)
    assert len(reads(log)) == 20
    np.testing.assert_array_equal(first.pixels, second.pixels)
    for name in ("usable", "widths", "heights", "modes", "formats", "digests"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_a_finished_pack_needs_no_writable_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset([png(p) for p in pixels_of(4)])
    pack(data, CONFIG, cache=tmp_path, quiet=True)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert len(pack(data, CONFIG, cache=tmp_path, quiet=True)) == 4


def test_a_library_that_reads_more_makes_a_pack_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = dataset([png(pixels_of(1)[0])])
    phone = replace(plain, ids=np.asarray(["IMG_1.HEIC"]))
    before = fingerprint(plain, CONFIG), fingerprint(phone, CONFIG)
    monkeypatch.setattr("candid.data.store.readable", lambda: ("JPEG", "HEIF", "another"))
    assert fingerprint(plain, CONFIG) == before[0]
    assert fingerprint(phone, CONFIG) != before[1]


def test_whatever_changes_the_pixels_changes_the_fingerprint() -> None:
    images = [png(p) for p in pixels_of(4)]
    base = fingerprint(dataset(images), CONFIG)
    assert base == fingerprint(dataset(list(images)), replace(CONFIG, workers=5))
    others = [
        fingerprint(dataset(images), replace(CONFIG, side=17)),
        fingerprint(dataset(images), replace(CONFIG, fit="pad")),
        fingerprint(dataset(images), replace(CONFIG, max_pixels=99)),
        fingerprint(dataset(images[::-1]), CONFIG),
        fingerprint(dataset(images[:3]), CONFIG),
        fingerprint(replace(dataset(images), ids=np.asarray(["a", "b", "c", "d"])), CONFIG),
    ]
    assert len({base, *others}) == 7


@pytest.mark.parametrize("damage", ["cut", "missing", "index", "no index"])
def test_a_damaged_pack_is_not_taken_for_whole(tmp_path: Path, damage: str) -> None:
    pixels = pixels_of(20)
    data = dataset([png(p) for p in pixels])
    folder = pack(data, CONFIG, cache=tmp_path, quiet=True).folder
    if damage == "cut":
        os.truncate(folder / "pixels.npy", 5000)
    elif damage == "missing":
        (folder / "pixels.npy").unlink()
    elif damage == "index":
        os.truncate(folder / "index.parquet", 50)
    else:
        (folder / "index.parquet").unlink()
        with (folder / "pixels.npy").open("r+b") as file:
            file.seek(4000)
            file.write(b"\0" * 4000)
    again = pack(data, CONFIG, cache=tmp_path, quiet=True)
    np.testing.assert_array_equal(again.pixels, pixels)


# --- kills, races, refusals ----------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {here!r})
from by_hand import MemorySource, dataset, png
from candid.settings import DataConfig
from candid.data import packing
from candid.data.store import pack

packing._CHUNK_ROWS = 8
pixels = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3)).astype(np.uint8)
images = tuple(png(p) for p in pixels)

{guard}
    source = MemorySource(images, log=Path({log!r}), slow_seconds={slow!r})
    config = DataConfig(side=16, workers={workers!r})
    {extra}
    pack(dataset(images, source=source), config, cache=Path({cache!r}), quiet=True)
"""


def child(
    tmp_path: Path,
    *,
    slow: float,
    workers: int,
    extra: str = "pass",
    guard: str = 'if __name__ == "__main__":',
) -> subprocess.Popen[str]:
    script = tmp_path / f"child{workers}.py"
    script.write_text(
        textwrap.dedent(CHILD).format(
            here=str(Path(__file__).parent),
            log=str(tmp_path / "log"),
            cache=str(tmp_path / "cache"),
            slow=slow,
            workers=workers,
            extra=extra,
            guard=guard,
        )
    )
    return subprocess.Popen(
        [sys.executable, str(script)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def wait_for_lines(journal: Path, lines: int) -> None:
    until = time.monotonic() + 120  # on a busy machine processes start slowly
    while time.monotonic() < until:
        for found in journal.parent.parent.glob(f"*/{journal.name}"):
            if found.read_bytes().count(b"\n") >= lines:
                return
        time.sleep(0.01)
    raise AssertionError("the child wrote no journal")


def finish(tmp_path: Path) -> tuple[Store, list[int]]:
    """Pack the rest here; the store, and the rows that were read for it."""
    images = tuple(png(p) for p in pixels_of(200))
    log = tmp_path / "second log"
    data = dataset(images, source=MemorySource(images, log=log))
    return pack(data, CONFIG, cache=tmp_path / "cache", quiet=True), reads(log)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_after_a_kill_what_was_done_is_kept(
    tmp_path: Path, workers: int, how: signal.Signals
) -> None:
    running = child(tmp_path, slow=0.04, workers=workers)
    wait_for_lines(tmp_path / "cache" / "x" / "journal.jsonl", 1 + 3)
    running.send_signal(how)
    running.communicate(timeout=120)
    assert running.returncode != 0
    store, again = finish(tmp_path)
    np.testing.assert_array_equal(store.pixels, pixels_of(200))
    assert len(again) == len(set(again))
    assert len(again) <= 200 - 3 * 8
    # Every row that was read once only was read by the first process and not by the second.
    assert set(again) | set(reads(tmp_path / "log")) == set(range(200))
    assert {f.name for f in store.folder.iterdir()} == {"pixels.npy", "index.parquet", "lock"}


def test_workers_do_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    running = child(tmp_path, slow=0.05, workers=2)
    wait_for_lines(tmp_path / "cache" / "x" / "journal.jsonl", 1 + 1)
    running.kill()
    running.communicate(timeout=120)
    time.sleep(0.5)
    before = len(reads(tmp_path / "log"))
    time.sleep(0.5)
    assert len(reads(tmp_path / "log")) == before < 200


def test_a_torn_line_and_lost_pixels_are_done_again(tmp_path: Path) -> None:
    running = child(tmp_path, slow=0.01, workers=1)
    wait_for_lines(tmp_path / "cache" / "x" / "journal.jsonl", 1 + 4)
    running.kill()
    running.communicate(timeout=120)
    (journal,) = (tmp_path / "cache").glob("*/journal.jsonl")
    job, *lines = journal.read_bytes().splitlines(keepends=True)[:5]
    journal.write_bytes(b"".join([job, *lines[:3]]) + lines[3][:20])  # as a power cut may leave it
    with (journal.parent / "pixels.npy").open("r+b") as file:
        file.seek(-200 * 16 * 16 * 3, os.SEEK_END)
        file.write(b"\0" * 100)  # the first chunk is journalled, but its pixels never arrived
    assert json.loads(lines[0].partition(b" ")[2])["start"] == 0
    # A second kill: what was done since must not be lost behind the torn line.
    running = child(tmp_path, slow=0.01, workers=1)
    wait_for_lines(tmp_path / "cache" / "x" / "journal.jsonl", 1 + 6)
    running.kill()
    running.communicate(timeout=120)
    store, again = finish(tmp_path)
    np.testing.assert_array_equal(store.pixels, pixels_of(200))
    assert len(again) <= 200 - 5 * 8
    between = reads(tmp_path / "log")
    assert all(between.count(row) == 2 for row in range(8))  # lost, so read in the second run, too
    assert all(between.count(row) == 1 for row in range(8, 24))


def test_a_damaged_pack_that_is_being_mended_is_not_taken_for_whole(tmp_path: Path) -> None:
    store, _ = finish(tmp_path)
    os.truncate(store.folder / "pixels.npy", 5000)  # its index still says that all is well
    running = child(tmp_path, slow=0.01, workers=1)
    wait_for_lines(store.folder / "journal.jsonl", 1 + 2)
    running.kill()
    running.communicate(timeout=120)
    store, again = finish(tmp_path)
    np.testing.assert_array_equal(store.pixels, pixels_of(200))
    assert len(set(again)) > 100


def test_two_processes_that_pack_the_same_do_the_work_once(tmp_path: Path) -> None:
    both = [child(tmp_path, slow=0.002, workers=workers) for workers in (1, 2)]
    for running in both:
        _, errors = running.communicate(timeout=120)
        assert running.returncode == 0, errors
    assert sorted(reads(tmp_path / "log")) == list(range(200))
    store, again = finish(tmp_path)
    assert not again
    np.testing.assert_array_equal(store.pixels, pixels_of(200))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX's")
def test_a_full_disk_shows_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    running = child(tmp_path, slow=0.0, workers=1, extra=limit)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 1  # OutputError, not killed by SIGBUS or SIGXFSZ
    assert "OutputError: Cannot write" in errors
    assert "larger than is allowed" in errors
    assert not reads(tmp_path / "log")
    assert not list((tmp_path / "cache").glob("*/pixels.npy"))


def test_no_space_left_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OutputError, match="the disk is full"):
        pack(dataset([png(p) for p in pixels_of(4)]), CONFIG, cache=tmp_path, quiet=True)
    assert not list(tmp_path.glob("*/pixels.npy"))


def test_a_file_system_without_preallocation_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    pixels = pixels_of(4)
    store = pack(dataset([png(p) for p in pixels]), CONFIG, cache=tmp_path, quiet=True)
    np.testing.assert_array_equal(store.pixels, pixels)


def test_a_cache_that_cannot_be_written_to_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="Cannot write") as caught:
        pack(
            dataset([png(p) for p in pixels_of(4)]),
            CONFIG,
            cache=tmp_path / "file" / "cache",
            quiet=True,
        )
    assert "--cache" in caught.value.todo


def test_a_script_needs_no_main_guard_and_is_run_once(tmp_path: Path) -> None:
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('.')"
    running = child(tmp_path, slow=0.0, workers=2, guard="if True:", extra=count)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    assert (tmp_path / "count").read_text() == "."
    assert sorted(reads(tmp_path / "log")) == [*range(200)]


def test_a_source_of_the_script_itself_needs_its_guard(tmp_path: Path) -> None:
    guard = "class MemorySource(MemorySource):\n    pass\n\nif True:"
    running = child(tmp_path, slow=0.0, workers=2, guard=guard)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 1
    assert errors.rstrip().endswith("or set data.workers = 1")
    assert "DataError: A process that decoded images died." in errors


# --- where ---------------------------------------------------------------------------------------


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDID_CACHE", str(tmp_path / "named"))
    assert default_cache() == tmp_path / "named"
    store = pack(dataset([png(texture(0, 16))]), CONFIG, quiet=True)
    assert store.folder.parent == tmp_path / "named"
    monkeypatch.delenv("CANDID_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_cache() == tmp_path / "xdg" / "candid"


def test_a_terminal_sees_the_progress_and_quiet_is_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset([png(p) for p in pixels_of(4)])
    pack(data, CONFIG, cache=tmp_path / "a", quiet=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    pack(data, CONFIG, cache=tmp_path / "b")
    assert "4/4" in capsys.readouterr().err


# --- of another pack -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Turned:
    """Each picture upside down, read at twice the detail; a line in `log` for each."""

    log: Path
    name: str = "turned"
    detail: int = 2

    @property
    def digest(self) -> str:
        return self.name

    def __call__(self, row: int, pixels: np.ndarray) -> np.ndarray:
        with self.log.open("a") as log:
            log.write(f"{row}\n")
        assert pixels.shape == (32, 32, 3)
        return pixels[::-2, ::2]


def halves(n: int) -> np.ndarray:
    return np.arange(n) % 7 < 3


@pytest.mark.parametrize("workers", [1, 2])
def test_some_pictures_are_reframed_and_the_others_stay(tmp_path: Path, workers: int) -> None:
    pixels = pixels_of(600)
    images = [*(png(p) for p in pixels), b"no picture"]
    log, config = tmp_path / "read", replace(CONFIG, workers=workers)
    data = dataset(images, source=MemorySource(tuple(images), log=log))
    came = pack(data, config, cache=tmp_path / "cache", quiet=True)
    log.unlink()
    moved, turn = halves(601), Turned(tmp_path / "log")
    moved[600] = True  # cannot be read, and is not tried again
    store = repack(data, config, came, moved, turn, quiet=True)
    for row in range(600):
        expected = pixels[row, ::-1] if moved[row] else pixels[row]
        np.testing.assert_array_equal(store.pixels[row], expected)
    assert sorted(reads(log)) == sorted(reads(turn.log)) == np.flatnonzero(moved[:600]).tolist()
    for name in ("usable", "widths", "heights", "modes", "formats", "digests"):
        np.testing.assert_array_equal(getattr(store, name), getattr(came, name))
    assert (store.reasons, store.causes) == (came.reasons, came.causes)
    assert store.folder.parent == came.folder.parent
    # The same again is opened; another frame, or other pictures, are another pack.
    log.unlink()
    assert repack(data, config, came, moved, turn, quiet=True).folder == store.folder
    assert not reads(log)
    other = repack(data, config, came, moved, replace(turn, name="other"), quiet=True)
    fewer = repack(data, config, came, moved & (np.arange(601) > 9), turn, quiet=True)
    assert len({came.folder, store.folder, other.folder, fewer.folder}) == 4


@dataclass(frozen=True)
class Stopping(Turned):
    """Interrupted at a row, once."""

    def __call__(self, row: int, pixels: np.ndarray) -> np.ndarray:
        if row >= 400 and not (self.log.parent / "stopped").exists():
            (self.log.parent / "stopped").touch()
            raise KeyboardInterrupt
        return super().__call__(row, pixels)


def test_a_repack_that_was_stopped_goes_on(tmp_path: Path) -> None:
    pixels = pixels_of(600)
    data, moved = dataset([png(p) for p in pixels]), np.arange(600) >= 100
    came = pack(data, CONFIG, cache=tmp_path / "cache", quiet=True)
    turn = Stopping(tmp_path / "log")
    with pytest.raises(KeyboardInterrupt):
        repack(data, CONFIG, came, moved, turn, quiet=True)
    first = reads(turn.log)
    assert 0 < len(first) < 400
    store = repack(data, CONFIG, came, moved, turn, quiet=True)
    again = reads(turn.log)[len(first) :]
    assert again and min(again) > 100  # the chunks that were whole are kept
    np.testing.assert_array_equal(store.pixels[:100], pixels[:100])
    np.testing.assert_array_equal(store.pixels[100:], pixels[100:, ::-1])
