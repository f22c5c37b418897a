"""Fairness by its standard names, over all groups of one attribute, each figure in one sentence.

Differences are the largest between any two groups and ratios the smallest (as in Fairlearn; Hardt,
Price & Srebro 2016 for odds and opportunity). The largest of several differences is too large on
average, so its interval joins those of all pairs, each at a confidence that makes them hold
together (Bonferroni): it reaches 0 where chance alone could make the figure, and is cautious.

Two figures about the same groups can contradict each other and both be right: where classes are
not equally common in two groups, not all of them can be equal (Kleinberg et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from candid.arrays import BoolArray, FloatArray, IndexArray
from candid.auditing.rows import Rows
from candid.predictions import Attribute
from candid.records import Estimate
from candid.records.fairness import FairnessFigure
from candid.stats.differences import Side, difference_interval, ratio_interval, score_interval
from candid.stats.moments import Moments
from candid.text.fairness import fairness_sentence

Rates = Sequence[tuple[str, bool]]  # a measured figure, and whether 1 less it is meant
_ACCURACY: Rates = [("accuracy", False)]


@dataclass(frozen=True, eq=False)
class ComparedGroups:
    """The groups of one attribute that are large enough to be compared."""

    rows: Rows
    moments: Moments
    attribute: Attribute
    values: tuple[str, ...]  # the attribute's k values that are large enough
    sides: IndexArray  # (k,) the measured side of each
    # first, second: every two of them, as indices into the k
    first: IndexArray
    second: IndexArray
    pairs: IndexArray  # their indices into the measured pairs


def fairness(groups: ComparedGroups) -> list[FairnessFigure]:
    """Every fairness figure of one attribute; none where fewer than two groups can be compared."""
    if len(groups.values) < 2:
        return []
    classes = groups.rows.predictions.classes
    figures = [
        _build_figure(groups, f"{name}_{kind}", positive, *measure(groups, rates))
        for positive, name, rates in _standard_rates(classes)
        for kind, measure in (("difference", _largest_difference), ("ratio", _smallest_ratio))
    ]
    largest, worst = _largest_difference(groups, _ACCURACY), _worst_accuracy(groups)
    figures.append(_build_figure(groups, "accuracy_max_min", None, *largest))
    return [*figures, _build_figure(groups, "worst_group_accuracy", None, *worst)]


def _standard_rates(classes: Sequence[str]) -> Iterator[tuple[str, str, Rates]]:
    """The class that counts as positive, the figure's name, the rates that it compares."""
    for positive in classes[1:] if len(classes) == 2 else classes:
        # Of two classes, images that are wrongly called the second are the first's errors.
        false = f"error:{classes[0]}" if len(classes) == 2 else f"false:{positive}"
        error = (f"error:{positive}", True)
        yield positive, "demographic_parity", [(f"predicted:{positive}", False)]
        yield positive, "equal_opportunity", [error]
        yield positive, "equalized_odds", [error, (false, False)]
        yield positive, "predictive_parity", [(f"precision:{positive}", False)]


def _build_figure(
    groups: ComparedGroups, name: str, about: str | None, estimate: Estimate, high: int, low: int
) -> FairnessFigure:
    figure = FairnessFigure(
        attribute=groups.attribute.name,
        name=name,
        about=about,
        estimate=estimate,
        highest="" if high < 0 else groups.values[high],
        lowest="" if low < 0 else groups.values[low],
        sentence="",
    )
    return replace(figure, sentence=fairness_sentence(figure))


def _largest_difference(groups: ComparedGroups, rates: Rates) -> tuple[Estimate, int, int]:
    """The largest absolute difference over pairs and rates, and the two groups."""
    left, right = (_stack_sides(groups, rates, k) for k in (groups.first, groups.second))
    rows = [groups.moments.row(name) for name, _ in rates]
    correlation = groups.moments.correlation[rows][:, groups.pairs].reshape(-1)
    confidence = _joint_confidence(groups, len(left.value))
    bottom, top = difference_interval(left, right, correlation, confidence, score=True)
    value = left.value - right.value
    low = np.maximum(np.maximum(bottom, -top), 0)
    high = np.maximum(np.abs(bottom), np.abs(top))
    estimate = _build_estimate(groups, rates, (np.abs(value), low, high), np.nanmax)
    return estimate, *_locate_groups(groups, np.abs(value), np.nanargmax, value < 0)


