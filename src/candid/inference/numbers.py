"""From the distribution over a number's bins to a value and an interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from candid.arrays import FloatArray
from candid.records.model import NumberCard
from candid.stats.distribution import (
    conformal_reach,
    interval_by_range,
    interval_of,
    mean_of,
    quantile_of,
    reaches_by_range,
)


def answers_of(
    card: NumberCard, probability: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(n,) predictions and the ends of their intervals, of distributions (n, bins)."""
    centres = np.array(card.centres)
    if card.reaches:
        ranges, reaches = np.array(card.ranges), np.array(card.reaches)
        low, high = interval_by_range(probability, centres, ranges, reaches)
    else:
        low, high = interval_of(probability, centres, card.reach)
    return _values(card, probability), low, high


def calibrated_card(
    card: NumberCard,
    probability: FloatArray,
    value: FloatArray,
    coverage: float,
    *,
    by_range: bool = False,
) -> NumberCard:
    """The card, calibrated on (n, bins) distributions of validation and their true values (n,).

    The prediction is mean or median, whichever has the lower mean absolute error; intervals are
    conformal (see `candid.stats.distribution`), `by_range` for every range of the true value.
    """
    answers: tuple[Literal["median", "mean"], ...] = ("median", "mean")
    errors = {
        answer: float(np.abs(_values(replace(card, answer=answer), probability) - value).mean())
        for answer in answers
    }
    best = min(answers, key=lambda answer: errors[answer])
    centres = np.array(card.centres)
    reach = conformal_reach(probability, centres, value, coverage)
    calibrated = replace(card, answer=best, coverage=coverage, reach=reach)
    if not by_range:
        return calibrated
    ranges, reaches = reaches_by_range(probability, centres, value, coverage)
    return replace(calibrated, ranges=tuple(ranges.tolist()), reaches=tuple(reaches.tolist()))


def _values(card: NumberCard, probability: FloatArray) -> FloatArray:
    centres = np.array(card.centres)
    if card.answer == "mean":
        return mean_of(probability, centres)
    return quantile_of(probability, centres, 0.5)
