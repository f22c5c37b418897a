"""Gaps: a side's figure less another's, with interval, p, false discoveries and what was visible.

All gaps of a split are written into one `Ledger` first, because whether a gap counts as found
depends on how many were looked at; `Ledger.settle` decides, and only then are they records.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.auditing.rows import Rows
from candid.records import Estimate, State
from candid.records.audit import Gap
from candid.records.metrics import worse_when
from candid.stats import differences, multiple_testing
from candid.stats.differences import Side
from candid.stats.intervals import student_quantile
from candid.stats.moments import Moments

Floats = NDArray[np.float64]

# What may be negative, or above 1; everything else is a score from 0 to 1.
_MEANS = ("overconfidence",)
# Here a few images that happen to be alike must not look like certainty.
_POOLED = ("confidence", "overconfidence", "roc_auc")


@dataclass(frozen=True, eq=False)
class Contrast:
    """One figure of k groups against k others; every array is (k,).

    Attributes
    ----------
    metric
        The figure's name.
    left, right
        The groups and what they are compared with.
    correlation
        Between the two figures.
    images, rest_images
        Images behind them.
    lost
        Draws that left one of them undefined.
    method
        How the interval was made.
    """

    metric: str
    left: Side
    right: Side
    correlation: Floats
    images: NDArray[np.int64]
    rest_images: NDArray[np.int64]
    lost: NDArray[np.int64]
    method: str

    def __len__(self) -> int:
        return len(self.correlation)

    def __getitem__(self, index: NDArray[Any]) -> Contrast:
        """Some of the comparisons."""
        return replace(
            self,
            left=self.left[index],
            right=self.right[index],
            correlation=self.correlation[index],
            images=self.images[index],
            rest_images=self.rest_images[index],
            lost=self.lost[index],
        )

    @property
    def score(self) -> bool:
        """Whether the figure goes from 0 to 1."""
        return self.metric not in _MEANS

    @property
    def units(self) -> NDArray[np.int64]:
        """The fewer units of the two sides."""
        fewer: NDArray[np.int64] = np.minimum(self.left.units, self.right.units)
        return fewer

    def interval(self, confidence: float) -> tuple[Floats, Floats]:
        """Limits of the differences."""
        left, right = self._cautious
        return differences.difference_interval(
            left, right, self.correlation, confidence, score=self.score
        )

    @cached_property
    def surprise(self) -> Floats:
        """How many standard deviations from no difference; finer than p where p is tiny."""
        left, right = self._cautious
        return differences.touching(left, right, self.correlation, score=self.score)

    def p(self) -> Floats:
        """Two-sided p of no difference."""
        left, right = self._cautious
        return differences.difference_p(
            left, right, self.correlation, score=self.score, z=self.surprise
        )

    @property
    def _cautious(self) -> tuple[Side, Side]:
        sides = self.left, self.right
        return _at_least_pooled(*sides) if self.metric in _POOLED else sides

    def visible(self, threshold: float) -> Floats:
        """The smallest difference to the left side's disadvantage that would be seen."""
        way = worse_when(self.metric)
        return differences.smallest_visible(
            self.left, self.right, self.correlation, threshold, way or None
        )


def _at_least_pooled(left: Side, right: Side) -> tuple[Side, Side]:
    """The smaller side's spread not below what the variance per unit of both together implies."""
    n1, n2 = np.maximum(left.units, 1), np.maximum(right.units, 1)
    variance = ((left.spread * n1) ** 2 + (right.spread * n2) ** 2) / (n1 + n2)
    one = np.where(n1 < n2, np.fmax(left.spread, np.sqrt(variance / n1)), left.spread)
    two = np.where(n2 < n1, np.fmax(right.spread, np.sqrt(variance / n2)), right.spread)
    return replace(left, spread=one), replace(right, spread=two)


