"""Charts of the audit: gaps with their intervals, pairs of values, error against coverage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from candid.records.abstention import Abstention, RiskCoverage
from candid.records.audit import SplitAudit
from candid.reporting.audit_tables import GapRow, drop_opposites, gap_rows
from candid.reporting.figures.chart import (
    Figure,
    Key,
    colour,
    colour_key,
    figure,
    forest,
    inline_data,
    interval_tips,
    layer,
    percent_axis,
    short_names,
    tooltips,
)
from candid.text import words
from candid.text.charts import ChartPoint, describe_coverage, describe_pairs
from candid.text.findings import group_name

_LONGEST = 34  # letters of a group's name: a range of a measure needs them
MOST_GAPS = 40  # more lines nobody reads in a chart; the table has them all
_MOST_PAIRS = 24
_MOST_NAMED = 3  # groups or pairs that are told in words
_MOST_CURVES = 6
# Which lines the page asks for: by name, or only those of gaps that were found.
_LINE_FILTER = (
    "(!only_found || datum.state === 'found') && "
    "(asked === '' ? (only_found || datum.shown) : indexof(datum.asked, asked) >= 0)"
)
_STATES = {"found": "var(--c2)", "not found": "var(--c1)", "too few to say": "var(--faint)"}


def gap_forest(split: SplitAudit) -> Figure | None:
    """A forest plot: each group's accuracy less that of the rest, the worst first."""
    gaps = drop_opposites([r for r in gap_rows(split) if math.isfinite(r.gap.value)])
    if not gaps:
        return None
    half = MOST_GAPS // 2
    middle = range(half, len(gaps) - half) if len(gaps) > MOST_GAPS else range(0)
    data = _gap_rows(gaps, middle)
    tips = tooltips(
        "group:N",
        ("gap:Q", "points of accuracy", "+.1f"),
        *interval_tips("+.1f"),
        ("n:Q", "images", ","),
        ("people:Q", "people", ","),
        "state:N",
    )
    x = alt.X("gap:Q", title="points from the rest")
    chart = forest(data, x, _STATES, tips, width=210, only=_LINE_FILTER).add_params(
        alt.param(name="asked", value=""), alt.param(name="only_found", value=False)
    )
    remark = f" The {half} at either end of {len(gaps)}; ask for others above." if middle else ""
    visible = [d for d in data if d["shown"]]
    return figure(
        "audit-gaps",
        f"Gaps in accuracy to the rest, {split.split}",
        "Left of the line: worse than the rest; lines are "
        f"{words.confidence(gaps[0].gap.confidence)}s. {words.count(split.n)} images. Of two "
        f"opposite values the one that fares worse is shown.{remark}",
        _describe_gaps(gaps),
        chart.properties(height=17 * len(visible) + 20),
        key=(Key("found", 2), Key("not found", 1), Key("too few to say", 0)),
    )


def _describe_gaps(rows: Sequence[GapRow]) -> str:
    """The chart in words: how many gaps were found, and those that are furthest behind."""
    significant = [r for r in rows if _state(r) == "found"]
    furthest = sorted(significant or rows, key=lambda r: r.gap.value)[:_MOST_NAMED]
    parts = "; ".join(
        f"{r.name} {words.points_of(r.gap).removeprefix('+')} points "
        f"({words.points_interval(r.gap)}; {_state(r)})"
        for r in furthest
    )
    return (
        f"Gaps in accuracy, {words.count(len(significant))} of {words.count(len(rows))} found. "
        f"Furthest behind: {parts}."
    )


def _state(row: GapRow) -> str:
    return row.group.state if row.group.state == "too few to say" else row.gap.state


def _gap_rows(rows: Sequence[GapRow], middle: range) -> list[dict[str, Any]]:
    """The gaps in percentage points; those in the middle are shown where they are asked for."""
    names = short_names([r.name for r in rows], _LONGEST)
    return [
        {
            "group": name,
            "gap": 100 * r.gap.value,
            "low": 100 * r.gap.low,
            "high": 100 * r.gap.high,
            "n": r.gap.n,
            "people": r.gap.people,
            "state": _state(r),
            "asked": r.name.lower(),
            "shown": i not in middle,
        }
        for i, (name, r) in enumerate(zip(names, rows, strict=True))
    ]


