"""Which steps of a run are whole: digests of what each has read, in provenance.json."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from pathlib import Path

from candid.records import Provenance, read_record, write_record
from candid.runs import RunFolder
from candid.settings import Config


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the main job.

    Attributes
    ----------
    settings
        What it reads of the settings: sections, or single ones such as "train.seed".
    inputs, outputs
        The files that it reads and writes, as `RunFolder` calls them. Every step but the report
        may read the data, too, which have one fingerprint.
    """

    settings: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


_DEVICE = ("train.device", "train.precision")
_MADE = ("data", "history", "model", "evaluation", "audit", "pictures")
_EXPLAINED = ("explanation", "explanation_arrays", "inside", "inside_arrays")

# In their order: each may change what those below it read.
STEPS = {
    "explore": Step(("data", "evaluate"), (), ("data", "findings", "pictures")),
    "train": Step(("data", "network", "augment", "train"), (), ("weights", "model")),
    "predict": Step(("data", *_DEVICE), ("weights",), ("predictions", "model")),
    "evaluate": Step(("evaluate",), ("predictions", "history"), ("evaluation",)),
    "audit": Step(("audit",), ("predictions",), ("audit",)),
    "pictures": Step(
        ("data", "augment", "train.seed"), ("data", "evaluation", "audit"), ("pictures",)
    ),
    "explain": Step(
        ("data", "explain", *_DEVICE),
        ("weights", "model"),
        ("explanation", "explanation_arrays"),
    ),
    "inside": Step(
        ("data", *_DEVICE), ("weights", "model", "predictions"), ("inside", "inside_arrays")
    ),
    "typical": Step(("data", "predict", "train.seed"), (), ("typical",)),
    "report": Step(
        tuple(f.name for f in fields(Config)),
        ("provenance", *_MADE, *_EXPLAINED),
        ("report", "card"),
    ),
}


def is_whole(run: RunFolder, name: str, config: Config) -> bool:
    """Whether a step need not be done again: it read what there is now, and its files are there.

    A training is whole where its files are: its checkpoint belongs to the settings that it began
    with, and to no others.
    """
    if name == "train":
        return run.model.is_file() and run.weights.is_file()
    about = read_record(run.provenance, Provenance)
    return about.digests.get(name) == _digest(run, name, config, about)


def all_whole(run: RunFolder, config: Config) -> bool:
    """Whether nothing is left to do for the main job."""
    return all(is_whole(run, name, config) for name in STEPS)


def forget(run: RunFolder, name: str) -> None:
    """A step begins: it is no longer whole, nor is what adds to the same files after it."""
    names = list(STEPS)
    gone = {
        later
        for later in names[names.index(name) :]
        if later == name or {*STEPS[later].outputs} & {*STEPS[name].outputs}
    }
    about = read_record(run.provenance, Provenance)
    kept = {step: digest for step, digest in about.digests.items() if step not in gone}
    if kept != about.digests:
        write_record(run.provenance, replace(about, digests=kept))


def note(run: RunFolder, name: str, config: Config, seconds: float | None = None) -> None:
    """A step is done: write down what it read and, where it is given, how long it took."""
    about = read_record(run.provenance, Provenance)
    if seconds is not None:
        about = replace(about, seconds=about.seconds | {name: round(seconds, 3)})
    digests = about.digests | {name: _digest(run, name, config, about)}
    write_record(run.provenance, replace(about, digests=digests))


@contextmanager
def step(run: RunFolder, name: str, config: Config) -> Iterator[None]:
    """Do a step inside; it is written down where it ends well."""
    forget(run, name)
    began = time.monotonic()
    yield
    # The report shows all seconds: its own would make it stale the moment that it is written.
    note(run, name, config, None if name == "report" else time.monotonic() - began)


def _digest(run: RunFolder, name: str, config: Config, about: Provenance) -> str:
    """Of the data, the settings and files that the step reads, and of which of its files exist."""
    read = STEPS[name]
    plain = [
        about.data_fingerprint,
        {setting: repr(attrgetter(setting)(config)) for setting in read.settings},
        {file: _hashed(getattr(run, file)) for file in read.inputs if file != "provenance"},
        about.seconds if "provenance" in read.inputs else None,
        [file for file in read.outputs if getattr(run, file).is_file()],
    ]
    return hashlib.blake2b(json.dumps(plain).encode(), digest_size=16).hexdigest()


def _hashed(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
