"""What may be done about a finding without training anew, and what each would say out of fold.

Those that train anew are in `candid.improvement.retrained`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Floats, Marks
from candid.auditing.abstention import answering_rule
from candid.improvement.arena import Arena, cell_codes
from candid.improvement.last_layer import FitImages, LastLayer, balanced_weights, by_fold, refit
from candid.predictions import Predictions
from candid.records.improvement import RemedyKind
from candid.stats.calibration import apply_temperature, fit_temperature
from candid.stats.shift import ProbabilityShift, fit_shift

_FEWEST_TO_CALIBRATE = 50  # images of a group, or the run's own probabilities stay


@dataclass(frozen=True, eq=False)
class Remedy:
    """A remedy and what it would say, fitted and chosen without the people that it answers."""

    # name, kind, attribute, fitted_on: as in `candid.records.improvement.RemedyOutcome`
    name: str
    kind: RemedyKind
    attribute: str
    after: Predictions  # the arena's images with the remedy's probabilities
    fitted_on: str = ""
    # layer, temperature, penalty: for new images, where it is a last layer; from all folds
    layer: LastLayer | None = None
    temperature: float = 1.0
    penalty: float = np.nan
    # (n,) where it abstains from the others; None: everything is answered
    answered: Marks | None = None
    trained: bool = False  # whether a network was trained anew for it

    @property
    def eligible(self) -> bool:
        """Whether it changes something, answers too, and asks for nothing that a picture lacks."""
        return self.kind not in ("group calibration", "abstention", "another seed")


@dataclass(frozen=True, eq=False)
class Training:
    """Training images, as the run as it is answers them, and their (n, features)."""

    images: Predictions
    features: NDArray[Any]


@dataclass(frozen=True, eq=False)
class LastFeatures:
    """What the last layer takes: (n, features) of the arena's images, in their order.

    `training` are those of training images; None: nothing is fitted on them.
    """

    held_out: NDArray[Any]
    training: Training | None = None


def calibrated_logits(p: Predictions) -> Floats:
    """(n, classes) logarithms of the probabilities: logits, but for a constant of each image."""
    return np.log(np.maximum(p.probability, np.finfo(np.float64).tiny))


def last_layers(arena: Arena, features: LastFeatures) -> Iterator[Remedy]:
    """The last layer fitted again, balanced by label and each attribute, and by label alone."""
    for attribute in arena.before.attributes:
        code = arena.cell_codes(attribute)
        if len(np.unique(code[code >= 0])) < 2 * len(arena.before.classes):
            continue  # a label that has one value alone tells nothing of the attribute
        yield _layer(arena, features, attribute, "validation")
        if features.training is not None:
            yield _layer(arena, features, attribute, "training")
    yield _layer(arena, features, "", "validation")


def _layer(arena: Arena, features: LastFeatures, attribute: str, fitted_on: str) -> Remedy:
    before, training = arena.before, None
    if fitted_on == "training" and features.training is not None:
        training = _images(features.training.images, features.training.features, attribute)
    found = refit(_images(before, features.held_out, attribute), arena.fold, training)
    label = before.label

    def calibrated(others: Marks, mine: Marks) -> Floats:
        temperature = fit_temperature(found.logits[others], label[others])
        return apply_temperature(found.logits[mine], temperature)

    name = f"last-layer-{attribute or 'label'}"
    return Remedy(
        name if fitted_on == "validation" else f"{name}-{fitted_on}",
        "group layer" if attribute else "label layer",
        attribute,
        replace(before, probability=by_fold(arena.fold, calibrated, before.probability)),
        fitted_on,
        found.layer,
        fit_temperature(found.logits, label),
        found.penalty,
    )


def _images(p: Predictions, features: NDArray[Any], attribute: str) -> FitImages:
    weight = balanced_weights(cell_codes(p, attribute))
    return FitImages(features, calibrated_logits(p), p.label.astype(np.intp), weight)


def prior_shift(arena: Arena) -> Remedy:
    """One temperature and a bias for each class, so that most answers are right.

    Every mistake costs the same, whoever it is made about: of calibrated probabilities the highest
    is then the cheapest answer.
    """
    p = arena.before

    def answer(others: Marks, mine: Marks) -> Floats:
        return fit_shift(p.probability[others], p.label[others]).apply(p.probability[mine])

    probability = by_fold(arena.fold, answer, p.probability)
    layer = _as_layer(fit_shift(p.probability, p.label))
    after = replace(p, probability=probability)
    return Remedy("prior-shift", "prior shift", "", after, "validation", layer)


def _as_layer(shift: ProbabilityShift) -> LastLayer:
    """The same of logits; it looks at no feature."""
    return LastLayer(np.zeros((len(shift.bias), 0)), shift.bias, 1 / shift.temperature)


def group_calibration(arena: Arena, attribute: str) -> Remedy:
    """A temperature and biases for each group, where somebody says whose picture it is."""
    p, data = arena.before, arena.before.attributes[attribute].data

    def answer(others: Marks, mine: Marks) -> Floats:
        out = p.probability[mine].copy()
        for code in np.unique(data[data >= 0]):
            known = others & (data == code)
            if np.count_nonzero(known) >= _FEWEST_TO_CALIBRATE:
                there = data[mine] == code
                shift = fit_shift(p.probability[known], p.label[known])
                out[there] = shift.apply(out[there])
        return out

    after = replace(p, probability=by_fold(arena.fold, answer, p.probability))
    return Remedy(f"calibration-{attribute}", "group calibration", attribute, after, "validation")


def abstention_remedy(arena: Arena, target_error: float, seed: int) -> Remedy | None:
    """No answer below the threshold of the promise; None where nothing can be promised."""
    p = arena.before
    answered = np.zeros(len(p), np.bool_)
    for k in range(int(arena.fold.max()) + 1):
        mine = arena.fold == k
        rule, _ = answering_rule(p[~mine], target_error, arena.confidence, seed)
        if rule is None:
            return None
        answered[mine] = p.confidence[mine] >= rule.threshold
    return Remedy("abstention", "abstention", "", p, "validation", answered=answered)
