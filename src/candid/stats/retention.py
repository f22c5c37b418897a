"""How much of what can be learned is lost with a part of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from candid.arrays import FloatArray
from candid.stats.intervals import linearise, linearised_error

CONFIDENCE = 0.95  # one-sided


@dataclass(frozen=True, slots=True)
class Retention:
    """Mean losses of n images, and the share of what can be learned that the part loses."""

    n: int
    base: float  # without the input
    whole: float
    part: float
    lost: float  # (part - whole) / (base - whole)
    high: float  # its upper limit, one-sided at 95%


def retention(
    base: FloatArray, whole: FloatArray, part: FloatArray, person: NDArray[Any] | None = None
) -> Retention:
    """The share that a part loses, from losses (n,) of the same images without, with all and part.

    It is a ratio of means, its error that of the ratio's linearisation (the delta method), by
    `person` (n,), or by image. NaN where the whole is not surely better than nothing, or the part
    not. Images that are NaN in any of the three are left out.

    That a part does is shown as in a trial of non-inferiority: the limit, not the value, must be
    small (Food and Drug Administration, Non-Inferiority Clinical Trials to Establish Effectiveness,
    2016).
    """
    losses, person = _select_complete(base, whole, part, person)
    n, (base, whole, part) = losses.shape[1], losses
    if n < 2:
        return Retention(n, *(np.nan,) * 5)
    means = (float(base.mean()), float(whole.mean()), float(part.mean()))
    if not (_above_zero(base - whole, person) and _above_zero(base - part, person)):
        return Retention(n, *means, np.nan, np.nan)
    value, moves = linearise(*(_sums(v, person) for v in (part - whole, base - whole)))
    error = linearised_error(moves, np.array([len(moves)]))
    high = value[0] + ndtri(CONFIDENCE) * error[0]
    return Retention(n, *means, float(value[0]), float(high))


def loses_more(
    share: float,
    base: FloatArray,
    whole: FloatArray,
    part: FloatArray,
    person: NDArray[Any] | None = None,
) -> bool:
    """Whether the part surely loses more than `share` of what the whole surely gains.

    By Student's t, since the images of one class may be few.
    """
    (base, whole, part), person = _select_complete(base, whole, part, person)
    excess = part - whole - share * (base - whole)
    return _above_zero(base - whole, person) and _above_zero(excess, person)


def _select_complete(
    base: FloatArray, whole: FloatArray, part: FloatArray, person: NDArray[Any] | None
) -> tuple[FloatArray, NDArray[Any]]:
    """The three losses (3, n) of the images that have all, and their persons."""
    complete = ~np.isnan(base + whole + part)
    person = np.arange(len(base)) if person is None else person
    return np.stack([base, whole, part])[:, complete], person[complete]


def _sums(values: FloatArray, person: NDArray[Any]) -> FloatArray:
    """(people, 1) sums of (n,) values."""
    unit = np.unique(person, return_inverse=True)[1].reshape(-1)
    sums: FloatArray = np.bincount(unit, values).astype(np.float64)[:, None]
    return sums


def _above_zero(values: FloatArray, person: NDArray[Any]) -> bool:
    """Whether the mean of (n,) values is above 0, with the confidence, one-sided."""
    if len(values) < 2:
        return False
    mean, moves = linearise(_sums(values, person), _sums(np.ones_like(values), person))
    people = len(moves)
    error = linearised_error(moves, np.array([people]))
    return bool(mean[0] > stdtrit(people - 1, CONFIDENCE) * error[0])
