"""Work in several processes, which Ctrl+C does not reach, and a lock that one process holds."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from candid.errors import DataError, OutputError
from candid.progress import say
from candid.storage.files import writing
from candid.storage.locks import try_lock

LOCK = "lock"  # the file of a pack that the process that fills it holds, and that a use touches

Task = TypeVar("Task")
Done = TypeVar("Done")


def in_processes(
    work: Callable[[Task], Done], tasks: Iterable[Task], workers: int
) -> Iterator[Done]:
    """What `work`, which must be picklable, makes of each task, in the order in which it is done.

    Raises BrokenProcessPool where a process died.
    """
    # Not as an argument: a worker that dies before it has read a long one leaves this process
    # waiting for ever. The file is fresh, and only this user can write to it.
    order = pickle.dumps(work)
    with writing(Path(tempfile.gettempdir())):
        handle, name = tempfile.mkstemp(prefix="candid-", suffix=".pickle")
        with open(handle, "wb") as file:
            file.write(order)
    # What the caller's script defined is found by running it again, which needs its guard.
    script = contextlib.nullcontext() if b"__main__" in order else _script_left_out()
    pool = ProcessPoolExecutor(
        workers,
        # The same start everywhere; a fork would also copy threads' locks and keep ours.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(name,),
    )
    try:
        with _interrupts_blocked(), script:
            finished = as_completed([pool.submit(_do, task) for task in tasks])
        for future in finished:
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes here that never see SIGINT, from their first instruction on.

    A handler of their own would come too late: they import for a second before they could set it.
    A blocked signal stays blocked in what is started meanwhile; here it comes when the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _script_left_out() -> Iterator[None]:
    """Start processes here that do not run this process's script again, as a spawned one would.

    So a script needs no `if __name__ == "__main__":`, and what it computes it computes once.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_worker: Callable[[Any], Any] | None = None  # set once in each process that was started here


def _start_worker(order: str) -> None:
    global _worker
    _worker = pickle.loads(Path(order).read_bytes())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where nothing could be blocked
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot tell its workers to stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(task: Any) -> Any:
    if _worker is None:
        raise RuntimeError("a worker was asked to work before it was started")
    return _worker(task)


# --- a folder that one process fills -------------------------------------------------------------


@contextlib.contextmanager
def locked_folder(folder: Path, *, quiet: bool) -> Iterator[None]:
    """Hold the lock of a pack's folder; the system releases it however this process ends.

    Raises DataError in a worker that runs its parent's script again, which has no guard: the parent
    holds the lock and waits for the worker, which would wait for the lock.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise dead_worker()
    with writing(folder), (folder / LOCK).open("a+b") as file:
        if not _try_lock(file.fileno()):
            say("Another process packs the same images; waiting for it.", quiet=quiet)
            while not _try_lock(file.fileno()):
                time.sleep(0.1)
        yield


def _try_lock(handle: int) -> bool:
    try:
        return try_lock(handle)
    except OSError as error:
        raise OutputError(
            f"The cache lies on a file system without locks ({error}).",
            expected="a place where two processes cannot write the same pack at once",
            todo="name a folder on a local disk with --cache or $CANDID_CACHE",
        ) from error


def dead_worker() -> DataError:
    """The error for a process that died, or that a script without a guard started."""
    return DataError(
        "A process that decoded images died.",
        expected="processes that end well; too little memory kills them, and so does a script "
        'that starts its work outside of `if __name__ == "__main__":`',
        todo="start again, what was done is kept; or set data.workers = 1",
    )
