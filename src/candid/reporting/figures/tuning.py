"""Charts of a search: trials one after the other, their curves, what mattered, the finalists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from candid.records.tuning import Finalist, Tuning
from candid.reporting.figures.chart import (
    COLOURS,
    Figure,
    Key,
    colour,
    figure,
    group_axis,
    inline_data,
    interval_columns,
    interval_tips,
    layer,
    plain_axis,
    same_axis,
    share_axis,
    tooltips,
)
from candid.text import words
from candid.text.tuning import finalist_name

_STATES = ("finished", "stopped", "where it began")
_COLOURS = (COLOURS[0], "var(--faint)", COLOURS[1])
_KEY = (Key("finished", 1), Key("stopped early", 0), Key("the settings it began with", 2))
_STATE_COLOUR = alt.Color(
    "state:N", scale=alt.Scale(domain=list(_STATES), range=list(_COLOURS)), legend=None
)


def search_charts(tuning: Tuning) -> dict[str, Figure]:
    """The charts that there is something to draw for, by name."""
    charts = (history(tuning), curves(tuning), importance(tuning), finalists(tuning))
    return {chart.name: chart for chart in charts if chart is not None}


def history(tuning: Tuning) -> Figure | None:
    """Validation F1 trial by trial, and the best so far."""
    measured = [t for t in tuning.trials if math.isfinite(t.f1)]
    if not measured:
        return None
    rows: list[dict[str, Any]] = []
    best = math.nan
    for trial in measured:
        if trial.state == "finished":
            best = trial.f1 if math.isnan(best) else max(best, trial.f1)
        state = _STATES[2] if trial.is_start else trial.state
        rows.append({"trial": trial.number, "f1": trial.f1, "best": best, "state": state})
    low, high = _axis_range([t.f1 for t in measured if t.state == "finished"] or [measured[0].f1])
    x = alt.X("trial:Q", title="trial", axis=plain_axis())
    y = _f1_axis(low, high)
    base = alt.Chart(inline_data(rows))
    line = base.mark_line(color="var(--rule-strong)", interpolate="step-after").encode(
        x=x, y=same_axis(y, "best:Q")
    )
    dots = base.mark_circle(size=50, opacity=1).encode(
        x=x,
        y=y,
        color=_STATE_COLOUR,
        tooltip=tooltips("trial:Q", ("f1:Q", "F1", ".4f"), "state:N"),
    )
    below = sum(t.f1 < low for t in measured)
    remark = f" {words.count(below)} lie below the axis and are drawn at its foot." if below else ""
    return figure(
        "history",
        "Trial by trial",
        f"Dots: {words.count(len(measured))} trials, each measured on the whole validation set "
        f"(n = {words.count(tuning.n_validation)}); one that was stopped, at its last evaluation."
        f"{remark} Line: the best finished so far.",
        f"Weighted F1 of {words.count(len(measured))} trials; the best finished has "
        f"{words.number(best, 4)}.",
        (line + dots).properties(height=240),
        key=_KEY,
    )


def curves(tuning: Tuning) -> Figure | None:
    """Validation F1 of every trial over its images."""
    with_curve = [t for t in tuning.trials if t.curve]
    if not with_curve:
        return None
    step = tuning.images_per_trial / tuning.evaluations
    rows: list[dict[str, Any]] = [
        {
            "trial": t.number,
            "images": round((i + 1) * step),
            "f1": f1,
            "state": _STATES[2] if t.is_start else t.state,
        }
        for t in with_curve
        for i, f1 in enumerate(t.curve)
    ]
    low, high = _axis_range([f1 for t in with_curve for f1 in t.curve[len(t.curve) // 3 :]])
    lines = (
        alt.Chart(inline_data(rows))
        .mark_line(strokeWidth=1.5, opacity=0.8, point=alt.OverlayMarkDef(size=14, filled=True))
        .encode(
            x=alt.X("images:Q", title="images so far", axis=plain_axis()),
            y=_f1_axis(low, high),
            detail="trial:N",
            color=_STATE_COLOUR,
            tooltip=tooltips("trial:Q", ("images:Q", None, ","), ("f1:Q", "F1", ".4f"), "state:N"),
        )
    )
    stopped = sum(t.state == "stopped" for t in with_curve)
    return figure(
        "curves",
        "The curves of the trials",
        f"One line per trial, measured {tuning.evaluations} times if it was not stopped "
        f"(n = {words.count(tuning.n_validation)}). What lies below the axis is drawn at its foot.",
        f"Validation F1 of {words.count(len(with_curve))} trials over their images; "
        f"{words.count(stopped)} were stopped early.",
        lines.properties(height=260),
        key=_KEY,
    )


def importance(tuning: Tuning) -> Figure | None:
    """Each setting's share of the variance of F1 over the finished trials."""
    if not tuning.importance:
        return None
    order = sorted(tuning.importance, key=lambda s: -tuning.importance[s].value)
    rows = [{"setting": s, **interval_columns(tuning.importance[s])} for s in order]
    base = alt.Chart(inline_data(rows)).encode(
        y=group_axis(order, 220, "setting"),
        tooltip=tooltips(
            "setting:N",
            ("value:Q", "share", ".1%"),
            *interval_tips(".1%"),
        ),
    )
    x = share_axis("value:Q", "share of the variance of F1")
    bars = base.mark_bar(color=COLOURS[0], opacity=0.45).encode(x=x)
    whiskers = base.mark_rule(color="var(--ink)", strokeWidth=1.5).encode(
        x=same_axis(x, "low:Q"), x2="high:Q"
    )
    finished = sum(t.state == "finished" for t in tuning.trials)
    draws = tuning.importance[order[0]].draws
    return figure(
        "importance",
        "Which settings mattered",
        "Functional analysis of variance on a random forest over the "
        f"{words.count(finished)} finished trials, within the ranges that were searched. Lines: "
        f"the middle nine tenths of {draws} resamplings of the trials. Where they are long, the "
        "order may be chance.",
        "Shares of the variance of F1: "
        + "; ".join(f"{s} {words.percent_interval(tuning.importance[s])}" for s in order)
        + ".",
        (bars + whiskers).properties(height=26 * len(order) + 10),
    )


