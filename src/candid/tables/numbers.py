"""A column of numbers as a label: its distinct values in order, and each row's index."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from candid.errors import TargetError
from candid.tables.attributes import Attribute

# Of more, neighbouring values count as one, so that codes fit into 16 bits.
MOST_VALUES = 30_000
LARGEST = 1e15  # networks count with 32 bits, whose squares end at 1e38


def encode_numbers(attribute: Attribute) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """A column's distinct numbers as words, ascending, and each row's index (−1 where missing).

    More than `MOST_VALUES` are replaced by the nearest of as many quantiles.

    Raises
    ------
    TargetError
        Where a word is no number, or one is too large.
    """
    data = _read_numbers(attribute)
    finite = np.isfinite(data)
    if (large := np.flatnonzero(finite & (np.abs(data) > LARGEST))).size:
        raise TargetError(
            f"The target {attribute.name!r} holds {data[large[0]]:g}, too large a number to be "
            f"learned; {len(large):,} of {len(data):,} rows in all.",
            expected=f"numbers from -{LARGEST:g} to {LARGEST:g}",
            todo="write them in a larger unit, take their logarithm, or empty the cells",
        )
    distinct = np.unique(data[finite])
    if len(distinct) > MOST_VALUES:
        distinct = np.unique(np.quantile(data[finite], np.linspace(0, 1, MOST_VALUES)))
    label = np.full(len(data), -1, np.int16)
    label[finite] = nearest_index(distinct, data[finite])
    return tuple(map(format_number, distinct)), label


def nearest_index(values: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.intp]:
    """The index of the nearest of ascending values for each number."""
    midpoints = (values[1:] + values[:-1]) / 2
    return np.searchsorted(midpoints, numbers)


def to_numbers(words: Sequence[str]) -> NDArray[np.float64]:
    """The words of `encode_numbers` as numbers."""
    return np.array([float(word) for word in words])


def parse_number(word: str | None, *, comma: bool = False) -> float | None:
    """A cell's word as a number, also "inf" and "nan"; None where it is none.

    `comma`: the decimal point may be a comma.
    """
    if word is None or "_" in word:  # Python reads 1_000 as a number; a table does not mean one
        return None
    if comma and re.fullmatch(r"\s*[-+]?\d*,\d+\s*", word):
        word = word.replace(",", ".")
    try:
        return float(word)
    except ValueError:
        return None


def format_number(number: float) -> str:
    """A number in its shortest exact form; 25 for 25.0."""
    number = float(number)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def _read_numbers(attribute: Attribute) -> NDArray[np.float64]:
    if attribute.kind == "numeric":
        return attribute.data
    try:
        numbers = to_numbers(attribute.values)
    except ValueError as error:
        raise TargetError(
            f"The target {attribute.name!r} is to be learned as a number and has the values "
            f"{', '.join(map(repr, attribute.values[:4]))}.",
            expected="numbers",
            todo="leave it out of data.numbers",
        ) from error
    lookup = np.append(numbers, math.nan)
    result: NDArray[np.float64] = lookup[attribute.data]
    return result
