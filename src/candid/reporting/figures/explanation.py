"""Charts of where a network looks: shares of the regions, and what painting them over costs.

Both list the regions in the same order and at the same height, so that they read as one.
"""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from candid.records.explanation import Explanation
from candid.reporting import words
from candid.reporting.explanation import FILLS, by_cost, points
from candid.reporting.figures.chart import (
    COLOURS,
    Figure,
    Key,
    again,
    data_of,
    distinct,
    ends,
    figure,
    percent_axis,
)

_STEP = 9  # pixels between the lines of one region
_LEAST = 4  # lines per region, at least


def region_shares(e: Explanation) -> Figure | None:
    """How much of each method's maps lies in each region, beside its share of the area."""
    subset = next((s for s in e.subsets if s.kind == "all"), next(iter(e.subsets), None))
    order = by_cost(e, [r.name for r in e.regions])
    found = [
        s
        for s in e.shares
        if subset is not None and s.subset == subset.key and math.isfinite(s.share.value)
    ]
    if not found or subset is None:
        return None
    shown = dict(zip(order, distinct(order), strict=True))
    methods = [m for m in e.methods if any(s.method == m.name for s in found)]
    titles = {m.name: m.title for m in methods}
    rows: list[dict[str, Any]] = [
        {
            "region": shown[s.region],
            "method": titles[s.method],
            "area": s.area,
            "density": s.density.value,
            "images": s.share.n,
            **ends(s.share),
        }
        for s in found
        if s.method in titles and s.region in shown
    ]
    areas = [{"region": shown[r.name], "area": r.area} for r in e.regions if math.isfinite(r.area)]
    height = _height(e, len(methods))
    x = alt.X("value:Q", title="share of the map", axis=percent_axis())
    y = _regions_axis(list(shown.values()))
    area = (
        alt.Chart(data_of(areas))
        .mark_bar(color="var(--rule)", stroke="var(--faint)", height={"band": 0.84})
        .encode(x=again(x, "area:Q"), y=y, tooltip=_area_tip())
    )
    base = alt.Chart(data_of(rows)).encode(
        y=y,
        yOffset=_lines([m.title for m in methods]),
        color=alt.Color(
            "method:N",
            scale=alt.Scale(
                domain=[m.title for m in methods],
                range=[COLOURS[i % len(COLOURS)] for i in range(len(methods))],
            ),
            legend=None,
        ),
        tooltip=[
            alt.Tooltip("region:N"),
            alt.Tooltip("method:N"),
            alt.Tooltip("value:Q", title="share of the map", format=".1%"),
            alt.Tooltip("low:Q", title="from", format=".1%"),
            alt.Tooltip("high:Q", title="to", format=".1%"),
            alt.Tooltip("area:Q", title="share of the area", format=".1%"),
            alt.Tooltip("density:Q", title="share over area", format=".2f"),
            alt.Tooltip("images:Q", title="images", format=","),
        ],
    )
    whiskers = base.mark_rule(strokeWidth=1.5).encode(x=again(x, "low:Q"), x2="high:Q")
    failed = [m.title for m in methods if m.state != "passed"]
    dots = base.mark_point(size=34, strokeWidth=1.5).encode(x=x, fill=_fill(methods, failed))
    told = "; ".join(
        f"{r}: {words.percent(area)} of the area, "
        + ", ".join(
            f"{titles[s.method]} {words.percent(s.share.value)}" for s in found if s.region == r
        )
        for r in order
        for area in [next(x.area for x in e.regions if x.name == r)]
    )
    who = f"{words.count(subset.n)} images"
    who += "" if subset.people is None else f" of {words.people(subset.people)}"
    return figure(
        "region-shares",
        "Where the maps lie",
        f"The share of each map’s strength in each region, over {who}, with intervals "
        f"({words.method(found[0].share)}); the grey bar is the region’s share of the area. A dot "
        "right of the bar: more than its area would get by chance. Hollow: the method bears no "
        "passing badge.",
        f"Shares of the maps by region. {told}.",
        (area + whiskers + dots).properties(height=height),
        key=(
            Key("share of the area", 0),
            *(
                Key(m.title, i % len(COLOURS) + 1, is_open=m.title in failed)
                for i, m in enumerate(methods)
            ),
        ),
        wide=False,
    )


