"""What packs there are in a cache, and their removal; how they lie there says `candid.data.store`.

A pack that a process is writing to, which holds its lock, is left alone.
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
    """The packs of a cache, the last used first; None: the default cache."""
    root = default_cache() if cache is None else cache
    found = [_summary(path) for path in _folders(root)]
    return PackList(str(root), tuple(sorted(found, key=lambda pack: pack.used, reverse=True)))


def prunable(
    packs: PackList, *, older: float | None = None, above: int | None = None
) -> tuple[PackSummary, ...]:
    """Those that were not used for `older` days, and as many more, the longest unused first, as
    leave at most `above` bytes; none that is in use.
    """
    free = [pack for pack in packs.packs if pack.state != "in use"]
    gone = []
    if older is not None:
        since = _moment(datetime.datetime.now(datetime.UTC).timestamp() - older * 86_400)
        gone = [pack for pack in free if pack.used < since]
    if above is not None:
        left = sum(pack.size for pack in packs.packs) - sum(pack.size for pack in gone)
        for pack in [pack for pack in reversed(free) if pack not in gone]:
            if left <= above:
                break
            gone.append(pack)
            left -= pack.size
    return tuple(gone)


def remove_pack(pack: PackSummary) -> bool:
    """Remove a pack's folder; whether it is gone: not where a process began to write to it.

    A process that has it open goes on reading it, where the system lets go of open files late.
    Raises OutputError where a file cannot be removed.
    """
    folder = Path(pack.folder)
    if folder.is_symlink() or not _is_pack(folder):
        raise OutputError(
            f"{folder} is no pack.", expected="a folder of the cache", todo="look what became of it"
        )
    with writing(folder), (folder / LOCK).open("a+b") as lock:
        if not try_lock(lock.fileno()):
            return False
        # The index first: without it nobody takes what is left for a pack.
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
    """Whether a folder is named and filled as a pack is: nothing else in a cache is touched."""
    named = re.fullmatch(r"[0-9a-f]{32}", folder.name) is not None
    return named and ((folder / "pixels.npy").is_file() or (folder / LOCK).is_file())


def _summary(folder: Path) -> PackSummary:
    index, shape = folder / "index.parquet", _shape(folder / "pixels.npy")
    state: PackState = "whole" if index.is_file() else "unfinished"
    if _is_locked(folder / LOCK):
        state = "in use"
    data, example = describe_index(index) if index.is_file() else ("", "")
    about = [entry.stat(follow_symlinks=False) for entry in os.scandir(folder)]
    made = index if index.is_file() else folder
    used = max((_time(folder / LOCK), _time(made)))
    return PackSummary(
        folder=str(folder),
        state=state,
        data=data,
        example=example,
        images=shape[0],
        side=shape[1],
        size=sum(one.st_size for one in about),
        made=_moment(_time(made)),
        used=_moment(used),
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
    except OSError:  # none there, or none to be had: then nobody can hold one
        return False


def _time(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
