"""The images that are judged: labels, answers, attributes as codes, and how images are drawn.

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

from candid.arrays import Marks, Singles
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
MOST_DRAWN = 8000


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled images of one split, with their attributes as codes."""

    predictions: Predictions  # only the images that count; numeric attributes in bins
    drawing: Resample  # how images are drawn, from `bootstrap.resample`
    bins: int = 15  # of the calibration error

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, rows: NDArray[Any]) -> Rows:
        """Some of the rows; their units are numbered anew."""
        return Rows(self.predictions[rows], self.drawing[rows], self.bins)

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
        """The one way to write a key: sorted, without what holds for every image anyway."""
        fixed = {a for a, value in pairs if value != KNOWN or a == LABEL}
        kept = {
            (a, value)
            for a, value in pairs
            if a == LABEL or value != KNOWN or (a not in fixed and not self.complete[a])
        }
        return tuple(sorted(kept))

    def mask(self, key: GroupKey) -> Marks:
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

    def shares(self, hits: Marks, of: Marks) -> list[Estimate]:
        """Shares of images, (n,) or (n, k) marks, with intervals by person where they are known."""
        hits = hits[:, None] if hits.ndim == 1 else hits
        of = np.broadcast_to(of[:, None] if of.ndim == 1 else of, hits.shape)
        cluster = self.drawing.unit if self.drawing.by_person else None
        return wilson_shares(hits, of, cluster, self.drawing.confidence)

    @cached_property
    def by_unit(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows in the order of their units, and where each unit starts among them."""
        order = np.argsort(self.drawing.unit, kind="stable")
        starts = np.searchsorted(self.drawing.unit[order], np.arange(self.drawing.units))
        return order, starts

    @property
    def strata(self) -> int:
        """How many units, or random groups of units, are drawn."""
        return min(self.drawing.units, MOST_DRAWN)

    @cached_property
    def in_order(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows in the order of what is drawn, and where each of those starts among them."""
        if self.drawing.units <= MOST_DRAWN:
            return self.by_unit
        rng = np.random.default_rng(self.drawing.seed)
        stratum = (rng.permutation(self.drawing.units) * MOST_DRAWN) // self.drawing.units
        mine = stratum[self.drawing.unit]
        order = np.argsort(mine, kind="stable")
        return order, np.searchsorted(mine[order], np.arange(MOST_DRAWN))

    def counts(self) -> Iterator[Singles]:
        """Blocks (m, strata) of how often each was drawn; the same ones at every call."""
        return self.drawing.counts(self.strata)
