"""How many processor cores this process may use, and how many of them others leave idle."""

from __future__ import annotations

import hashlib
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

_TRIES, _TRY_SECONDS = 5, 0.1
_BLOCK = bytes(1 << 22)  # large enough that threads that hash it seldom need Python's lock


def cores() -> int:
    """Processor cores that this process may use: by its affinity and by its container's quota."""
    affine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    count = len(affine) or os.cpu_count() or 1
    return int(max(1, min(count, _quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")))))


def process_cores() -> int:
    """The part of them for one of several processes of torchrun on this machine."""
    return max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _quota(groups: Path, root: Path) -> float:
    """Cores that the process's control group and those above it allow; infinite without a limit."""
    lines: list[str] = []
    with suppress(OSError):
        lines = groups.read_text(encoding="utf-8", errors="replace").splitlines()
    limits = [math.inf]
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if controllers and "cpu" not in controllers.split(","):
            continue
        inner = Path(path.lstrip("/"))
        # Version 2 has no controllers here; version 1 names its folder after them, or "cpu".
        for mount in {root / controllers, root / "cpu"} if controllers else {root}:
            limits += [_limit(mount / folder) for folder in (inner, *inner.parents)]
    return min(limits)


def _limit(folder: Path) -> float:
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return int(quota) / int(period)  # "max" is no number, and no limit
    with suppress(OSError, ValueError, ZeroDivisionError):
        share, span = (
            int((folder / f"cpu.cfs_{part}_us").read_text(encoding="utf-8"))
            for part in ("quota", "period")
        )
        return share / span if share > 0 else math.inf  # -1: no limit
    return math.inf


def idle_cores(limit: int) -> int:
    """How many of `limit` cores are idle now, at least 1; takes 0.1 to 0.5 s.

    As many threads compute for a moment: beside b others, n threads get n / (n + b) of n cores
    each. The best of a few tries counts, so that short bursts of others do not.
    """
    idle = 1
    for _ in range(_TRIES if limit > 1 else 0):
        idle = max(idle, min(limit, round(limit * (2 - limit / _measure_cores(limit)))))
        if idle == limit:
            break
    return idle


def _measure_cores(count: int) -> float:
    """How many cores' worth of time this many computing threads get."""
    until = time.monotonic() + _TRY_SECONDS

    def share(_: int) -> float:
        began, busy = time.monotonic(), time.thread_time()
        while time.monotonic() < until:
            hashlib.blake2b(_BLOCK)
        return (time.thread_time() - busy) / max(time.monotonic() - began, 1e-9)

    with ThreadPoolExecutor(count) as pool:
        return max(sum(pool.map(share, range(count))), 1e-3)
