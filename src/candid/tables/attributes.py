"""An annotation of n images: codes into words, or numbers; and numbers cut into bins."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["binary", "categorical", "numeric"]


@dataclass(frozen=True, eq=False)
class Attribute:
    """Any annotation other than the label, for n images.

    Attributes
    ----------
    name
        The data's own word.
    kind
        "binary" and "categorical" hold codes into `values`, "numeric" holds the numbers.
    values
        The words that codes stand for; a binary attribute's are ("no", "yes"), in this order,
        unless the data has words of its own. Empty for numeric.
    data
        (n,) int16 codes with -1 where missing, or float64 with NaN where missing.
    """

    name: str
    kind: Kind
    values: tuple[str, ...]
    data: NDArray[Any]

    def __getitem__(self, rows: NDArray[Any]) -> Attribute:
        """The attribute of some rows."""
        return replace(self, data=self.data[rows])

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n,) which images have a value."""
        return ~np.isnan(self.data) if self.kind == "numeric" else self.data >= 0

    def words(self) -> list[str | None]:
        """Each image's value as a word, None where missing; numbers in full."""
        if self.kind == "numeric":
            return [None if np.isnan(x) else repr(float(x)) for x in self.data]
        return [self.values[code] if code >= 0 else None for code in self.data]


def bin_attribute(attribute: Attribute, rows: NDArray[np.intp]) -> Attribute:
    """A numeric attribute cut at the quartiles of some rows; others as they are.

    A bin holds its lower edge and not its upper one; whole numbers are named by what a bin holds
    ("20 to 34"), others by their edges in three digits, or as many as tell the edges apart.
    Numbers with at most four values keep a bin for each.
    """
    if attribute.kind != "numeric":
        return attribute
    numbers = attribute.data[~np.isnan(attribute.data)]
    sample = attribute.data[rows]
    sample = sample[~np.isnan(sample)] if np.any(~np.isnan(sample)) else numbers
    distinct = np.unique(numbers)
    if len(distinct) <= 4:
        edges, names = distinct[1:], [f"{x:g}" for x in distinct]
    else:
        integers = bool(np.all(numbers == np.rint(numbers)))
        edges = np.quantile(sample, [0.25, 0.5, 0.75])
        edges = np.unique(np.ceil(edges) if integers else edges)
        # A quartile may be the least value, and no bin lies below that.
        edges = edges[edges > sample.min()] if edges[-1] > sample.min() else distinct[1:2]
        names = _bin_names(edges, integers=integers)
    codes = np.searchsorted(edges, attribute.data, side="right").astype(np.int16)
    codes[np.isnan(attribute.data)] = -1
    return Attribute(attribute.name, "categorical", tuple(names), codes)


def _bin_names(edges: NDArray[np.float64], *, integers: bool) -> list[str]:
    if integers:
        starts = np.ceil(edges)
        middle = [
            f"{a:g}" if a == b - 1 else f"{a:g} to {b - 1:g}" for a, b in itertools.pairwise(starts)
        ]
        return [f"up to {starts[0] - 1:g}", *middle, f"{starts[-1]:g} and above"]
    words = _format_edges(edges)
    middle = [f"{a} to {b}" for a, b in itertools.pairwise(words)]
    return [f"below {words[0]}", *middle, f"{words[-1]} and above"]


def _format_edges(edges: NDArray[np.float64]) -> list[str]:
    """Distinct numbers in as few digits as tell them apart, but at least three.

    Digits before the point are kept: 1234.5 is 1234, and not 1.23e+03.
    """
    n_before_point = max(len(f"{abs(x):.0f}") for x in edges)
    for digits in range(max(3, min(n_before_point, 6)), 18):
        words = [f"{x:.{digits}g}" for x in edges]
        if len(set(words)) == len(words):
            break
    return words
