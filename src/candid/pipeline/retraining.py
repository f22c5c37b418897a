"""Remedies that train anew: each a run of its own in `improve/<name>/`, with one change.

Training goes on where it was stopped. Who was held back from the run's training is held back here,
too, whatever corrections say of people and copies.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.config import with_values
from candid.data.splits import join_groups
from candid.errors import ConfigError, RunError
from candid.improvement.arena import Arena
from candid.improvement.remedies import Remedy
from candid.improvement.retrained import (
    Evaluated,
    TrainingChange,
    chosen_changes,
    corrected_labels,
    possible_changes,
    retrained,
)
from candid.pipeline.data_places import Places, place_of, places_of
from candid.pipeline.opening import Data, aligned_data, begin, launched, load_packed
from candid.pipeline.steps import evaluate_run, predict_splits
from candid.pipeline.training import train_network, validation_logits
from candid.predictions import Predictions, read_predictions, write_predictions
from candid.records import Provenance, read_record
from candid.runs import Run, open_run, read_history
from candid.runs.copies import FRAME_FILES, copy_files
from candid.runs.folders import IMPROVED
from candid.settings import Config, OwnConfig
from candid.storage.archives import reading_archive, write_archive
from candid.tables.corrections import Correction, read_corrections, write_corrections

if TYPE_CHECKING:
    from candid.training.state import Task, TrainingState

# Of the same pictures.
_ALIKE = ("framing", "framing_weights", "unfamiliar", *FRAME_FILES)


@dataclass(frozen=True, eq=False)
class Retraining:
    """What trains a run anew, whose `data` are as it began with them.

    `corrections` is the file to train with, or None; `where` and `cache` say where the data lie
    now, and where packed images are kept.
    """

    run: Run
    data: Data
    corrections: Path | None = None
    where: Places | None = None
    cache: Path | None = None

    def refuse(self) -> None:
        """Raise where a run cannot be trained anew, or several processes would do so."""
        if launched():
            raise ConfigError(
                "Remedies are trained by one process, and torchrun started several.",
                expected="candid improve without torchrun",
                todo="train the winner's config.toml with torchrun afterwards",
            )
        if self.corrections is not None and self.data.streamed is not None:
            raise ConfigError(
                "Corrections are not tried on pictures that are streamed.",
                expected="a pack of all pictures",
                todo="set data.stream = never in a new run, or leave --corrections out",
            )
        if isinstance(self.run.settings.network, OwnConfig):
            raise RunError(
                f"{self.run.path} trained a network of somebody's own.",
                expected="a network that can be built anew by its name",
                todo="leave out what trains anew, or write the network as a module and name it",
            )

    def changes(
        self, attributes: Sequence[str], only: Sequence[str]
    ) -> tuple[list[TrainingChange], list[str]]:
        """What is tried of what is possible, and why something is not.

        Raises ConfigError where a name in `only` is none of a remedy that trains anew.
        """
        known = self.data.dataset.attributes
        named = [n for n in attributes if n in known and known[n].kind != "numeric"]
        settings = self.run.settings
        in_steps = settings.network.name != "features"
        has = self.corrections is not None
        changes, notes = possible_changes(settings.train, named, corrections=has, in_steps=in_steps)
        changes = chosen_changes(changes, only)
        if any(c.kind == "copies" for c in changes) and not self._copies():
            changes = [c for c in changes if c.kind != "copies"]
            notes.append("copies dropped: no picture was found twice in training")
        if not has:
            notes.append("corrections: none were named; --corrections FILE does")
        return changes, notes if not only else []

    def corrected(self, p: Predictions) -> Predictions:
        """The run's predictions with corrected labels, where there are corrections."""
        if self.corrections is None:
            return p
        config = with_values(self.run.settings, {"data": {"corrections": str(self.corrections)}})
        now = corrected_data(self.run, config, self.where, self.cache).dataset
        return corrected_labels(p, now.ids, now.label, now.person)

    def retrain(self, change: TrainingChange, arena: Arena) -> Remedy:
        """The remedy, trained unless it was."""
        made = self.train(change)
        said = _said(made, arena.before.ids.tolist())
        if said is None:
            raise RunError(
                f"{made.path} did not answer all images that remedies are judged by.",
                expected="its training from the start",
                todo=f"remove {made.path}, then give the same command again",
            )
        return retrained(arena, change, said, made.settings.train.keep)

    def train(self, change: TrainingChange) -> Run:
        """The run with one change, trained unless it was."""
        config, natural = self._changed(change)
        made = remedy_folder(self.run, change.name, config, natural)
        # A training that was stopped between an evaluation and its file begins anew.
        if made.is_whole("train") and not _answered(made):
            shutil.rmtree(made.path)
            made = remedy_folder(self.run, change.name, config, natural)
        if not made.is_whole("train"):
            data = self._held_back(natural)
            train_network(made, data, _Answers(made, data).add)
        return made

    def finish(
        self, change: TrainingChange, remedy: Remedy, test: Predictions
    ) -> tuple[Run, Predictions]:
        """The winner with its answers: of validation those out of fold, and what it says of `test`.

        Images of `test` that its data lack are left out.
        """
        config, natural = self._changed(change)
        made = remedy_folder(self.run, change.name, config, natural)
        copy_files(self.run, made, [n for n in _ALIKE if not getattr(made, n).is_file()])
        with made.doing("predict"):
            predict_splits(made, self._held_back(natural))
            found = read_predictions(made.predictions_file)
            write_predictions(made.predictions_file, _out_of_fold(found, remedy))
        with made.doing("evaluate"):
            evaluate_run(made)
        said = dict(zip(found.ids.tolist(), found.probability, strict=True))
        some = test[np.array([i in said for i in test.ids.tolist()], np.bool_)]
        probability = np.array([said[i] for i in some.ids.tolist()])
        after = replace(some, probability=probability.reshape(-1, len(test.classes)))
        return made, after

    # --- what is changed -------------------------------------------------------------------------

    def _changed(self, change: TrainingChange) -> tuple[Config, Data]:
        """The settings, and the data that they give."""
        config = with_values(self.run.settings, change.settings)
        file = self.corrections if change.kind == "corrections" else None
        if change.kind == "copies":
            file = self.run.path / IMPROVED / f"{change.name}.csv"
            own = read_corrections(self.run.applied) if self.run.applied.is_file() else []
            write_corrections(file, [*own, *self._copies()])
        if file is None:
            return config, self.data
        config = with_values(config, {"data": {"corrections": str(file)}})
        return config, corrected_data(self.run, config, self.where, self.cache)

    def _copies(self) -> list[Correction]:
        """Each copy in training as a line that leaves it out, in favour of the first of its kind.

        Copies with different labels are left to corrections: nobody knows which is right.
        """
        from candid.data.duplicates import find_copies

        dataset = self.data.dataset
        if self.data.streamed is not None:
            return []
        first, second = find_copies(self.data.store, quiet=self.run.quiet).links()
        learned = (dataset.split == "train") & (dataset.label >= 0)
        both = learned[first] & learned[second] & (dataset.label[first] == dataset.label[second])
        group = join_groups(np.arange(len(dataset), dtype=np.uint64), first[both], second[both])
        _, at, inverse = np.unique(group, return_index=True, return_inverse=True)
        kept, ids = at[inverse.reshape(-1)], dataset.ids
        return [
            Correction(str(ids[row]), "", str(ids[kept[row]]), "same image", who="candid")
            for row in np.flatnonzero(kept != np.arange(len(dataset))).tolist()
        ]

    def _held_back(self, natural: Data) -> Data:
        """The data with every image on the side where the run had it.

        A training image that corrections give to somebody who was held back is not learned from.
        """
        if natural is self.data:
            return natural
        before, now = self.data.dataset, natural.dataset
        row = {str(name): i for i, name in enumerate(before.ids.tolist())}
        at = np.array([row[str(name)] for name in now.ids.tolist()], np.intp)
        split = before.split[at].copy()
        if now.person is not None:
            moved = np.ones(len(now), np.bool_)
            if before.person is not None:
                moved = now.person != before.person[at]
            judged = now.person[(split != "train") & (now.person >= 0)]
            split[moved & (split == "train") & np.isin(now.person, judged)] = ""
        return replace(natural, dataset=replace(now, split=split))


