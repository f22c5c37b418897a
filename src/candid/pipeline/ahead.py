"""Steps that wait for no training, done in a process of their own beside those that do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from candid.data.processes import in_own_process
from candid.pipeline.opening import Data
from candid.runs import Run

Function = Callable[[Run, Data], object]
# What comes of a step whose files may be there already: its function, or one that does nothing.
Remaining = Callable[[Function], Function]


@contextmanager
def run_in_background(run: Run, data: Data, *functions: Function, jobs: int) -> Iterator[Remaining]:
    """Do the functions of steps, in their order, in a process of its own while the block goes on.

    Each leaves the files of its step. What is yielded waits for them and says what is left to do of
    a step: nothing, or all of it where `jobs` is 1 or the process failed. Streamed pictures and a
    network of the caller's own stay in this process.
    """
    if jobs == 1 or data.streamed is not None or run.network is not None:
        yield lambda function: function
        return
    with in_own_process(
        _Background(functions, replace(run, quiet=True), data.without_pixels())
    ) as is_done:
        yield lambda function: _do_nothing if is_done() else function


@dataclass(frozen=True, slots=True)
class _Background:
    functions: tuple[Function, ...]
    run: Run
    data: Data

    def __call__(self) -> None:
        from candid.models.device import threads

        data = self.data.with_pixels()
        with threads(self.run.settings.train.threads):
            for function in self.functions:
                function(self.run, data)


def _do_nothing(*_: Any) -> None:
    """What is left of a step whose files are there."""
