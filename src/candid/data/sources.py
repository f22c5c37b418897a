"""Sources of encoded images: files in a folder, Parquet shards, Arrow files.

Each is a `dataset.Source`: picklable for worker processes, where it opens its files lazily.
"""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from candid.data.dataset import Source
from candid.errors import ImageError
from candid.storage import filesystem
from candid.storage.files import regular

_LARGEST = 1 << 30  # bytes; no image within the limit on pixels is larger
_BATCH = 32  # images read from a Parquet file at a time
_MOST_OPEN = 16  # shards at a time: more than a stream reads by turns

T = TypeVar("T")


class LruCache(Generic[T]):
    """A few values by name; the least recently used one is dropped first."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, name: str, open_: Callable[[], T]) -> T:
        """The value of a name, made where there is none."""
        if name not in self._values:
            self._values[name] = open_()
            if len(self._values) > _MOST_OPEN:
                self._values.popitem(last=False)
        self._values.move_to_end(name)
        return self._values[name]

    def forget(self, name: str) -> None:
        """Drop the value of a name."""
        self._values.pop(name, None)


class FileSource:
    """One file per image, inside one folder or named from there.

    `names` are (n,) paths inside the folder, with forward slashes; nothing outside it is read,
    whatever a name or a link says. With `anywhere`, for the user's own names, they may be absolute
    or begin with ../.
    """

    def __init__(self, root: Path, names: Iterable[str], *, anywhere: bool = False) -> None:
        self.root = os.path.realpath(root)
        self.anywhere = anywhere
        self.names: NDArray[np.str_] = np.asarray(list(names), dtype=np.str_)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, row: int) -> bytes:
        """The bytes of one file."""
        name = str(self.names[row])
        return read_file(self._path(name))

    def _path(self, name: str) -> str:
        if self.anywhere and (os.path.isabs(name) or name.startswith("../")):
            return os.path.realpath(os.path.join(self.root, name))
        folder, _, last = name.rpartition("/")
        real_folder = _resolve_folder(os.path.join(self.root, folder) if folder else self.root)
        path = os.path.join(real_folder, last)
        if last in ("", ".", "..") or os.path.islink(path):
            path = os.path.realpath(path)
        if not contains(self.root, path):
            raise ImageError("the path leaves the data folder")
        return path

    def stamp(self) -> str:
        """A digest of every name, size and modification time, also of missing files."""
        digest = blake2b(digest_size=16)
        states = np.full((len(self.names), 2), -1, dtype=np.int64)
        for row, name in enumerate(self.names.tolist()):
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
            try:
                status = os.stat(os.path.join(self.root, name))
            except OSError:
                continue
            states[row] = status.st_size, status.st_mtime_ns
        digest.update(states.tobytes())
        return digest.hexdigest()


class ConcatSource:
    """The images of several sources, one after the other."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, row: int) -> bytes:
        """The bytes of one image."""
        number = int(np.searchsorted(self._ends, row, side="right"))
        part = self.parts[number]
        return part.read(row - int(self._ends[number]) + len(part))

    def stamp(self) -> str:
        """A digest of all sources' stamps, in their order."""
        stamps = "\n".join(f"{len(part)} {part.stamp()}" for part in self.parts)
        return blake2b(stamps.encode(), digest_size=16).hexdigest()


class ShardedSource(ABC):
    """Images in a few large files: `file` is the file of each, the other arrays its place there.

    Caches are not pickled.
    """

    files: tuple[str, ...]
    file: NDArray[np.int64]
    arrays: ClassVar[tuple[str, ...]]  # the names of the (n,) arrays
    caches: ClassVar[tuple[str, ...]]  # the names of those in an `LruCache`

    def __len__(self) -> int:
        return len(self.file)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {name: LruCache() for name in self.caches}

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The source of some of the images."""
        subset = copy(self)
        for name in self.arrays:
            setattr(subset, name, getattr(self, name)[rows])
        return subset


class _ColumnSource(ShardedSource):
    """Images in one column of some files: paths, of Parquet files also URLs.

    The column is binary, or a struct with a binary field `bytes`. `file` and `row` (n,) are the
    file that holds each image, as an index into `files`, and its row there.
    """

    arrays = ("file", "row")
    caches = ("_open",)

    def __init__(
        self,
        files: Sequence[str | os.PathLike[str]],
        column: str,
        file: NDArray[np.int64],
        row: NDArray[np.int64],
    ) -> None:
        self.files = tuple(os.fspath(f) for f in files)
        self.column = column
        self.file = np.asarray(file, dtype=np.int64)
        self.row = np.asarray(row, dtype=np.int64)
        self._open: LruCache[Any] = LruCache()

    def read(self, row: int) -> bytes:
        """The bytes of one embedded image."""
        file = self.files[self.file[row]]
        try:
            cell = self._cell(file, int(self.row[row]))
        except (OSError, pa.ArrowException, IndexError, KeyError) as error:
            raise ImageError(f"{os.path.basename(file)} cannot be read: {error}") from error
        return _cell_bytes(cell)

    @abstractmethod
    def _cell(self, file: str, row: int) -> pa.Scalar: ...

    def stamp(self) -> str:
        """A digest of the files' names, sizes and modification times, and of the rows."""
        digest = blake2b(self.column.encode(), digest_size=16)
        for path in self.files:
            digest.update(f"{os.path.basename(path)}\0{_state(path)}\n".encode())
        digest.update(self.file.tobytes())
        digest.update(self.row.tobytes())
        return digest.hexdigest()


