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
from candid.garbage import collect_seldom
from candid.progress import say
from candid.storage.files import writing
from candid.storage.locks import try_lock

LOCK = "lock"  # the file of a pack that the process that fills it holds, and that a use touches

# The same start everywhere; a fork would also copy threads' locks and keep ours.
_SPAWN = multiprocessing.get_context("spawn")

_Task = TypeVar("_Task")
Done = TypeVar("Done")


def in_processes(
    work: Callable[[_Task], Done], tasks: Iterable[_Task], workers: int
) -> Iterator[Done]:
    """What `work`, which must be picklable, makes of each task, in the order in which it is done.

    Raises BrokenProcessPool where a process died.
    """
    order = pickle.dumps(work)
    with _written(order) as name:
        pool = ProcessPoolExecutor(
            workers,
            mp_context=_SPAWN,
            initializer=_start_worker,
            initargs=(name,),
        )
        try:
            with _interrupts_blocked(), _script_of(order):
                finished = as_completed([pool.submit(_do, task) for task in tasks])
            for future in finished:
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def in_own_process(work: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Do `work`, which must be picklable, in a process of its own while the block goes on.

    What is yielded waits for its end and says whether that was a good one: of what went wrong
    nothing is said, as whoever does the work again is told. The block's end ends the process.
    """
    order = pickle.dumps(work)
    with _written(order) as name:
        process = _SPAWN.Process(target=_do_alone, args=(name,), daemon=True)
        with _interrupts_blocked(), _script_of(order):
            process.start()

        def ended() -> bool:
            process.join()
            return process.exitcode == 0

        try:
            yield ended
        finally:
            process.terminate()
            process.join()


def _do_alone(name: str) -> None:
    _start_worker(name)
    try:
        _do()
    except Exception:
        sys.exit(1)  # without a traceback


@contextlib.contextmanager
def _written(order: bytes) -> Iterator[str]:
    """The name of a file in which processes find what they are to do.

    Not as an argument: a process that dies before it has read a long one leaves this one waiting
    for ever. The file is fresh, and only this user can write to it.
    """
    with writing(Path(tempfile.gettempdir()), "$TMPDIR"):
        handle, name = tempfile.mkstemp(prefix="candid-", suffix=".pickle")
        with open(handle, "wb") as file:
            file.write(order)
    try:
        yield name
    finally:
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
def _script_of(order: bytes) -> Iterator[None]:
    """Start processes here that do not run this process's script again, as a spawned one would.

    So a script needs no `if __name__ == "__main__":`, and what it computes it computes once. What
    the script defined itself is found by running it again, though, which needs that guard.
    """
    if b"__main__" in order:
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_worker: Callable[[Any], Any] | None = None  # set once in each process that was started here


def _start_worker(order: str) -> None:
    global _worker
    collect_seldom()
    _worker = pickle.loads(Path(order).read_bytes())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where nothing could be blocked
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot tell its workers to stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(*task: Any) -> Any:
    if _worker is None:
        raise RuntimeError("a worker was asked to work before it was started")
    return _worker(*task)


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