def _smallest_ratio(groups: ComparedGroups, rates: Rates) -> tuple[Estimate, int, int]:
    """The smallest ratio of the lower to the higher over pairs and rates, and the two groups."""
    left, right = (_stack_sides(groups, rates, k) for k in (groups.first, groups.second))
    swap = left.value > right.value
    lower, higher = _select_side(swap, right, left), _select_side(swap, left, right)
    bottom, top = ratio_interval(lower, higher, _joint_confidence(groups, len(swap)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(higher.value > 0, lower.value / higher.value, np.nan)
        # Which of the two is the lower may itself be chance: then 1 is within the limits.
        low, high = np.where(top > 1, np.fmin(bottom, 1 / top), bottom), np.where(top >= 1, 1, top)
    estimate = _build_estimate(groups, rates, (value, low, high), np.nanmin)
    return estimate, *_locate_groups(groups, value, np.nanargmin, ~swap)


def _worst_accuracy(groups: ComparedGroups) -> tuple[Estimate, int, int]:
    """The lowest accuracy of any group."""
    side = groups.moments.side("accuracy", groups.sides)
    low, high = score_interval(side, _joint_confidence(groups, len(groups.values)))
    i = 0 if np.isnan(side.value).all() else int(np.nanargmin(side.value))
    columns = (side.value[i : i + 1], low, high)
    return _build_estimate(groups, _ACCURACY, columns, np.nanmin), -1, i


def _locate_groups(
    groups: ComparedGroups,
    value: FloatArray,
    best: Callable[[FloatArray], np.intp],
    swap: BoolArray,
) -> tuple[int, int]:
    """The higher and the lower group of the best pair; -1 where none is defined."""
    if np.isnan(value).all():
        return -1, -1
    k = int(best(value))
    pair = k % len(groups.first)
    first, second = int(groups.first[pair]), int(groups.second[pair])
    return (second, first) if swap[k] else (first, second)


def _stack_sides(groups: ComparedGroups, rates: Rates, index: IndexArray) -> Side:
    """(rates · pairs,) one side of every pair, rate by rate."""
    sides = [groups.moments.side(name, groups.sides[index]) for name, _ in rates]
    value = [
        1 - side.value if complement else side.value
        for side, (_, complement) in zip(sides, rates, strict=True)
    ]
    return Side(
        np.concatenate(value),
        np.concatenate([side.spread for side in sides]),
        np.concatenate([side.units for side in sides]),
    )


def _select_side(where: BoolArray, left: Side, right: Side) -> Side:
    return Side(
        np.where(where, left.value, right.value),
        np.where(where, left.spread, right.spread),
        np.where(where, left.units, right.units),
    )


def _joint_confidence(groups: ComparedGroups, comparisons: int) -> float:
    return 1 - (1 - groups.rows.resampling.confidence) / comparisons


def _build_estimate(
    groups: ComparedGroups,
    rates: Rates,
    columns: tuple[FloatArray, FloatArray, FloatArray],
    best: Callable[[FloatArray], np.float64],
) -> Estimate:
    m, resampling = groups.moments, groups.rows.resampling
    rows = [m.row(name) for name, _ in rates]
    images, units, undefined = (
        column[rows][:, groups.sides] for column in (m.images, m.units, m.undefined)
    )
    value, low, high = (math.nan if np.isnan(c).all() else float(best(c)) for c in columns)
    return Estimate(
        value=value,
        low=low,
        high=high,
        n=int(images.sum()),
        method=f"joint score intervals, {resampling.method}",
        # People with pictures in several groups would count twice: the most of one group is sure.
        people=int(units.max()) if resampling.by_person else None,
        draws=resampling.draws,
        undefined_draws=int(undefined.max()),
        confidence=resampling.confidence,
    )
