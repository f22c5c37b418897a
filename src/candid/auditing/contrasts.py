"""Differences of a figure between pairs of sides, with intervals and p-values."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import CountArray, FloatArray, IndexArray
from candid.auditing.rows import Rows
from candid.auditing.side_figures import MEANS
from candid.records.metrics import worse_when
from candid.stats import differences
from candid.stats.differences import Side
from candid.stats.moments import Moments

# Here a few images that happen to be alike must not look like certainty.
_POOLED = ("confidence", "overconfidence", "roc_auc")


@dataclass(frozen=True, eq=False)
class Contrast:
    """One figure of k groups against k others; every array is (k,)."""

    metric: str  # the figure's name
    # left, right: the groups and what they are compared with
    left: Side
    right: Side
    correlation: FloatArray  # between the two figures
    # images, rest_images: images behind them
    images: CountArray
    rest_images: CountArray
    undefined: CountArray  # draws that left one of them undefined
    method: str  # how the interval was made, in words
    from_draws: bool = True  # whether the standard errors come from draws

    def __len__(self) -> int:
        return len(self.correlation)

    def __getitem__(self, index: NDArray[Any]) -> Contrast:
        """Some of the comparisons."""
        columns = ("left", "right", "correlation", "images", "rest_images", "undefined")
        return replace(self, **{name: getattr(self, name)[index] for name in columns})

    @property
    def score(self) -> bool:
        """Whether the figure goes from 0 to 1."""
        return self.metric not in MEANS

    @property
    def units(self) -> CountArray:
        """The fewer units of the two sides."""
        return np.minimum(self.left.units, self.right.units)

    def interval(self, confidence: float) -> tuple[FloatArray, FloatArray]:
        """Limits of the differences."""
        left, right = self._cautious
        return differences.difference_interval(
            left, right, self.correlation, confidence, score=self.score
        )

    @cached_property
    def surprise(self) -> FloatArray:
        """How many standard deviations from no difference; finer than p where p is tiny."""
        left, right = self._cautious
        return differences.touching_quantile(left, right, self.correlation, score=self.score)

    def p(self) -> FloatArray:
        """Two-sided p-values of no difference."""
        left, right = self._cautious
        return differences.difference_p(
            left, right, self.correlation, score=self.score, z=self.surprise
        )

    @property
    def _cautious(self) -> tuple[Side, Side]:
        sides = self.left, self.right
        return _pool_spreads(*sides) if self.metric in _POOLED else sides

    @property
    def direction(self) -> int | None:
        """1 where a higher score is worse, -1 where a lower one is; None: no such score."""
        return (worse_when(self.metric) or None) if self.score else None

    @property
    def kind(self) -> Hashable:
        """Contrasts of the same kind can be concatenated: see `concatenate_contrasts`."""
        return self.score, self.direction, self.metric in _POOLED, self.left.share is None

    def columns(self, confidence: float, threshold: float) -> dict[str, NDArray[Any]]:
        """The columns of a `GapTable` that do not depend on other gaps, but for the threshold."""
        low, high = self.interval(confidence)
        sides = (self.left, self.right, self.correlation)
        return {
            "left": self.left.value,
            "right": self.right.value,
            "low": low,
            "high": high,
            "visible": differences.smallest_visible(*sides, threshold, self.direction),
            "surprise": self.surprise,
            "n": self.images,
            "rest_n": self.rest_images,
            "units": self.left.units,
            "rest_units": self.right.units,
            "undefined": self.undefined,
        }


def concatenate_contrasts(contrasts: Sequence[Contrast]) -> Contrast:
    """Concatenate contrasts of one kind, so that a hundred classes cost as few calls."""
    return replace(
        contrasts[0],
        left=_concatenate_sides([c.left for c in contrasts]),
        right=_concatenate_sides([c.right for c in contrasts]),
        correlation=np.concatenate([c.correlation for c in contrasts]),
        images=np.concatenate([c.images for c in contrasts]),
        rest_images=np.concatenate([c.rest_images for c in contrasts]),
        undefined=np.concatenate([c.undefined for c in contrasts]),
    )


def _concatenate_sides(sides: Sequence[Side]) -> Side:
    shares = [side.share for side in sides if side.share is not None]
    return Side(
        np.concatenate([side.value for side in sides]),
        np.concatenate([side.spread for side in sides]),
        np.concatenate([side.units for side in sides]),
        np.concatenate(shares) if shares else None,
    )


def _pool_spreads(left: Side, right: Side) -> tuple[Side, Side]:
    """Raise the smaller side's spread to what the pooled variance per unit implies."""
    n1, n2 = np.maximum(left.units, 1), np.maximum(right.units, 1)
    variance = ((left.spread * n1) ** 2 + (right.spread * n2) ** 2) / (n1 + n2)
    left_spread = np.where(n1 < n2, np.fmax(left.spread, np.sqrt(variance / n1)), left.spread)
    right_spread = np.where(n2 < n1, np.fmax(right.spread, np.sqrt(variance / n2)), right.spread)
    return replace(left, spread=left_spread), replace(right, spread=right_spread)


def contrast(moments: Moments, metric: str, pairs: IndexArray, rows: Rows) -> Contrast:
    """A figure's contrasts for some of the measured pairs of sides."""
    i = moments.row(metric)
    left, right = moments.pairs[pairs, 0], moments.pairs[pairs, 1]
    kind = "score interval" if metric not in MEANS else "moved score interval"
    return Contrast(
        metric=metric,
        left=moments.side(metric, left),
        right=moments.side(metric, right),
        correlation=moments.correlation[i][pairs],
        images=moments.images[i][left],
        rest_images=moments.images[i][right],
        undefined=moments.undefined_pairs[i][pairs],
        method=f"{kind} of differences, {rows.resampling.method}",
    )


def nearest_parent(parents: Contrast, count: int) -> tuple[Contrast, FloatArray]:
    """Per group, the contrast with the larger group that it differs least from, and its p.

    "Worse than all of them" is shown by being shown worse than each (an intersection-union test),
    so the largest p is the one that counts. It is 1 where the group does not do worse.

    Parameters
    ----------
    parents
        For each way to leave one value out, the k groups against the rest of the larger group;
        (count · k,).
    count
        How many ways there are.
    """
    signed = np.where(parents.left.value < parents.right.value, 1, -1) * parents.surprise
    signed = signed.reshape(count, -1)
    unknown = np.isnan(signed)
    least = np.argmin(np.where(unknown, -np.inf, signed), axis=0)
    k = signed.shape[1]
    chosen = parents[least * k + np.arange(k)]
    p = np.where(chosen.left.value < chosen.right.value, chosen.p(), 1.0)
    undefined = unknown.any(0) | (parents.units.reshape(count, k).min(0) < 2)
    return chosen, np.where(undefined, np.nan, p)
