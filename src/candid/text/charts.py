"""What a chart shows in words, for whoever cannot see it: the finding, with interval and n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from candid.text import words


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """A point or a cell of a chart: what it is called, its figure, the interval, the images."""

    name: str
    value: float
    low: float
    high: float
    n: int


def describe_pairs(worse: Sequence[ChartPoint], values: int) -> str:
    """A heat map of gaps of `values` values with each other; `worse`: the worst that were found."""
    cells = [
        f"{cell.name} {words.points_of(cell)} points "
        f"({_points_between(cell)}; n = {words.count(cell.n)})"
        for cell in worse
    ]
    summary = f"worst of those found: {'; '.join(cells)}" if cells else "none was found to be worse"
    return f"A heat map of gaps for {values} values with each other; {summary}."


def _points_between(cell: ChartPoint) -> str:
    is_finite = math.isfinite(cell.low) and math.isfinite(cell.high)
    return words.points_interval(cell) if is_finite else "no interval was kept"


def describe_coverage(ends: Sequence[ChartPoint]) -> str:
    """Curves of error against coverage, by where they end: the error where all are answered."""
    errors = [
        f"{end.name} {words.share_of(end)} "
        f"({words.hundredths_interval(end)}; n = {words.count(end.n)})"
        for end in ends
    ]
    return f"Curves of error against coverage. Wrong where all are answered: {'; '.join(errors)}."


def describe_reliability(split: str, calibration: str, bins: Sequence[ChartPoint]) -> str:
    """A reliability diagram: its calibration error in words, and the share that came true by bin.

    A bin's name is its mean confidence.
    """
    shares = [
        f"confidence {b.name}: {words.figure_of(b, 2)} came true "
        f"({words.interval(b, 2)}; n = {words.count(b.n)})"
        for b in bins
    ]
    return f"Reliability diagram, {split}. {calibration}. {'; '.join(shares)}."