def contrast(moments: Moments, metric: str, pairs: NDArray[np.intp], rows: Rows) -> Contrast:
    """A figure's contrasts for some of the measured pairs of sides."""
    i = moments.row(metric)
    left, right = moments.pairs[pairs, 0], moments.pairs[pairs, 1]
    images, rest = moments.images[i][left], moments.images[i][right]
    kind = "score interval" if metric not in _MEANS else "moved score interval"
    return Contrast(
        metric=metric,
        left=moments.side(metric, left),
        right=moments.side(metric, right),
        correlation=moments.correlation[i][pairs],
        images=images,
        rest_images=rest,
        lost=moments.lost[i][pairs],
        method=f"{kind} of differences, {bootstrap_name(rows)}",
    )


def bootstrap_name(rows: Rows) -> str:
    """How images are drawn, in words."""
    return "bootstrap by person" if rows.drawing.by_person else "bootstrap by image"


# --- many gaps -----------------------------------------------------------------------------------


class Ledger:
    """All gaps of a split, before and after Benjamini and Hochberg."""

    def __init__(self, rows: Rows, smallest: int, rate: float) -> None:
        self.rows, self.smallest, self.rate = rows, smallest, rate
        self._contrasts: list[Contrast] = []
        self._p: list[Floats] = []
        self._counted: list[NDArray[np.bool_]] = []
        self._adjusted: list[Floats] = []
        self._low: list[Floats] = []
        self._high: list[Floats] = []
        self._visible: list[Floats] = []
        self.looked_at, self.found, self.threshold = 0, 0, math.nan

    def add(
        self,
        contrast: Contrast,
        counted: NDArray[np.bool_] | None = None,
        p: Floats | None = None,
    ) -> int:
        """Write down some gaps; the number to ask for them by.

        Parameters
        ----------
        contrast
            The gaps.
        counted
            (k,) False for the mirror image of a gap that is in the ledger already: with two values,
            what one lacks the other has. None: all count.
        p
            (k,) their p-values, where they are not the contrast's own.
        """
        enough = contrast.units >= self.smallest
        p = np.where(enough, contrast.p() if p is None else p, np.nan)
        self._contrasts.append(contrast)
        self._p.append(p)
        self._counted.append(np.ones(len(p), np.bool_) if counted is None else counted)
        return len(self._p) - 1

    def settle(self) -> None:
        """Decide what was found, over everything that was written down."""
        p = np.concatenate([*self._p, np.empty(0)])
        counted = np.concatenate([*self._counted, np.empty(0, np.bool_)])
        known = np.where(counted, p, np.nan)
        self.looked_at = int(np.count_nonzero(~np.isnan(known)))
        self.threshold = multiple_testing.cutoff(known, self.rate)
        adjusted = multiple_testing.benjamini_hochberg(known)
        self.found = int(np.count_nonzero(adjusted <= self.rate))
        # A mirror image has the adjusted p of a counted gap with its p.
        spare = np.flatnonzero(~counted & ~np.isnan(p))
        if len(spare) and self.looked_at:
            order = np.argsort(known)[: self.looked_at]
            place = np.searchsorted(known[order], p[spare] * (1 - 1e-9))
            adjusted[spare] = adjusted[order[np.minimum(place, self.looked_at - 1)]]
        ends = np.cumsum([0, *(len(part) for part in self._p)])
        self._adjusted = [adjusted[a:b] for a, b in itertools.pairwise(ends)]
        confidence = self.rows.drawing.confidence
        for c in self._contrasts:
            low, high = c.interval(confidence)
            self._low.append(low)
            self._high.append(high)
            self._visible.append(c.visible(self.threshold))

    def p(self, number: int) -> Floats:
        """(k,) p-values."""
        return self._p[number]

    def is_found(self, number: int) -> NDArray[np.bool_]:
        """(k,) whether each gap held."""
        with np.errstate(invalid="ignore"):
            found: NDArray[np.bool_] = self._adjusted[number] <= self.rate
        return found

    def is_worse(self, number: int) -> NDArray[np.bool_]:
        """(k,) whether the left side is at a disadvantage."""
        c = self._contrasts[number]
        with np.errstate(invalid="ignore"):
            worse: NDArray[np.bool_] = (c.left.value - c.right.value) * worse_when(c.metric) > 0
        return worse

    def surprise(self, number: int) -> Floats:
        """(k,) how many standard deviations from no difference; finer than p where p is tiny."""
        return np.where(np.isnan(self._p[number]), np.nan, self._contrasts[number].surprise)

    def values(self, number: int, i: int) -> tuple[float, float]:
        """The figure of the left and that of the right side of one gap."""
        c = self._contrasts[number]
        return float(c.left.value[i]), float(c.right.value[i])

    def gap(self, number: int, i: int, *, flipped: bool = False, metric: str = "") -> Gap:
        """The record of one gap; `flipped` tells an error as an accuracy, under another name."""
        c = self._contrasts[number]
        value = float(c.left.value[i] - c.right.value[i])
        low, high = float(self._low[number][i]), float(self._high[number][i])
        if flipped:
            value, low, high = -value, -high, -low
        drawing = self.rows.drawing
        return Gap(
            metric=metric or c.metric,
            value=value,
            low=low,
            high=high,
            p=float(self._p[number][i]),
            adjusted_p=float(self._adjusted[number][i]),
            smallest_visible=float(self._visible[number][i]),
            state=self._state(number, i),
            n=int(c.images[i]),
            rest_n=int(c.rest_images[i]),
            people=int(c.left.units[i]) if drawing.by_person else None,
            rest_people=int(c.right.units[i]) if drawing.by_person else None,
            method=c.method,
            draws=0 if "DeLong" in c.method else drawing.draws,
            undefined_draws=int(c.lost[i]),
            confidence=drawing.confidence,
        )

    def _state(self, number: int, i: int) -> State:
        if np.isnan(self._p[number][i]):
            return "too few to say"
        return "found" if self._adjusted[number][i] <= self.rate else "not found"


