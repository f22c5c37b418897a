"""Where in a picture a map is strongest, in words, for those who do not see it.

The page of the report says the same of the map that it makes itself (`try.js`, from these words).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DOWN, _ACROSS = ("upper", "central", "lower"), ("left", "middle", "right")
FIELDS = tuple(f"{down} {across}" for down in _DOWN for across in _ACROSS)  # row by row
EMPTY_MAP = "The map is empty: nothing in the picture matters to this method."
MOST_OF_MAP = (
    "Of nine equal fields, most of the map lies in: {places}. Spread evenly, each would have 11%."
)


def map_in_words(values: ArrayLike) -> str:
    """Where a map (height, width) is strongest, as a sentence."""
    fields = strongest_fields(values)
    return MOST_OF_MAP.replace("{places}", fields) if fields else EMPTY_MAP


def strongest_fields(values: ArrayLike, limit: int = 3) -> str:
    """The fields that hold most of a map's strength: "lower middle 31%, …"; "" where it is empty.

    A field's share is that of the sizes of its values; what is undefined counts as 0.
    """
    sums = _field_sums(np.abs(_to_finite(values)))
    total = sums.sum()
    if total == 0:
        return ""
    order = np.argsort(-sums, kind="stable")[:limit]
    return ", ".join(f"{FIELDS[i]} {100 * sums[i] / total:.0f}%" for i in order if sums[i] > 0)


def signed_fields(values: ArrayLike, above: str, below: str) -> str:
    """Where a map is strongest above 0, and where below: "for: lower middle 40%; against: …"."""
    finite = _to_finite(values)
    parts = ((above, np.maximum(finite, 0)), (below, np.minimum(finite, 0)))
    return "; ".join(f"{name}: {strongest_fields(v, 2) or 'nothing'}" for name, v in parts)


def describe_light(luma: ArrayLike) -> str:
    """Of the brightness of a picture (height, width), 0 to 1: its mean, and the extreme fields."""
    finite = _to_finite(luma)
    means = _field_sums(finite) / _field_sums(np.ones_like(finite))
    lightest, darkest = FIELDS[int(means.argmax())], FIELDS[int(means.argmin())]
    return f"luma {finite.mean():.2f} on average, lightest {lightest}, darkest {darkest}"


def field_at(row: float, column: float) -> str:
    """The field in which a place lies that is given in shares of the height and the width."""
    down, across = (min(2, max(0, int(3 * share))) for share in (row, column))
    return FIELDS[3 * down + across]


def _to_finite(values: ArrayLike) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _field_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(9,) the sum of each field, in the order of `FIELDS`."""
    height, width = values.shape
    fields = 3 * (3 * np.arange(height) // height)[:, None] + 3 * np.arange(width) // width
    return np.array([values[fields == i].sum() for i in range(len(FIELDS))])
