"""What is slow to make and never changed: once for all processes that share the tests."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from candid.storage.locks import try_lock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` filled: by the first process that asks for it, the others wait.

    Tests must leave it as it is. A making that fails is tried again by the next that asks, anew.
    """
    base = factory.getbasetemp()
    if base.name.startswith("popen-"):  # of one of several processes: theirs lie in one folder
        base = base.parent
    folder, whole = base / "made-once" / name, base / "made-once" / f"{name}.whole"
    folder.mkdir(parents=True, exist_ok=True)
    with (base / "made-once" / f"{name}.lock").open("a+b") as lock:
        while not try_lock(lock.fileno()):
            time.sleep(0.05)
        if not whole.exists():
            attempt = folder / str(time.monotonic_ns())
            attempt.mkdir()
            make(attempt)
            whole.write_text(attempt.name)
    return folder / whole.read_text()
