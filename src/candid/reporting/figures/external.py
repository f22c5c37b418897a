"""The chart of pictures from elsewhere: how sure the model is, and how right."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from candid.records.external import Transfer
from candid.reporting.figures.chart import (
    Figure,
    diagonal,
    figure,
    inline_data,
    interval_columns,
    interval_tips,
    percent_axis,
    same_axis,
    short_names,
    tooltips,
)
from candid.text import words
from candid.text.external import place_rows


def accuracy_by_confidence(transfer: Transfer | None) -> Figure | None:
    """Accuracy against mean confidence, a point per source; below the line it is too sure."""
    if transfer is None or not transfer.sources:
        return None
    rows = [r for r in place_rows(transfer) if math.isfinite(r.accuracy.value)]
    if not rows:
        return None
    data: list[dict[str, Any]] = [
        {
            "source": name,
            **interval_columns(r.accuracy),
            "accuracy": words.percent_interval(r.accuracy),
            "confidence": r.figures.confidence.value,
            "n": r.figures.evaluation.n,
        }
        for name, r in zip(short_names([r.name for r in rows]), rows, strict=True)
    ]
    lowest = min(0.5, *(d["low"] for d in data), *(d["confidence"] for d in data))
    low = max(0.0, round(lowest - 0.05, 1))
    scale = alt.Scale(domain=[low, 1])
    x = alt.X("confidence:Q", title="mean confidence", scale=scale, axis=percent_axis())
    y = alt.Y("value:Q", title="accuracy", scale=scale, axis=percent_axis())
    base = alt.Chart(inline_data(data)).encode(
        x=x,
        tooltip=tooltips(
            "source:N",
            ("value:Q", "accuracy", ".1%"),
            *interval_tips(".1%"),
            ("confidence:Q", "mean confidence", ".1%"),
            ("n:Q", "images", ","),
        ),
    )
    whiskers = base.mark_rule(strokeWidth=2, color="var(--c1)").encode(
        y=same_axis(y, "low:Q"), y2="high:Q"
    )
    points = base.mark_circle(size=60, opacity=1, color="var(--c1)").encode(y=y)
    names = base.mark_text(align="right", dx=-8, color="var(--ink)").encode(y=y, text="source:N")
    return figure(
        "transfer-sureness",
        "How sure it is, and how right",
        "Below the dashed line it is surer than it is right; lines are "
        f"{100 * rows[0].accuracy.confidence:g}% intervals of accuracy.",
        f"Accuracy and mean confidence. {_describe_sources(data)}.",
        (diagonal(scale, low) + whiskers + points + names).properties(height=300),
        wide=False,
    )


def _describe_sources(data: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{d['source']}: {d['accuracy']} right, {words.percent(d['confidence'])} sure, "
        f"n = {words.count(d['n'])}"
        for d in data
    )
