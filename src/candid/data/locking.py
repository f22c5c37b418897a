"""One process at a time fills a pack."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from candid.errors import DataError, OutputError
from candid.progress import say
from candid.storage.files import writing


@contextlib.contextmanager
def locked(folder: Path, *, quiet: bool) -> Iterator[None]:
    """Hold the folder's lock; the system releases it however this process ends.

    Raises
    ------
    DataError
        In a worker that is only just importing its parent's script: the parent holds the lock and
        waits for the worker, which would wait for the lock.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise unguarded()
    with writing(folder), (folder / "lock").open("a+b") as file:
        if not _try_lock(file.fileno()):
            say("Another process packs the same images; waiting for it.", quiet=quiet)
            while not _try_lock(file.fileno()):
                time.sleep(0.1)
        yield


def _try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise OutputError(
            f"The cache lies on a file system without locks ({error}).",
            expected="a place where two processes cannot write the same pack at once",
            todo="name a folder on a local disk with --cache or $CANDID_CACHE",
        ) from error
    return True


def unguarded() -> DataError:
    """The error for a process that died, or that a script without a guard started."""
    return DataError(
        "A process that decoded images died.",
        expected="processes that end well; too little memory kills them, and so does a script "
        'that starts its work outside of `if __name__ == "__main__":`',
        todo="start again, what was done is kept; or set data.workers = 1",
    )
