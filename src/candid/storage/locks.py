"""A file's lock, which one process holds at a time."""

from __future__ import annotations

import os
import sys


def try_lock(handle: int) -> bool:
    """Lock an open file; returns False if another process holds the lock.

    The system releases it however this process ends. Raises OSError where the file system has no
    locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 0, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
