"""Steps that wait for no training, done in another process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from candid.data.processes import in_own_process
from candid.pipeline.opening import Data
from candid.runs import Run

Function = Callable[[Run, Data], object]
# What comes of a step whose files may be there already: its function, or one that does nothing.
Remaining = Callable[[Function], Function]


@contextmanager
def run_in_background(run: Run, data: Data, *functions: Function, jobs: int) -> Iterator[Remaining]:
    """Do the functions of steps, in order, in another process while the block goes on.

    Yields a function that waits for them and gives what is left of a step: nothing, or all of it
    where `jobs` is 1 or the process failed. Streamed images and the caller's own network stay here.
    """
    if jobs == 1 or data.streamed is not None or run.network is not None:
        yield lambda function: function
        return
    work = partial(_do_steps, functions, replace(run, quiet=True), data.without_pixels())
    with in_own_process(work) as is_done:
        yield lambda function: _do_nothing if is_done() else function


def _do_steps(functions: tuple[Function, ...], run: Run, data: Data) -> None:
    from candid.models.device import threads

    data = data.with_pixels()
    with threads(run.settings.train.threads):
        for function in functions:
            function(run, data)


def _do_nothing(*_: Any) -> None:
    """What is left of a step whose files are there."""
