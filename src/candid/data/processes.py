"""Work in several processes that ignore Ctrl+C, and the lock of a folder."""

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
from candid.garbage import collect_rarely
from candid.progress import write_line
from candid.storage.files import writing
from candid.storage.locks import try_lock

LOCK = "lock"  # a pack's file, locked by the process that fills it and touched by each use

# The same on all systems; a fork would also copy threads' locks and keep ours.
_SPAWN = multiprocessing.get_context("spawn")

_Task = TypeVar("_Task")
Done = TypeVar("Done")


def in_processes(
    work: Callable[[_Task], Done], tasks: Iterable[_Task], workers: int
) -> Iterator[Done]:
    """Yield `work(task)` for each task, as they are completed; `work` must be picklable.

    Raises BrokenProcessPool where a process died.
    """
    payload = pickle.dumps(work)
    with _pickle_file(payload) as name:
        pool = ProcessPoolExecutor(
            workers,
            mp_context=_SPAWN,
            initializer=_start_worker,
            initargs=(name,),
        )
        try:
            with _block_interrupts(), _hide_main(payload):
                futures = as_completed([pool.submit(_call_worker, task) for task in tasks])
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def in_own_process(work: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Run `work`, which must be picklable, in another process during the block.

    Yields a function that waits for its end and returns whether it succeeded; its error is not
    reported. The block's end terminates the process.
    """
    payload = pickle.dumps(work)
    with _pickle_file(payload) as name:
        process = _SPAWN.Process(target=_run_alone, args=(name,), daemon=True)
        with _block_interrupts(), _hide_main(payload):
            process.start()

        def wait() -> bool:
            process.join()
            return process.exitcode == 0

        try:
            yield wait
        finally:
            process.terminate()
            process.join()


def _run_alone(name: str) -> None:
    _start_worker(name)
    try:
        _call_worker()
    except Exception:
        sys.exit(1)  # without a traceback


@contextlib.contextmanager
def _pickle_file(payload: bytes) -> Iterator[str]:
    """Write pickled work to a file for processes.

    Not as an argument: if a process died before reading a long one, this one would wait for ever.
    The file is new, and only this user can write to it.
    """
    with writing(Path(tempfile.gettempdir()), "$TMPDIR"):
        handle, name = tempfile.mkstemp(prefix="candid-", suffix=".pickle")
        with open(handle, "wb") as file:
            file.write(payload)
    try:
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def _block_interrupts() -> Iterator[None]:
    """Block SIGINT in processes that are started in the block, from their first instruction on.

    A handler of their own would come too late, after a second of imports. Here a signal is
    delivered when the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextlib.contextmanager
def _hide_main(payload: bytes) -> Iterator[None]:
    """Processes that are started in the block do not run this process's script again.

    So a script needs no `if __name__ == "__main__":`, unless the script itself defines the work.
    """
    if b"__main__" in payload:
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_worker: Callable[[Any], Any] | None = None  # set once in each started process


def _start_worker(name: str) -> None:
    global _worker
    collect_rarely()
    _worker = pickle.loads(Path(name).read_bytes())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot tell its workers to stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call_worker(*task: Any) -> Any:
    if _worker is None:
        raise RuntimeError("a worker was asked to work before it was started")
    return _worker(*task)


# --- a folder's lock -----------------------------------------------------------------------------


@contextlib.contextmanager
def locked_folder(folder: Path, *, quiet: bool) -> Iterator[None]:
    """Hold the lock of a pack's folder; the system releases it however this process ends.

    Raises DataError in a worker that runs its parent's script again, which has no guard: each would
    wait for the other.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise dead_worker()
    with writing(folder), (folder / LOCK).open("a+b") as file:
        if not _try_lock(file.fileno()):
            write_line("Another process packs the same images; waiting for it.", quiet=quiet)
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
