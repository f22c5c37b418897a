"""Remedies that train anew, each with one change, with their predictions out of fold.

Training looks at validation images to keep its best weights and to fit a temperature. So each fold
is answered by the weights that were best on the other folds, with the temperature of those; the
images that a network is judged on chose nothing.

No two trainings give the same network. The run's own bad luck is nobody's gain: a group that it
happens to serve badly is served better by nearly any other network. So the run is trained again
from another seed with nothing changed, and a remedy that trains anew must be better than that, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray
from candid.errors import ConfigError, did_you_mean
from candid.improvement.arena import Arena
from candid.improvement.last_layer import map_folds
from candid.improvement.remedies import Remedy
from candid.predictions import Predictions
from candid.records.improvement import RemedyKind
from candid.settings import TrainConfig
from candid.stats.calibration import apply_temperature, fit_temperature
from candid.stats.metrics import weighted_f1_of_answers

CONTROL = "another-seed"


@dataclass(frozen=True)
class TrainingChange:
    """What is changed before training anew.

    `settings` are sections with the settings that change, as `candid.config.with_values` takes
    them. Corrections come from a file: `FILE` for "corrections", of copies for "copies".
    """

    name: str
    kind: RemedyKind
    attribute: str = ""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def possible_changes(
    train: TrainConfig, attributes: Sequence[str], *, corrections: bool, in_steps: bool
) -> tuple[list[TrainingChange], list[str]]:
    """The changes that may be tried on a run, and why others are not.

    Parameters
    ----------
    train
        Its settings.
    attributes
        Those between whose groups training may be balanced, each for itself.
    corrections
        Whether there are corrections to train with.
    in_steps
        Whether the network is trained in steps, and not fitted to all images at once.
    """
    notes: list[str] = []
    changes = [TrainingChange(CONTROL, "another seed", "", _train_settings(seed=train.seed + 1))]
    if corrections:
        changes.append(TrainingChange("corrections", "corrections"))
    changes.append(TrainingChange("copies-dropped", "copies"))
    if train.class_weights == "inverse" or train.balance != "none":
        notes.append("class weights: the run was trained with weights already")
    else:
        weighted = _train_settings(class_weights="inverse")
        changes.append(TrainingChange("class-weights", "class weights", "", weighted))
    reason = ""
    if not in_steps:
        reason = "the network is fitted to all images at once"
    elif train.mixup or train.cutmix:
        reason = "training mixes images (train.mixup, train.cutmix), and a mixture is of two groups"
    elif not attributes:
        reason = "there is no attribute with values to balance by; --group COLUMN names one"
    if reason:
        return changes, [*notes, f"group weights and group DRO: {reason}"]
    for name in attributes:
        kinds: tuple[tuple[str, RemedyKind, str], ...] = (
            ("group-weights", "group weights", "group"),
            ("group-dro", "group DRO", "dro"),
        )
        for prefix, kind, balance in kinds:
            if (train.balance, train.balance_attributes) == (balance, (name,)):
                notes.append(f"{prefix}-{name}: the run was trained so")
                continue
            settings = _train_settings(balance=balance, balance_attributes=(name,))
            changes.append(TrainingChange(f"{prefix}-{name}", kind, name, settings))
    return changes, notes


def _train_settings(**settings: Any) -> dict[str, dict[str, Any]]:
    return {"train": settings}


def chosen_changes(changes: Sequence[TrainingChange], only: Sequence[str]) -> list[TrainingChange]:
    """Those with these names or first words; the control is always among them.

    Raises ConfigError where a name is none of theirs.
    """
    names = [c.name for c in changes if c.name != CONTROL]
    selected = {CONTROL}
    for word in only:
        matches = {name for name in names if name == word or name.startswith(f"{word}-")}
        if not matches and word == "corrections":
            raise ConfigError(
                "The remedy 'corrections' needs corrections to train with.",
                expected="a file of them, as candid review writes it",
                todo="name it with --corrections, or leave --only corrections out",
            )
        if not matches and word != CONTROL:
            raise ConfigError(
                f"No remedy that trains anew is called {word!r}.",
                expected=f"one of: {', '.join(names)}",
                todo=did_you_mean(word, names),
            )
        selected |= matches
    return [c for c in changes if not only or c.name in selected]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The logits of a network at each evaluation during training."""

    steps: NDArray[np.int64]  # (times,) rising
    logits: NDArray[Any]  # (times, n, classes) of the arena's images, in their order


def out_of_fold(arena: Arena, evaluated: Evaluated, keep: str) -> Predictions:
    """The arena's images, each answered by the step that was best without its fold.

    `keep` is `train.keep`: "best", the first with the highest weighted F1; "last", whatever it is.
    """
    label, answers = arena.before.label, evaluated.logits.argmax(axis=2)

    def answer(rest: BoolArray, mask: BoolArray) -> FloatArray:
        step = len(evaluated.steps) - 1
        if keep == "best":
            f1 = [weighted_f1_of_answers(label[rest], a[rest]) for a in answers]
            step = int(np.argmax(f1))
        z = evaluated.logits[step].astype(np.float64)
        return apply_temperature(z[mask], fit_temperature(z[rest], label[rest]))

    probability = map_folds(arena.fold, answer, arena.before.probability)
    return replace(arena.before, probability=probability)


def build_remedy(arena: Arena, change: TrainingChange, evaluated: Evaluated, keep: str) -> Remedy:
    """The remedy of training anew with one change."""
    after = out_of_fold(arena, evaluated, keep)
    return Remedy(change.name, change.kind, change.attribute, after, "", trained=True)


def corrected_labels(
    p: Predictions, ids: NDArray[Any], label: NDArray[Any], person: NDArray[Any] | None
) -> Predictions:
    """Predictions with the labels and people of corrected data; images left out are left out.

    `ids`, `label` and `person` are (images,) of the corrected data, in any order. An image without
    a label stays without one, so that none is judged by what the run did not look at.
    """
    row_by_id = {str(name): i for i, name in enumerate(ids.tolist())}
    row_of_image = np.array([row_by_id.get(str(name), -1) for name in p.ids.tolist()], np.intp)
    rest, rows = p[row_of_image >= 0], row_of_image[row_of_image >= 0]
    new_label = np.where(rest.label < 0, rest.label, label[rows])
    return replace(
        rest,
        label=new_label.astype(rest.label.dtype),
        person=rest.person if person is None else person[rows],
        label_as_read=rest.label if rest.label_as_read is None else rest.label_as_read,
    )
