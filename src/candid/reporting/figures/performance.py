"""Charts of how well the model does: scores, confusion, curves, reliability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from candid.records import Curve, Estimate, ReliabilityBin, SplitEvaluation
from candid.reporting.figures.chart import (
    COLOURS,
    MOST_CLASSES,
    Figure,
    Key,
    colour,
    colour_key,
    dash,
    diagonal,
    figure,
    inline_data,
    interval_columns,
    interval_tips,
    layer,
    same_axis,
    tooltips,
)
from candid.text import words
from candid.text.charts import ChartPoint, describe_reliability
from candid.text.metrics import metric_text


def scores(splits: Sequence[SplitEvaluation]) -> Figure | None:
    """The scores of which 1 is the best, with intervals, split by split."""
    keys = ["weighted_f1", "accuracy", "balanced_accuracy", "roc_auc", "average_precision"]
    rows: list[dict[str, Any]] = [
        {"metric": metric_text(key).name, "split": s.split, "n": e.n, **interval_columns(e)}
        for s in splits
        for key in keys
        if (e := s.metrics.get(key)) is not None and math.isfinite(e.value)
    ]
    if not rows:
        return None
    names = [metric_text(key).name for key in keys]
    lowest = min([row["low"] if math.isfinite(row["low"]) else row["value"] for row in rows])
    floor = max(0.0, math.floor((lowest - 0.005) * 50) / 50)
    order: list[str] = [s.split for s in splits]
    measured = len({row["metric"] for row in rows})
    return figure(
        "scores",
        "Scores with their intervals",
        f"1 is perfect; the axis starts at {words.number(floor, 2)}. "
        + " ".join(f"{s.split.capitalize()}: n = {words.count(s.n)}." for s in splits),
        "Scores with intervals. "
        + "; ".join(f"{s.split} {_describe_scores(s, keys)}" for s in splits)
        + ".",
        _score_marks(rows, names, order, floor).properties(height=36 * measured + 10),
        key=colour_key(order),
    )


def _describe_scores(split: SplitEvaluation, keys: Sequence[str]) -> str:
    """A split's scores with their intervals, in words."""
    scores = [(metric_text(key).name, split.metrics[key]) for key in keys if key in split.metrics]
    parts = ", ".join(f"{name} {words.with_ends(e)}" for name, e in scores)
    return f"{parts}, n = {words.count(split.n)}"


def _score_marks(
    rows: list[dict[str, Any]], names: list[str], order: list[str], floor: float
) -> alt.LayerChart:
    """A dot with its interval for each metric of each split."""
    base = alt.Chart(inline_data(rows)).encode(
        y=alt.Y("metric:N", title=None, sort=names),
        yOffset=alt.YOffset("split:N", sort=order, scale=alt.Scale(paddingOuter=0.6)),
        color=colour(order, field="split"),
        tooltip=tooltips(
            "metric:N",
            "split:N",
            ("value:Q", None, ".3f"),
            *interval_tips(".3f"),
            ("n:Q", "images", ","),
        ),
    )
    x = alt.X(
        "value:Q",
        title="score",
        scale=alt.Scale(domain=[floor, 1], nice=False),
        axis=alt.Axis(tickCount=6),
    )
    bars = base.mark_rule(strokeWidth=2, clip=True).encode(x=same_axis(x, "low:Q"), x2="high:Q")
    return layer(bars, base.mark_circle(size=60, opacity=1).encode(x=x))


def roc(split: SplitEvaluation) -> Figure | None:
    """True positive rate against false positive rate."""
    # Two classes: the second's curve says it all, the first's is its mirror image.
    curves = split.roc[-1:] if len(split.classes) == 2 else split.roc
    areas = {c.name: c.roc_auc for c in split.classes}
    axes = ("false positive rate", "true positive rate")
    return _curves(split, "roc", "ROC", curves, axes, areas, "area", guess=True)


def precision_recall(split: SplitEvaluation) -> Figure | None:
    """Precision against recall."""
    means = {c.name: c.average_precision for c in split.classes}
    kind, axes = "Precision and recall", ("recall", "precision")
    curves = split.precision_recall
    return _curves(split, "precision-recall", kind, curves, axes, means, "average precision")


def _curves(
    split: SplitEvaluation,
    name: str,
    kind: str,
    curves: Sequence[Curve],
    axes: tuple[str, str],
    areas: dict[str, Estimate],
    area: str,
    *,
    guess: bool = False,
) -> Figure | None:
    rows = _curve_rows(curves)
    if not rows or len(curves) > MOST_CLASSES:
        return None
    classes, with_points = [c.name for c in split.classes], {row["class"] for row in rows}
    visible = [c for c in classes if c in with_points]
    places = [classes.index(c) for c in visible]
    parts = [
        f"{c}: {area} {words.figure_of(areas[c])} ({words.interval(areas[c])}; "
        f"n = {words.count(areas[c].n)})"
        for c in visible
    ]
    text = "; ".join(parts)
    in_table = f"The {area} of each class stands in its table above"
    notes = " Dashed: a guess." if guess else ""
    if guess and len(visible) < len(classes):
        notes = f" The other class’s curve is its mirror image.{notes}"
    caption = f"{text if len(parts) <= 3 else in_table}.{notes}"
    title = f"{kind}, {split.split}"
    return figure(
        f"{name}-{split.split}",
        title,
        caption,
        f"{title}. {text}.",
        _curve_marks(rows, axes, visible, places, guess=guess).properties(height=250),
        key=colour_key(visible, places),
        wide=False,
    )


