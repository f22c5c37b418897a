"""Charts of a predicted number: against the truth, its error by range, what its intervals hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from candid.records import HistoryRow
from candid.records.number import NumberEvaluation, NumberSplit
from candid.reporting.figures import training
from candid.reporting.figures.chart import (
    COLOURS,
    Figure,
    figure,
    group_axis,
    inline_data,
    interval_columns,
    interval_tips,
    layer,
    percent_axis,
    same_axis,
    shorten,
    tooltips,
    whiskers,
)
from candid.text import number as text
from candid.text import words

_MOST_GROUPS = 40  # of the coverage chart; the table has them all


def number_charts(
    evaluation: NumberEvaluation, history: Sequence[HistoryRow] = ()
) -> Iterator[Figure]:
    """The charts of the split that speaks for the model, and of the loss."""
    split = evaluation.headline
    if split is not None:
        yield true_and_predicted(split, evaluation)
        yield error_by_range(split)
        if "coverage" in split.metrics:
            yield group_coverage(split, evaluation)
    axis = "weighted loss of all labels"
    loss = training.loss_curve(history, axis=axis) if history else None
    if loss is not None:
        yield loss


def true_and_predicted(split: NumberSplit, evaluation: NumberEvaluation) -> Figure:
    """Each image's prediction over its true value, and the line on which both agree."""
    ends = [x for point in split.points for x in point]
    low, high = min(ends), max(ends)
    scale = alt.Scale(domain=[low, high], nice=True)
    dots = (
        alt.Chart(inline_data([{"true": a, "predicted": b} for a, b in split.points]))
        .mark_circle(size=18, opacity=0.35, color=COLOURS[0])
        .encode(
            x=alt.X("true:Q", title=f"true {shorten(evaluation.target)}", scale=scale),
            y=alt.Y("predicted:Q", title="predicted", scale=scale),
            tooltip=tooltips(("true:Q", "true", ".4g"), ("predicted:Q", "predicted", ".4g")),
        )
    )
    line = (
        alt.Chart(inline_data([{"a": low}, {"a": high}]))
        .mark_line(color="var(--faint)", strokeDash=[4, 4], strokeWidth=1.5)
        .encode(x=alt.X("a:Q", scale=scale, title=""), y=alt.Y("a:Q", scale=scale, title=""))
    )
    mae = split.metrics["mae"]
    n = len(split.points)
    images = "Each image is" if n == split.n else f"{n:,} images are"
    error = f"mean absolute error {text.figure_in_unit(mae)} ({text.interval_in_unit(mae)})"
    return figure(
        "true-and-predicted",
        f"True and predicted, {split.split}",
        f"{images} a dot, of n = {words.count(split.n)}. Dashed: where both agree; {error}.",
        f"Predictions over true values, {split.split}: {error}.",
        (line + dots).properties(height=320),
    )


def error_by_range(split: NumberSplit) -> Figure:
    """The mean absolute error of each range of the true value, with its interval."""
    rows = [
        {"group": g.value, "n": g.n, **interval_columns(g.metrics["mae"])} for g in split.ranges
    ]
    x = alt.X(
        "value:Q",
        title="mean absolute error",
        scale=alt.Scale(domainMin=0),
        axis=alt.Axis(tickCount=6),
    )
    parts = "; ".join(
        f"{g.value} {text.figure_in_unit(mae)} ({text.interval_in_unit(mae)}), n = "
        f"{words.count(g.n)}"
        for g in split.ranges
        if math.isfinite((mae := g.metrics["mae"]).value)
    )
    return figure(
        "error-by-range",
        f"Error by range of the true value, {split.split}",
        "Mean absolute error with its interval; few images make a wide one.",
        f"Mean absolute error by range, {split.split}. {parts}.",
        _dot_chart(rows, x, ".3g").properties(height=max(60, 24 * len(rows))),
    )


def group_coverage(split: NumberSplit, evaluation: NumberEvaluation) -> Figure:
    """What share of true values the intervals hold: overall, by range, by group."""
    estimates = [("all images", split.n, split.metrics["coverage"])]
    estimates += [(shorten(g.value, 30), g.n, g.metrics["coverage"]) for g in split.ranges]
    estimates += [
        (shorten(f"{g.attribute}: {g.value}", 30), g.n, g.metrics["coverage"])
        for g in split.groups[:_MOST_GROUPS]
    ]
    rows = [{"group": name, "n": n, **interval_columns(e)} for name, n, e in estimates]
    x = alt.X(
        "value:Q",
        title="share of true values that the intervals hold",
        scale=alt.Scale(domainMax=1, zero=False),
        axis=percent_axis(),
    )
    nominal = (
        alt.Chart(inline_data([{"value": evaluation.coverage}]))
        .mark_rule(color="var(--rule-strong)", strokeDash=[4, 4])
        .encode(x=x)
    )
    parts = "; ".join(
        f"{name} {words.percent_interval(e)}, n = {words.count(n)}"
        for name, n, e in estimates[: 1 + len(split.ranges)]
        if math.isfinite(e.value)
    )
    return figure(
        "coverage",
        f"What the intervals hold, {split.split}",
        f"Dashed: the {words.percent(evaluation.coverage)} that they were made for. "
        f"{text.coverage_verdict(split, evaluation.coverage)}",
        f"Coverage of the intervals, {split.split}. {parts}.",
        (nominal + _dot_chart(rows, x, ".3f")).properties(height=20 * len(rows)),
    )


def _dot_chart(rows: list[dict[str, Any]], x: alt.X, fmt: str) -> alt.LayerChart:
    base = alt.Chart(inline_data(rows)).encode(
        y=group_axis([row["group"] for row in rows], 200),
        tooltip=tooltips("group:N", ("value:Q", None, fmt), *interval_tips(fmt), ("n:Q", "images")),
    )
    dots = base.mark_circle(size=50, opacity=1, color=COLOURS[0]).encode(x=same_axis(x, "value:Q"))
    return layer(whiskers(base, x, 2, color=alt.value(COLOURS[0])), dots)