def corrected_data(run: Run, config: Config, where: Places | None, cache: Path | None) -> Data:
    """A run's data as other settings have them."""
    about = read_record(run.provenance, Provenance)
    place = place_of(run, about, None if where is None else places_of(where))
    names = tuple(about.sources)
    return aligned_data(run, load_packed(place, config, names=names, cache=cache, quiet=run.quiet))


def remedy_folder(run: Run, name: str, config: Config, data: Data) -> Run:
    """A run below `improve/`: the one there, where it has these settings and data, or a new one."""
    path = run.path / IMPROVED / name
    there = Run(path)
    if there.config.is_file():
        found = open_run(path)
        about = read_record(there.provenance, Provenance)
        if found.settings == config and about.data_fingerprint == data.fingerprint:
            return replace(found, quiet=run.quiet)
    if path.exists():
        shutil.rmtree(path)
    initial = read_record(run.provenance, Provenance).initial
    return replace(begin(path, config, data, initial), quiet=run.quiet)


# --- what it says --------------------------------------------------------------------------------


def _evaluated(run: Run) -> Path:
    return run.path / "evaluated.npz"


class _Answers:
    """What the network says of all validation images, each time that it is evaluated."""

    def __init__(self, run: Run, data: Data) -> None:
        dataset = data.dataset if data.streamed is None else data.streamed.dataset
        self.file, self.ids = _evaluated(run), dataset.ids
        self.config = run.settings.train
        self.logits: dict[int, NDArray[np.float32]] = {}
        if self.file.is_file():
            with _reading(self.file) as found:
                self.logits = dict(zip(found["steps"].tolist(), found["logits"], strict=True))

    def add(self, state: TrainingState, task: Task) -> None:
        self.logits[state.step] = validation_logits(task, state, self.config)
        steps = sorted(self.logits)
        kept: dict[str, Any] = {"ids": self.ids[task.validation], "steps": np.array(steps)}
        write_archive(self.file, kept | {"logits": np.stack([self.logits[s] for s in steps])})


