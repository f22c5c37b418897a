"""Charts of the data: class balance, light, attributes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from candid.records import AttributeSummary, Exploration, Histogram
from candid.reporting.figures.chart import (
    MOST_CLASSES,
    Figure,
    colour,
    colour_key,
    figure,
    group_axis,
    inline_data,
    interval_columns,
    interval_tips,
    layer,
    percent_axis,
    same_axis,
    share_axis,
    short_names,
    tooltips,
    whiskers,
)
from candid.text import words
from candid.text.inputs import attributes_by_association


def balance(exploration: Exploration) -> Figure | None:
    """The share of each class in each split, with intervals."""
    rows: list[dict[str, Any]] = [
        {"split": s.split, "class": name, "count": n, **interval_columns(share)}
        for s in exploration.splits
        for name, n, share in zip(exploration.classes, s.counts, s.shares, strict=True)
        if math.isfinite(share.value)
    ]
    if not rows or len(exploration.classes) > MOST_CLASSES:
        return None
    step = 18 * max(2, len(exploration.classes)) + 12
    alt_text = "; ".join(
        f"{s.split}: "
        + ", ".join(
            f"{words.percent_interval(e)} labelled {c}"
            for c, e in zip(exploration.classes, s.shares, strict=True)
        )
        for s in exploration.splits
    )
    return figure(
        "balance",
        "Class balance in each split",
        "Share of the images of each split that bear each label; the thin line is the interval "
        f"({words.method(exploration.splits[0].shares[0])}).",
        f"Bars of class shares. {alt_text}.",
        _balance_marks(exploration, rows).properties(height=step * len(exploration.splits)),
        key=colour_key(exploration.classes),
    )


def _balance_marks(exploration: Exploration, rows: list[dict[str, Any]]) -> alt.LayerChart:
    """A bar with its interval for each class of each split."""
    base = alt.Chart(inline_data(rows)).encode(
        y=alt.Y("split:N", title=None, sort=[s.split for s in exploration.splits]),
        color=colour(exploration.classes),
        yOffset=alt.YOffset("class:N", sort=list(exploration.classes)),
        tooltip=tooltips(
            "split:N",
            ("class:N", "labelled"),
            ("value:Q", "share", ".1%"),
            *interval_tips(".1%"),
            ("count:Q", "images", ","),
        ),
    )
    x = share_axis("value:Q", "share of images")
    bars = base.mark_bar(height={"band": 0.8}).encode(x=x)
    return layer(bars, whiskers(base, x, color=alt.value("var(--ink)")))


def histograms(name: str, title: str, groups: Sequence[Histogram], axis: str) -> Figure | None:
    """One histogram per class, each as a share of its own images."""
    nonempty = [g for g in groups if sum(g.counts)]
    if not nonempty or len(groups) > MOST_CLASSES:
        return None
    means = [
        f"labelled {g.group}: mean {words.number(g.mean)}, standard deviation "
        f"{words.number(g.sd)}, n = {words.count(sum(g.counts))}"
        for g in nonempty
    ]
    n = sum(sum(g.counts) for g in nonempty)
    caption = f"Each class as a share of its own images; n = {words.count(n)}."
    if len(means) <= 3:
        caption += f" {'; '.join(means)}.".replace(" labelled", " Labelled", 1)
    return figure(
        name,
        title,
        caption,
        f"Histograms of {axis}. {'; '.join(means)}.",
        _histogram_marks(nonempty, axis).properties(height=180),
        key=colour_key([g.group for g in nonempty]),
        wide=False,
    )


def _histogram_marks(groups: Sequence[Histogram], axis_title: str) -> alt.Chart:
    """Bars that one can see through, or steps where there are too many."""
    rows = [
        {"class": g.group, "low": low, "high": high, "share": n / sum(g.counts), "count": n}
        for g in groups
        for low, high, n in zip(g.edges[:-1], g.edges[1:], g.counts, strict=True)
    ]
    base = alt.Chart(inline_data(rows)).encode(
        y=alt.Y("share:Q", stack=None, title="share of images", axis=percent_axis()),
        color=colour([g.group for g in groups]),
        tooltip=tooltips(
            ("class:N", "labelled"),
            *interval_tips(".2f"),
            ("share:Q", None, ".1%"),
            ("count:Q", "images", ","),
        ),
    )
    axis = alt.Axis(grid=False, tickCount=5)
    bars: alt.Chart
    if len(groups) <= 3:
        x = alt.X("low:Q", bin="binned", title=axis_title, axis=axis)
        bars = base.mark_bar(opacity=0.45, binSpacing=0).encode(x=x, x2="high:Q")
    else:
        x = alt.X("low:Q", title=axis_title, axis=axis)
        bars = base.mark_line(interpolate="step-after", strokeWidth=1.5).encode(x=x)
    return bars


def _share_ends(a: AttributeSummary, i: int) -> dict[str, float | int | None]:
    """The interval of one class's share, where the file has it."""
    if not a.class_estimates:
        return {"share_low": None, "share_high": None, "share_n": None}
    e = a.class_estimates[i]
    return {"share_low": e.low, "share_high": e.high, "share_n": e.n}


