"""What ends a training before its end, and how to go on: an interrupt, a part of the user's own."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from candid.errors import CandidError, TrainingError
from candid.runs import Run
from candid.settings.named_parts import FROM_PARTS, defined_at, named_in, own_line, said_by
from candid.storage import filesystem

_NETWORK = "network"  # the section that names it


@contextmanager
def stoppable(command: str) -> Iterator[None]:
    """Whoever stops the work here is told the command that goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(f"to go on: {command}")
        raise


@contextmanager
def trains(verb: str, run: Run, data: object) -> Iterator[None]:
    """As `stoppable`, where a run is made; what a part of the user's own does says whose it is.

    Raises TrainingError where a part that the settings name fails, with its file and line.
    """
    command = resuming(verb, run, data)
    named = named_in(run.settings)
    todo = f"mend it, then go on: {command} --trust"
    try:
        with stoppable(command):
            yield
    except CandidError as error:
        if error.code != FROM_PARTS or not named:
            raise
        raise TrainingError(
            f"{error.what} {_computed_by(named.values())}",
            expected=error.expected,
            todo=f"{error.todo}; or {todo}",
        ) from error
    except Exception as error:
        line = own_line(error)
        if not named or not (line or (_NETWORK in named and _through_network(error))):
            raise
        parts = list(named.values()) if line else [named[_NETWORK]]
        raise TrainingError(
            f"A part of your own failed, {' or '.join(parts)}: "
            f"{said_by(error, line or defined_at(parts[0]))}.",
            expected="code that takes every batch; what was saved of the run is kept",
            todo=todo,
        ) from error


def resuming(verb: str, run: Run, data: object) -> str:
    """What to type to go on with a run; a URL is followed only where it is named."""
    paths = data if isinstance(data, tuple) else (data,) if isinstance(data, Path) else ()
    names = [filesystem.name_of(path) for path in paths]
    far = names if any(map(filesystem.is_url, names)) else []
    return shlex.join(["candid", verb, *far, "--resume", str(run.path)])


def _computed_by(names: Iterable[str]) -> str:
    """Which parts of the user's own had a hand in it, and where they are defined."""
    parts = [f"{name} ({defined_at(name)})" for name in names]
    return f"Parts of your own take part in it: {', '.join(parts)}."


def _through_network(error: Exception) -> bool:
    """Whether an error was raised within a network, or on the way back through it."""
    folders = {("torch", "nn", "modules"), ("torch", "autograd")}
    parts = (PurePath(f.filename).parent.parts for f in traceback.extract_tb(error.__traceback__))
    return any(found[-len(folder) :] == folder for found in parts for folder in folders)
