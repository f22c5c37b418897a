"""Charts of the training: loss and weighted F1 by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from candid.records import HistoryRow
from candid.reporting.figures.chart import (
    COLOURS,
    Figure,
    Key,
    figure,
    inline_data,
    layer,
    plain_axis,
    tooltips,
)
from candid.text import words

_MOST_POINTS = 600


def loss_curve(
    history: Sequence[HistoryRow], images: int | None = None, axis: str = "cross-entropy"
) -> Figure | None:
    """Training loss per batch, smoothed, and validation loss; `images` stand in validation."""
    return _training_curve(history, images, "loss", "Loss", axis)


def f1_curve(history: Sequence[HistoryRow], images: int | None = None) -> Figure | None:
    """Weighted F1 of training batches, smoothed, and of the whole validation set."""
    return _training_curve(history, images, "f1", "Weighted F1", "weighted F1")


def _training_curve(
    history: Sequence[HistoryRow], images: int | None, name: str, title: str, axis: str
) -> Figure | None:
    train, validation = f"train_{name}", f"validation_{name}"
    steps = np.array([row.step for row in history], dtype=np.float64)
    raw = np.array([getattr(row, train) for row in history], dtype=np.float64)
    measured = [row for row in history if math.isfinite(getattr(row, validation))]
    if not np.isfinite(raw).any():
        return None
    window = max(1, round(len(raw) / 40))
    smooth = _moving_mean(raw, window)
    lines = {"each batch": (steps, raw), "smoothed": (steps, smooth)}
    if measured:
        lines["validation"] = (
            np.array([row.step for row in measured], dtype=np.float64),
            np.array([getattr(row, validation) for row in measured]),
        )
    description = _describe_curve(measured, validation) if measured else "No validation figures."
    mean = f"their moving mean over {words.count(window)} batches" if window > 1 else "the same"
    times = words.many(len(measured), "time", "times")
    n = "" if images is None else f" (n = {words.count(images)})"
    return figure(
        f"training-{name}",
        title,
        "Faint: each training batch, augmented and with dropout, n = "
        f"{words.many(len(history), 'batch', 'batches')}. Line: {mean}. Dots: the whole validation "
        f"set{n}, measured {times}, without dropout.",
        f"{title} over training. {description}",
        _curve_marks(lines, axis).properties(height=240),
        key=tuple(Key(line, i) for i, line in enumerate(lines)),
    )


def _curve_marks(
    lines: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]], axis: str
) -> alt.LayerChart:
    """Each batch faint, their mean as a line, validation as a line with dots."""
    rows: list[dict[str, Any]] = [
        {"line": line, "step": round(x), "value": float(y)}
        for line, (xs, ys) in lines.items()
        for x, y in zip(*_thin(xs, ys), strict=True)
        if math.isfinite(y)
    ]
    low, high = _robust_range([row["value"] for row in rows])
    colours = ["var(--faint)", COLOURS[0], COLOURS[1]][: len(lines)]
    base = alt.Chart(inline_data(rows)).encode(
        x=alt.X("step:Q", title="batch", scale=alt.Scale(nice=False), axis=plain_axis()),
        y=alt.Y(
            "value:Q",
            title=axis,
            scale=alt.Scale(domain=[low, high], zero=False, clamp=True),
            axis=alt.Axis(tickCount=5),
        ),
        color=alt.Color("line:N", scale=alt.Scale(domain=list(lines), range=colours), legend=None),
        tooltip=tooltips(
            ("line:N", "curve"),
            ("step:Q", "batch", ","),
            ("value:Q", axis, ".4f"),
        ),
    )
    dots = base.mark_circle(size=36, opacity=1).transform_filter("datum.line == 'validation'")
    thin = base.mark_line(strokeWidth=1, opacity=0.55).transform_filter(
        "datum.line == 'each batch'"
    )
    thick = base.mark_line(strokeWidth=2).transform_filter("datum.line != 'each batch'")
    return layer(thin, thick, dots)


def _describe_curve(measured: Sequence[HistoryRow], key: str) -> str:
    first, last = measured[0], measured[-1]
    values = [getattr(row, key) for row in measured]
    return (
        f"On validation it goes from {words.number(values[0])} at batch {words.count(first.step)} "
        f"to {words.number(values[-1])} at batch {words.count(last.step)}; lowest "
        f"{words.number(min(values))}, highest {words.number(max(values))}."
    )


def _moving_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """(n,) centred mean over `window` values, fewer at the ends; NaN are left out."""
    is_finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(is_finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(is_finite)])
    index = np.arange(len(values))
    low = np.maximum(index - (window - 1) // 2, 0)
    high = np.minimum(index + window // 2 + 1, len(values))
    n = counts[high] - counts[low]
    return np.where(n > 0, (sums[high] - sums[low]) / np.maximum(n, 1), np.nan)


def _thin(
    xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `_MOST_POINTS` of the points, evenly spread, the first and the last among them."""
    if len(xs) <= _MOST_POINTS:
        return xs, ys
    keep = np.unique(np.linspace(0, len(xs) - 1, _MOST_POINTS).round().astype(np.intp))
    return xs[keep], ys[keep]


def _robust_range(values: Sequence[float]) -> tuple[float, float]:
    """The range to draw: without the few first batches that would flatten everything else."""
    array = np.asarray(values)
    low, high = float(array.min()), float(np.quantile(array, 0.995))
    return low, high if high > low else low + 1e-6
