"""Remedies that train anew: each a run of its own in `improve/<name>/`, with one change.

A stopped training goes on. Who was held back from the run's training is held back here, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.arrays import Float32Array
from candid.config import with_values
from candid.data.splits import join_groups
from candid.errors import ConfigError, RunError
from candid.improvement.arena import Arena
from candid.improvement.remedies import Remedy
from candid.improvement.retrained import (
    Evaluated,
    TrainingChange,
    build_remedy,
    chosen_changes,
    corrected_labels,
    possible_changes,
)
from candid.pipeline.data_places import Places, as_paths, locate_data
from candid.pipeline.opening import Data, begin, is_distributed, load_packed, use_frames
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
_SHARED = ("framing", "framing_weights", "unfamiliar", *FRAME_FILES)


@dataclass(frozen=True, eq=False)
class Retraining:
    """Trains a run anew; `data` are as it began with them.

    `corrections` is a file to train with, `where` and `cache` say where the data and packed images
    lie.
    """

    run: Run
    data: Data
    corrections: Path | None = None
    where: Places | None = None
    cache: Path | None = None

    def refuse(self) -> None:
        """Raise where a run cannot be trained anew, or several processes would do so."""
        if is_distributed():
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
        """What is tried of what is possible, and notes on what is not.

        Raises ConfigError where a name in `only` is no remedy that trains anew.
        """
        available = self.data.dataset.attributes
        names = [n for n in attributes if n in available and available[n].kind != "numeric"]
        settings = self.run.settings
        has_corrections = self.corrections is not None
        options = {"corrections": has_corrections, "in_steps": settings.network.name != "features"}
        changes, notes = possible_changes(settings.train, names, **options)
        changes = chosen_changes(changes, only)
        if any(c.kind == "copies" for c in changes) and not self._list_copies():
            changes = [c for c in changes if c.kind != "copies"]
            notes.append("copies dropped: no picture was found twice in training")
        if not has_corrections:
            notes.append("corrections: none were named; --corrections FILE does")
        return changes, notes if not only else []

    def corrected(self, p: Predictions) -> Predictions:
        """The run's predictions with corrected labels, where there are corrections."""
        if self.corrections is None:
            return p
        config = with_values(self.run.settings, {"data": {"corrections": str(self.corrections)}})
        corrected_set = corrected_data(self.run, config, self.where, self.cache).dataset
        return corrected_labels(p, corrected_set.ids, corrected_set.label, corrected_set.person)

    def retrain(self, change: TrainingChange, arena: Arena) -> Remedy:
        """The remedy, trained unless it already was."""
        remedy_run = self.train(change)
        evaluated = _read_evaluated(remedy_run, arena.before.ids.tolist())
        if evaluated is None:
            raise RunError(
                f"{remedy_run.path} did not answer all images that remedies are judged by.",
                expected="its training from the start",
                todo=f"remove {remedy_run.path}, then give the same command again",
            )
        return build_remedy(arena, change, evaluated, remedy_run.settings.train.keep)

    def train(self, change: TrainingChange) -> Run:
        """The run with one change, trained unless it already was."""
        config, changed_data = self._apply_change(change)
        remedy_run = remedy_folder(self.run, change.name, config, changed_data)
        # A training that was stopped between an evaluation and its file begins anew.
        if remedy_run.is_current("train") and not _is_answered(remedy_run):
            shutil.rmtree(remedy_run.path)
            remedy_run = remedy_folder(self.run, change.name, config, changed_data)
        if not remedy_run.is_current("train"):
            training_data = self._keep_splits(changed_data)
            train_network(remedy_run, training_data, _AnswerLog(remedy_run, training_data).add)
        return remedy_run

    def finish(
        self, change: TrainingChange, remedy: Remedy, test: Predictions
    ) -> tuple[Run, Predictions]:
        """The winner's run, and its answers for the images of `test` that its data have."""
        config, data = self._apply_change(change)
        result = remedy_folder(self.run, change.name, config, data)
        copy_files(self.run, result, [n for n in _SHARED if not getattr(result, n).is_file()])
        with result.recording("predict"):
            predict_splits(result, self._keep_splits(data))
            predictions = read_predictions(result.predictions_file)
            write_predictions(result.predictions_file, _use_remedy_answers(predictions, remedy))
        with result.recording("evaluate"):
            evaluate_run(result)
        answers = dict(zip(predictions.ids.tolist(), predictions.probability, strict=True))
        answered = test[np.array([i in answers for i in test.ids.tolist()], np.bool_)]
        probability = np.array([answers[i] for i in answered.ids.tolist()])
        after = replace(answered, probability=probability.reshape(-1, len(test.classes)))
        return result, after

    # --- what is changed -------------------------------------------------------------------------

    def _apply_change(self, change: TrainingChange) -> tuple[Config, Data]:
        """The settings with the change, and the data read with them."""
        config = with_values(self.run.settings, change.settings)
        file = self.corrections if change.kind == "corrections" else None
        if change.kind == "copies":
            file = self.run.path / IMPROVED / f"{change.name}.csv"
            previous = read_corrections(self.run.applied) if self.run.applied.is_file() else []
            write_corrections(file, [*previous, *self._list_copies()])
        if file is None:
            return config, self.data
        config = with_values(config, {"data": {"corrections": str(file)}})
        return config, corrected_data(self.run, config, self.where, self.cache)

    def _list_copies(self) -> list[Correction]:
        """Corrections that leave out all training copies but the first of each image.

        Copies with different labels are left to the user's corrections.
        """
        from candid.data.duplicates import find_copies

        dataset = self.data.dataset
        if self.data.streamed is not None:
            return []
        first, second = find_copies(self.data.store, quiet=self.run.quiet).links()
        train = (dataset.split == "train") & (dataset.label >= 0)
        mask = train[first] & train[second] & (dataset.label[first] == dataset.label[second])
        groups = join_groups(np.arange(len(dataset), dtype=np.uint64), first[mask], second[mask])
        _, at, inverse = np.unique(groups, return_index=True, return_inverse=True)
        first_rows, ids = at[inverse.reshape(-1)], dataset.ids
        return [
            Correction(str(ids[row]), "", str(ids[first_rows[row]]), "same image", who="candid")
            for row in np.flatnonzero(first_rows != np.arange(len(dataset))).tolist()
        ]

    def _keep_splits(self, data: Data) -> Data:
        """The data in the run's own splits.

        A training image that corrections give to somebody who was held back is left out.
        """
        if data is self.data:
            return data
        original, current = self.data.dataset, data.dataset
        row = {str(name): i for i, name in enumerate(original.ids.tolist())}
        rows = np.array([row[str(name)] for name in current.ids.tolist()], np.intp)
        split = original.split[rows].copy()
        if current.person is not None:
            is_moved = np.ones(len(current), np.bool_)
            if original.person is not None:
                is_moved = current.person != original.person[rows]
            held_out = current.person[(split != "train") & (current.person >= 0)]
            split[is_moved & (split == "train") & np.isin(current.person, held_out)] = ""
        return replace(data, dataset=replace(current, split=split))