def _reading(file: Path) -> Any:
    todo = f"remove {file.parent}, then give the same command again"
    return reading_archive(file, expected="what a network in training answered", todo=todo)


def _answered(run: Run) -> bool:
    """Whether there are answers of every evaluation of a training that is done."""
    if not _evaluated(run).is_file():
        return False
    with _reading(_evaluated(run)) as found:
        steps = {*found["steps"].tolist()}
    return {r.step for r in read_history(run) if not np.isnan(r.validation_f1)} <= steps


def _said(run: Run, wanted: list[str]) -> Evaluated | None:
    """What a trained remedy said of these images at each evaluation; None where it is not known."""
    if not _answered(run):
        return None
    with _reading(_evaluated(run)) as found:
        steps, ids, said = found["steps"], found["ids"], found["logits"]
    row = {str(name): i for i, name in enumerate(ids.tolist())}
    if not set(wanted) <= set(row):
        return None
    return Evaluated(steps, said[:, [row[name] for name in wanted]])


def _out_of_fold(p: Predictions, remedy: Remedy) -> Predictions:
    """Predictions with the remedy's answers for the images that it was judged by."""
    after = dict(zip(remedy.after.ids.tolist(), remedy.after.probability, strict=True))
    probability = p.probability.copy()
    for row, name in enumerate(p.ids.tolist()):
        probability[row] = after.get(name, probability[row])
    about = {**p.provenance, "trained anew": remedy.name}
    return replace(p, probability=probability, provenance=about)
