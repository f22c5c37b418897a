"""Charts of two models on the same images: what changed for whom, and how far gaps are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from candid.records.compare import Change, Comparison, GroupChange
from candid.records.compare_runs import RunComparison
from candid.records.metrics import metric_named
from candid.reporting.figures.chart import (
    Column,
    Figure,
    Key,
    figure,
    forest,
    group_axis,
    inline_data,
    interval_tips,
    layer,
    same_axis,
    short_names,
    tooltips,
    zero_line,
)
from candid.text import words
from candid.text.comparison import (
    change_cell,
    change_interval,
    change_name,
    column_heads,
    figure_name,
    format_change,
    format_gap,
)

_MOST_CHANGES = 30
_MOST_GAPS = 20
_MOST_NAMED = 3  # changes that are told in words, beside the first
_VERDICT_COLOURS = {
    "better": "var(--c3)", "worse": "var(--c2)", "not found": "var(--c1)",
    "too few to say": "var(--faint)",
}  # fmt: skip

# A group's name and the label: letters, and the pixels that they may take.
_LONGEST, _WIDEST = 40, 240


def comparison_charts(comparison: Comparison) -> dict[str, Figure]:
    """The charts that there is something to draw for, by name."""
    charts = (changes(comparison), gap_changes(comparison))
    return {chart.name: chart for chart in charts if chart is not None}


def changes(comparison: Comparison) -> Figure | None:
    """A forest plot: B's figure less A's for all images, each class, and the groups in order."""
    defined = [g for g in comparison.every() if math.isfinite(g.change.value)]
    if not defined:
        return None
    visible = ([g for g in defined if g.state != "too few to say"] or defined)[:_MOST_CHANGES]
    data, metric = _change_rows(visible), comparison.overall.metric
    chart = _change_forest(data, metric, ("n:Q", "images", ","), ("people:Q", "people", ","))
    n, total = len(visible), len(defined)
    remark = "" if n == total else f" {n} of {total}; all are below."
    return figure(
        "comparison-changes",
        "What changed for whom",
        f"{_better_side(metric)} of the line: better with “{comparison.b}”. "
        f"{_pairing_sentence(comparison)} {words.count(comparison.n)} {comparison.split} "
        f"images.{remark}",
        f"Changes in {figure_name(metric).lower()}: "
        f"{_describe_changes(visible, [d['group'] for d in data])}.",
        chart.properties(height=17 * len(data) + 20),
        key=(Key("better", 3), Key("worse", 2), Key("not found", 1), Key("too few to say", 0)),
    )


def pair_changes(comparison: RunComparison) -> Figure | None:
    """A forest plot: the later model's figure less the earlier one's, for every pair."""
    defined = [p for p in comparison.pairs if math.isfinite(p.overall.change.value)]
    if not defined:
        return None
    labels = short_names([f"{pair.a} → {pair.b}" for pair in defined], _LONGEST)
    data = [
        row | {"group": label}
        for pair, label in zip(defined, labels, strict=True)
        for row in _change_rows([pair.overall])
    ]
    better = "is nearer" if comparison.is_number else "is right more often"
    chart = _change_forest(data, comparison.metric)
    return figure(
        "comparison-pairs",
        "Every pair of models",
        f"{_better_side(comparison.metric)} of the line: the model behind the arrow {better}. "
        f"{_pairing_sentence(defined[0])} {words.count(comparison.n)} {comparison.split} images.",
        f"Differences in {figure_name(comparison.metric).lower()}: "
        f"{_describe_changes([p.overall for p in defined], labels)}.",
        chart.properties(height=17 * len(data) + 20),
        key=(Key("better", 3), Key("worse", 2), Key("not found", 1)),
    )


def _change_forest(data: list[dict[str, Any]], metric: str, *columns: Column) -> alt.LayerChart:
    """Changes in accuracy, or in a number's error; `columns` are more of the tooltips."""
    title, digits = ("points of accuracy", "+.1f") if metric == "accuracy" else ("error", "+.3~g")
    lost, gained = (head.lower() for head in column_heads(metric)[-2:])
    tips = tooltips(
        "group:N",
        ("change:Q", title, digits),
        *interval_tips(digits),
        *columns,
        ("lost:Q", lost, ","),
        ("gained:Q", gained, ","),
        "state:N",
    )
    x = alt.X("change:Q", title=column_heads(metric)[2].lower(), axis=alt.Axis(tickCount=8))
    return forest(data, x, _VERDICT_COLOURS, tips, width=_WIDEST)


def _better_side(metric: str) -> str:
    """On which side of 0 a change is to the better."""
    return "Right" if metric_named(metric).better > 0 else "Left"


def _scale(metric: str) -> float:
    """100 for shares, which are shown in points; 1 for a number, in its own unit."""
    return 100.0 if metric == "accuracy" else 1.0


def _pairing_sentence(comparison: Comparison) -> str:
    """How the intervals were made."""
    unit = "image" if comparison.people is None else "person"
    return f"Lines are intervals, paired by {unit}."


