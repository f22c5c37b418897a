"""Fairness by its standard names, over all groups of one attribute, each figure in one sentence.

Differences are the largest between any two groups and ratios the smallest (as in Fairlearn; Hardt,
Price & Srebro 2016 for odds and opportunity). The largest of several differences is too large on
average, so its interval joins those of all pairs, each at a confidence that makes them hold
together (Bonferroni): it reaches 0 where chance alone could make the figure, and is cautious.

Two figures about the same groups can contradict each other and both be right: where classes are
not equally common in two groups, not all of them can be equal (Kleinberg et al. 2017).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candid.auditing.gaps import bootstrap_name
from candid.auditing.rows import Rows
from candid.records import Estimate
from candid.records.audit import FairnessFigure
from candid.stats import differences
from candid.stats.differences import Side
from candid.stats.moments import Moments

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AttributeGroups:
    """The groups of one attribute that are large enough to be compared.

    Attributes
    ----------
    attribute, values
        The attribute and its k values.
    sides
        (k,) where each group stands among the measured sides.
    pairs
        (i, j) with i < j → the number of the measured pair.
    """

    attribute: str
    values: tuple[str, ...]
    sides: NDArray[np.intp]
    pairs: dict[tuple[int, int], int]


def fairness(groups: AttributeGroups, moments: Moments, rows: Rows) -> list[FairnessFigure]:
    """Every fairness figure of one attribute; none where fewer than two groups can be compared."""
    if len(groups.values) < 2:
        return []
    classes = rows.predictions.classes
    judged = _Judged(groups, moments, rows)
    positives = classes[1:] if len(classes) == 2 else classes
    figures = []
    for positive in positives:
        # Of two classes, images that are wrongly called the second are the first's errors.
        false = f"error:{classes[0]}" if len(classes) == 2 else f"false:{positive}"
        called = f"classified {positive}"
        figures += judged.both(
            "demographic_parity",
            positive,
            [(f"predicted:{positive}", False)],
            f"share of images that are {called}",
        )
        figures += judged.both(
            "equal_opportunity",
            positive,
            [(f"error:{positive}", True)],
            f"share of images labelled {positive} that are {called}",
        )
        figures += judged.both(
            "equalized_odds",
            positive,
            [(f"error:{positive}", True), (false, False)],
            f"share of images that are {called}, among those labelled so or among the others",
        )
        figures += judged.both(
            "predictive_parity",
            positive,
            [(f"precision:{positive}", False)],
            f"share of images {called} that are labelled so",
        )
    return [*figures, judged.max_min(), judged.worst()]


class _Judged:
    """The figures of one attribute."""

    def __init__(self, groups: AttributeGroups, moments: Moments, rows: Rows) -> None:
        self.groups, self.moments, self.rows = groups, moments, rows
        self.confidence = rows.drawing.confidence

    def both(
        self, name: str, positive: str, rates: Sequence[tuple[str, bool]], what: str
    ) -> list[FairnessFigure]:
        """The difference and the ratio; a rate is a figure, or 1 less it."""
        title = name.replace("_", " ").capitalize().replace("Equalized", "Equalised")
        figures = []
        for kind, build in (("difference", self._difference), ("ratio", self._ratio)):
            estimate, high, low = build(rates)
            heading = f"{title} {kind}"
            figures.append(
                FairnessFigure(
                    attribute=self.groups.attribute,
                    name=f"{name}_{kind}",
                    about=positive,
                    estimate=estimate,
                    highest=high,
                    lowest=low,
                    sentence=self._sentence(heading, kind, what, estimate, high, low),
                )
            )
        return figures

    def max_min(self) -> FairnessFigure:
        """The largest difference in accuracy between any two groups."""
        estimate, high, low = self._difference([("accuracy", False)])
        what = "share of images that are classified as labelled"
        heading = "Largest difference in accuracy (max - min)"
        return FairnessFigure(
            attribute=self.groups.attribute,
            name="accuracy_max_min",
            about=None,
            estimate=estimate,
            highest=high,
            lowest=low,
            sentence=self._sentence(heading, "difference", what, estimate, high, low),
        )

    def worst(self) -> FairnessFigure:
        """The lowest accuracy of any group."""
        side = self.moments.side("accuracy", self.groups.sides)
        low, high = differences.score_interval(side, self._joint(len(self.groups.values)))
        known = ~np.isnan(side.value)
        i = int(np.nanargmin(side.value)) if known.any() else 0
        estimate = self._estimate(
            float(side.value[i]), _least(low), _least(high), [("accuracy", False)]
        )
        name = self.groups.values[i]
        told = (
            f"Worst group's accuracy: among the groups of {self.groups.attribute}, the model does "
            f"worst on {name}: {_points(estimate.value)} are classified as labelled "
            f"{self._interval(estimate)}."
        )
        return FairnessFigure(
            attribute=self.groups.attribute,
            name="worst_group_accuracy",
            about=None,
            estimate=estimate,
            highest="",
            lowest=name,
            sentence=told,
        )

    def _sides(self, name: str, complement: bool, index: NDArray[np.intp]) -> Side:
        side = self.moments.side(name, self.groups.sides[index])
        return Side(1 - side.value, side.spread, side.units) if complement else side

    def _compared(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        pairs = list(itertools.combinations(range(len(self.groups.values)), 2))
        one, two = (np.asarray([p[k] for p in pairs], np.intp) for k in (0, 1))
        return one, two, np.asarray([self.groups.pairs[p] for p in pairs], np.intp)

    def _joint(self, comparisons: int) -> float:
        return 1 - (1 - self.confidence) / comparisons

    def _difference(self, rates: Sequence[tuple[str, bool]]) -> tuple[Estimate, str, str]:
        """The largest absolute difference over pairs and rates."""
        one, two, numbers = self._compared()
        confidence = self._joint(len(one) * len(rates))
        value, low, high, names = [], [], [], []
        for name, complement in rates:
            left, right = (self._sides(name, complement, k) for k in (one, two))
            correlation = self.moments.correlation[self.moments.row(name)][numbers]
            bottom, top = differences.difference_interval(
                left, right, correlation, confidence, score=True
            )
            value.append(left.value - right.value)
            low.append(np.maximum(np.maximum(bottom, -top), 0))
            high.append(np.maximum(np.abs(bottom), np.abs(top)))
            names += [(i, j) for i, j in zip(one, two, strict=True)]
        flat = np.concatenate(value)
        estimate = self._estimate(
            _most(np.abs(flat)), _most(np.concatenate(low)), _most(np.concatenate(high)), rates
        )
        if np.isnan(flat).all():
            return estimate, "", ""
        k = int(np.nanargmax(np.abs(flat)))
        i, j = names[k] if flat[k] >= 0 else names[k][::-1]
        return estimate, self.groups.values[i], self.groups.values[j]

    def _ratio(self, rates: Sequence[tuple[str, bool]]) -> tuple[Estimate, str, str]:
        """The smallest ratio of the lower to the higher over pairs and rates."""
        one, two, _ = self._compared()
        confidence = self._joint(len(one) * len(rates))
        value, low, high, names = [], [], [], []
        for name, complement in rates:
            left, right = (self._sides(name, complement, k) for k in (one, two))
            swap = left.value > right.value
            less, more = _ordered(left, right, swap)
            bottom, top = differences.ratio_interval(less, more, confidence)
            with np.errstate(divide="ignore", invalid="ignore"):
                value.append(np.where(more.value > 0, less.value / more.value, np.nan))
                # Which of the two is the lower may itself be chance: then 1 is within the limits.
                high.append(np.where(top >= 1, 1.0, top))
                low.append(np.where(top > 1, np.fmin(bottom, 1 / top), bottom))
            names += [(b, a) if not s else (a, b) for a, b, s in zip(one, two, swap, strict=True)]
        flat = np.concatenate(value)
        estimate = self._estimate(
            _least(flat), _least(np.concatenate(low)), _least(np.concatenate(high)), rates
        )
        if np.isnan(flat).all():
            return estimate, "", ""
        i, j = names[int(np.nanargmin(flat))]
        return estimate, self.groups.values[i], self.groups.values[j]

    def _estimate(
        self, value: float, low: float, high: float, rates: Sequence[tuple[str, bool]]
    ) -> Estimate:
        m, drawing = self.moments, self.rows.drawing
        rows = [m.row(name) for name, _ in rates]
        images = sum(int(m.images[i][self.groups.sides].sum()) for i in rows)
        units = [m.units[i][self.groups.sides] for i in rows]
        # People with pictures in several groups would count twice: the most of one group is sure.
        people = int(max(u.max() for u in units)) if drawing.by_person else None
        return Estimate(
            value=value,
            low=low,
            high=high,
            n=images,
            method=f"joint score intervals, {bootstrap_name(self.rows)}",
            people=people,
            draws=drawing.draws,
            undefined_draws=int(max(m.undefined[i][self.groups.sides].max() for i in rows)),
            confidence=self.confidence,
        )

    def _sentence(
        self, heading: str, kind: str, what: str, estimate: Estimate, high: str, low: str
    ) -> str:
        about = self.groups.attribute
        if math.isnan(estimate.value):
            return f"{heading}: undefined, because the {what} cannot be computed in any two groups."
        if kind == "difference":
            gap = f"{_points(estimate.value).rstrip('%')} percentage points"
            return (
                f"{heading}: the {what} is up to {gap} higher for {about}: {high} than for "
                f"{about}: {low} {self._interval(estimate)}; 0 would be equal."
            )
        return (
            f"{heading}: the {what} is, for {about}: {low}, {estimate.value:.3f} of what it is for "
            f"{about}: {high} {self._interval(estimate, ratio=True)}; 1 would be equal."
        )

    def _interval(self, e: Estimate, *, ratio: bool = False) -> str:
        ends = (
            f"{e.low:.3f} to {e.high:.3f}"
            if ratio
            else f"{_points(e.low).rstrip('%')} to {_points(e.high).rstrip('%')}"
        )
        return f"({100 * e.confidence:g}% interval {ends})"


def _ordered(left: Side, right: Side, swap: NDArray[np.bool_]) -> tuple[Side, Side]:
    def pick(a: Side, b: Side) -> Side:
        return Side(
            np.where(swap, b.value, a.value),
            np.where(swap, b.spread, a.spread),
            np.where(swap, b.units, a.units),
        )

    return pick(left, right), pick(right, left)


def _points(share: float) -> str:
    return "undefined" if math.isnan(share) else f"{100 * share:.1f}%"


def _most(values: Floats) -> float:
    return math.nan if np.isnan(values).all() else float(np.nanmax(values))


def _least(values: Floats) -> float:
    return math.nan if np.isnan(values).all() else float(np.nanmin(values))
