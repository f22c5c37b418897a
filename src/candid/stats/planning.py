"""How many more people would let a difference be seen, and how wide its interval would be.

Added people are taken to be like the present ones: as many images each, as often mistaken, as
alike among themselves. Then a figure stays where it is, its standard error falls with the square
root of its people, and what follows from it (`candid.stats.differences`) is as for any figure.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from candid.arrays import BoolArray, FloatArray
from candid.stats.differences import Side, bisect, difference_interval, smallest_visible

MOST_PEOPLE = 1_000_000  # the most that are planned


def resize_side(side: Side, people: FloatArray) -> Side:
    """The side with `people` (k,) instead of its own."""
    enlarged = np.maximum(people, 1.0)
    spread = side.spread * np.sqrt(side.units / enlarged)
    return replace(side, spread=spread, units=np.rint(enlarged).astype(np.int64))


def predicted_width(
    left: Side, right: Side, correlation: FloatArray, people: FloatArray, confidence: float
) -> FloatArray:
    """(k,) how wide the interval of left - right will be with so many people (k,) on the left."""
    enlarged = resize_side(left, people)
    low, high = difference_interval(enlarged, right, correlation, confidence, score=True)
    return high - low


def people_needed(
    left: Side, right: Side, correlation: FloatArray, threshold: float, size: float
) -> FloatArray:
    """(k,) people on the left with whom a difference of `size` in errors would be seen.

    In `POWER` of cases the p would be `threshold` or less; the right side stays as it is. At least
    as many as there are; NaN where no number would do, since the right side has too few, or a
    side is undefined.
    """

    def is_visible(log_people: FloatArray) -> BoolArray:
        enlarged = resize_side(left, np.exp(log_people))
        visible = smallest_visible(enlarged, right, correlation, threshold, 1.0)
        with np.errstate(invalid="ignore"):
            return visible <= size

    low, high = np.log(np.maximum(left.units, 2.0)), np.full(len(left.value), np.log(MOST_PEOPLE))
    reached, possible = is_visible(low), is_visible(high)
    _, high = bisect(is_visible, low, high, steps=25)  # to one in a million
    needed = np.where(reached, np.maximum(left.units, 2), np.ceil(np.exp(high)))
    return np.where(possible, needed, np.nan)