def _change_rows(changes: Sequence[GroupChange]) -> list[dict[str, Any]]:
    names = short_names([change_name(g) for g in changes], _LONGEST)
    return [
        {
            "group": label,
            "change": _scale(g.metric) * g.change.value,
            "low": _scale(g.metric) * g.change.low,
            "high": _scale(g.metric) * g.change.high,
            "n": g.n,
            "people": g.people,
            "lost": g.lost,
            "gained": g.gained,
            "state": _verdict(g),
        }
        for label, g in zip(names, changes, strict=True)
    ]


def _describe_changes(changes: Sequence[GroupChange], names: Sequence[str]) -> str:
    """How many changes were found, and the first and the widest of those found."""
    significant = [i for i, g in enumerate(changes) if i and g.state == "found"]
    widest = sorted(significant, key=lambda i: -abs(changes[i].change.value))[:_MOST_NAMED]
    verdicts = [_verdict(g) for g in changes]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in _VERDICT_COLOURS)
    texts = "; ".join(
        f"{names[i]} {format_change(changes[i].change, changes[i].metric)} "
        f"({change_interval(changes[i].change, changes[i].metric)}; {verdicts[i]})"
        for i in (0, *widest)
    )
    return f"{counts}. {texts}"


def _verdict(change: GroupChange) -> str:
    if change.state != "found":
        return change.state
    return "better" if change.gain > 0 else "worse"


def gap_changes(comparison: Comparison) -> Figure | None:
    """How far the groups that A failed most were from the rest, and how far they are with B."""
    metric = comparison.overall.metric
    sign = metric_named(metric).better
    gaps = [
        (g, g.gap)
        for g in comparison.groups
        if g.gap is not None
        and g.state != "too few to say"
        and math.isfinite(g.gap.a)
        and math.isfinite(g.gap.b)
        and min(sign * g.gap.a, sign * g.gap.b) < 0
    ]
    gaps = sorted(gaps, key=lambda pair: sign * pair[1].a)[:_MOST_GAPS]
    if not gaps:
        return None
    data, points = _gap_change_rows(gaps), "" if comparison.is_number else " points"
    return figure(
        "comparison-gaps",
        "Gaps to the rest, before and after",
        f"Nearer to the line is fairer. {words.count(len(data))} of the groups that are behind the "
        f"rest before or after, those that “{comparison.a}” failed most first; intervals of the "
        "changes are in the table.",
        f"Gaps in {figure_name(metric).lower()} before and after, those that failed most first. "
        + "; ".join(
            f"{d['group']} {format_gap(gap.a, metric)} to {format_gap(gap.b, metric)}{points}, "
            f"change {change_cell(gap.difference, metric)} "
            f"({change_interval(gap.difference, metric)})"
            for d, (_, gap) in zip(data[:_MOST_NAMED], gaps, strict=False)
        )
        + ".",
        _gap_lines(data, metric).properties(height=17 * len(data) + 20),
        key=(Key(f"before: {comparison.a}", 1, is_open=True), Key(f"after: {comparison.b}", 1)),
    )


def _gap_change_rows(gaps: Sequence[tuple[GroupChange, Change]]) -> list[dict[str, Any]]:
    names = short_names([change_name(g) for g, _ in gaps], _LONGEST)
    return [
        {
            "group": label,
            "a": _scale(g.metric) * gap.a,
            "b": _scale(g.metric) * gap.b,
            "low": _scale(g.metric) * gap.difference.low,
            "high": _scale(g.metric) * gap.difference.high,
            "change": _scale(g.metric) * gap.difference.value,
            "n": g.n,
            "people": g.people,
        }
        for label, (g, gap) in zip(names, gaps, strict=True)
    ]


def _gap_lines(data: list[dict[str, Any]], metric: str) -> alt.LayerChart:
    """A line per group from its gap before to that after."""
    digits = "+.1f" if metric == "accuracy" else "+.3~g"
    base = alt.Chart(inline_data(data)).encode(
        y=group_axis([d["group"] for d in data], _WIDEST),
        tooltip=tooltips(
            "group:N",
            ("a:Q", "gap before", digits),
            ("b:Q", "gap after", digits),
            ("change:Q", "change", digits),
            ("n:Q", "images", ","),
            ("people:Q", "people", ","),
        ),
    )
    title = "points from the rest" if metric == "accuracy" else "error less that of the rest"
    x = alt.X("a:Q", title=title)
    lines = base.mark_rule(strokeWidth=1.5, color="var(--rule-strong)").encode(
        x=same_axis(x, "a:Q"), x2="b:Q"
    )
    before = base.mark_point(size=45, opacity=1, color="var(--c1)", filled=False).encode(x=x)
    after = base.mark_circle(size=55, opacity=1, color="var(--c1)").encode(x=same_axis(x, "b:Q"))
    return layer(zero_line(x), lines, before, after)