def _curve_rows(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """A row for each point that can be drawn."""
    return [
        {"class": curve.name, "order": i, "x": a, "y": b}
        for curve in curves
        for i, (a, b) in enumerate(zip(curve.x, curve.y, strict=True))
        if math.isfinite(a) and math.isfinite(b)
    ]


def _curve_marks(
    rows: list[dict[str, Any]],
    axes: tuple[str, str],
    classes: list[str],
    places: list[int],
    *,
    guess: bool,
) -> alt.Chart | alt.LayerChart:
    """A line for each class, and the diagonal on which a guess lies."""
    x, y = axes
    unit = alt.Scale(domain=[0, 1], nice=False)
    axis = alt.Axis(tickCount=5, format=".1f")
    line: alt.Chart = (
        alt.Chart(inline_data(rows))
        .mark_line(strokeWidth=2, interpolate="linear")
        .encode(
            x=alt.X("x:Q", title=x, scale=unit, axis=axis),
            y=alt.Y("y:Q", title=y, scale=unit, axis=axis),
            order="order:Q",
            color=colour(classes, places),
            strokeDash=dash(classes, places),
            tooltip=tooltips(
                ("class:N", "class"),
                ("x:Q", x, ".3f"),
                ("y:Q", y, ".3f"),
            ),
        )
    )
    return layer(diagonal(unit), line) if guess else line


def reliability(split: SplitEvaluation, others: Sequence[SplitEvaluation] = ()) -> Figure | None:
    """What confidence promised against what came true, on axes that `others` share.

    Where a temperature was fitted, open dots show the same before it.
    """
    after, before = _bins(split.reliability, _AFTER), _bins(split.reliability_before, _BEFORE)
    if not after:
        return None
    calibration = _describe_calibration(split)
    method = words.method(split.reliability[0].accuracy)
    open_dots = " Open: the same images before the temperature was fitted." if before else ""
    return figure(
        f"reliability-{split.split}",
        f"Reliability, {split.split}",
        f"Images in bins of confidence, with intervals ({method}); the larger the dot, the more "
        f"images. On the dashed line, confidence comes true.{open_dots} {calibration}; "
        f"n = {words.count(split.n)}.",
        describe_reliability(split.split, calibration, [_chart_point(row) for row in after]),
        _reliability_marks(before, after, _axis_start([split, *others])).properties(height=250),
        key=(Key(_BEFORE, 0, is_open=True), Key(_AFTER, 1)) if before else (),
        wide=False,
    )


def _reliability_marks(
    before: list[dict[str, Any]], after: list[dict[str, Any]], low: float
) -> alt.LayerChart:
    """A dot with its interval for each bin, and a ring for what it was before the temperature."""
    scale = alt.Scale(domain=[low, 1], nice=False, clamp=True)
    axis = alt.Axis(tickCount=5, format=".1f")
    base = alt.Chart(inline_data([*before, *after])).encode(
        x=alt.X("confidence:Q", title="confidence", scale=scale, axis=axis),
        tooltip=tooltips(
            *([("when:N", "temperature")] if before else []),
            ("between:N", "confidence from"),
            ("confidence:Q", "mean confidence", ".3f"),
            ("value:Q", "came true", ".3f"),
            *interval_tips(".3f"),
            ("n:Q", "images", ","),
        ),
    )
    y = alt.Y("value:Q", title="share that came true", scale=scale, axis=axis)
    size = alt.Size("n:Q", scale=alt.Scale(range=[20, 260]), legend=None)
    fitted = base.transform_filter(f"datum.when == '{_AFTER}'")
    dots = fitted.mark_circle(color=COLOURS[0], opacity=1).encode(y=y, size=size)
    bars = fitted.mark_rule(color=COLOURS[0], strokeWidth=1.5, clip=True).encode(
        y=same_axis(y, "low:Q"), y2="high:Q"
    )
    below = [diagonal(scale, low)]
    if before:
        rings = base.transform_filter(f"datum.when == '{_BEFORE}'").mark_point(
            color="var(--faint)", opacity=1, filled=False, strokeWidth=1.3
        )
        below.append(rings.encode(y=y, size=size))
    return layer(*below, bars, dots)


_BEFORE, _AFTER = "before the temperature", "after it"


def _bins(bins: Sequence[ReliabilityBin], stage: str) -> list[dict[str, Any]]:
    """The bins that hold images, as rows of the chart."""
    return [
        {
            "when": stage,
            "confidence": b.confidence,
            "n": b.n,
            "between": f"{b.low:.2f} to {b.high:.2f}",
            **interval_columns(b.accuracy),
        }
        for b in bins
        if b.n and math.isfinite(b.accuracy.value) and math.isfinite(b.confidence)
    ]


def _chart_point(row: dict[str, Any]) -> ChartPoint:
    """A bin for the chart's words, named by its mean confidence."""
    name = words.number(row["confidence"], 2)
    return ChartPoint(name, row["value"], row["low"], row["high"], row["n"])


def _describe_calibration(split: SplitEvaluation) -> str:
    """The calibration error with its interval, and where a temperature was fitted, that before."""
    after, before = (
        split.metrics.get(key) for key in ("calibration_error", "calibration_error_before")
    )
    errors = [(after, "")]
    if split.reliability_before:
        errors = [(before, "before the temperature was fitted"), (after, "after")]
    return "Calibration error " + " and ".join(
        f"{words.with_ends(e)} {stage}".rstrip() for e, stage in errors if e is not None
    )


def _axis_start(splits: Sequence[SplitEvaluation]) -> float:
    """Where the axes of the reliability diagrams start: a round figure below every dot."""
    bins = [b for s in splits for b in (*s.reliability, *s.reliability_before)]
    dots = [x for b in bins for x in (b.confidence, b.accuracy.value)]
    low = min([0.5, *(x for x in dots if math.isfinite(x))])
    return max(0.0, math.floor(low * 10) / 10 - 0.1)
