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
    again,
    data_of,
    distinct,
    figure,
    forest,
    from_to,
    group_axis,
    layered,
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
_MOST_TOLD = 3  # changes that are told in words, beside the first
_WORDS = {
    "better": "var(--c3)", "worse": "var(--c2)", "not found": "var(--c1)",
    "too few to say": "var(--faint)",
}  # fmt: skip

# A group's name and the label: letters, and the pixels that they may take.
_LONGEST, _WIDEST = 40, 240


def comparison_charts(comparison: Comparison) -> dict[str, Figure]:
    """The charts that there is something to draw for, by name."""
    drawn = (changes(comparison), gap_changes(comparison))
    return {chart.name: chart for chart in drawn if chart is not None}


def changes(comparison: Comparison) -> Figure | None:
    """A forest plot: B's figure less A's for all images, each class, and the groups in order."""
    known = [g for g in comparison.every() if math.isfinite(g.change.value)]
    if not known:
        return None
    shown = ([g for g in known if g.state != "too few to say"] or known)[:_MOST_CHANGES]
    data, metric = _change_rows(shown), comparison.overall.metric
    chart = _forest_of(data, metric, ("n:Q", "images", ","), ("people:Q", "people", ","))
    cut = "" if len(shown) == len(known) else f" {len(shown)} of {len(known)}; all are below."
    return figure(
        "comparison-changes",
        "What changed for whom",
        f"{_better_side(metric)} of the line: better with “{comparison.b}”. {_paired(comparison)} "
        f"{words.count(comparison.n)} {comparison.split} images.{cut}",
        f"Changes in {figure_name(metric).lower()}: "
        f"{_changes_told(shown, [d['group'] for d in data])}.",
        chart.properties(height=17 * len(data) + 20),
        key=(Key("better", 3), Key("worse", 2), Key("not found", 1), Key("too few to say", 0)),
    )


def pair_changes(found: RunComparison) -> Figure | None:
    """A forest plot: the later model's figure less the earlier one's, for every pair."""
    known = [p for p in found.pairs if math.isfinite(p.overall.change.value)]
    if not known:
        return None
    labels = distinct([f"{pair.a} → {pair.b}" for pair in known], _LONGEST)
    data = [
        row | {"group": label}
        for pair, label in zip(known, labels, strict=True)
        for row in _change_rows([pair.overall])
    ]
    better = "is nearer" if found.is_number else "is right more often"
    chart = _forest_of(data, found.metric)
    return figure(
        "comparison-pairs",
        "Every pair of models",
        f"{_better_side(found.metric)} of the line: the model behind the arrow {better}. "
        f"{_paired(known[0])} {words.count(found.n)} {found.split} images.",
        f"Differences in {figure_name(found.metric).lower()}: "
        f"{_changes_told([p.overall for p in known], labels)}.",
        chart.properties(height=17 * len(data) + 20),
        key=(Key("better", 3), Key("worse", 2), Key("not found", 1)),
    )


def _forest_of(data: list[dict[str, Any]], metric: str, *behind: Column) -> alt.LayerChart:
    """Changes in accuracy, or in a number's error; `behind` are further columns of the tooltips."""
    what, digits = ("points of accuracy", "+.1f") if metric == "accuracy" else ("error", "+.3~g")
    lost, gained = (head.lower() for head in column_heads(metric)[-2:])
    tips = tooltips(
        "group:N",
        ("change:Q", what, digits),
        *from_to(digits),
        *behind,
        ("lost:Q", lost, ","),
        ("gained:Q", gained, ","),
        "state:N",
    )
    x = alt.X("change:Q", title=column_heads(metric)[2].lower(), axis=alt.Axis(tickCount=8))
    return forest(data, x, _WORDS, tips, width=_WIDEST)


def _better_side(metric: str) -> str:
    """On which side of 0 a change is to the better."""
    return "Right" if metric_named(metric).better > 0 else "Left"


def _scale(metric: str) -> float:
    """Shares are told in hundredths, a number in its own unit."""
    return 100.0 if metric == "accuracy" else 1.0


def _paired(comparison: Comparison) -> str:
    """How the intervals were made."""
    by = "image" if comparison.people is None else "person"
    return f"Lines are intervals, paired by {by}."


def _change_rows(shown: Sequence[GroupChange]) -> list[dict[str, Any]]:
    names = distinct([change_name(g) for g in shown], _LONGEST)
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
            "state": _word(g),
        }
        for label, g in zip(names, shown, strict=True)
    ]


def _changes_told(shown: Sequence[GroupChange], names: Sequence[str]) -> str:
    """How many changes were found, and the first and the widest of those found."""
    found = [i for i, g in enumerate(shown) if i and g.state == "found"]
    widest = sorted(found, key=lambda i: -abs(shown[i].change.value))[:_MOST_TOLD]
    counted = ", ".join(f"{sum(_word(g) == word for g in shown)} {word}" for word in _WORDS)
    told = "; ".join(
        f"{names[i]} {format_change(shown[i].change, shown[i].metric)} "
        f"({change_interval(shown[i].change, shown[i].metric)}; {_word(shown[i])})"
        for i in (0, *widest)
    )
    return f"{counted}. {told}"


def _word(change: GroupChange) -> str:
    if change.state != "found":
        return change.state
    return "better" if change.gain > 0 else "worse"


def gap_changes(comparison: Comparison) -> Figure | None:
    """How far the groups that A failed most were from the rest, and how far they are with B."""
    metric = comparison.overall.metric
    way = metric_named(metric).better
    known = [
        (g, g.gap)
        for g in comparison.groups
        if g.gap is not None
        and g.state != "too few to say"
        and math.isfinite(g.gap.a)
        and math.isfinite(g.gap.b)
        and min(way * g.gap.a, way * g.gap.b) < 0
    ]
    known = sorted(known, key=lambda pair: way * pair[1].a)[:_MOST_GAPS]
    if not known:
        return None
    data, points = _gap_change_rows(known), "" if comparison.is_number else " points"
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
            for d, (_, gap) in zip(data[:_MOST_TOLD], known, strict=False)
        )
        + ".",
        _from_a_to_b(data, metric).properties(height=17 * len(data) + 20),
        key=(Key(f"before: {comparison.a}", 1, is_open=True), Key(f"after: {comparison.b}", 1)),
    )


def _gap_change_rows(known: Sequence[tuple[GroupChange, Change]]) -> list[dict[str, Any]]:
    names = distinct([change_name(g) for g, _ in known], _LONGEST)
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
        for label, (g, gap) in zip(names, known, strict=True)
    ]


def _from_a_to_b(data: list[dict[str, Any]], metric: str) -> alt.LayerChart:
    """A line per group from its gap before to that after."""
    digits = "+.1f" if metric == "accuracy" else "+.3~g"
    base = alt.Chart(data_of(data)).encode(
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
    what = "points from the rest" if metric == "accuracy" else "error less that of the rest"
    x = alt.X("a:Q", title=what)
    lines = base.mark_rule(strokeWidth=1.5, color="var(--rule-strong)").encode(
        x=again(x, "a:Q"), x2="b:Q"
    )
    before = base.mark_point(size=45, opacity=1, color="var(--c1)", filled=False).encode(x=x)
    after = base.mark_circle(size=55, opacity=1, color="var(--c1)").encode(x=again(x, "b:Q"))
    return layered(zero_line(x), lines, before, after)