def finalists(tuning: Tuning) -> Figure | None:
    """Validation F1 of each finalist with each fresh seed."""
    repeated = [f for f in tuning.finalists if f.f1]
    if not repeated:
        return None
    names = {f.number: finalist_name(f.number, f.is_start) for f in repeated}
    order = list(names.values())
    seeds = [f"seed {seed}" for seed in sorted({seed for f in repeated for seed in f.seeds})]
    return figure(
        "finalists",
        "The finalists, trained again",
        f"Dots: one training each with a fresh seed (n = {words.count(tuning.n_validation)} "
        "validation images). Line: their mean.",
        "Mean F1 over fresh seeds: "
        + "; ".join(f"{names[f.number]} {words.with_ends(f.mean, 4)}" for f in repeated)
        + ".",
        _finalist_marks(repeated, names, seeds).properties(height=40 * len(order) + 10),
        key=tuple(Key(name, i % len(COLOURS) + 1) for i, name in enumerate(seeds)),
    )


def _finalist_marks(
    repeated: Sequence[Finalist], names: dict[int, str], seeds: list[str]
) -> alt.LayerChart:
    """A dot for each training, and a tick for the mean."""
    dots = [
        {"finalist": names[f.number], "seed": f"seed {seed}", "f1": f1}
        for f in repeated
        for seed, f1 in zip(f.seeds, f.f1, strict=True)
    ]
    means = [{"finalist": names[f.number], "f1": f.mean.value} for f in repeated]
    low, high = _axis_range([f1 for f in repeated for f1 in f.f1 if math.isfinite(f1)] or [0.0])
    x = alt.X(
        "f1:Q",
        title="weighted F1 on validation",
        scale=alt.Scale(domain=[low, high], zero=False),
        axis=alt.Axis(tickCount=6),
    )
    y = group_axis(list(names.values()), 220, "finalist")
    ticks = (
        alt.Chart(inline_data(means))
        .mark_tick(color="var(--ink)", thickness=2, size=22)
        .encode(x=x, y=y, tooltip=tooltips(("f1:Q", "mean", ".4f")))
    )
    circles = (
        alt.Chart(inline_data(dots))
        .mark_circle(size=60, opacity=1)
        .encode(
            x=x,
            y=y,
            color=colour(seeds, field="seed"),
            tooltip=tooltips("seed:N", ("f1:Q", "F1", ".4f")),
        )
    )
    return layer(ticks, circles)


def _f1_axis(low: float, high: float) -> alt.Y:
    """Weighted F1 from `low` to `high`; what lies outside is drawn at the edge."""
    scale = alt.Scale(domain=[low, high], zero=False, clamp=True)
    return alt.Y("f1:Q", title="weighted F1 on validation", scale=scale, axis=alt.Axis(tickCount=5))


def _axis_range(values: list[float]) -> tuple[float, float]:
    """The range to draw, with some room about it."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.005
    return low - room, min(1.0, high + room)
