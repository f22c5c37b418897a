"""Where the data of a run lie: in one place, or in several that are joined."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import overload

from candid.data.dataset import Dataset
from candid.errors import ConfigError, RunError
from candid.records import Provenance
from candid.runs import Run

Where = Path | tuple[Path, ...]
Places = str | PathLike[str] | Sequence[str | PathLike[str]]


def as_paths(data: Places) -> Where:
    """Where data lie: one path, or several in a tuple."""
    if isinstance(data, str | PathLike):
        return Path(data)
    paths = tuple(Path(path) for path in data)
    if not paths:
        raise ConfigError(
            "No data set was named.",
            expected="a folder of labelled images, a table, or several of these",
            todo="name one",
        )
    return paths if len(paths) > 1 else paths[0]


def locate_data(run: Run, provenance: Provenance, where: Where | None) -> Where:
    """Where a run's data lie on this machine, or where the user says that they lie.

    Raises RunError where they are gone, a URL was not named, or too many or too few places were.
    """
    original = list(provenance.sources.values()) or [provenance.data]
    paths = where if isinstance(where, tuple) else (where,) if where is not None else None
    if paths is not None and len(paths) != len(original):
        raise RunError(
            f"The run {run.path} began with {_count_data_sets(len(original))}"
            f"{' (' + ', '.join(provenance.sources) + ')' if provenance.sources else ''}, and "
            f"{_count_data_sets(len(paths))} {'was' if len(paths) == 1 else 'were'} named.",
            expected="the place of each, in the same order",
            todo="name them all (--data A --data B; to go on with a run: as DATA), or none where "
            "they lie where they lay",
        )
    places = [
        _check_place(run, Path(path), is_named=where is not None)
        for path in (original if paths is None else paths)
    ]
    return tuple(places) if provenance.sources else places[0]


def _count_data_sets(count: int) -> str:
    return f"{count} data set{'' if count == 1 else 's'}"


def _check_place(run: Run, path: Path, *, is_named: bool) -> Path:
    from candid.storage import filesystem

    # As `load` will take it, which knows a URL again that was a path.
    name = filesystem.name_of(path)
    if not is_named and filesystem.local_path(name) is None:
        raise RunError(
            f"The run {run.path} says that its data lie at {name}, which is not followed unasked: "
            "a stranger may have written it.",
            expected="data on this machine, or their place named by you",
            todo=f"add --data {shlex.quote(name)} if you trust it (to go on with a run: as DATA)",
        )
    if not filesystem.matching_paths(name):
        raise RunError(
            f"The data that the run {run.path} began with are gone: there is no {path}.",
            expected="the same images and labels in the same place",
            todo="put them back (a link will do), say where they lie now with --data (to go on "
            "with a run: as DATA), or start a new run",
        )
    return path


@overload
def as_data_source(dataset: Places) -> Where: ...
@overload
def as_data_source(dataset: Dataset | Places) -> Dataset | Where: ...
def as_data_source(dataset: Dataset | Places) -> Dataset | Where:
    """A data set as it was loaded, or where it lies."""
    if isinstance(dataset, str | PathLike | Sequence):
        return as_paths(dataset)
    return dataset