# --- figures -------------------------------------------------------------------------------------


def estimates(moments: Moments, side: int, rows: Rows) -> dict[str, Estimate]:
    """Every figure of a side with its interval."""
    return {
        name: _estimate(moments, i, side, rows)
        for i, name in enumerate(moments.figures)
        if name != "calibration_noise"
    }


def _estimate(moments: Moments, i: int, side: int, rows: Rows) -> Estimate:
    name, drawing = moments.figures[i], rows.drawing
    one = np.asarray([side])
    here = moments.side(name, one)
    method = bootstrap_name(rows)
    if name == "calibration_error":
        low, high = _deviation(moments, side, here, drawing.confidence)
    elif name in _MEANS:
        ends = differences.mean_interval(here, drawing.confidence)
        low, high = (float(e[0]) if np.isfinite(e[0]) else math.nan for e in ends)
    else:
        ends = differences.score_interval(here, drawing.confidence)
        low, high = float(ends[0][0]), float(ends[1][0])
        if here.spread[0] == 0 and not np.isnan(here.value[0]):
            method = "Wilson by person" if drawing.by_person else "Wilson"
    return Estimate(
        value=float(here.value[0]),
        low=low,
        high=high,
        n=int(moments.images[i, side]),
        method=method,
        people=int(here.units[0]) if drawing.by_person else None,
        draws=drawing.draws,
        undefined_draws=int(moments.undefined[i, side]),
        confidence=drawing.confidence,
    )


def _deviation(moments: Moments, side: int, here: Side, confidence: float) -> tuple[float, float]:
    """As in `intervals`: low is what remains after the noise that few draws exceed."""
    value, units = float(here.value[0]), int(here.units[0])
    if math.isnan(value) or units < 2:
        return math.nan, math.nan
    noise = moments.row("calibration_noise")
    quantile = float(student_quantile(confidence, units - 1))
    chance = moments.mean[noise, side] + quantile * moments.spread[noise, side]
    return max(0.0, value - float(chance)), value + quantile * float(here.spread[0])


def side_estimate(side: Side, i: int, images: int, rows: Rows, method: str) -> Estimate:
    """One score of a side that does not come from `measure`, with its interval."""
    low, high = differences.score_interval(side[np.asarray([i])], rows.drawing.confidence)
    return Estimate(
        value=float(side.value[i]),
        low=float(low[0]),
        high=float(high[0]),
        n=images,
        method=method,
        people=int(side.units[i]) if rows.drawing.by_person else None,
        confidence=rows.drawing.confidence,
    )
