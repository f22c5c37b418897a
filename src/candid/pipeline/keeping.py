"""The files of a run that answers, as bytes and back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from candid.errors import RunError
from candid.runs import Run, open_run
from candid.runs.folders import TARGETS
from candid.storage.files import plain_name

# What it is, what it is made of, and what it says of its validation pictures.
_MODEL_FILES = (
    *(Run.config, Run.provenance, Run.targets, Run.model_file, Run.weights),
    *(Run.framing, Run.framing_weights, Run.predictions_file),
)


def read_model_files(run: Run) -> dict[str, bytes]:
    """The files by their names in the run's folder, also those of each of several labels."""
    paths = {r.path / name for r in (run, *run.target_runs()) for name in _MODEL_FILES}
    return {
        path.relative_to(run.path).as_posix(): path.read_bytes()
        for path in sorted(paths)
        if path.is_file()
    }


@contextmanager
def open_model_files(files: Mapping[str, bytes]) -> Iterator[Run]:
    """A run in a temporary folder with these files, perhaps a stranger's; may raise RunError."""
    with tempfile.TemporaryDirectory(prefix="candid-") as folder:
        for name, content in files.items():
            if not (isinstance(content, bytes) and _is_model_file(name)):
                raise RunError(
                    f"An estimator was kept with {name!r:.100}, which is no file of a run's.",
                    expected=f"files such as {Run.weights}",
                    todo="take it from where it was made, and do not trust this one",
                )
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield open_run(folder)


def _is_model_file(name: object) -> bool:
    """Whether `read_model_files` may have given this name, which leads nowhere else."""
    if not isinstance(name, str):
        return False
    *folders, file = name.split("/")
    if folders and folders != [TARGETS, plain_name(folders[-1])]:
        return False
    return "" not in folders and file in map(str, _MODEL_FILES)
