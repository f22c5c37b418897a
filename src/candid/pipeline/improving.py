"""`candid improve`: remedies for what an audit found, and the winner as a run of its own.

The inputs of the last layer are computed once and kept in `improve/`, so that the same command
again takes seconds. Remedies that train anew are in `candid.pipeline.retraining`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.arrays import Float32Array, IndexArray
from candid.improvement.arena import Arena, attributes_found, build_arena
from candid.improvement.last_layer import LastLayer
from candid.improvement.remedies import (
    LastFeatures,
    Remedy,
    Training,
    abstention_remedy,
    calibrated_logits,
    group_calibration,
    last_layers,
    prior_shift,
)
from candid.improvement.retrained import TrainingChange
from candid.improvement.tournament import Rules, hold_tournament, look_at_test
from candid.pipeline.auditing import audited_split
from candid.pipeline.data_places import Places
from candid.pipeline.improved import lock_improving, refuse_improving, write_improved
from candid.pipeline.loading import LoadedNetwork, open_network
from candid.pipeline.opening import Data, Place, needs_torch, reload, reopen_run
from candid.pipeline.retraining import Retraining
from candid.pipeline.steps import build_predictions, predict_splits
from candid.predictions import Predictions, read_predictions
from candid.progress import stages
from candid.records import write_record
from candid.records.improvement import Aim, Improvement, RemedyOutcome, TestLook
from candid.runs import Run
from candid.runs.folders import IMPROVED
from candid.stats.calibration import apply_temperature
from candid.storage.archives import reading_archive, write_archive
from candid.storage.files import file_digest
from candid.storage.jobs import job_digest
from candid.text import improvement as text

if TYPE_CHECKING:
    from torch import nn

_MOST_TRAINING = 5_000  # images whose features are looked at; of rare combinations all first
_STAGES = ("features", "last layers", "other remedies", "contest", "winner")


def improve(
    run: Run | Place,
    *,
    groups: Sequence[str] = (),
    train: bool = False,
    only: Sequence[str] = (),
    corrections: Place | None = None,
    aim: Aim = "worst group",
    folds: int = 5,
    seed: int = 0,
    data: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Improvement:
    """Try remedies for what an audit found, and say for whom each helps: `candid improve RUN`.

    Each is compared with the run as it is on validation people who had no part in fitting or
    choosing it; none may help. The winner is looked at once on test, and lies in
    `improve/<name>/`, which every verb opens as a run. `improve.json` holds what was found.

    With `train`, networks are trained anew, each with one change: it must be better than the run
    and than the run trained again from another seed. What was stopped goes on.

    Parameters
    ----------
    run
        A run of one label whose training was finished.
    groups
        Attributes whose groups are balanced; none: those of the findings, the first in training.
    train, only
        Whether to train anew; which of it (names, or their first words), empty: all.
    corrections
        A file of decisions to train anew with, by whose labels all are judged.
    aim
        What is to become better: accuracy in the "worst group" of label and attribute, or over all.
    folds, seed
        Parts of the validation people, and what decides who is in which.
    data, cache, quiet
        Where the run's data lie now, where packed images are kept, and no progress bars.

    Raises
    ------
    ConfigError, PredictionsError, RunError
        Where a group is no attribute, `only` names no remedy, or there are fewer than three folds;
        validation has too few people; nothing was trained, or several labels.
    """
    needs_torch()
    folder = reopen_run(run, quiet=quiet)
    train = train or bool(only)
    refuse_improving(folder, aim, folds, train=train, corrections=corrections is not None)
    audit_config = folder.settings.audit
    rules = Rules(aim, audit_config.false_discovery_rate, audit_config.draws, seed)
    with lock_improving(folder):
        packed = reload(folder, data, cache=cache)
        retraining = _build_retraining(folder, packed, corrections, data, cache) if train else None
        contest = _open_contest(folder, packed, tuple(groups), folds, rules, retraining)
        changes, notes = contest.changes(groups, only)
        names = [*_STAGES[:3], *(change.name for change in changes), *_STAGES[3:]]
        with stages(names, quiet=quiet) as display:
            return contest.hold(bool(groups), changes, notes, display)


def _build_retraining(
    run: Run, packed: Data, corrections: Place | None, data: Places | None, cache: Path | None
) -> Retraining:
    file = None if corrections is None else Path(corrections).absolute()
    return Retraining(run, packed, file, data, cache)


def _open_contest(
    run: Run,
    data: Data,
    groups: tuple[str, ...],
    folds: int,
    rules: Rules,
    retraining: Retraining | None,
) -> _Contest:
    """The contest between a run's remedies; predicts where the run has not."""
    if retraining is not None:
        retraining.refuse()
    if not run.predictions_file.is_file():
        run.step("predict", predict_splits, data)
    predictions = read_predictions(run.predictions_file)
    if retraining is not None:
        predictions = retraining.corrected(predictions)
    without_numbers = predictions.with_bins()
    arena = build_arena(
        without_numbers[without_numbers.split == "validation"],
        groups or attributes_found(audited_split(run)),
        folds=folds,
        seed=rules.seed,
        confidence=run.settings.audit.confidence,
        smallest=run.settings.audit.smallest,
    )
    return _Contest(run, data, predictions, without_numbers, arena, rules, retraining)


