"""Remedies that need no training, with their predictions out of fold.

Those that train anew are in `candid.improvement.retrained`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray
from candid.auditing.abstention import answering_rule
from candid.improvement.arena import Arena, cell_codes
from candid.improvement.last_layer import FitImages, LastLayer, balanced_weights, map_folds, refit
from candid.predictions import Predictions
from candid.records.improvement import RemedyKind
from candid.stats.calibration import apply_temperature, fit_temperature
from candid.stats.shift import ProbabilityShift, fit_shift

_FEWEST_TO_CALIBRATE = 50  # images of a group, or the run's own probabilities stay


@dataclass(frozen=True, eq=False)
class Remedy:
    """A remedy and its predictions, fitted and chosen without the people that it answers."""

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
    answered: BoolArray | None = None
    trained: bool = False  # whether a network was trained anew for it

    @property
    def eligible(self) -> bool:
        """Whether it changes something, answers too, and asks for nothing that a picture lacks."""
        return self.kind not in ("group calibration", "abstention", "another seed")


@dataclass(frozen=True, eq=False)
class Training:
    """Training images, as the run answers them, and their (n, features)."""

    images: Predictions
    features: NDArray[Any]


@dataclass(frozen=True, eq=False)
class LastFeatures:
    """The last layer's inputs: (n, features) of the arena's images, in their order.

    `training` are those of training images; None: nothing is fitted on them.
    """

    held_out: NDArray[Any]
    training: Training | None = None


def calibrated_logits(p: Predictions) -> FloatArray:
    """(n, classes) logarithms of the probabilities: logits, but for a constant of each image."""
    return np.log(np.maximum(p.probability, np.finfo(np.float64).tiny))


def last_layers(arena: Arena, features: LastFeatures) -> Iterator[Remedy]:
    """Fit the last layer again, balanced by label and each attribute, and by label alone."""
    for attribute in arena.before.attributes:
        code = arena.cell_codes(attribute)
        if len(np.unique(code[code >= 0])) < 2 * len(arena.before.classes):
            continue  # a label that has one value alone tells nothing of the attribute
        yield _refit_layer(arena, features, attribute, "validation")
        if features.training is not None:
            yield _refit_layer(arena, features, attribute, "training")
    yield _refit_layer(arena, features, "", "validation")


def _refit_layer(arena: Arena, features: LastFeatures, attribute: str, fitted_on: str) -> Remedy:
    before, training = arena.before, None
    if fitted_on == "training" and features.training is not None:
        training = _fit_images(features.training.images, features.training.features, attribute)
    refitted = refit(_fit_images(before, features.held_out, attribute), arena.fold, training)
    label = before.label

    def calibrated(rest: BoolArray, mask: BoolArray) -> FloatArray:
        temperature = fit_temperature(refitted.logits[rest], label[rest])
        return apply_temperature(refitted.logits[mask], temperature)

    name = f"last-layer-{attribute or 'label'}"
    return Remedy(
        name if fitted_on == "validation" else f"{name}-{fitted_on}",
        "group layer" if attribute else "label layer",
        attribute,
        replace(before, probability=map_folds(arena.fold, calibrated, before.probability)),
        fitted_on,
        refitted.layer,
        fit_temperature(refitted.logits, label),
        refitted.penalty,
    )


def _fit_images(p: Predictions, features: NDArray[Any], attribute: str) -> FitImages:
    weight = balanced_weights(cell_codes(p, attribute))
    return FitImages(features, calibrated_logits(p), p.label.astype(np.intp), weight)


def prior_shift(arena: Arena) -> Remedy:
    """One temperature and a bias for each class, so that most answers are right.

    Every mistake costs the same, whoever it is made about: of calibrated probabilities the highest
    is then the cheapest answer.
    """
    p = arena.before

    def answer(rest: BoolArray, mask: BoolArray) -> FloatArray:
        return fit_shift(p.probability[rest], p.label[rest]).apply(p.probability[mask])

    probability = map_folds(arena.fold, answer, p.probability)
    layer = _shift_to_layer(fit_shift(p.probability, p.label))
    after = replace(p, probability=probability)
    return Remedy("prior-shift", "prior shift", "", after, "validation", layer)


def _shift_to_layer(shift: ProbabilityShift) -> LastLayer:
    """The shift as a last layer that ignores the features."""
    return LastLayer(np.zeros((len(shift.bias), 0)), shift.bias, 1 / shift.temperature)


def group_calibration(arena: Arena, attribute: str) -> Remedy:
    """A temperature and biases for each group, where the group of a picture is known."""
    p, data = arena.before, arena.before.attributes[attribute].data

    def answer(rest: BoolArray, mask: BoolArray) -> FloatArray:
        probability = p.probability[mask].copy()
        for code in np.unique(data[data >= 0]):
            in_group = rest & (data == code)
            if np.count_nonzero(in_group) >= _FEWEST_TO_CALIBRATE:
                in_mask = data[mask] == code
                shift = fit_shift(p.probability[in_group], p.label[in_group])
                probability[in_mask] = shift.apply(probability[in_mask])
        return probability

    after = replace(p, probability=map_folds(arena.fold, answer, p.probability))
    return Remedy(f"calibration-{attribute}", "group calibration", attribute, after, "validation")


def abstention_remedy(arena: Arena, target_error: float, seed: int) -> Remedy | None:
    """No answer below the threshold of the promise; None where nothing can be promised."""
    p = arena.before
    answered = np.zeros(len(p), np.bool_)
    for k in range(int(arena.fold.max()) + 1):
        mask = arena.fold == k
        rule, _ = answering_rule(p[~mask], target_error, arena.confidence, seed)
        if rule is None:
            return None
        answered[mask] = p.confidence[mask] >= rule.threshold
    return Remedy("abstention", "abstention", "", p, "validation", answered=answered)
