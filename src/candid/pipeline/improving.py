"""`candid improve`: remedies for what an audit found, and the winner as a run of its own.

The network runs once over validation, test and some training images; what its last layer takes is
kept in `improve/`, so that the same command again takes seconds. What trains anew does so only
where it is asked to; `candid.pipeline.retraining` does it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.improvement.arena import Arena, attributes_found, enter
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
from candid.pipeline.improved import alone_improving, refuse_improving, write_improved
from candid.pipeline.loading import Loaded, loaded
from candid.pipeline.opening import Data, Place, needs_torch, reload, run_at
from candid.pipeline.retraining import Retraining
from candid.pipeline.steps import predict_splits, predictions_of
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
    folder = run_at(run, quiet=quiet)
    train = train or bool(only)
    refuse_improving(folder, aim, folds, train=train, corrections=corrections is not None)
    about = folder.settings.audit
    rules = Rules(aim, about.false_discovery_rate, about.draws, seed)
    with alone_improving(folder):
        there = reload(folder, data, cache=cache)
        retraining = _retraining(folder, there, corrections, data, cache) if train else None
        contest = _opened(folder, there, tuple(groups), folds, rules, retraining)
        changes, notes = contest.changes(groups, only)
        names = [*_STAGES[:3], *(change.name for change in changes), *_STAGES[3:]]
        with stages(names, quiet=quiet) as shown:
            return contest.hold(bool(groups), changes, notes, shown)


def _retraining(
    run: Run, there: Data, corrections: Place | None, data: Places | None, cache: Path | None
) -> Retraining:
    file = None if corrections is None else Path(corrections).absolute()
    return Retraining(run, there, file, data, cache)


def _opened(
    run: Run,
    data: Data,
    groups: tuple[str, ...],
    folds: int,
    rules: Rules,
    retraining: Retraining | None,
) -> _Contest:
    """The contest between a run's remedies, whose predictions are made where there are none."""
    if retraining is not None:
        retraining.refuse()
    if not run.predictions_file.is_file():
        run.step("predict", predict_splits, data)
    predictions = read_predictions(run.predictions_file)
    if retraining is not None:
        predictions = retraining.corrected(predictions)
    binned = predictions.with_bins()
    arena = enter(
        binned[binned.split == "validation"],
        groups or attributes_found(audited_split(run)),
        folds=folds,
        seed=rules.seed,
        confidence=run.settings.audit.confidence,
        smallest=run.settings.audit.smallest,
    )
    return _Contest(run, data, predictions, binned, arena, rules, retraining)


