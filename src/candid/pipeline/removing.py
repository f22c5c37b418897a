"""The removal of runs: their folders, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from candid.errors import OutputError, RunError
from candid.pipeline.listing import folder_size
from candid.pipeline.opening import Place, path_of
from candid.runs import Run
from candid.runs.folders import RUN_FOLDERS
from candid.storage.files import writing, written_by
from candid.text import words


def removable(runs: Sequence[Run | Place]) -> dict[Path, str]:
    """The folders of runs that can be removed, each once, and how much room each takes.

    Raises RunError for what is no run's folder: a link, a part of a run, a folder with other things
    in it, such as other runs, or the one that this process works in.
    """
    paths = list(dict.fromkeys(path_of(run) for run in runs))
    for path in paths:
        _refuse(path)
    return {path: words.size(folder_size(path)) for path in paths}


def remove_runs(runs: Sequence[Run | Place]) -> tuple[Path, ...]:
    """Remove the folders of runs, all of them or, where one cannot be, none.

    What a link in them leads to stays.

    Raises
    ------
    RunError
        As `removable`.
    OutputError
        Where a file cannot be removed. What makes the folder a run goes last, so that the same
        call again removes the rest.
    """
    paths = tuple(removable(runs))
    for path in paths:
        _remove_folder(path)
    return paths


def _refuse(path: Path) -> None:
    """Raise a RunError where a path is not a run's folder, or holds more than a run."""
    folder = Path(os.path.normpath(path))
    if folder.is_symlink():
        raise _error(f"{path} is a link.", f"name the folder that it leads to: {path.resolve()}")
    run = Run(folder)
    if run.parent is not None:
        raise _error(f"{path} is a part of the run {run.parent}.", "name the whole run")
    if not (folder / "config.toml").is_file() or not written_by(folder):
        raise _error(
            f"{path} is not a run of Candid: it lacks config.toml, or a provenance.json of Candid.",
            "candid runs lists those that there are",
        )
    resolved = folder.resolve()
    if resolved in (Path.home(), *(p.resolve() for p in (Path.cwd(), *Path.cwd().parents))):
        raise _error(f"{path} holds the folder in which you are.", "go elsewhere")
    if foreign := next(_find_foreign(folder), None):
        raise _error(f"{path} holds {foreign}, which is no part of the run.", "move it elsewhere")


def _find_foreign(run: Path) -> Iterator[Path]:
    """Other runs and repositories in a run's folder."""
    for folder, inner, files in os.walk(run):
        path = Path(folder)
        if ".git" in inner or ".git" in files:
            yield path / ".git"
        if path == run:
            inner[:] = [name for name in inner if name not in RUN_FOLDERS]
        elif "config.toml" in files and "provenance.json" in files:
            yield path


def _error(what: str, todo: str) -> RunError:
    return RunError(what, expected="the folder of a run, and nothing else in it", todo=todo)


def _remove_folder(path: Path) -> None:
    marks = ("config.toml", "provenance.json")
    try:
        with writing(path):
            for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                elif entry.name not in marks:
                    os.unlink(entry.path)
            for name in marks:
                (path / name).unlink(missing_ok=True)
            path.rmdir()
    except FileNotFoundError as error:
        raise OutputError(
            f"{path} changed while it was removed: {error}",
            expected="a run that no process works on",
            todo="wait until nothing writes to it, and try again",
        ) from error
