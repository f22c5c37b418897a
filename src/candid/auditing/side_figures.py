"""Figures of measured sides as estimates with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Floats, Indices
from candid.auditing.rows import Rows
from candid.records import Estimate
from candid.stats import differences
from candid.stats.bootstrap import Resample
from candid.stats.differences import Side
from candid.stats.intervals import student_quantile
from candid.stats.moments import Moments

# What may be negative, or above 1; everything else is a score from 0 to 1.
MEANS = ("overconfidence", "mae")


def estimates(
    moments: Moments, sides: Sequence[int] | Indices, rows: Rows, names: Sequence[str] = ()
) -> list[dict[str, Estimate]]:
    """Figures of some sides with their intervals; without names every figure."""
    names = names or [name for name in moments.figures if name != "calibration_noise"]
    columns = {name: _column(moments, name, np.asarray(sides, np.intp), rows) for name in names}
    return [{name: column[k] for name, column in columns.items()} for k in range(len(sides))]


def _column(moments: Moments, name: str, sides: Indices, rows: Rows) -> list[Estimate]:
    """One figure of some sides."""
    i, drawing = moments.row(name), rows.drawing
    here = moments.side(name, sides)
    methods = [drawing.method] * len(sides)
    if name == "calibration_error":
        low, high = _deviation(moments, sides, here, drawing.confidence)
    elif name in MEANS:
        low, high = differences.mean_interval(here, drawing.confidence)
        low, high = (np.where(np.isfinite(end), end, math.nan) for end in (low, high))
    else:
        low, high = differences.score_interval(here, drawing.confidence)
        exact = (here.spread == 0) & ~np.isnan(here.value)
        wilson = "Wilson by person" if drawing.by_person else "Wilson"
        methods = [wilson if e else m for e, m in zip(exact, methods, strict=True)]
    return [
        Estimate(
            value=float(here.value[k]),
            low=float(low[k]),
            high=float(high[k]),
            n=int(moments.images[i, side]),
            method=methods[k],
            people=int(here.units[k]) if drawing.by_person else None,
            draws=drawing.draws,
            undefined_draws=int(moments.undefined[i, side]),
            confidence=drawing.confidence,
        )
        for k, side in enumerate(sides)
    ]


def _deviation(
    moments: Moments, sides: Indices, here: Side, confidence: float
) -> tuple[Floats, Floats]:
    """As in `intervals`: low is what remains after the noise that few draws exceed."""
    noise = moments.row("calibration_noise")
    quantile = student_quantile(confidence, np.maximum(here.units - 1, 1))
    chance = moments.mean[noise, sides] + quantile * moments.spread[noise, sides]
    unknown = np.isnan(here.value) | (here.units < 2)
    # fmax: what is unknown of the noise is no reason to leave the end open.
    low, high = np.fmax(0.0, here.value - chance), here.value + quantile * here.spread
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


def score_estimates(
    side: Side, images: Sequence[int] | NDArray[np.int64], drawing: Resample, method: str
) -> list[Estimate]:
    """Scores of sides that do not come from draws, with their intervals."""
    low, high = differences.score_interval(side, drawing.confidence)
    return [
        Estimate(
            value=float(side.value[i]),
            low=float(low[i]),
            high=float(high[i]),
            n=int(images[i]),
            method=method,
            people=int(side.units[i]) if drawing.by_person else None,
            confidence=drawing.confidence,
        )
        for i in range(len(side.value))
    ]