@dataclass(frozen=True, eq=False)
class _Features:
    """Inputs of the last layer for the arena's images, test images, and training images."""

    validation: Float32Array
    test: Float32Array
    train: Float32Array
    train_rows: IndexArray


@dataclass(frozen=True, eq=False)
class _Contest:
    run: Run
    data: Data
    predictions: Predictions
    without_numbers: Predictions  # the same without numbers
    arena: Arena
    rules: Rules
    retraining: Retraining | None

    def changes(
        self, groups: Sequence[str], only: Sequence[str]
    ) -> tuple[list[TrainingChange], tuple[str, ...]]:
        """What is trained anew, and notes on what is not."""
        if self.retraining is None:
            return [], ()
        attributes = [*self.arena.before.attributes]
        names = attributes if groups else attributes[:1]
        changes, missing = self.retraining.changes(names, only)
        return changes, tuple(text.retraining_notes(missing, self.retraining.corrections))

    def hold(
        self,
        is_named: bool,
        changes: Sequence[TrainingChange],
        notes: tuple[str, ...],
        display: Any,
    ) -> Improvement:
        """Try all remedies; write improve.json and, if one wins, its run."""
        arena, rules = self.arena, self.rules
        with open_network(self.run) as model:
            layer = self._find_last_layer(model)
            with display.begin("features"):
                features = None if layer is None else self._load_features(model, layer)
            with display.begin("last layers"):
                remedies = [] if features is None else self._fit_last_layers(model, layer, features)
            with display.begin("other remedies"):
                remedies += self._other_remedies()
            if self.retraining is not None:
                for change in changes:
                    with display.begin(change.name):
                        remedies.append(self.retraining.retrain(change, arena))
            with display.begin("contest"):
                outcomes, winner = hold_tournament(arena, remedies, rules)
            best = next((r for r in remedies if r.name == winner), None)
            folder, test_look = "", None
            with display.begin("winner"):
                if best is not None and best.layer is not None and layer is not None:
                    test = self._predict_test(best, best.layer, features)
                    test_look = self._look_at_test(test, best)
                    improved = write_improved(
                        self.run, best, self.predictions, arena, test, model.network, layer
                    )
                    folder = str(improved.path.relative_to(self.run.path))
                elif best is not None and best.trained and self.retraining is not None:
                    change = next(c for c in changes if c.name == winner)
                    improved, answers = self.retraining.finish(change, best, self._test_rows())
                    test_look = self._look_at_test(answers, best)
                    folder = str(improved.path.relative_to(self.run.path))
        notes = (*self._list_notes(remedies, is_named, layer is not None), *notes)
        record = self._build_record(outcomes, winner, test_look, folder, notes, is_named=is_named)
        write_record(self.run.improvement, record)
        return record

    def _list_notes(
        self, remedies: Sequence[Remedy], is_named: bool, has_layer: bool
    ) -> Iterator[str]:
        attributes = [*self.arena.before.attributes]
        balanced_names = {remedy.attribute for remedy in remedies if remedy.kind == "group layer"}
        unbalanced = [name for name in attributes if name not in balanced_names]
        return text.remedy_notes(attributes, is_named, has_layer, unbalanced)

    def _build_record(
        self,
        outcomes: tuple[RemedyOutcome, ...],
        winner: str,
        test_look: TestLook | None,
        folder: str,
        notes: tuple[str, ...],
        *,
        is_named: bool,
    ) -> Improvement:
        arena, rules = self.arena, self.rules
        p = arena.before
        return Improvement(
            target=p.target,
            classes=p.classes,
            model=file_digest(self.run.weights),
            aim=rules.aim,
            attributes=tuple(p.attributes),
            named=is_named,
            folds=int(arena.fold.max()) + 1,
            n=len(p),
            people=p.n_people(),
            cells=tuple(arena.accuracies(p, list(arena.cells()))),
            remedies=outcomes,
            winner=winner,
            test=test_look,
            folder=folder,
            alpha=rules.alpha,
            seed=rules.seed,
            notes=notes,
        )

    # --- features --------------------------------------------------------------------------------

    def _find_last_layer(self, model: LoadedNetwork) -> nn.Linear | None:
        import torch

        from candid.models.last_layer import find_last_layer

        side = model.card.side
        return find_last_layer(model.network, torch.zeros(1, 3, side, side, device=model.device))

    def _load_features(self, model: LoadedNetwork, layer: nn.Linear) -> _Features:
        """Read the last layer's inputs from their file, or compute and write them."""
        row = {str(name): i for i, name in enumerate(self.data.dataset.ids.tolist())}
        rows = {
            "validation": np.array([row[str(i)] for i in self.arena.before.ids], np.intp),
            "test": np.array([row[str(i)] for i in self._test_rows().ids], np.intp),
            "train": self._training_rows(),
        }
        job = {name: hashlib.blake2b(r.tobytes()).hexdigest() for name, r in rows.items()}
        job |= {"weights": file_digest(self.run.weights), "data": self.data.fingerprint}
        file = self.run.path / IMPROVED / f"features-{job_digest(job)[:16]}.npz"
        if not file.is_file():
            for old in file.parent.glob("features-*.npz"):
                old.unlink(missing_ok=True)
            write_archive(file, self._compute_features(model, layer, rows), compressed=False)
        todo = f"remove {file}, then give the same command again"
        with reading_archive(file, expected="what the last layer takes", todo=todo) as archive:
            return _Features(**{name: archive[name] for name in rows}, train_rows=rows["train"])

    def _compute_features(
        self, model: LoadedNetwork, layer: nn.Linear, rows: dict[str, IndexArray]
    ) -> dict[str, Float32Array]:
        from candid.models.forward import Images
        from candid.models.last_layer import last_features

        card = model.card
        features = last_features(
            model.network,
            layer,
            Images(self.data.store.pixels, card.mean, card.std),
            np.concatenate(list(rows.values())),
            device=model.device,
            bfloat16=model.bfloat16,
            flip_tta=card.flip_tta,
            quiet=self.run.quiet,
        )
        ends = np.cumsum([len(r) for r in rows.values()])[:-1]
        return dict(zip(rows, np.split(features, ends), strict=True))

    def _training_rows(self) -> IndexArray:
        """(m,) rows of training images, with all of rare combinations of label and attributes."""
        names = [*self.arena.before.attributes]
        rows = self.data.dataset.rows("train", self.data.store.usable)
        if not names or len(rows) <= _MOST_TRAINING:
            return rows if names else rows[:0]
        table = self._training_set(rows)
        codes = np.stack([table.label, *(table.attributes[n].data for n in names)], axis=1)
        cells = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
        shuffled = np.random.default_rng(self.rules.seed).permutation(len(rows))
        sorted_rows = shuffled[np.argsort(cells[shuffled], kind="stable")]
        starts = np.searchsorted(cells[sorted_rows], np.arange(int(cells.max()) + 1))
        rank = np.empty(len(rows), np.intp)
        rank[sorted_rows] = np.arange(len(rows)) - starts[cells[sorted_rows]]
        return np.sort(rows[np.argsort(rank, kind="stable")[:_MOST_TRAINING]])

    def _training_set(self, rows: IndexArray) -> Predictions:
        """Training images with the arena's attributes, and uniform probabilities."""
        n, classes = len(rows), len(self.arena.before.classes)
        p = build_predictions(self.data, rows, np.full((n, classes), 1 / classes))
        names, columns = self.arena.before.attributes, self.data.dataset.attributes
        attributes = {n: columns[n] for n in names if n in columns and columns[n].kind != "numeric"}
        return replace(p, attributes={n: a[rows] for n, a in attributes.items()})

    # --- remedies --------------------------------------------------------------------------------

    def _fit_last_layers(
        self, model: LoadedNetwork, layer: nn.Linear | None, features: _Features
    ) -> list[Remedy]:
        training = None
        training_set = self._training_set(features.train_rows)
        # An attribute of numbers was cut by the validation images' quartiles: not those of these.
        if (
            layer is not None
            and len(training_set)
            and {*training_set.attributes} >= {*self.arena.before.attributes}
        ):
            weight = layer.weight.detach().double().cpu().numpy()
            logits = features.train @ weight.T + layer.bias.detach().double().cpu().numpy()
            probability = apply_temperature(logits, model.card.temperature)
            training = Training(replace(training_set, probability=probability), features.train)
        remedies = list(last_layers(self.arena, LastFeatures(features.validation, training)))
        return [*remedies, prior_shift(self.arena)]

    def _other_remedies(self) -> list[Remedy]:
        target = self.run.settings.predict.target_error
        abstention = abstention_remedy(self.arena, target, self.rules.seed) if target else None
        calibrated = [group_calibration(self.arena, name) for name in self.arena.before.attributes]
        return calibrated if abstention is None else [*calibrated, abstention]

    # --- the winner ------------------------------------------------------------------------------

    def _test_rows(self) -> Predictions:
        p = self.without_numbers
        return p[(p.split == "test") & (p.label >= 0)]

    def _predict_test(
        self, remedy: Remedy, layer: LastLayer, inputs: _Features | None
    ) -> Predictions:
        p = self._test_rows()
        features = np.zeros((len(p), 0)) if inputs is None else inputs.test
        if not layer.weight.shape[1]:
            features = features[:, :0]
        z = layer.logits(features, calibrated_logits(p))
        return replace(p, probability=apply_temperature(z, remedy.temperature))

    def _look_at_test(self, after: Predictions, remedy: Remedy) -> TestLook | None:
        if not len(after):
            return None
        attributes = {name: after.attributes[name] for name in self.arena.before.attributes}
        test = self._test_rows()
        before = replace(test[np.isin(test.ids, after.ids)], attributes=attributes)
        with_attributes = replace(after, attributes=attributes)
        return look_at_test(self.arena, before, with_attributes, remedy.name, self.rules)
