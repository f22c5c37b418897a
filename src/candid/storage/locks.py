"""The lock of a file, which one process has at a time."""

from __future__ import annotations

import os
import sys


def try_lock(handle: int) -> bool:
    """Take an open file's lock unless another process has it; whether this one has it now.

    The system gives it back however this process ends. Raises OSError where the file system has no
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