def corrected_data(run: Run, config: Config, where: Places | None, cache: Path | None) -> Data:
    """A run's data, read with other settings."""
    provenance = read_record(run.provenance, Provenance)
    place = locate_data(run, provenance, None if where is None else as_paths(where))
    names = tuple(provenance.sources)
    return use_frames(run, load_packed(place, config, names=names, cache=cache, quiet=run.quiet))


def remedy_folder(run: Run, name: str, config: Config, data: Data) -> Run:
    """The run `improve/<name>`, begun anew where it has other settings or data."""
    path = run.path / IMPROVED / name
    existing = Run(path)
    if existing.config.is_file():
        opened = open_run(path)
        provenance = read_record(existing.provenance, Provenance)
        if opened.settings == config and provenance.data_fingerprint == data.fingerprint:
            return replace(opened, quiet=run.quiet)
    if path.exists():
        shutil.rmtree(path)
    initial = read_record(run.provenance, Provenance).initial
    return replace(begin(path, config, data, initial), quiet=run.quiet)


# --- what it says --------------------------------------------------------------------------------


def _answers_file(run: Run) -> Path:
    return run.path / "evaluated.npz"


class _AnswerLog:
    """The network's logits for all validation images at each evaluation, kept in a file."""

    def __init__(self, run: Run, data: Data) -> None:
        self.file, self.ids = _answers_file(run), data.all_rows.ids
        self.config = run.settings.train
        self.logits: dict[int, Float32Array] = {}
        if self.file.is_file():
            with _read_answers(self.file) as archive:
                self.logits = dict(zip(archive["steps"].tolist(), archive["logits"], strict=True))

    def add(self, state: TrainingState, task: Task) -> None:
        self.logits[state.step] = validation_logits(task, state, self.config)
        steps = sorted(self.logits)
        columns: dict[str, Any] = {"ids": self.ids[task.validation], "steps": np.array(steps)}
        write_archive(self.file, columns | {"logits": np.stack([self.logits[s] for s in steps])})


def _read_answers(file: Path) -> Any:
    todo = f"remove {file.parent}, then give the same command again"
    return reading_archive(file, expected="what a network in training answered", todo=todo)


def _is_answered(run: Run) -> bool:
    """Whether a finished training has answers of every evaluation."""
    if not _answers_file(run).is_file():
        return False
    with _read_answers(_answers_file(run)) as archive:
        steps = {*archive["steps"].tolist()}
    return {r.step for r in read_history(run) if not np.isnan(r.validation_f1)} <= steps


def _read_evaluated(run: Run, names: list[str]) -> Evaluated | None:
    """A remedy's logits for these images at each evaluation; None where some are missing."""
    if not _is_answered(run):
        return None
    with _read_answers(_answers_file(run)) as archive:
        steps, ids, logits = archive["steps"], archive["ids"], archive["logits"]
    row = {str(name): i for i, name in enumerate(ids.tolist())}
    if not set(names) <= set(row):
        return None
    return Evaluated(steps, logits[:, [row[name] for name in names]])


def _use_remedy_answers(p: Predictions, remedy: Remedy) -> Predictions:
    """Predictions with the remedy's answers for the images that it was judged by."""
    answers = dict(zip(remedy.after.ids.tolist(), remedy.after.probability, strict=True))
    probability = p.probability.copy()
    for row, name in enumerate(p.ids.tolist()):
        probability[row] = answers.get(name, probability[row])
    provenance = {**p.provenance, "trained anew": remedy.name}
    return replace(p, probability=probability, provenance=provenance)