@dataclass(frozen=True, eq=False)
class _Kept:
    """What the last layer takes of the arena's images, of test images, and of training images."""

    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    train: NDArray[np.float32]
    train_rows: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Contest:
    run: Run
    data: Data
    predictions: Predictions
    binned: Predictions  # the same without numbers
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
        named = attributes if groups else attributes[:1]
        changes, missing = self.retraining.changes(named, only)
        return changes, tuple(text.retraining_notes(missing, self.retraining.corrections))

    def hold(
        self, named: bool, changes: Sequence[TrainingChange], notes: tuple[str, ...], shown: Any
    ) -> Improvement:
        """Everything; writes improve.json and, where one wins, its run."""
        arena, rules = self.arena, self.rules
        with loaded(self.run) as model:
            layer = self._last_layer(model)
            with shown.begin("features"):
                kept = None if layer is None else self._features(model, layer)
            with shown.begin("last layers"):
                remedies = [] if kept is None else self._last_layers(model, layer, kept)
            with shown.begin("other remedies"):
                remedies += self._others()
            if self.retraining is not None:
                for change in changes:
                    with shown.begin(change.name):
                        remedies.append(self.retraining.retrain(change, arena))
            with shown.begin("contest"):
                outcomes, winner = hold_tournament(arena, remedies, rules)
            best = next((r for r in remedies if r.name == winner), None)
            folder, look = "", None
            with shown.begin("winner"):
                if best is not None and best.layer is not None and layer is not None:
                    test = self._on_test(best, best.layer, kept)
                    look = self._look(test, best)
                    made = write_improved(
                        self.run, best, self.predictions, arena, test, model.network, layer
                    )
                    folder = str(made.path.relative_to(self.run.path))
                elif best is not None and best.trained and self.retraining is not None:
                    change = next(c for c in changes if c.name == winner)
                    made, said = self.retraining.finish(change, best, self._test())
                    look = self._look(said, best)
                    folder = str(made.path.relative_to(self.run.path))
        notes = (*self._notes(remedies, named, layer is not None), *notes)
        found = self._record(outcomes, winner, look, folder, notes, named=named)
        write_record(self.run.improvement, found)
        return found

    def _notes(self, remedies: Sequence[Remedy], named: bool, layer: bool) -> Iterator[str]:
        attributes = [*self.arena.before.attributes]
        balanced = {remedy.attribute for remedy in remedies if remedy.kind == "group layer"}
        not_so = [name for name in attributes if name not in balanced]
        return text.remedy_notes(attributes, named, layer, not_so)

    def _record(
        self,
        outcomes: tuple[RemedyOutcome, ...],
        winner: str,
        look: TestLook | None,
        folder: str,
        notes: tuple[str, ...],
        *,
        named: bool,
    ) -> Improvement:
        arena, rules = self.arena, self.rules
        p = arena.before
        return Improvement(
            target=p.target,
            classes=p.classes,
            model=file_digest(self.run.weights),
            aim=rules.aim,
            attributes=tuple(p.attributes),
            named=named,
            folds=int(arena.fold.max()) + 1,
            n=len(p),
            people=p.n_people(),
            cells=tuple(arena.accuracies(p, list(arena.cells()))),
            remedies=outcomes,
            winner=winner,
            test=look,
            folder=folder,
            alpha=rules.alpha,
            seed=rules.seed,
            notes=notes,
        )

    # --- features --------------------------------------------------------------------------------

    def _last_layer(self, model: Loaded) -> nn.Linear | None:
        import torch

        from candid.models.last_layer import find_last_layer

        side = model.card.side
        return find_last_layer(model.network, torch.zeros(1, 3, side, side, device=model.device))

    def _features(self, model: Loaded, layer: nn.Linear) -> _Kept:
        """Read from the file of the run's weights and these rows, or made and written to it."""
        row = {str(name): i for i, name in enumerate(self.data.dataset.ids.tolist())}
        rows = {
            "validation": np.array([row[str(i)] for i in self.arena.before.ids], np.intp),
            "test": np.array([row[str(i)] for i in self._test().ids], np.intp),
            "train": self._training_rows(),
        }
        job = {name: hashlib.blake2b(r.tobytes()).hexdigest() for name, r in rows.items()}
        job |= {"weights": file_digest(self.run.weights), "data": self.data.fingerprint}
        file = self.run.path / IMPROVED / f"features-{job_digest(job)[:16]}.npz"
        if not file.is_file():
            for old in file.parent.glob("features-*.npz"):
                old.unlink(missing_ok=True)
            write_archive(file, self._passed(model, layer, rows), compressed=False)
        todo = f"remove {file}, then give the same command again"
        with reading_archive(file, expected="what the last layer takes", todo=todo) as found:
            return _Kept(found["validation"], found["test"], found["train"], rows["train"])

    def _passed(
        self, model: Loaded, layer: nn.Linear, rows: dict[str, NDArray[np.intp]]
    ) -> dict[str, NDArray[np.float32]]:
        from candid.models.forward import Images
        from candid.models.last_layer import last_features

        card = model.card
        found = last_features(
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
        return dict(zip(rows, np.split(found, ends), strict=True))

    def _training_rows(self) -> NDArray[np.intp]:
        """Training images, of rare combinations of label and attributes all that there are."""
        names = [*self.arena.before.attributes]
        rows = self.data.dataset.rows("train", self.data.store.usable)
        if not names or len(rows) <= _MOST_TRAINING:
            return rows if names else rows[:0]
        table = self._attributes(rows)
        key = np.stack([table.label, *(table.attributes[n].data for n in names)], axis=1)
        cell = np.unique(key, axis=0, return_inverse=True)[1].reshape(-1)
        luck = np.random.default_rng(self.rules.seed).permutation(len(rows))
        order = luck[np.argsort(cell[luck], kind="stable")]
        starts = np.searchsorted(cell[order], np.arange(int(cell.max()) + 1))
        rank = np.empty(len(rows), np.intp)
        rank[order] = np.arange(len(rows)) - starts[cell[order]]
        return np.sort(rows[np.argsort(rank, kind="stable")[:_MOST_TRAINING]])

    def _attributes(self, rows: NDArray[np.intp]) -> Predictions:
        """Training images with the arena's attributes and nothing said of them yet."""
        n, classes = len(rows), len(self.arena.before.classes)
        p = predictions_of(self.data, rows, np.full((n, classes), 1 / classes))
        names, known = self.arena.before.attributes, self.data.dataset.attributes
        kept = {n: known[n] for n in names if n in known and known[n].kind != "numeric"}
        return replace(p, attributes={n: a[rows] for n, a in kept.items()})

    # --- remedies --------------------------------------------------------------------------------

    def _last_layers(self, model: Loaded, layer: nn.Linear | None, kept: _Kept) -> list[Remedy]:
        training = None
        some = self._attributes(kept.train_rows)
        # An attribute of numbers was cut by the validation images' quartiles: not those of these.
        if (
            layer is not None
            and len(some)
            and {*some.attributes} >= {*self.arena.before.attributes}
        ):
            weight = layer.weight.detach().double().cpu().numpy()
            raw = kept.train @ weight.T + layer.bias.detach().double().cpu().numpy()
            said = apply_temperature(raw, model.card.temperature)
            training = Training(replace(some, probability=said), kept.train)
        found = list(last_layers(self.arena, LastFeatures(kept.validation, training)))
        return [*found, prior_shift(self.arena)]

    def _others(self) -> list[Remedy]:
        target = self.run.settings.predict.target_error
        none = abstention_remedy(self.arena, target, self.rules.seed) if target else None
        calibrated = [group_calibration(self.arena, name) for name in self.arena.before.attributes]
        return calibrated if none is None else [*calibrated, none]

    # --- the winner ------------------------------------------------------------------------------

    def _test(self) -> Predictions:
        p = self.binned
        return p[(p.split == "test") & (p.label >= 0)]

    def _on_test(self, remedy: Remedy, layer: LastLayer, kept: _Kept | None) -> Predictions:
        p = self._test()
        features = np.zeros((len(p), 0)) if kept is None else kept.test
        if not layer.weight.shape[1]:
            features = features[:, :0]
        z = layer.logits(features, calibrated_logits(p))
        return replace(p, probability=apply_temperature(z, remedy.temperature))

    def _look(self, after: Predictions, remedy: Remedy) -> TestLook | None:
        if not len(after):
            return None
        kept = {name: after.attributes[name] for name in self.arena.before.attributes}
        test = self._test()
        before = replace(test[np.isin(test.ids, after.ids)], attributes=kept)
        said = replace(after, attributes=kept)
        return look_at_test(self.arena, before, said, remedy.name, self.rules)
