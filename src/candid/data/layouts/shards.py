"""Listing the shards that a URL or a pattern names, and their splits."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import TypeVar

from candid.data import splits
from candid.errors import DataError, LayoutError
from candid.storage import filesystem

T = TypeVar("T")

TAR = (".tar",)
PARQUET = (".parquet", ".pq")
_SHARD = re.compile(r"([A-Za-z]+)(?:-\d+-of-\d+.*|[-_.]?\d*)")
_READERS = 16  # threads for shards on a store


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern such as *.tar, and no existing file."""
    path = filesystem.local_path(name)
    return glob.has_magic(name) and (path is None or not path.exists())


def list_shards(name: str) -> list[str]:
    """The tar or Parquet files that a URL or a pattern names, sorted.

    `name` is a file or a prefix on a store, or a pattern of files or folders. Raises DataError
    where nothing matches, or the store cannot be reached; LayoutError where there are no shards, or
    both kinds.
    """
    words = filesystem.matching_paths(name)
    if not words:
        raise DataError(
            f"Nothing is called {name}.",
            expected="tar or Parquet files, a folder or URL with some, or a pattern of their names",
            todo="check the name, and the credentials where it lies on an object store",
        )
    files: list[str] = []
    for word in words:
        names = (
            [e.name for e in filesystem.list_files(word)] if filesystem.is_folder(word) else [word]
        )
        files += [file for file in names if is_tar(file) or is_parquet(file)]
    if not files:
        raise LayoutError(
            f"{name} is no shard and holds none.",
            expected="tar files (pictures beside their .json or .cls) or Parquet files with "
            "embedded pictures: nothing else is read from an object store or by a pattern",
            todo="pack the data into shards, or fetch it and name its folder",
        )
    if len({is_tar(file) for file in files}) > 1:
        raise LayoutError(
            f"Of the shards in {name} some are tar and some are Parquet files.",
            expected="one kind",
            todo=f"name those of one kind: {filesystem.join(name.rstrip('*/'), '*.tar')}",
        )
    return sorted(set(files))


def is_tar(name: str) -> bool:
    """Whether a file's name says so."""
    return name.lower().endswith(TAR)


def is_parquet(name: str) -> bool:
    """Whether a file's name says so."""
    return name.lower().endswith(PARQUET)


def split_of(file: PurePath) -> str | None:
    """The split in a shard's name or folder, if any."""
    match = _SHARD.fullmatch(file.stem)
    for word in (match[1] if match else "", file.parent.name):
        if word.lower() in splits.WORDS:
            return splits.WORDS[word.lower()]
    return None


def check_names(shards: Sequence[tuple[str, str | None]], example: str, unit: str) -> None:
    """Raise a DataError where only some shards' names have a split."""
    if len({split is None for _, split in shards}) > 1:
        unnamed = next(name for name, split in shards if split is None)
        raise DataError(
            f"The name of {unnamed} does not say its split, and other names do.",
            expected=f"names such as {example} for every {unit}",
            todo="rename it, or move it away",
        )


def map_shards(read: Callable[[int], T], shards: Sequence[str]) -> list[T]:
    """`read(number)` for each shard; those on a store are read in parallel."""
    if not shards or filesystem.local_path(shards[0]) is not None:
        return [read(number) for number in range(len(shards))]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, range(len(shards))))
