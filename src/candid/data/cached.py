"""Listing and removing the packs in a cache; see `candid.data.store` for their files.

A pack that a process is writing to is locked and left alone.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from candid.data.packing import describe_index
from candid.data.processes import LOCK
from candid.data.store import default_cache
from candid.errors import OutputError
from candid.records.packs import PackList, PackState, PackSummary
from candid.storage.files import writing
from candid.storage.locks import try_lock


def packs_in(cache: Path | None = None) -> PackList:
    """The packs of a cache, the most recently used first; None: the default cache."""
    root = default_cache() if cache is None else cache
    packs = [_summary(path) for path in _folders(root)]
    return PackList(str(root), tuple(sorted(packs, key=lambda pack: pack.used, reverse=True)))


def prunable(
    packs: PackList, *, older: float | None = None, above: int | None = None
) -> tuple[PackSummary, ...]:
    """Packs that were not used for `older` days, and the least recently used ones until at most
    `above` bytes are left; none that is in use.
    """
    free = [pack for pack in packs.packs if pack.state != "in use"]
    selection = []
    if older is not None:
        since = _to_iso(datetime.datetime.now(datetime.UTC).timestamp() - older * 86_400)
        selection = [pack for pack in free if pack.used < since]
    if above is not None:
        size = sum(pack.size for pack in packs.packs) - sum(pack.size for pack in selection)
        for pack in [pack for pack in reversed(free) if pack not in selection]:
            if size <= above:
                break
            selection.append(pack)
            size -= pack.size
    return tuple(selection)


def remove_pack(pack: PackSummary) -> bool:
    """Remove a pack's folder; returns False where a process began to write to it.

    On most systems, a process that has it open can go on reading. Raises OutputError where a file
    cannot be removed.
    """
    folder = Path(pack.folder)
    if folder.is_symlink() or not _is_pack(folder):
        raise OutputError(
            f"{folder} is no pack.", expected="a folder of the cache", todo="look what became of it"
        )
    with writing(folder), (folder / LOCK).open("a+b") as lock:
        if not try_lock(lock.fileno()):
            return False
        # The index first: without it, the rest is no pack.
        (folder / "index.parquet").unlink(missing_ok=True)
        shutil.rmtree(folder)
    return True


def _folders(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        return
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False) and _is_pack(Path(entry.path)):
            yield Path(entry.path)


def _is_pack(folder: Path) -> bool:
    """Whether a folder has a pack's name and files; others are not touched."""
    has_name = re.fullmatch(r"[0-9a-f]{32}", folder.name) is not None
    return has_name and ((folder / "pixels.npy").is_file() or (folder / LOCK).is_file())


def _summary(folder: Path) -> PackSummary:
    index, shape = folder / "index.parquet", _shape(folder / "pixels.npy")
    state: PackState = "whole" if index.is_file() else "unfinished"
    if _is_locked(folder / LOCK):
        state = "in use"
    data, example = describe_index(index) if index.is_file() else ("", "")
    stats = [entry.stat(follow_symlinks=False) for entry in os.scandir(folder)]
    newest = index if index.is_file() else folder
    last_use = max((_mtime(folder / LOCK), _mtime(newest)))
    return PackSummary(
        folder=str(folder),
        state=state,
        data=data,
        example=example,
        images=shape[0],
        side=shape[1],
        size=sum(stat.st_size for stat in stats),
        made=_to_iso(_mtime(newest)),
        used=_to_iso(last_use),
    )


def _shape(pixels: Path) -> tuple[int, int]:
    with contextlib.suppress(OSError, ValueError, EOFError):
        n, side, *_ = np.load(pixels, mmap_mode="r", allow_pickle=False).shape
        return int(n), int(side)
    return 0, 0


def _is_locked(lock: Path) -> bool:
    try:
        with lock.open("r+b") as file:
            return not try_lock(file.fileno())
    except OSError:  # no lock file, or no locks: nobody can hold one
        return False


def _mtime(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _to_iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
