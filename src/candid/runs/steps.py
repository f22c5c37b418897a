"""The steps of the main job: what each reads of settings and files, and what it writes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import Protocol

from candid.settings import Config


class Display(Protocol):
    """Shows which step of a job is done, such as `candid.progress.Stages`."""

    def begin(self, name: str) -> AbstractContextManager[None]:
        """Show a step, done in the block."""

    def skip(self, name: str) -> None:
        """Show that a step was done before."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the main job.

    Every step but the report may read the data, too. One that `resumes` goes on from a checkpoint:
    it is whole where its files are, as the checkpoint fixes its settings, and notes its seconds
    itself.
    """

    settings: tuple[str, ...]  # what it reads: sections, or single ones such as "train.seed"
    inputs: tuple[str, ...]  # the files that it reads, as `Run` calls them
    outputs: tuple[str, ...]  # and writes
    resumes: bool = False


_DEVICE = ("train.device", "train.precision")
_FRAMED = ("framing", "framing_weights")
_ALIGNED = ("source_frames",)
_MODEL = ("weights", "model_file")
_MADE = ("framing", "data", "history", "model_file", "evaluation", "audit", "pictures")
_EXPLAINED = ("explanation", "explanation_arrays", "inside", "inside_arrays")
_ON_REQUEST = ("transfer", "improvement", "curves", "checked", "seeds")

# In their order: each may change what those below it read.
STEPS = {
    "explore": Step(("data", "evaluate"), (), ("data", "findings", "pictures")),
    # Where there are several data sets that lie each in its own frame.
    "align": Step(("data", "framing", "train"), (), ("source_frames",), resumes=True),
    "train": Step(
        ("data", "network", "augment", "train"), (), ("weights", "model_file"), resumes=True
    ),
    "predict": Step(("data", *_DEVICE), ("weights", *_ALIGNED), ("predictions_file", "model_file")),
    "evaluate": Step(("evaluate",), ("predictions_file", "history"), ("evaluation",)),
    "audit": Step(("audit",), ("predictions_file",), ("audit",)),
    "pictures": Step(
        ("data", "augment", "train.seed"), ("data", "evaluation", "audit"), ("pictures",)
    ),
    # What counts as near is read of a number alone.
    "explain": Step(
        ("data", "explain", "evaluate.tolerance", *_DEVICE),
        _MODEL,
        ("explanation", "explanation_arrays"),
    ),
    "inside": Step(
        ("data", "explain.make", "evaluate.tolerance", *_DEVICE),
        (*_MODEL, "predictions_file"),
        ("inside", "inside_arrays"),
    ),
    "frame": Step(("data", "framing", "train"), _ALIGNED, ("framing", "framing_weights")),
    "unfamiliar": Step(("data", "predict", "train.seed"), (*_FRAMED, *_ALIGNED), ("unfamiliar",)),
    "check": Step(("data", "network", "augment", "train", "check", "evaluate"), (), ("checked",)),
    "drift": Step(("data", "train.seed"), (*_MODEL, *_FRAMED, "unfamiliar"), ("drift",)),
    # Where several seeds are asked for; each is a training in a folder of its own.
    "seeds": Step(
        ("data", "network", "augment", "train", "seeds", "evaluate", "audit"),
        (*_MODEL, *_FRAMED, "unfamiliar", "predictions_file", "audit"),
        ("seeds", "seed_answers", "pictures"),
    ),
    "report": Step(
        tuple(f.name for f in fields(Config)),
        (
            *("provenance", *_MADE, *_EXPLAINED, *_ON_REQUEST),
            *("weights", "framing_weights", "unfamiliar", *_ALIGNED),
        ),
        ("report", "card"),
    ),
}

# Of several labels, what is done once for all of them, into the run's own folder.
SHARED_STEPS = {
    "explore": STEPS["explore"],
    "train": replace(STEPS["train"], outputs=("weights", "targets")),
    "frame": STEPS["frame"],
    "unfamiliar": STEPS["unfamiliar"],
    "predict": Step(
        ("data", *_DEVICE, "predict.coverage", "predict.coverage_by"), ("weights", "targets"), ()
    ),
    "overview": Step(("evaluate", "audit"), ("targets", "target_runs"), ("overview",)),
    "report": Step(STEPS["report"].settings, ("provenance", "overview", "data"), ("report",)),
}

_ONCE = ("align", "train", "frame")

# Up to so many labels, each is explored and explained as a single one is.
MOST_IN_FULL = 4
_ALWAYS = ("predict", "evaluate", "audit", "pictures", "report")

# And what is done for each of them, into a folder of its own.
TARGET_STEPS = {
    name: step for name, step in STEPS.items() if name not in (*_ONCE, "seeds", "check")
}


# What is done for a label that is a number.
_OF_NUMBER = ("predict", "evaluate", "audit", "explain", "inside", "report")


def target_steps(labels: int, *, number: bool = False) -> tuple[str, ...]:
    """The steps for each of so many labels, or for one that is a number."""
    is_many = labels > MOST_IN_FULL
    if number:
        return tuple(name for name in _OF_NUMBER if not is_many or name in _ALWAYS)
    if is_many:
        return _ALWAYS
    return tuple(name for name in TARGET_STEPS if name not in ("unfamiliar", "drift"))