class ParquetSource(_ColumnSource):
    """Images embedded in Parquet files, read page by page; parameters as for `_ColumnSource`.

    Fast where rows are read in ascending order; a step back starts again at the row group's first.
    Memory holds one page (as Arrow writes them, up to 1,024 images) of each file.
    """

    def _cell(self, file: str, row: int) -> pa.Scalar:
        cursor: _ParquetCursor = self._open.get(file, lambda: _ParquetCursor(file, self.column))
        self._open.forget(file)  # if reading fails, the next call opens it again
        cell = cursor.cell(row)
        self._open.get(file, lambda: cursor)
        return cell


class _ParquetCursor:
    """A position in one column of one Parquet file."""

    def __init__(self, path: str, column: str) -> None:
        self.path = path
        self._column = column
        self._file = open_parquet(path)
        groups = [
            self._file.metadata.row_group(g).num_rows for g in range(self._file.num_row_groups)
        ]
        self._starts = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self._group = -1
        self._batches: Any = None
        self._batch: Any = None
        self._first = self._end = 0  # rows of the current batch

    def cell(self, row: int) -> pa.Scalar:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if not 0 <= group < len(self._starts) - 1:
            raise ImageError(f"row {row} is not in {os.path.basename(self.path)}")
        if group != self._group or row < self._first:
            self._group = group
            self._first = self._end = int(self._starts[group])
            self._batches = self._file.iter_batches(
                _BATCH, row_groups=[group], columns=[self._column], use_threads=False
            )
        while row >= self._end:
            self._batch = next(self._batches)
            self._first, self._end = self._end, self._end + self._batch.num_rows
        return self._batch.column(0)[row - self._first]


def holds_bytes(dtype: pa.DataType) -> bool:
    """Whether a column of this type can hold embedded images: bytes, or structs with `bytes`."""
    if pa.types.is_struct(dtype):
        index = dtype.get_field_index("bytes")
        return index >= 0 and holds_bytes(dtype.field(index).type)
    return bool(pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype))


def open_parquet(name: str) -> pq.ParquetFile:
    """A Parquet file by its path or URL; of one on a store, ranges are read lazily.

    Raises OSError or pa.ArrowException where it cannot be read on this machine, or is none;
    DataError where a store cannot be reached.
    """
    path = filesystem.local_path(name)
    if path is not None:
        return pq.ParquetFile(regular(path), memory_map=True)
    # With a buffer, a column is read in ranges and not at once.
    return pq.ParquetFile(
        pa.PythonFile(filesystem.RangeFile(name), "r"), buffer_size=filesystem.RANGE
    )


class ArrowSource(_ColumnSource):
    """Images embedded in Arrow IPC files (as `datasets` saves them), read through a memory map."""

    def _cell(self, file: str, row: int) -> pa.Scalar:
        column = self._open.get(file, lambda: open_arrow(file)[self.column])
        return column[row]


def open_arrow(path: str | os.PathLike[str]) -> pa.Table:
    """An Arrow IPC file (the stream format or the file format) as a memory-mapped table."""
    memory_map = pa.memory_map(os.fspath(regular(Path(path))))
    try:
        return pa.ipc.open_stream(memory_map).read_all()
    except pa.ArrowInvalid:
        memory_map.seek(0)
        return pa.ipc.open_file(memory_map).read_all()


def _state(name: str) -> str:
    """A text that changes when the file does."""
    if filesystem.local_path(name) is None:
        return filesystem.entry(name).stamp
    try:
        status = os.stat(name)
    except OSError:
        return "-1\0-1"
    return f"{status.st_size}\0{status.st_mtime_ns}"


def _cell_bytes(cell: pa.Scalar) -> bytes:
    if pa.types.is_struct(cell.type):
        value = cell["bytes"].as_py() if cell.is_valid else None
        if not value and cell.is_valid and "path" in cell and cell["path"].is_valid:
            raise ImageError("the row holds a path but no bytes")
    else:
        value = cell.as_py()
    if not value:
        raise ImageError("the row holds no image")
    return bytes(value)


def read_file(path: str) -> bytes:
    """The bytes of one regular file that is not a link.

    Raises ImageError where it is missing, empty, too large, not a regular file, or not readable.
    """
    try:
        handle = os.open(path, _READ_ONLY)
    except OSError as error:
        raise ImageError(_REASONS.get(error.errno or 0, f"cannot be opened: {error}")) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file")
        check_size(status.st_size)
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(handle)


def check_size(size: int) -> None:
    """Raise ImageError for an empty file, or one that is too large for an image."""
    if size == 0:
        raise ImageError("the file is empty")
    if size > _LARGEST:
        raise ImageError("the file is too large", particulars=f"{size:,} bytes")


@lru_cache(maxsize=65_536)
def _resolve_folder(folder: str) -> str:
    return os.path.realpath(folder)


def contains(root: str, path: str) -> bool:
    """Whether a real path lies inside a folder."""
    return path.startswith(root if root.endswith(os.sep) else root + os.sep)


# Opening a pipe must not wait for a writer; a link that replaced the file must not be followed.
_READ_ONLY = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)

_REASONS = {
    errno.ENOENT: "the file is missing",
    errno.ENOTDIR: "the file is missing",
    errno.EACCES: "permission denied",
    errno.EISDIR: "not a regular file",
    errno.ELOOP: "a link that leads nowhere",
    errno.ENXIO: "not a regular file",
}
