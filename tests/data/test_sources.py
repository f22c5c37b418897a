from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import jpeg, put

from candid.data.dataset import Source
from candid.data.sources import ArrowSource, ConcatSource, FileSource, ParquetSource
from candid.errors import ImageError

N = 150  # more than two batches of a Parquet cursor


@pytest.fixture
def hurry() -> Iterator[None]:
    """A reader that waits for a pipe's writer would wait for ever."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_files_are_read_as_they_are(tmp_path: Path) -> None:
    written = [put(tmp_path / "a.jpg", 1), put(tmp_path / "in" / "ner" / "b c.jpg", 2)]
    source: Source = FileSource(tmp_path, ["a.jpg", "in/ner/b c.jpg"])
    assert len(source) == 2
    assert [source.read(i) for i in range(2)] == written
    assert [pickle.loads(pickle.dumps(source)).read(i) for i in range(2)] == written


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    written = put(tmp_path / "real" / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("real/a.jpg")
    (tmp_path / "linked").symlink_to("real")
    assert FileSource(tmp_path, ["b.jpg"]).read(0) == written
    assert FileSource(tmp_path, ["linked/a.jpg"]).read(0) == written


def test_a_data_folder_that_is_itself_a_link(tmp_path: Path) -> None:
    written = put(tmp_path / "real" / "a.jpg")
    (tmp_path / "data").symlink_to("real")
    assert FileSource(tmp_path / "data", ["a.jpg"]).read(0) == written


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.jpg", "missing"),
        ("a.jpg/b.jpg", "missing"),
        ("empty.jpg", "empty"),
        ("folder.jpg", "not a regular file"),
        ("pipe.jpg", "not a regular file"),
        ("loop.jpg", "leads nowhere"),
        ("../outside.jpg", "leaves the data folder"),
        ("in/../../outside.jpg", "leaves the data folder"),
        ("link.jpg", "leaves the data folder"),
        ("linked/outside.jpg", "leaves the data folder"),
        ("..", "leaves the data folder"),
        ("", "leaves the data folder"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, hurry: None, name: str, reason: str) -> None:
    root = tmp_path / "data"
    put(root / "a.jpg")
    put(root / "in" / "a.jpg")
    put(tmp_path / "outside.jpg")
    put(tmp_path / "elsewhere" / "outside.jpg")
    (root / "empty.jpg").touch()
    (root / "folder.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "link.jpg").symlink_to("../outside.jpg")
    (root / "linked").symlink_to("../elsewhere")
    with pytest.raises(ImageError, match=reason):
        FileSource(root, [name]).read(0)


def test_a_device_is_no_picture(tmp_path: Path, hurry: None) -> None:
    with pytest.raises(ImageError, match="not a regular file"):
        FileSource(Path("/dev"), ["zero"]).read(0)


def test_the_stamp_changes_when_an_image_does(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", 1)
    put(tmp_path / "b.jpg", 2)
    names = ["a.jpg", "b.jpg"]
    first = FileSource(tmp_path, names).stamp()
    assert FileSource(tmp_path, names).stamp() == first
    stamps = {
        first,
        FileSource(tmp_path, names[::-1]).stamp(),
        FileSource(tmp_path, names[:1]).stamp(),
    }
    about = (tmp_path / "a.jpg").stat()
    os.utime(tmp_path / "a.jpg", ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    stamps.add(FileSource(tmp_path, names).stamp())
    (tmp_path / "a.jpg").write_bytes(b"x")
    os.utime(tmp_path / "a.jpg", ns=(about.st_atime_ns, about.st_mtime_ns))
    stamps.add(FileSource(tmp_path, names).stamp())
    (tmp_path / "a.jpg").unlink()
    stamps.add(FileSource(tmp_path, names).stamp())
    assert len(stamps) == 6


def _cells(kind: str) -> tuple[list[bytes], pa.Array]:
    images = [jpeg(i) for i in range(N)]
    if kind == "binary":
        return images, pa.array(images, pa.binary())
    rows = [{"bytes": b, "path": f"{i}.jpg"} for i, b in enumerate(images)]
    return images, pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def _embedded(tmp_path: Path, made: str, kind: str) -> tuple[list[bytes], Source]:
    images, cells = _cells(kind)
    table = pa.table({"image": cells, "label": pa.array([0] * N)})
    files = [tmp_path / f"{i}.bin" for i in range(2)]
    for file, part in zip(files, (table.slice(0, 90), table.slice(90)), strict=True):
        if made == "parquet":
            pq.write_table(part, file, row_group_size=40)
        else:
            new = pa.ipc.new_stream if made == "stream" else pa.ipc.new_file
            with pa.OSFile(str(file), "wb") as sink, new(sink, part.schema) as writer:
                writer.write_table(part, max_chunksize=25)
    source = ParquetSource if made == "parquet" else ArrowSource
    file = np.repeat([0, 1], [90, N - 90])
    row = np.concatenate([np.arange(90), np.arange(N - 90)])
    return images, source(files, "image", file, row)


@pytest.mark.parametrize("made", ["parquet", "stream", "file"])
@pytest.mark.parametrize("kind", ["binary", "struct"])
def test_embedded_images_in_any_order(tmp_path: Path, made: str, kind: str) -> None:
    images, source = _embedded(tmp_path, made, kind)
    assert [source.read(i) for i in range(len(source))] == images
    order = np.random.default_rng(0).integers(0, N, 60).tolist()
    assert [source.read(i) for i in order] == [images[i] for i in order]
    again = pickle.loads(pickle.dumps(source))  # with files open
    assert again.read(N - 1) == images[-1]
    assert again.stamp() == source.stamp()


@pytest.mark.parametrize("made", ["parquet", "stream"])
def test_embedded_images_that_are_not_there(tmp_path: Path, made: str) -> None:
    rows = [None, {"bytes": None, "path": "/etc/passwd"}, {"bytes": b"", "path": None}]
    cells = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    file = tmp_path / "x"
    if made == "parquet":
        pq.write_table(pa.table({"image": cells}), file)
    else:
        schema = pa.schema([("image", cells.type)])
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            writer.write_table(pa.table({"image": cells}))
    made_source = ParquetSource if made == "parquet" else ArrowSource
    source = made_source([file], "image", np.zeros(3, int), np.arange(3))
    for row, reason in enumerate(("no image", "a path but no bytes", "no image")):
        with pytest.raises(ImageError, match=reason):
            source.read(row)
    before = source.stamp()
    file.write_bytes(b"garbage")
    assert source.stamp() != before
    with pytest.raises(ImageError, match="cannot be read"):
        made_source([file], "image", np.zeros(1, int), np.zeros(1, int)).read(0)


def test_a_parquet_source_holds_little_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.bytes(100_000) for _ in range(300)]  # one row group of 30 MB, in pages of 1 MB
    table = pa.table({"image": pa.array(images, pa.binary())})
    pq.write_table(table, tmp_path / "x", write_batch_size=10, use_dictionary=False)
    source = ParquetSource([tmp_path / "x"], "image", np.zeros(300, int), np.arange(300))
    pool = pa.default_memory_pool()
    before, most = pool.bytes_allocated(), 0
    for row in range(300):
        assert source.read(row) == images[row]
        most = max(most, pool.bytes_allocated() - before)
    assert most < 15_000_000


# --- several -------------------------------------------------------------------------------------


def test_sources_one_after_the_other(tmp_path: Path) -> None:
    files = [put(tmp_path / "a" / f"{i}.jpg", i) for i in range(3)]
    files += [put(tmp_path / "b" / f"{i}.jpg", 9 + i) for i in range(2)]
    a, b = (
        FileSource(tmp_path / n, [f"{i}.jpg" for i in range(k)]) for n, k in (("a", 3), ("b", 2))
    )
    source = pickle.loads(pickle.dumps(ConcatSource([a, b])))
    assert [source.read(row) for row in range(len(source))] == files
    with pytest.raises(IndexError):
        source.read(5)
    stamps = {ConcatSource(parts).stamp() for parts in ([a, b], [b, a], [a], [a, b, b])}
    assert len(stamps) == 4 and source.stamp() in stamps
    put(tmp_path / "b" / "1.jpg", 77)
    os.utime(tmp_path / "b" / "1.jpg", (1, 1))
    assert source.stamp() not in stamps
