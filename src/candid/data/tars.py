"""Tar files: their members in order, and images in them in any order.

Of a file on a store, ranges are fetched that span many images. `candid.data.layouts.webdataset`
finds the images.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import IO, BinaryIO, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from candid.data.sources import LruCache, ShardedSource, check_size
from candid.errors import DataError, ImageError
from candid.storage import filesystem

T = TypeVar("T")

_MOST_BYTES = 1 << 20  # of an extended header: a long name, attributes
_EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


# --- members, in order ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive: its name, and the place of its bytes."""

    name: str
    offset: int
    size: int
    _read: Callable[[], IO[bytes] | None]

    def read(self, most: int) -> bytes:
        """The bytes, while the archive is at this member.

        Raises
        ------
        ImageError
            Where there are more than `most`, or they cannot be read.
        """
        if self.size > most:
            raise ImageError("the file is too large", particulars=f"{self.size:,} bytes")
        try:
            file = self._read()
            data = file.read() if file is not None else b""
        except Exception as error:  # of a compressed archive: as for `members`
            raise ImageError("cannot be read from the archive: it is damaged there") from error
        if len(data) < self.size:
            raise ImageError("the archive is cut short inside it")
        return data


def members(file: BinaryIO, mode: Literal["r:", "r:*"], *, to_the_end: bool) -> Iterator[Member]:
    """The regular files in a tar file, in order, without hidden ones.

    `mode` is that of `tarfile.open`, "r:*" where it may be compressed; `to_the_end`: an archive
    without an end mark is truncated. Raises tarfile.ReadError for another or a damaged file,
    whatever the libraries raise there.
    """
    try:
        archive = tarfile.open(fileobj=file, mode=mode, tarinfo=_Header)  # noqa: SIM115
    except Exception as error:
        raise tarfile.ReadError("not a tar file that can be read") from error
    with archive:
        try:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if member.size < 0:  # it would lead back
                    raise tarfile.ReadError("a size below 0")
                if member.issparse():  # its bytes are not contiguous
                    raise tarfile.ReadError("a sparse file")
                if member.isreg() and not member.name.rpartition("/")[2].startswith("."):
                    read = partial(archive.extractfile, member)
                    yield Member(member.name, member.offset_data, member.size, read)
            _check_end(archive, to_the_end)
        except Exception as error:
            reason = str(error) if isinstance(error, tarfile.TarError) else "odd bytes"
            raise tarfile.ReadError(f"the archive is damaged or cut short ({reason})") from error


def _check_end(archive: tarfile.TarFile, to_the_end: bool) -> None:
    reason = getattr(archive, "candid_ended", None)
    if isinstance(reason, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
        if to_the_end:
            raise tarfile.ReadError("it has no end mark")
    elif not isinstance(reason, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
        raise tarfile.ReadError("what follows is no header")


class _Header(tarfile.TarInfo):
    """A member's header with a check of its size.

    It stores in the archive why no further member came, as `tarfile` takes any reason for its end.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENDED and header.size > _MOST_BYTES):
            raise tarfile.HeaderError("an impossible size")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.TarError as error:
            archive.candid_ended = error  # type: ignore[attr-defined]
            raise


# --- images, in any order ------------------------------------------------------------------------


class _FileHandle:
    """A file that is open while this object lives."""

    def __init__(self, path: str) -> None:
        self.handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # Bound above, as modules may be gone when Python ends.
        if "handle" in self.__dict__:
            close(self.handle)


class TarSource(ShardedSource):
    """Images in tar files: a `dataset.Source`.

    Parameters
    ----------
    files
        The shards: paths or URLs.
    file, offset, size
        (n,) the shard of each image, as an index into `files`, and its place in it.
    """

    arrays = ("file", "offset", "size")
    caches = ("_open", "_ranges")

    def __init__(
        self,
        files: Sequence[str],
        file: NDArray[np.int64],
        offset: NDArray[np.int64],
        size: NDArray[np.int64],
    ) -> None:
        self.files = tuple(files)
        self.file, self.offset, self.size = file, offset, size
        self._open: LruCache[_FileHandle] = LruCache()  # files on this machine
        self._ranges: LruCache[tuple[int, bytes]] = LruCache()  # the last ones of files on stores

    def read(self, row: int) -> bytes:
        """The bytes of one image."""
        name = self.files[self.file[row]]
        start, size = int(self.offset[row]), int(self.size[row])
        check_size(size)
        data = (
            self._read_remote(name, start, size)
            if filesystem.local_path(name) is None
            else self._read_local(name, start, size)
        )
        if len(data) < size:
            raise ImageError(f"{name} is cut short")
        return data

    def _read_local(self, name: str, start: int, size: int) -> bytes:
        try:
            file = self._open.get(name, lambda: _FileHandle(str(filesystem.local_path(name))))
        except OSError as error:
            raise ImageError(f"{name} cannot be opened: {error.strerror}") from error
        try:
            return os.pread(file.handle, size, start)
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {error.strerror}") from error

    def _read_remote(self, name: str, start: int, size: int) -> bytes:
        def fetch() -> tuple[int, bytes]:
            return start, filesystem.read_range(name, start, max(size, filesystem.RANGE))

        first, data = self._ranges.get(name, fetch)
        if not first <= start <= start + size <= first + len(data):
            self._ranges.forget(name)
            first, data = self._ranges.get(name, fetch)
        return data[start - first : start - first + size]

    def stamp(self) -> str:
        """A digest of the shards' states and the images' places; names of folders do not count."""
        digest = blake2b(digest_size=16)
        for name in self.files:
            try:
                state = filesystem.entry(name).stamp
            except DataError:
                state = "gone"
            digest.update(f"{name.rpartition('/')[2]}\0{state}\n".encode())
        for array in (self.file, self.offset, self.size):
            digest.update(array.tobytes())
        return digest.hexdigest()
