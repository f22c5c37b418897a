"""The images of an audit: labels, answers, attributes as codes, and how images are resampled.

A group of them is a key: a sorted tuple of (attribute, value) pairs, both as numbers. (a, KNOWN)
stands for "attribute a is known", (LABEL, c) for "labelled c".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, Float32Array, IndexArray
from candid.predictions import Attribute, Predictions
from candid.records import Estimate
from candid.records.audit import Condition
from candid.stats.bootstrap import Resample
from candid.stats.intervals import wilson_shares

GroupKey = tuple[tuple[int, int], ...]

KNOWN, LABEL = -1, -1
EVERYONE: GroupKey = ()

# More units than this are put together at random into so many before they are drawn: the standard
# error stays right (random groups, Wolter 2007, §2.2) and is known to √(2 / 8000) = 1.6% of
# itself, half of what 1,000 draws leave open.
MOST_STRATA = 8000


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled images of one split, with their attributes as codes."""

    predictions: Predictions  # only the images that count; numeric attributes in bins
    resampling: Resample  # how images are drawn, from `bootstrap.resample`
    bins: int = 15  # of the calibration error

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, rows: NDArray[Any]) -> Rows:
        """The given rows; their units are numbered anew."""
        return Rows(self.predictions[rows], self.resampling[rows], self.bins)

    @property
    def classes(self) -> int:
        """How many classes the label has."""
        return len(self.predictions.classes)

    @cached_property
    def attributes(self) -> tuple[Attribute, ...]:
        """Those of the predictions, in order."""
        return tuple(self.predictions.attributes.values())

    @cached_property
    def complete(self) -> tuple[bool, ...]:
        """Per attribute, whether its value is known for every image."""
        return tuple(bool((a.data >= 0).all()) for a in self.attributes)

    def key(self, *pairs: tuple[int, int]) -> GroupKey:
        """The canonical key: sorted, without what holds for every image anyway."""
        fixed = {a for a, value in pairs if value != KNOWN or a == LABEL}
        parts = {
            (a, value)
            for a, value in pairs
            if a == LABEL or value != KNOWN or (a not in fixed and not self.complete[a])
        }
        return tuple(sorted(parts))

    def mask(self, key: GroupKey) -> BoolArray:
        """(n,) which images belong to a group."""
        inside = np.ones(len(self), dtype=np.bool_)
        for a, value in key:
            data = self.predictions.label if a == LABEL else self.attributes[a].data
            inside &= (data >= 0) if value == KNOWN and a != LABEL else (data == value)
        return inside

    def conditions(self, key: GroupKey) -> tuple[Condition, ...]:
        """A key in words, without labels."""
        return tuple(
            Condition(self.attributes[a].name, self.attributes[a].values[v])
            for a, v in key
            if a != LABEL
        )

    def shares(self, hits: BoolArray, mask: BoolArray) -> list[Estimate]:
        """Shares of images, (n,) or (n, k) marks, with intervals by person where they are known."""
        hits = hits[:, None] if hits.ndim == 1 else hits
        mask = np.broadcast_to(mask[:, None] if mask.ndim == 1 else mask, hits.shape)
        cluster = self.resampling.unit if self.resampling.by_person else None
        return wilson_shares(hits, mask, cluster, self.resampling.confidence)

    @cached_property
    def by_unit(self) -> tuple[IndexArray, IndexArray]:
        """Rows in the order of their units, and where each unit starts among them."""
        order = np.argsort(self.resampling.unit, kind="stable")
        starts = np.searchsorted(self.resampling.unit[order], np.arange(self.resampling.units))
        return order, starts

    @property
    def strata(self) -> int:
        """How many units, or random groups of units, are drawn."""
        return min(self.resampling.units, MOST_STRATA)

    @cached_property
    def by_stratum(self) -> tuple[IndexArray, IndexArray]:
        """Rows in the order of their strata, and where each stratum starts among them."""
        if self.resampling.units <= MOST_STRATA:
            return self.by_unit
        rng = np.random.default_rng(self.resampling.seed)
        stratum = (rng.permutation(self.resampling.units) * MOST_STRATA) // self.resampling.units
        row_stratum = stratum[self.resampling.unit]
        order = np.argsort(row_stratum, kind="stable")
        return order, np.searchsorted(row_stratum[order], np.arange(MOST_STRATA))

    def counts(self) -> Iterator[Float32Array]:
        """Blocks (m, strata) of how often each was drawn; the same ones at every call."""
        return self.resampling.counts(self.strata)
