"""Starts workers, feeds them seeds, and says of which case a crash, a hang or a fault is."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hostile.cases import SKIPPED, named
from hostile.kit import Kit

SECONDS = 20.0  # of the processor, or of doing nothing
PEAK = 1_500_000_000  # bytes
_CLOCK, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def faults_of(kit: Kit, seeds: Iterable[int], idle: float = SECONDS) -> Iterator[str]:
    """What is wrong, by seed; `python -m hostile.worker KIT SEED` shows one alone."""
    with contextlib.ExitStack() as stack:
        worker = None
        for seed in seeds:
            name = f"{seed} {named(seed)}"
            if named(seed) in SKIPPED:
                continue
            if worker is None:
                worker = stack.enter_context(_worker(kit))
            try:
                told = _ask(worker, seed, idle)
            except _Lost as lost:
                yield f"{name}: {lost}"
                worker = None
                continue
            yield from (f"{name}: {fault}" for fault in told["faults"])
            if told["seconds"] > SECONDS:
                yield f"{name}: took {told['seconds']:.0f} s of the processor"
            if told["peak"] > PEAK:
                yield f"{name}: took {told['peak'] / 1e9:.2f} GB"


class _Lost(Exception):
    """A worker that crashed or hangs."""


@contextlib.contextmanager
def _worker(kit: Kit) -> Iterator[subprocess.Popen[bytes]]:
    tests = Path(__file__).parents[1]
    environment = os.environ | {
        "PYTHONPATH": f"{tests}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    }
    worker = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "hostile.worker", str(kit.root)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert worker.stderr is not None
    os.set_blocking(worker.stderr.fileno(), False)
    assert worker.stdout is not None
    worker.stdout.readline()  # it is ready
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def _ask(worker: subprocess.Popen[bytes], seed: int, idle: float) -> dict[str, Any]:
    """What became of a case; a worker is stuck where it computes too long or does nothing."""
    assert worker.stdin and worker.stdout and worker.stderr
    worker.stdin.write(f"{seed}\n".encode())
    worker.stdin.flush()
    begun = seen = _spent(worker)[0]
    since = time.monotonic()
    while not select.select([worker.stdout], [], [], 0.5)[0]:
        worker.stderr.read()  # else a full pipe would stop it
        spent, waits = _spent(worker)
        if spent > seen or not waits:  # on a busy machine it may have to wait for its turn
            seen, since = spent, time.monotonic()
        if spent - begun > 2 * SECONDS or time.monotonic() - since > idle:
            worker.kill()
            raise _Lost(f"hangs: {spent - begun:.0f} s of the processor")
        if _resident(worker) > 2 * PEAK:  # it would take all that there is
            worker.kill()
            raise _Lost(f"took more than {2 * PEAK / 1e9:.0f} GB")
    line = worker.stdout.readline()
    if not line:
        code, said = worker.wait(), worker.stderr.read() or b""
        raise _Lost(f"crashed ({code}): {said[-2000:].decode(errors='replace')}")
    return dict(json.loads(line))


def _resident(worker: subprocess.Popen[bytes]) -> int:
    """Bytes of memory."""
    try:
        return int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _spent(worker: subprocess.Popen[bytes]) -> tuple[float, bool]:
    """Seconds of the processor, and whether it waits for something other than its turn."""
    try:
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, False
    return (int(fields[11]) + int(fields[12])) / _CLOCK, fields[0] != "R"
