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
from numpy.typing import NDArray

from candid.arrays import Floats, Indices
from candid.auditing.rows import Rows
from candid.predictions import Attribute
from candid.records import Estimate
from candid.records.fairness import FairnessFigure
from candid.stats.differences import (
    Side,
    difference_interval,
    ratio_interval,
    score_interval,
)
from candid.stats.moments import Moments
from candid.text.fairness import fairness_sentence

Rates = Sequence[tuple[str, bool]]  # a measured figure, and whether 1 less it is meant


@dataclass(frozen=True, eq=False)
class Compared:
    """The groups of one attribute that are large enough to be compared."""

    # rows, moments: what was measured
    rows: Rows
    moments: Moments
    attribute: Attribute  # of which attribute
    values: tuple[str, ...]  # its k values that are large enough
    sides: Indices  # (k,) where each group stands among the measured sides
    # one, two: every two of them, as places among the k
    one: Indices
    two: Indices
    pairs: Indices  # their numbers among the measured pairs


def fairness(groups: Compared) -> list[FairnessFigure]:
    """Every fairness figure of one attribute; none where fewer than two groups can be compared."""
    if len(groups.values) < 2:
        return []
    classes = groups.rows.predictions.classes
    accuracy: Rates = [("accuracy", False)]
    figures = [
        _figure(groups, f"{name}_{kind}", positive, *build(groups, rates))
        for positive, name, rates in _standard(classes)
        for kind, build in (("difference", _difference), ("ratio", _ratio))
    ]
    largest = _figure(groups, "accuracy_max_min", None, *_difference(groups, accuracy))
    return [*figures, largest, _figure(groups, "worst_group_accuracy", None, *_worst(groups))]


def _standard(classes: Sequence[str]) -> Iterator[tuple[str, str, Rates]]:
    """The class that counts as positive, the figure's name, the rates that it compares."""
    for positive in classes[1:] if len(classes) == 2 else classes:
        # Of two classes, images that are wrongly called the second are the first's errors.
        false = f"error:{classes[0]}" if len(classes) == 2 else f"false:{positive}"
        error = (f"error:{positive}", True)
        yield positive, "demographic_parity", [(f"predicted:{positive}", False)]
        yield positive, "equal_opportunity", [error]
        yield positive, "equalized_odds", [error, (false, False)]
        yield positive, "predictive_parity", [(f"precision:{positive}", False)]


def _figure(
    groups: Compared, name: str, about: str | None, estimate: Estimate, high: int, low: int
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


def _difference(groups: Compared, rates: Rates) -> tuple[Estimate, int, int]:
    """The largest absolute difference over pairs and rates, and the two groups."""
    left, right = (_side(groups, rates, k) for k in (groups.one, groups.two))
    rows = [groups.moments.row(name) for name, _ in rates]
    correlation = groups.moments.correlation[rows][:, groups.pairs].reshape(-1)
    confidence = _joint(groups, len(left.value))
    bottom, top = difference_interval(left, right, correlation, confidence, score=True)
    value = left.value - right.value
    low = np.maximum(np.maximum(bottom, -top), 0)
    high = np.maximum(np.abs(bottom), np.abs(top))
    estimate = _estimate(groups, rates, (np.abs(value), low, high), np.nanmax)
    return estimate, *_named(groups, np.abs(value), np.nanargmax, value < 0)


def _ratio(groups: Compared, rates: Rates) -> tuple[Estimate, int, int]:
    """The smallest ratio of the lower to the higher over pairs and rates, and the two groups."""
    left, right = (_side(groups, rates, k) for k in (groups.one, groups.two))
    swap = left.value > right.value
    less, more = _pick(swap, right, left), _pick(swap, left, right)
    bottom, top = ratio_interval(less, more, _joint(groups, len(swap)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(more.value > 0, less.value / more.value, np.nan)
        # Which of the two is the lower may itself be chance: then 1 is within the limits.
        low, high = np.where(top > 1, np.fmin(bottom, 1 / top), bottom), np.where(top >= 1, 1, top)
    estimate = _estimate(groups, rates, (value, low, high), np.nanmin)
    return estimate, *_named(groups, value, np.nanargmin, ~swap)


def _worst(groups: Compared) -> tuple[Estimate, int, int]:
    """The lowest accuracy of any group."""
    side = groups.moments.side("accuracy", groups.sides)
    low, high = score_interval(side, _joint(groups, len(groups.values)))
    known = not np.isnan(side.value).all()
    i = int(np.nanargmin(side.value)) if known else 0
    columns = (side.value[i : i + 1], low, high)
    return _estimate(groups, [("accuracy", False)], columns, np.nanmin), -1, i


def _named(
    groups: Compared, value: Floats, best: Callable[[Floats], np.intp], swap: NDArray[np.bool_]
) -> tuple[int, int]:
    """The higher and the lower group of the pair that decides; -1 where none is defined."""
    if np.isnan(value).all():
        return -1, -1
    k = int(best(value))
    pair = k % len(groups.one)
    one, two = int(groups.one[pair]), int(groups.two[pair])
    return (two, one) if swap[k] else (one, two)


def _side(groups: Compared, rates: Rates, index: Indices) -> Side:
    """(rates · pairs,) a side of every pair, rate by rate."""
    found = [groups.moments.side(name, groups.sides[index]) for name, _ in rates]
    value = [
        1 - side.value if complement else side.value
        for side, (_, complement) in zip(found, rates, strict=True)
    ]
    return Side(
        np.concatenate(value),
        np.concatenate([side.spread for side in found]),
        np.concatenate([side.units for side in found]),
    )


def _pick(where: NDArray[np.bool_], one: Side, other: Side) -> Side:
    return Side(
        np.where(where, one.value, other.value),
        np.where(where, one.spread, other.spread),
        np.where(where, one.units, other.units),
    )


def _joint(groups: Compared, comparisons: int) -> float:
    return 1 - (1 - groups.rows.drawing.confidence) / comparisons


def _estimate(
    groups: Compared,
    rates: Rates,
    columns: tuple[Floats, Floats, Floats],
    best: Callable[[Floats], np.float64],
) -> Estimate:
    m, drawing = groups.moments, groups.rows.drawing
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
        method=f"joint score intervals, {drawing.method}",
        # People with pictures in several groups would count twice: the most of one group is sure.
        people=int(units.max()) if drawing.by_person else None,
        draws=drawing.draws,
        undefined_draws=int(undefined.max()),
        confidence=drawing.confidence,
    )
