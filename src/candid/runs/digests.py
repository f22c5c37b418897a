"""Digests of all that a step reads: it is done again only where they change."""

from __future__ import annotations

import hashlib
import json
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candid.records import Provenance
from candid.runs.steps import Step

if TYPE_CHECKING:
    from candid.runs import Run

_NO_FILES = ("provenance", "target_runs")

# What came later counts where it is there: runs of earlier releases stay whole.
_LATER = ("source_frames",)
# And where it is not this.
_LATER_SETTINGS = {"predict.coverage_by": "all", "evaluate.tolerance": 0.0}


def step_digest(run: Run, step: Step, provenance: Provenance) -> str:
    """The digest of data, settings, input files, and which outputs exist."""
    files = [file for file in step.inputs if file not in _NO_FILES]
    files = [file for file in files if file not in _LATER or getattr(run, file).is_file()]
    parts: list[Any] = [
        provenance.data_fingerprint,
        {
            setting: repr(value)
            for setting in step.settings
            if (value := attrgetter(setting)(run.settings)) != _LATER_SETTINGS.get(setting)
        },
        {_digest_name(file): _hash_file(getattr(run, file)) for file in files},
        provenance.seconds if "provenance" in step.inputs else None,
        [_digest_name(file) for file in step.outputs if getattr(run, file).is_file()],
    ]
    if "target_runs" in step.inputs:
        parts.append([_hash_file(label_run.provenance) for label_run in run.target_runs()])
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _digest_name(file: str) -> str:
    """A file's name in digests, as the first release wrote it."""
    return file.removesuffix("_file")


def _hash_file(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
