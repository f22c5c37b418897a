"""What ends a training early, and how to go on: an interrupt, or the failure of a user's part."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from candid.errors import CandidError, TrainingError
from candid.runs import Run
from candid.settings.named_parts import (
    FROM_PARTS,
    defined_at,
    find_user_line,
    format_error,
    list_named_parts,
)
from candid.storage import filesystem

_NETWORK = "network"  # the section that names it


@contextmanager
def resume_hint(command: str) -> Iterator[None]:
    """Tell whoever interrupts the block the command that goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(f"to go on: {command}")
        raise


@contextmanager
def explain_failure(verb: str, run: Run, data: object) -> Iterator[None]:
    """As `resume_hint`, in a training; TrainingError with the line where a user's part fails."""
    command = resume_command(verb, run, data)
    parts_of = list_named_parts(run.settings)
    todo = f"mend it, then go on: {command} --trust"
    try:
        with resume_hint(command):
            yield
    except CandidError as error:
        if error.code != FROM_PARTS or not parts_of:
            raise
        raise TrainingError(
            f"{error.what} {_list_parts(parts_of.values())}",
            expected=error.expected,
            todo=f"{error.todo}; or {todo}",
        ) from error
    except Exception as error:
        line = find_user_line(error)
        if not parts_of or not (line or (_NETWORK in parts_of and _raised_in_network(error))):
            raise
        parts = list(parts_of.values()) if line else [parts_of[_NETWORK]]
        raise TrainingError(
            f"A part of your own failed, {' or '.join(parts)}: "
            f"{format_error(error, line or defined_at(parts[0]))}.",
            expected="code that takes every batch; what was saved of the run is kept",
            todo=todo,
        ) from error


def resume_command(verb: str, run: Run, data: object) -> str:
    """The command that goes on with a run; it names URLs, which are not followed otherwise."""
    paths = data if isinstance(data, tuple) else (data,) if isinstance(data, Path) else ()
    names = [filesystem.name_of(path) for path in paths]
    far = names if any(map(filesystem.is_url, names)) else []
    return shlex.join(["candid", verb, *far, "--resume", str(run.path)])


def _list_parts(names: Iterable[str]) -> str:
    """The user's parts that take part, and where they are defined."""
    parts = [f"{name} ({defined_at(name)})" for name in names]
    return f"Parts of your own take part in it: {', '.join(parts)}."


def _raised_in_network(error: Exception) -> bool:
    """Whether an error was raised within a network, or on the way back through it."""
    folders = {("torch", "nn", "modules"), ("torch", "autograd")}
    parts = (PurePath(f.filename).parent.parts for f in traceback.extract_tb(error.__traceback__))
    return any(location[-len(folder) :] == folder for location in parts for folder in folders)