def pairs(split: SplitAudit) -> Figure | None:
    """A heat map of pairs of values: accuracy less that of the rest."""
    grid = split.grid
    if grid is None or len(grid.conditions) < 2:
        return None
    order = sorted(
        range(len(grid.conditions)),
        key=lambda i: min((g for g in grid.gap[i] if math.isfinite(g)), default=0.0),
    )[:_MOST_PAIRS]
    names = short_names([group_name([grid.conditions[i]]) for i in order])
    data: list[dict[str, Any]] = [
        {
            "a": names[i],
            "b": names[j],
            "gap": 100 * grid.gap[x][y],
            "low": 100 * grid.low[x][y] if grid.low else math.nan,
            "high": 100 * grid.high[x][y] if grid.high else math.nan,
            "n": grid.n[x][y],
            "found": grid.found[x][y],
        }
        for i, x in enumerate(order)
        for j, y in enumerate(order)
        if math.isfinite(grid.gap[x][y])
    ]
    if not data:
        return None
    largest = max(abs(d["gap"]) for d in data) or 1.0
    return figure(
        "audit-pairs",
        f"Two values together, {split.split}",
        f"Orange: worse than the rest, blue: better; the darkest is {words.number(largest, 1)} "
        "points of accuracy. A dot marks a gap that was found; the diagonal holds single values; "
        "empty: too few images. The values with the widest gaps.",
        describe_pairs(_worst_pairs(data), len(names)),
        _heat_map(data, names, largest).properties(height=max(120, 20 * len(names))),
    )


def _worst_pairs(data: Sequence[dict[str, Any]]) -> list[ChartPoint]:
    """The pairs that are furthest behind of those found, each once."""
    pairs = {frozenset((d["a"], d["b"])): d for d in data if d["found"] and d["gap"] < 0}
    return [
        ChartPoint(
            " with ".join(dict.fromkeys((d["a"], d["b"]))),
            d["gap"] / 100,
            d["low"] / 100,
            d["high"] / 100,
            d["n"],
        )
        for d in sorted(pairs.values(), key=lambda d: d["gap"])[:_MOST_NAMED]
    ]


def _heat_map(data: list[dict[str, Any]], names: list[str], largest: float) -> alt.LayerChart:
    """A cell for each pair, coloured by its gap, up to `largest`; a dot where it was found."""
    axis = alt.Axis(labelLimit=130, domain=False, ticks=False, labelOverlap=False)
    across = axis.copy()
    across.labelAngle = -90
    across.labelOverlap = "greedy"  # on a narrow page some names would stand on others
    base = alt.Chart(inline_data(data)).encode(
        x=alt.X("b:N", title=None, sort=names, axis=across),
        y=alt.Y("a:N", title=None, sort=names, axis=axis),
        tooltip=tooltips(
            ("a:N", "both"),
            ("b:N", "and"),
            ("gap:Q", "points of accuracy", "+.1f"),
            *interval_tips("+.1f"),
            ("n:Q", "images", ","),
            ("found:N", "found"),
        ),
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "gap:Q",
            scale=alt.Scale(
                domain=[-largest, 0, largest],
                range=["#c2570c", "#8882", "#1d6fb8"],
                interpolate="rgb",
            ),
            legend=None,
        )
    )
    dots = base.transform_filter("datum.found").mark_circle(size=26, color="var(--ink)", opacity=1)
    return layer(cells, dots)


def coverage(abstention: Abstention) -> Figure | None:
    """Error among the surest images against how many of them are answered."""
    curves = [c for c in abstention.curves if c.kind in ("all", "group") and c.coverage]
    overall = [c for c in curves if c.kind == "all"]
    worst = sorted((c for c in curves if c.kind == "group"), key=lambda c: -c.error[-1])
    visible = overall + worst[: _MOST_CURVES - 1]
    if not visible:
        return None
    names = short_names([_curve_name(c) for c in visible])
    data: list[dict[str, Any]] = [
        {"group": name, "coverage": x, "error": y}
        for name, c in zip(names, visible, strict=True)
        for x, y in zip(c.coverage, c.error, strict=True)
    ]
    chart = (
        alt.Chart(inline_data(data))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("coverage:Q", title="share of the images that is answered",
                    scale=alt.Scale(domain=[0, 1]), axis=percent_axis()),
            y=alt.Y("error:Q", title="share of the answers that is wrong", axis=percent_axis()),
            color=colour(names, field="group"),
            tooltip=tooltips("group:N", ("coverage:Q", None, ".1%"), ("error:Q", None, ".2%")),
        )
    )  # fmt: skip
    return figure(
        "audit-coverage",
        "Error against coverage",
        "The surest answers first. All images, and the groups with the highest error.",
        describe_coverage(
            [
                ChartPoint(name, c.error[-1], c.low[-1], c.high[-1], c.n)
                for name, c in zip(names, visible, strict=True)
            ]
        ),
        chart.properties(height=260),
        key=colour_key(names),
    )


def _curve_name(curve: RiskCoverage) -> str:
    return "all images" if curve.kind == "all" else f"{curve.attribute}: {curve.value}"
