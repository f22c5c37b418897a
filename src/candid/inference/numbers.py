"""From the distribution over a number's bins to a value and an interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from candid.records.model import NumberCard
from candid.stats.distribution import conformal_reach, interval_of, mean_of, quantile_of

Floats = NDArray[np.float64]


def answers_of(card: NumberCard, probability: Floats) -> tuple[Floats, Floats, Floats]:
    """(n,) predictions and the ends of their intervals, of distributions (n, bins)."""
    centres = np.array(card.centres)
    low, high = interval_of(probability, centres, card.reach)
    return _values(card, probability), low, high


def calibrated_card(
    card: NumberCard, probability: Floats, value: Floats, coverage: float
) -> NumberCard:
    """The card with what (n, bins) distributions of validation and their true values (n,) say.

    The prediction is mean or median, whichever has the lower mean absolute error; intervals are
    conformal (see `candid.stats.distribution`).
    """
    answers: tuple[Literal["median", "mean"], ...] = ("median", "mean")
    errors = {
        answer: float(np.abs(_values(replace(card, answer=answer), probability) - value).mean())
        for answer in answers
    }
    best = min(answers, key=lambda answer: errors[answer])
    reach = conformal_reach(probability, np.array(card.centres), value, coverage)
    return replace(card, answer=best, coverage=coverage, reach=reach)


def _values(card: NumberCard, probability: Floats) -> Floats:
    centres = np.array(card.centres)
    if card.answer == "mean":
        return mean_of(probability, centres)
    return quantile_of(probability, centres, 0.5)
