"""Figures of measured sides as estimates with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from candid.arrays import FloatArray, IndexArray
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
    moments: Moments, sides: Sequence[int] | IndexArray, rows: Rows, names: Sequence[str] = ()
) -> list[dict[str, Estimate]]:
    """Figures of sides with their intervals; without names every figure."""
    names = names or [name for name in moments.figures if name != "calibration_noise"]
    index = np.asarray(sides, np.intp)
    columns = {name: _estimate_column(moments, name, index, rows) for name in names}
    return [{name: column[k] for name, column in columns.items()} for k in range(len(sides))]


def _estimate_column(moments: Moments, name: str, sides: IndexArray, rows: Rows) -> list[Estimate]:
    """One figure of sides."""
    i, resampling = moments.row(name), rows.resampling
    figure = moments.side(name, sides)
    methods = [resampling.method] * len(sides)
    if name == "calibration_error":
        low, high = _deviation_interval(moments, sides, figure, resampling.confidence)
    elif name in MEANS:
        low, high = differences.mean_interval(figure, resampling.confidence)
        low, high = (np.where(np.isfinite(end), end, math.nan) for end in (low, high))
    else:
        low, high = differences.score_interval(figure, resampling.confidence)
        exact = (figure.spread == 0) & ~np.isnan(figure.value)
        wilson = "Wilson by person" if resampling.by_person else "Wilson"
        methods = [wilson if is_exact else resampling.method for is_exact in exact]
    return [
        Estimate(
            value=float(figure.value[k]),
            low=float(low[k]),
            high=float(high[k]),
            n=int(moments.images[i, side]),
            method=methods[k],
            people=int(figure.units[k]) if resampling.by_person else None,
            draws=resampling.draws,
            undefined_draws=int(moments.undefined[i, side]),
            confidence=resampling.confidence,
        )
        for k, side in enumerate(sides)
    ]


def _deviation_interval(
    moments: Moments, sides: IndexArray, side: Side, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """The limits of a deviation: low is what remains after the noise that few draws exceed."""
    noise = moments.row("calibration_noise")
    quantile = student_quantile(confidence, np.maximum(side.units - 1, 1))
    chance = moments.mean[noise, sides] + quantile * moments.spread[noise, sides]
    unknown = np.isnan(side.value) | (side.units < 2)
    # fmax: an undefined noise does not make the end undefined.
    low, high = np.fmax(0.0, side.value - chance), side.value + quantile * side.spread
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


def score_estimates(
    side: Side, images: Sequence[int] | NDArray[np.int64], resampling: Resample, method: str
) -> list[Estimate]:
    """Scores of sides that do not come from draws, with their intervals."""
    low, high = differences.score_interval(side, resampling.confidence)
    return [
        Estimate(
            value=float(side.value[i]),
            low=float(low[i]),
            high=float(high[i]),
            n=int(images[i]),
            method=method,
            people=int(side.units[i]) if resampling.by_person else None,
            confidence=resampling.confidence,
        )
        for i in range(len(side.value))
    ]
