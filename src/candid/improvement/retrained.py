"""Remedies that train anew, each with one change, and what such a network says out of fold.

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

from candid.arrays import Floats, Marks
from candid.errors import ConfigError, did_you_mean
from candid.improvement.arena import Arena
from candid.improvement.last_layer import by_fold
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
    """What may be tried on a run that was trained so, and why something is not.

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
    changes, notes = [TrainingChange(CONTROL, "another seed", "", _train(seed=train.seed + 1))], []
    if corrections:
        changes.append(TrainingChange("corrections", "corrections"))
    changes.append(TrainingChange("copies-dropped", "copies"))
    if train.class_weights == "inverse" or train.balance != "none":
        notes.append("class weights: the run was trained with weights already")
    else:
        weighted = _train(class_weights="inverse")
        changes.append(TrainingChange("class-weights", "class weights", "", weighted))
    why = ""
    if not in_steps:
        why = "the network is fitted to all images at once"
    elif train.mixup or train.cutmix:
        why = "training mixes images (train.mixup, train.cutmix), and a mixture is of two groups"
    elif not attributes:
        why = "there is no attribute with values to balance by; --group COLUMN names one"
    if why:
        return changes, [*notes, f"group weights and group DRO: {why}"]
    for name in attributes:
        kinds: tuple[tuple[str, RemedyKind, str], ...] = (
            ("group-weights", "group weights", "group"),
            ("group-dro", "group DRO", "dro"),
        )
        for word, kind, balance in kinds:
            if (train.balance, train.balance_attributes) == (balance, (name,)):
                notes.append(f"{word}-{name}: the run was trained so")
                continue
            settings = _train(balance=balance, balance_attributes=(name,))
            changes.append(TrainingChange(f"{word}-{name}", kind, name, settings))
    return changes, notes


def _train(**settings: Any) -> dict[str, dict[str, Any]]:
    return {"train": settings}


def chosen_changes(changes: Sequence[TrainingChange], only: Sequence[str]) -> list[TrainingChange]:
    """Those with these names or first words; the control is always among them.

    Raises
    ------
    ConfigError
        Where a name is none of theirs.
    """
    known = [c.name for c in changes if c.name != CONTROL]
    wanted = {CONTROL}
    for word in only:
        mine = {name for name in known if name == word or name.startswith(f"{word}-")}
        if not mine and word == "corrections":
            raise ConfigError(
                "The remedy 'corrections' needs corrections to train with.",
                expected="a file of them, as candid review writes it",
                todo="name it with --corrections, or leave --only corrections out",
            )
        if not mine and word != CONTROL:
            raise ConfigError(
                f"No remedy that trains anew is called {word!r}.",
                expected=f"one of: {', '.join(known)}",
                todo=did_you_mean(word, known),
            )
        wanted |= mine
    return [c for c in changes if not only or c.name in wanted]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What a network in training said each time that it was evaluated."""

    steps: NDArray[np.int64]  # (times,) rising
    logits: NDArray[Any]  # (times, n, classes) of the arena's images, in their order


def out_of_fold(arena: Arena, said: Evaluated, keep: str) -> Predictions:
    """The arena's images, each answered by the step that was best without its fold.

    `keep` is `train.keep`: "best", the first with the highest weighted F1; "last", whatever it is.
    """
    label, answers = arena.before.label, said.logits.argmax(axis=2)

    def answer(others: Marks, mine: Marks) -> Floats:
        at = len(said.steps) - 1
        if keep == "best":
            f1 = [weighted_f1_of_answers(label[others], a[others]) for a in answers]
            at = int(np.argmax(f1))
        z = said.logits[at].astype(np.float64)
        return apply_temperature(z[mine], fit_temperature(z[others], label[others]))

    probability = by_fold(arena.fold, answer, arena.before.probability)
    return replace(arena.before, probability=probability)


def retrained(arena: Arena, change: TrainingChange, said: Evaluated, keep: str) -> Remedy:
    """The remedy that training anew with one change is."""
    after = out_of_fold(arena, said, keep)
    return Remedy(change.name, change.kind, change.attribute, after, "", trained=True)


def corrected_labels(
    p: Predictions, ids: NDArray[Any], label: NDArray[Any], person: NDArray[Any] | None
) -> Predictions:
    """Predictions with the labels and people of corrected data; images left out are left out.

    `ids`, `label` and `person` are (images,) of the corrected data, in any order. An image without
    a label stays without one, so that none is judged by what the run did not look at.
    """
    row = {str(name): i for i, name in enumerate(ids.tolist())}
    at = np.array([row.get(str(name), -1) for name in p.ids.tolist()], np.intp)
    kept, rows = p[at >= 0], at[at >= 0]
    now = np.where(kept.label < 0, kept.label, label[rows])
    return replace(
        kept,
        label=now.astype(kept.label.dtype),
        person=kept.person if person is None else person[rows],
        label_as_read=kept.label if kept.label_as_read is None else kept.label_as_read,
    )
