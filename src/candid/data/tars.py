"""Pictures that lie in tar shards: they are read from there, in any order.

From a file by its place, from an object store in ranges that span many pictures. Which pictures
there are, `candid.data.layouts.samples` finds once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.data import places
from candid.data.sources import Held
from candid.errors import DataError, ImageError

_LARGEST = 1 << 30  # bytes of one picture


class _Opened:
    """A file that is open for as long as somebody holds this."""

    def __init__(self, path: str) -> None:
        self.handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # Bound above: when Python ends, modules may be gone before what was opened.
        if "handle" in self.__dict__:
            close(self.handle)


class TarSource:
    """Pictures that lie in tar files, by their places there: a `dataset.Source`.

    Parameters
    ----------
    files
        The shards: paths or URLs.
    file, offset, size
        (n,) which shard holds each picture, as an index into `files`, and where in it.
    """

    def __init__(
        self,
        files: Sequence[str],
        file: NDArray[np.int64],
        offset: NDArray[np.int64],
        size: NDArray[np.int64],
    ) -> None:
        self.files = tuple(files)
        self.file, self.offset, self.size = file, offset, size
        self._open: Held[_Opened] = Held()  # files on this machine
        self._ranges: Held[tuple[int, bytes]] = Held()  # what was fetched last of those on stores

    def __len__(self) -> int:
        return len(self.file)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": Held(), "_ranges": Held()}  # neither travels

    def take(self, rows: NDArray[np.intp]) -> TarSource:
        """The source of some of the pictures."""
        return TarSource(self.files, self.file[rows], self.offset[rows], self.size[rows])

    def read(self, row: int) -> bytes:
        """The bytes of one picture.

        Raises
        ------
        ImageError
            Where it is empty, too large, or its shard cannot be read there.
        DataError
            Where a store cannot be reached.
        """
        name = self.files[self.file[row]]
        start, size = int(self.offset[row]), int(self.size[row])
        if size == 0:
            raise ImageError("the file is empty")
        if size > _LARGEST:
            raise ImageError(f"the file is too large ({size:,} bytes)")
        data = (
            self._far(name, start, size)
            if places.local(name) is None
            else self._near(name, start, size)
        )
        if len(data) < size:
            raise ImageError(f"{name} is cut short")
        return data

    def _near(self, name: str, start: int, size: int) -> bytes:
        try:
            file = self._open.get(name, lambda: _Opened(str(places.local(name))))
        except OSError as error:
            raise ImageError(f"{name} cannot be opened: {error.strerror}") from error
        try:
            return os.pread(file.handle, size, start)
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {error.strerror}") from error

    def _far(self, name: str, start: int, size: int) -> bytes:
        def fetched() -> tuple[int, bytes]:
            return start, places.part_of(name, start, max(size, places.RANGE))

        first, data = self._ranges.get(name, fetched)
        if not first <= start <= start + size <= first + len(data):
            self._ranges.forget(name)
            first, data = self._ranges.get(name, fetched)
        return data[start - first : start - first + size]

    def stamp(self) -> str:
        """A digest of the shards' states and of which pictures count; names of folders do not."""
        digest = blake2b(digest_size=16)
        for name in self.files:
            try:
                state = places.entry(name).stamp
            except DataError:
                state = "gone"
            digest.update(f"{name.rpartition('/')[2]}\0{state}\n".encode())
        for array in (self.file, self.offset, self.size):
            digest.update(array.tobytes())
        return digest.hexdigest()