def region_masking(e: Explanation) -> Figure | None:
    """What painting a region over costs, beside the same shape at random places."""
    order = by_cost(e, [r.name for r in e.regions])
    found = [m for m in e.maskings if m.region in order and math.isfinite(m.f1_loss.value)]
    if not found:
        return None
    shown = dict(zip(order, distinct(order), strict=True))
    fills = list(dict.fromkeys(FILLS.get(m.fill, m.fill) for m in found))
    rows: list[dict[str, Any]] = []
    for m in found:
        both = (("region", m.f1_loss, m.flips), ("control", m.control_f1_loss, m.control_flips))
        for what, lost, flips in both:
            rows.append(
                {
                    "region": shown[m.region],
                    "fill": FILLS.get(m.fill, m.fill),
                    "what": "the region" if what == "region" else "the same shape, elsewhere",
                    "flips": flips.value,
                    "images": lost.n,
                    **{key: 100 * value for key, value in ends(lost).items()},
                }
            )
    x = alt.X("value:Q", title="points of weighted F1 lost", axis=alt.Axis(tickCount=5))
    base = alt.Chart(data_of(rows)).encode(
        y=_regions_axis(list(shown.values())),
        yOffset=alt.YOffset("fill:N", sort=fills),
        color=alt.Color(
            "fill:N",
            scale=alt.Scale(domain=fills, range=[COLOURS[i] for i in range(len(fills))]),
            legend=None,
        ),
        tooltip=[
            alt.Tooltip("region:N"),
            alt.Tooltip("what:N", title="painted over"),
            alt.Tooltip("fill:N", title="with"),
            alt.Tooltip("value:Q", title="points of F1 lost", format=".1f"),
            alt.Tooltip("low:Q", title="from", format=".1f"),
            alt.Tooltip("high:Q", title="to", format=".1f"),
            alt.Tooltip("flips:Q", title="answers that change", format=".1%"),
            alt.Tooltip("images:Q", title="images", format=","),
        ],
    )
    inside = alt.datum.what == "the region"
    zero = (
        alt.Chart(data_of([{"value": 0.0}]))
        .mark_rule(color="var(--rule-strong)")
        .encode(x=again(x, "value:Q"))
    )
    whiskers = (
        base.transform_filter(inside)
        .mark_rule(strokeWidth=1.5)
        .encode(x=again(x, "low:Q"), x2="high:Q")
    )
    dots = base.transform_filter(inside).mark_circle(size=46, opacity=1).encode(x=x)
    elsewhere = (
        base.transform_filter(~inside)
        .mark_tick(thickness=2, height=8, color="var(--ink)")
        .encode(x=x, color=alt.value("var(--ink)"))
    )
    told = "; ".join(
        f"{m.region} with {FILLS.get(m.fill, m.fill)}: {points(m.f1_loss)} points lost, "
        f"{words.percent(m.flips.value)} of the answers change, elsewhere "
        f"{points(m.control_f1_loss)}"
        for name in order
        for m in found
        if m.region == name
    )
    return figure(
        "region-masking",
        "What painting a region over costs",
        f"Points of weighted F1 lost when the region is painted over in all "
        f"{words.count(max(m.f1_loss.n for m in found))} images that show it, with intervals "
        f"({words.method(found[0].f1_loss)}). The short line is the loss when the same shape is "
        "painted over at random places instead: what lies right of it, the region itself costs.",
        f"Loss of weighted F1 by region and fill. {told}.",
        (zero + elsewhere + whiskers + dots).properties(height=_height(e, len(fills))),
        key=tuple(Key(fill, i + 1) for i, fill in enumerate(fills)),
        wide=False,
    )


def _height(e: Explanation, lines: int) -> int:
    """One height for both charts, so that their rows lie beside each other."""
    most = max(lines, len(e.methods), len({m.fill for m in e.maskings}), _LEAST)
    return len(e.regions) * (most * _STEP + 6)


def _regions_axis(order: list[str]) -> alt.Y:
    axis = alt.Axis(labelLimit=110, grid=True, tickBand="extent")
    return alt.Y("region:N", title=None, sort=order, scale=alt.Scale(domain=order), axis=axis)


def _lines(titles: list[str]) -> alt.YOffset:
    return alt.YOffset("method:N", sort=titles, scale=alt.Scale(domain=titles))


def _fill(methods: list[Any], failed: list[str]) -> alt.Fill:
    titles = [m.title for m in methods]
    colours = [
        "var(--paper)" if title in failed else COLOURS[i % len(COLOURS)]
        for i, title in enumerate(titles)
    ]
    return alt.Fill("method:N", scale=alt.Scale(domain=titles, range=colours), legend=None)


def _area_tip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("region:N"),
        alt.Tooltip("area:Q", title="share of the area", format=".1%"),
    ]
