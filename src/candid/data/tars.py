"""Tar shards as WebDataset has them: neighbours with one key are one sample.

`000017.jpg` beside `000017.json` and `000017.cls` is one picture with its annotations (Aizman,
Maltby and Breuel 2019, "High performance I/O for large scale deep learning"). A shard's headers and
annotations are read once; of the pictures, only where they lie is kept, and they are read from
there: from a file by its place, from an object store in ranges that span many pictures.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.data import places
from candid.data.layouts.pictures import is_picture
from candid.errors import DataError, ImageError

_ANNOTATION = 1 << 20  # bytes of one sample's annotations
_LARGEST = 1 << 30  # bytes of one picture
_RANGE = 8 << 20  # bytes fetched from a store at a time
CLASS = "class"  # what the number in a .cls file is called


@dataclass(slots=True)
class Sample:
    """One picture in a shard, and what is written about it.

    Attributes
    ----------
    name
        Of the picture's member; "" where there is none.
    offset, size
        Where its bytes lie in the shard.
    annotations
        From its .json and .cls; a value inside a value is called `outer.inner`.
    """

    key: str
    name: str = ""
    offset: int = 0
    size: int = 0
    annotations: dict[str, Any] = field(default_factory=dict)


def samples(shard: str, most: int | None = None) -> Iterator[Sample]:
    """The samples of a shard in order; at most so many members are read, if that is given.

    Raises
    ------
    DataError
        Where it cannot be read, is damaged, or holds annotations that are none.
    """
    sample: Sample | None = None
    with places.opened(shard) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for number, member in enumerate(_members(archive)):
                    if number == most:
                        break
                    key, ending = _split_name(member.name)
                    if sample is None or sample.key != key:
                        if sample is not None:
                            yield sample
                        sample = Sample(key)
                    _add(sample, archive, member, ending, shard)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise _damaged(shard, str(error)) from error
    if sample is not None:
        yield sample


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # else it remembers every member
        base = member.name.rpartition("/")[2]
        if member.isreg() and not base.startswith("."):
            yield member


def _split_name(name: str) -> tuple[str, str]:
    """A member's key and ending: all up to the first dot of its last part, and the rest."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, ending = base.partition(".")
    return folder + slash + stem, ending.lower()


def _add(
    sample: Sample, archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str, shard: str
) -> None:
    if is_picture(f".{ending}"):
        if not sample.name:
            sample.name = member.name.removeprefix("./")
            sample.offset, sample.size = member.offset_data, member.size
    elif ending in ("json", "cls"):
        text = _text(archive, member, shard)
        if ending == "cls":
            sample.annotations[CLASS] = text.strip()
            return
        try:
            value = json.loads(text)
        except ValueError as error:
            raise _damaged(shard, f"{member.name} is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise _damaged(shard, f"{member.name} holds no object")
        sample.annotations |= _flat(value, "")


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo, shard: str) -> str:
    if member.size > _ANNOTATION:
        raise _damaged(shard, f"{member.name} is too large ({member.size:,} bytes)")
    file = archive.extractfile(member)
    data = file.read() if file is not None else b""
    if len(data) < member.size:
        raise _damaged(shard, f"it is cut short inside {member.name}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _damaged(shard, f"{member.name} is not UTF-8") from error


def _flat(value: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        flat |= _flat(inner, f"{name}.") if isinstance(inner, dict) else {name: inner}
    return flat


def _damaged(shard: str, reason: str) -> DataError:
    return DataError(
        f"Cannot read {shard}: {reason}.",
        expected="a whole tar file, not compressed, with pictures beside their .json or .cls",
        todo="fetch or pack it again; unpack .tar.gz to .tar",
    )


class TarSource:
    """Pictures that lie in tar files, by their places there: a `dataset.Source`.

    Parameters
    ----------
    files
        The shards: paths or URLs.
    file, offset, size
        (n,) which shard holds each picture, as an index into `files`, and where in it.
    """

    _open: tuple[str, int] | None = None  # a file on this machine
    _range: tuple[str, int, bytes] | None = None  # what was fetched last from a store

    def __init__(
        self,
        files: Sequence[str],
        file: NDArray[np.int64],
        offset: NDArray[np.int64],
        size: NDArray[np.int64],
    ) -> None:
        self.files = tuple(files)
        self.file, self.offset, self.size = file, offset, size

    def __len__(self) -> int:
        return len(self.file)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None, "_range": None}  # neither travels

    def __del__(self) -> None:
        if self._open is not None:
            os.close(self._open[1])

    def read(self, row: int) -> bytes:
        """The bytes of one picture.

        Raises
        ------
        ImageError
            Where it is empty, too large, or its shard cannot be read there.
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
        if self._open is None or self._open[0] != name:
            if self._open is not None:
                os.close(self._open[1])
                self._open = None
            try:
                handle = os.open(str(places.local(name)), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            except OSError as error:
                raise ImageError(f"{name} cannot be opened: {error.strerror}") from error
            self._open = name, handle
        try:
            return os.pread(self._open[1], size, start)
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {error.strerror}") from error

    def _far(self, name: str, start: int, size: int) -> bytes:
        held = self._range
        if (
            held is None
            or held[0] != name
            or not (held[1] <= start and start + size <= held[1] + len(held[2]))
        ):
            try:
                data = places.part_of(name, start, max(size, _RANGE))
            except DataError as error:
                raise ImageError(error.what) from error
            held = self._range = name, start, data
        return held[2][start - held[1] : start - held[1] + size]

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
