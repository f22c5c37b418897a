"""Files that runs of the same images share."""

from __future__ import annotations

from collections.abc import Iterable

from candid.runs import Run
from candid.storage.files import copy_file

FRAME_FILES = ("source_framing", "source_frames")  # how several data sets were brought to one frame


def copy_files(run: Run, target: Run, names: Iterable[str]) -> None:
    """Copy files of a run, by their names in `Run`; files that it lacks are removed."""
    for name in names:
        source, destination = getattr(run, name), getattr(target, name)
        if source.is_file():
            copy_file(source, destination)
        else:
            destination.unlink(missing_ok=True)