def _class_share(a: AttributeSummary, i: int) -> str:
    """One class's share, with its interval where the file has it."""
    if not a.class_estimates:
        return words.percent(a.class_shares[i])
    return words.percent_interval(a.class_estimates[i])


def attributes(exploration: Exploration, split: str, limit: int = 15) -> Figure | None:
    """How often the attributes that go most with the label stand in each class."""
    ordered = attributes_by_association(exploration, split)
    summaries = [a for a in ordered if math.isfinite(a.association.value)][:limit]
    if not summaries or len(exploration.classes) > MOST_CLASSES:
        return None
    names = short_names(
        [a.attribute if a.value == "yes" else f"{a.attribute}: {a.value}" for a in summaries]
    )
    alt_text = "; ".join(
        f"{a.attribute} {a.value}: "
        + ", ".join(f"{_class_share(a, i)} of {name}" for i, name in enumerate(exploration.classes))
        for a in summaries[:5]
    )
    return figure(
        "attributes",
        "Attributes that go most with the label",
        f"Among the {words.count(max(a.prevalence.n for a in summaries))} images of {split}: the "
        "share of each class’s images that bear the attribute, ordered by Cramér’s V with the "
        "label. The further apart the dots, the easier it is for a model to use the attribute in "
        "place of the label.",
        f"Dots per class for the attributes most associated with the label. {alt_text}.",
        _attribute_marks(exploration, summaries, names).properties(height=20 * len(names) + 8),
        key=colour_key(exploration.classes),
    )


def _attribute_rows(
    exploration: Exploration, summaries: Sequence[AttributeSummary], names: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each class of each attribute."""
    return [
        {
            "attribute": name,
            "class": c,
            "share": s,
            "n": a.prevalence.n,
            **interval_columns(a.association),
            **_share_ends(a, i),
        }
        for name, a in zip(names, summaries, strict=True)
        for i, (c, s) in enumerate(zip(exploration.classes, a.class_shares, strict=True))
        if math.isfinite(s)
    ]


def _attribute_marks(
    exploration: Exploration, summaries: Sequence[AttributeSummary], names: Sequence[str]
) -> alt.LayerChart:
    """A dot for each class on the line of each attribute."""
    y = group_axis(names, 150, "attribute")
    base = alt.Chart(inline_data(_attribute_rows(exploration, summaries, names)))
    x = share_axis("share:Q", "share of the class’s images")
    lines = base.mark_rule(color="var(--rule-strong)").encode(
        y=y, x=same_axis(x, "min(share):Q"), x2="max(share):Q"
    )
    dots = base.mark_circle(size=70, opacity=1).encode(
        y=y,
        x=x,
        color=colour(exploration.classes),
        tooltip=tooltips(
            "attribute:N",
            ("class:N", "labelled"),
            ("share:Q", None, ".1%"),
            ("share_low:Q", "from", ".1%"),
            ("share_high:Q", "to", ".1%"),
            ("share_n:Q", "of images", ","),
            ("value:Q", "Cramér’s V", ".2f"),
            ("low:Q", "V from", ".2f"),
            ("high:Q", "V to", ".2f"),
            ("n:Q", "images of the split", ","),
        ),
    )
    return layer(lines, dots)
