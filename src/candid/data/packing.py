"""Filling a pack: reserve the file, decode in processes, keep a journal, write the index last."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from candid.cores import cores
from candid.data import decode
from candid.data.dataset import Dataset, Sharded, Source
from candid.data.processes import dead_worker, in_processes
from candid.errors import ImageError
from candid.progress import progress
from candid.settings import DataConfig
from candid.storage import filesystem
from candid.storage.files import atomic, writing
from candid.storage.jobs import PartsJournal, open_journal

_CHUNK_ROWS = 256
_CHUNK_BYTES = 16 << 20

# Less work than this is done in the calling process, as starting others costs about as much.
_WORTH_PROCESSES_SECONDS = 3.0

# The cache of `duplicates` beside the pixels. A new number discards old ones.
COPIES = "copies-1.npz"

_NAME = b"candid.data"  # the key of the data set's name in the metadata of index.parquet

# The columns of index.parquet, besides the id.
INDEX = {
    "usable": pa.bool_(),
    "reason": pa.string(),
    "cause": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "mode": pa.string(),
    "format": pa.string(),
    "digest": pa.string(),
}


# reason and cause ("" if usable), width, height, mode, format, digest
Row = tuple[str, str, int, int, str, str, str]


class Reframe(Protocol):
    """Brings images to another frame while they are packed. Picklable."""

    @property
    def detail(self) -> int:
        """The size of its input as a multiple of the pack's."""
        ...

    @property
    def digest(self) -> str:
        """A digest of all that determines the output."""
        ...

    def __call__(self, row: int, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(side, side, 3) of a row's square (detail · side, detail · side, 3)."""
        ...


@dataclass(frozen=True, eq=False)
class Repacking:
    """How to make a pack from another one.

    Images that `mask` (n,) marks are decoded again, and `reframe` brings them to another frame.
    The others are copied from the other pack, whose `pixels` are (n, side, side, 3); `rows(start,
    stop)` reads its index.
    """

    reframe: Reframe
    mask: NDArray[np.bool_]
    pixels: NDArray[np.uint8]
    rows: Callable[[int, int], list[Row]]


# --- filling -------------------------------------------------------------------------------------


def fill(
    folder: Path,
    dataset: Dataset,
    config: DataConfig,
    key: str,
    *,
    repacking: Repacking | None = None,
    quiet: bool,
) -> None:
    """Decode all rows that are not in the journal of the pack `key`, then write the index."""
    pixels, path = folder / "pixels.npy", folder / "journal.jsonl"
    n, side = len(dataset), config.side
    offset = _prepare(pixels, (n, side, side, 3), path)
    source, reframe = dataset.source, None if repacking is None else repacking.reframe
    packer = _Packer(source, config, str(pixels), offset, reframe)
    with writing(folder), open_journal(path, {"pack": key}, replace=True) as journal:
        chunks = _read_done(journal, pixels, offset, n, side)
        if repacking is not None:
            for chunk in _copy(repacking, pixels, offset, chunks):
                journal.add(vars(chunk))
                chunks.append(chunk)
        done_rows = _finished_rows(chunks)
        todo = _chunks(done_rows, n, side, source.file if isinstance(source, Sharded) else None)
        with (
            progress("packing", n, unit="images", done=len(done_rows), quiet=quiet) as bar,
            contextlib.closing(_run(packer, todo, config.workers)) as results,
        ):
            for chunk in results:
                journal.add(vars(chunk))
                chunks.append(chunk)
                bar.update(len(chunk.rows))
        _finish(folder, dataset, chunks)
        journal.remove()


def _prepare(path: Path, shape: tuple[int, ...], journal: Path) -> int:
    """Reserve the disk space of the pixels' file; returns the offset of row 0.

    A file of another shape is replaced, and so is one without a journal.
    """
    header = _npy_header(shape)
    size = len(header) + int(np.prod(shape))
    with writing(path, "--cache"):
        if journal.exists() and path.exists() and path.stat().st_size == size:
            with path.open("rb") as file:
                if file.read(len(header)) == header:
                    return len(header)
        # Caches of a damaged pack must not outlive its pixels.
        for stale_file in (path.with_name("index.parquet"), path.with_name(COPIES), journal, path):
            stale_file.unlink(missing_ok=True)
        try:
            with path.open("xb") as file:
                file.write(header)
                file.flush()
                _reserve(file.fileno(), size)
        except BaseException:
            path.unlink(missing_ok=True)  # the reserved space would keep the disk full
            raise
    return len(header)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    out = BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


def _reserve(handle: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
        else:
            return
    os.truncate(handle, size)


def _chunks(
    done_rows: set[int], n: int, side: int, shard: NDArray[np.int64] | None
) -> list[tuple[int, int]]:
    """The rows that are not done, in runs small enough for one worker at a time.

    With the (n,) shard of each row, none spans two shards.
    """
    most = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // (side * side * 3)))
    starts_shard = np.zeros(n, np.bool_)  # a shard
    if shard is not None:
        starts_shard[1:] = shard[1:] != shard[:-1]
    todo = np.setdiff1d(np.arange(n), np.fromiter(done_rows, np.intp, len(done_rows)))
    breaks = np.flatnonzero((np.diff(todo) > 1) | starts_shard[todo[1:]]) + 1
    runs = [(int(run[0]), int(run[-1]) + 1) for run in np.split(todo, breaks) if len(run)]
    return [(i, min(i + most, stop)) for start, stop in runs for i in range(start, stop, most)]


_Span = tuple[int, int]  # start and stop of rows


@dataclass(frozen=True)
class _Chunk:
    """Rows from `start` on that are written to the pixels' file, with their checksum."""

    start: int
    rows: list[Row]
    checksum: str


def _finished_rows(chunks: list[_Chunk]) -> set[int]:
    return {row for c in chunks for row in range(c.start, c.start + len(c.rows))}


def _copy(repacking: Repacking, path: Path, offset: int, chunks: list[_Chunk]) -> Iterator[_Chunk]:
    """Copy the rows that do not change from the other pack, without finished ones."""
    n, side = repacking.pixels.shape[:2]
    rows_to_skip = _finished_rows(chunks) | {*np.flatnonzero(repacking.mask).tolist()}
    for start, stop in _chunks(rows_to_skip, n, side, None):
        block = np.ascontiguousarray(repacking.pixels[start:stop])
        yield _write_chunk(path, offset, start, block, repacking.rows(start, stop))


def _write_chunk(
    path: Path, offset: int, start: int, block: NDArray[np.uint8], rows: list[Row]
) -> _Chunk:
    # Where the disk is full, a write raises, and a memory map would kill the process.
    with writing(path, "--cache"), path.open("r+b") as file:
        file.seek(offset + start * block[0].nbytes)
        file.write(block.data)
    return _Chunk(start, rows, _digest(block.data))


def _digest(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _read_done(journal: PartsJournal, pixels: Path, offset: int, n: int, side: int) -> list[_Chunk]:
    """The finished chunks, whose pixels still have their checksum."""
    size = side * side * 3
    chunks: dict[int, _Chunk] = {}
    with pixels.open("rb") as file:
        for chunk in (_Chunk(**plain) for plain in journal.parts()):
            file.seek(offset + chunk.start * size)
            is_new = chunk.start not in chunks and 0 <= chunk.start <= n - len(chunk.rows)
            if is_new and _digest(file.read(len(chunk.rows) * size)) == chunk.checksum:
                chunks[chunk.start] = chunk
    return list(chunks.values())


def _finish(folder: Path, dataset: Dataset, chunks: list[_Chunk]) -> None:
    """Flush the pixels, then write the index, which marks the pack as complete."""
    rows = [row for chunk in sorted(chunks, key=lambda chunk: chunk.start) for row in chunk.rows]
    columns = dict(zip(list(INDEX)[1:], map(list, zip(*rows, strict=True)), strict=True))
    columns["usable"] = [word == "" for word in columns["reason"]]
    table = pa.table(
        {
            "id": pa.array([_to_utf8(str(i)) for i in dataset.ids]),
            **{name: pa.array(columns[name], kind) for name, kind in INDEX.items()},
        }
    ).replace_schema_metadata({_NAME: _to_utf8(dataset.name).encode()})
    with writing(folder):
        with (folder / "pixels.npy").open("r+b") as file:
            os.fsync(file.fileno())
        with atomic(folder / "index.parquet") as part:
            pq.write_table(table, part)


def describe_index(path: Path) -> tuple[str, str]:
    """The name of a pack's data set, and the id of its first image; "" for what is missing."""
    try:
        with pq.ParquetFile(path) as file:
            name = (file.schema_arrow.metadata or {}).get(_NAME, b"").decode("utf-8", "replace")
            first = next(file.iter_batches(1, columns=["id"]), None)
    except (OSError, ValueError):  # Arrow's own are among them
        return "", ""
    return name, "" if first is None or not len(first) else str(first["id"][0])


def _to_utf8(text: str) -> str:
    """Text for Parquet, which must be UTF-8, as names of files need not be."""
    return text.encode("utf-8", "replace").decode()


# --- decoding, in this process or others ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Packer:
    """Decodes rows and writes their pixels; picklable."""

    source: Source
    config: DataConfig
    pixels: str
    offset: int
    reframe: Reframe | None = None

    def __call__(self, chunks: list[_Span]) -> list[_Chunk]:
        return [self.chunk(start, stop) for start, stop in chunks]

    def chunk(self, start: int, stop: int) -> _Chunk:
        side = self.config.side
        block = np.zeros((stop - start, side, side, 3), np.uint8)
        rows = [self._row(row, block[row - start]) for row in range(start, stop)]
        return _write_chunk(Path(self.pixels), self.offset, start, block, rows)

    def _row(self, row: int, out: NDArray[np.uint8]) -> Row:
        digest, config, reframe = "", self.config, self.reframe
        options: dict[str, Any] = {"side": config.side, "fit": config.fit}
        if reframe is not None:
            options["detail"] = reframe.detail
        try:
            data = self.source.read(row)
            digest = _digest(data)
            image = decode.decode(data, max_pixels=config.max_pixels, **options)
        except (ImageError, OSError) as error:
            if not isinstance(error, ImageError):
                error = ImageError(f"cannot be read: {error.strerror or error}")
            return (_to_utf8(error.what), _to_utf8(error.cause), 0, 0, "", "", digest)
        out[:] = image.pixels if reframe is None else reframe(row, image.pixels)
        return ("", "", image.width, image.height, image.mode, image.format, digest)


def _run(packer: _Packer, todo: list[tuple[int, int]], workers: int) -> Generator[_Chunk]:
    """Yield the chunks as they are done: in this process if that is quick, else in others."""
    if workers == 0 and todo:
        # The first rows are timed to estimate the rest.
        start, stop = todo[0]
        probe = min(stop, start + 16)
        todo = [(start, probe), *([(probe, stop)] if probe < stop else []), *todo[1:]]
        start_time = time.perf_counter()
        yield packer.chunk(*todo.pop(0))
        seconds_per_row = (time.perf_counter() - start_time) / (probe - start)
        seconds = sum(b - a for a, b in todo) * seconds_per_row
        workers = cores() if seconds > _WORTH_PROCESSES_SECONDS else 1
    tasks = _group_chunks(packer.source, todo, workers)
    if workers <= 1 or len(tasks) <= 1:
        for chunk in todo:
            yield packer.chunk(*chunk)
        return
    try:
        for chunks in in_processes(packer, tasks, min(workers, len(tasks))):
            yield from chunks
    except BrokenProcessPool as error:
        raise dead_worker() from error


def _group_chunks(source: Source, todo: list[tuple[int, int]], workers: int) -> list[list[_Span]]:
    """The chunks of each task: one; of a shard on a store, all, so that it is fetched once."""
    if not isinstance(source, Sharded) or filesystem.local_path(source.files[0]) is not None:
        return [[chunk] for chunk in todo]
    shard = source.file
    tasks = [list(chunks) for _, chunks in itertools.groupby(todo, lambda chunk: shard[chunk[0]])]
    return tasks if len(tasks) >= workers else [[chunk] for chunk in todo]
