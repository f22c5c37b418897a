"""The chart of pictures from elsewhere: how sure the model is, and how right."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from candid.records.external import Transfer
from candid.reporting.figures.chart import (
    Figure,
    again,
    data_of,
    diagonal,
    distinct,
    figure,
    from_to,
    interval_columns,
    percent_axis,
    tooltips,
)
from candid.text import words
from candid.text.external import place_rows


def sure_and_right(transfer: Transfer | None) -> Figure | None:
    """Accuracy against mean confidence, a point per source; below the line it is too sure."""
    if transfer is None or not transfer.sources:
        return None
    known = [r for r in place_rows(transfer) if math.isfinite(r.accuracy.value)]
    if not known:
        return None
    data: list[dict[str, Any]] = [
        {
            "source": name,
            **interval_columns(r.accuracy),
            "accuracy": words.percent_interval(r.accuracy),
            "confidence": r.figures.confidence.value,
            "n": r.n,
        }
        for name, r in zip(distinct([r.name for r in known]), known, strict=True)
    ]
    least = min(0.5, *(d["low"] for d in data), *(d["confidence"] for d in data))
    low = max(0.0, round(least - 0.05, 1))
    scale = alt.Scale(domain=[low, 1])
    x = alt.X("confidence:Q", title="mean confidence", scale=scale, axis=percent_axis())
    y = alt.Y("value:Q", title="accuracy", scale=scale, axis=percent_axis())
    base = alt.Chart(data_of(data)).encode(
        x=x,
        tooltip=tooltips(
            "source:N",
            ("value:Q", "accuracy", ".1%"),
            *from_to(".1%"),
            ("confidence:Q", "mean confidence", ".1%"),
            ("n:Q", "images", ","),
        ),
    )
    whiskers = base.mark_rule(strokeWidth=2, color="var(--c1)").encode(
        y=again(y, "low:Q"), y2="high:Q"
    )
    points = base.mark_circle(size=60, opacity=1, color="var(--c1)").encode(y=y)
    names = base.mark_text(align="right", dx=-8, color="var(--ink)").encode(y=y, text="source:N")
    return figure(
        "transfer-sureness",
        "How sure it is, and how right",
        "Below the dashed line it is surer than it is right; lines are "
        f"{100 * known[0].accuracy.confidence:g}% intervals of accuracy.",
        f"Accuracy and mean confidence. {_told(data)}.",
        (diagonal(scale, low) + whiskers + points + names).properties(height=300),
        wide=False,
    )


def _told(data: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{d['source']}: {d['accuracy']} right, {words.percent(d['confidence'])} sure, "
        f"n = {words.count(d['n'])}"
        for d in data
    )
