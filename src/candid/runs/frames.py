"""The common frame of a run's data sets."""

from __future__ import annotations

from candid.errors import RunError
from candid.records import Provenance, read_record
from candid.records.framing import SourceFrames
from candid.runs import Run


def source_frames(run: Run) -> SourceFrames | None:
    """How several data sets were brought to one frame; None where they were not.

    Raises RunError where the run has lost this file.
    """
    if run.source_frames.is_file():
        return read_record(run.source_frames, SourceFrames)
    if "align" not in read_record(run.provenance, Provenance).seconds:
        return None
    raise RunError(
        f"{run.path} was trained on data sets that were brought to one frame, and "
        f"{run.source_frames.name} is gone.",
        expected="the file that says how",
        todo="put it back, or start a new run",
    )
