"""Charts of where a network looks: shares of the regions, and what painting them over costs.

Both list the regions in the same order and at the same height, so that they read as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from candid.records import Estimate
from candid.records.explanation import (
    Explanation,
    Masking,
    Method,
    NumberMasking,
    RegionShare,
)
from candid.reporting.figures.chart import (
    COLOURS,
    Column,
    Figure,
    Key,
    figure,
    inline_data,
    interval_columns,
    interval_tips,
    layer,
    percent_axis,
    same_axis,
    short_names,
    shorten,
    tooltips,
    whiskers,
)
from candid.text import number, words
from candid.text.explanation import FILLS

_STEP = 9  # pixels between the lines of one region
_LEAST = 4  # lines per region, at least
_REGION, _ELSEWHERE = "the region", "the same shape, elsewhere"  # what is painted over
_MOST_NAMED = 3  # regions that are told in words


def region_shares(e: Explanation) -> Figure | None:
    """How much of each method's maps lies in each region, beside its share of the area."""
    subset = next((s for s in e.subsets if s.kind == "all"), next(iter(e.subsets), None))
    if subset is None:
        return None
    shares = [s for s in e.shares if s.subset == subset.key and math.isfinite(s.share.value)]
    if not shares:
        return None
    names = _axis_names(e)
    methods = [m for m in e.methods if any(s.method == m.name for s in shares)]
    failed = [m.title for m in methods if m.state != "passed"]
    marks = _share_marks(methods, shares, failed, names)
    chart: Any = _area_bars(e, names) + marks[0] + marks[1]
    return figure(
        "region-shares",
        "Where the maps lie",
        "The share of each map’s strength in each region, over "
        f"{words.images(subset.n, subset.people)}, with intervals "
        f"({words.method(shares[0].share)}); the grey bar is the region’s share of the area. A dot "
        "right of the bar: more than its area would get by chance. Hollow: the method "
        "bears no passing badge.",
        f"Shares of the maps by region. {_describe_shares(e, methods, shares, names)}.",
        chart.properties(height=_height(e, len(methods))),
        key=(
            Key("share of the area", 0),
            *(
                Key(m.title, i % len(COLOURS) + 1, is_open=m.title in failed)
                for i, m in enumerate(methods)
            ),
        ),
        wide=False,
    )


_SHARE_AXIS = alt.X("value:Q", title="share of the map", axis=percent_axis())


def _area_bars(e: Explanation, names: dict[str, str]) -> alt.Chart:
    """Each region's share of the area, as a grey bar."""
    areas = [{"region": names[r.name], "area": r.area} for r in e.regions if math.isfinite(r.area)]
    bars: alt.Chart = (
        alt.Chart(inline_data(areas))
        .mark_bar(color="var(--rule)", stroke="var(--faint)", height={"band": 0.84})
        .encode(
            x=same_axis(_SHARE_AXIS, "area:Q"),
            y=_regions_axis(names),
            tooltip=tooltips("region:N", ("area:Q", "share of the area", ".1%")),
        )
    )
    return bars


def _share_marks(
    methods: Sequence[Method],
    shares: Sequence[RegionShare],
    failed: list[str],
    region_names: dict[str, str],
) -> tuple[alt.Chart, alt.Chart]:
    """Each method's share of each region: a dot with its interval."""
    titles = {m.name: m.title for m in methods}
    names = list(titles.values())
    rows: list[dict[str, Any]] = [
        {
            "region": region_names[s.region],
            "method": titles[s.method],
            "area": s.area,
            "density": s.density.value,
            "images": s.share.n,
            **interval_columns(s.share),
        }
        for s in shares
        if s.method in titles and s.region in region_names
    ]
    base = alt.Chart(inline_data(rows)).encode(
        y=_regions_axis(region_names),
        yOffset=alt.YOffset("method:N", sort=names, scale=alt.Scale(domain=names)),
        color=alt.Color("method:N", scale=_colours(names), legend=None),
        tooltip=tooltips(
            "region:N",
            "method:N",
            ("value:Q", "share of the map", ".1%"),
            *interval_tips(".1%"),
            ("area:Q", "share of the area", ".1%"),
            ("density:Q", "share over area", ".2f"),
            ("images:Q", "images", ","),
        ),
    )
    fill = alt.Fill("method:N", scale=_colours(names, hollow=failed), legend=None)
    dots = base.mark_point(size=34, strokeWidth=1.5).encode(x=_SHARE_AXIS, fill=fill)
    return whiskers(base, _SHARE_AXIS), dots


def _describe_shares(
    e: Explanation, methods: Sequence[Method], shares: Sequence[RegionShare], names: dict[str, str]
) -> str:
    """The chart in words, for those who cannot see it: where maps lie most for their area."""
    passed = {m.name: m.title for m in methods if m.state == "passed"}
    titles, area = passed or {m.name: m.title for m in methods}, {r.name: r.area for r in e.regions}
    visible = [s for s in shares if s.method in titles and s.region in names]
    dense = [s for s in visible if math.isfinite(s.density.value)]
    parts = "; ".join(
        f"{s.region} {words.share_of(s.share)} of {titles[s.method]} on "
        f"{words.percent(area[s.region])} of the area"
        for s in sorted(dense, key=lambda s: -s.density.value)[:_MOST_NAMED]
    )
    scope = "methods that bear a passing badge" if passed else "methods, none of which passed"
    return f"Most for its area, of {scope}: {parts or 'nothing that can be told'}"


def region_masking(e: Explanation) -> Figure | None:
    """What painting a region over costs, beside the same shape at random places."""
    names = _axis_names(e)
    maskings = [m for m in e.maskings if m.region in names and math.isfinite(m.f1_loss.value)]
    if not maskings:
        return None
    costliest = sorted(maskings, key=lambda m: -m.f1_loss.value)[:_MOST_NAMED]
    parts = "; ".join(
        f"{m.region} with {FILLS.get(m.fill, m.fill)}: {words.hundredths(m.f1_loss)} points lost, "
        f"{words.share_of(m.flips)} of the answers change, elsewhere "
        f"{words.hundredths(m.control_f1_loss)}"
        for m in costliest
    )
    rows = [
        row
        for m in maskings
        for row in _masking_rows(
            m, 100, (m.f1_loss, m.control_f1_loss), flips=(m.flips, m.control_flips)
        )
    ]
    return _masking_figure(
        e,
        "What painting a region over costs",
        f"Points of weighted F1 lost when the region is painted over in all "
        f"{words.count(max(m.f1_loss.n for m in maskings))} images that show it, with intervals "
        f"({words.method(maskings[0].f1_loss)}). The short line is the loss when the same shape is "
        "painted over at random places instead: what lies right of it, the region itself costs.",
        f"Loss of weighted F1 by region and fill. It costs most to paint over {parts}.",
        rows,
        "points of weighted F1 lost",
        _LOSS_TOOLTIPS,
    )


def number_masking(e: Explanation) -> Figure | None:
    """As `region_masking` of a number: how far painting a region over moves it."""
    names, all_maskings = _axis_names(e), () if e.number is None else e.number.maskings
    maskings = [m for m in all_maskings if m.region in names and math.isfinite(m.moved.value)]
    if not maskings:
        return None
    furthest = sorted(maskings, key=lambda m: -m.moved.value)[:_MOST_NAMED]
    parts = "; ".join(
        f"{m.region} with {FILLS.get(m.fill, m.fill)}: {number.figure_in_unit(m.moved)}, elsewhere "
        f"{number.figure_in_unit(m.control_moved)}"
        for m in furthest
    )
    rows = [
        row
        for m in maskings
        for row in _masking_rows(
            m,
            1,
            (m.moved, m.control_moved),
            shift=(m.shift, m.control_shift),
            rise=(m.error_rise, m.control_error_rise),
        )
    ]
    return _masking_figure(
        e,
        "How far painting a region over moves it",
        "The mean distance between the number with the region painted over and without, in all "
        f"{words.count(max(m.moved.n for m in maskings))} images that show it, with intervals "
        f"({words.method(maskings[0].moved)}), in its own unit. The short line is the distance "
        "when the same shape is painted over at random places instead: what lies right of it, the "
        "region itself moves.",
        f"How far the number moves by region and fill. It moves furthest without {parts}.",
        rows,
        f"how far {shorten(e.target)} moves",
        _MOVED_TOOLTIPS,
    )


# What the tooltips of both tell beside the region and the fill.
_LOSS_TOOLTIPS: tuple[Column, ...] = (
    ("value:Q", "points of F1 lost", ".1f"),
    *interval_tips(".1f"),
    ("flips:Q", "answers that change", ".1%"),
    ("images:Q", "images", ","),
)
_MOVED_TOOLTIPS: tuple[Column, ...] = (
    ("value:Q", "moves by", ".3g"),
    *interval_tips(".3g"),
    ("shift:Q", "up (below 0: down) by", ".3g"),
    ("rise:Q", "mean absolute error grows by", ".3g"),
    ("images:Q", "images", ","),
)


def _masking_rows(
    m: Masking | NumberMasking,
    scale: int,
    cost: tuple[Estimate, Estimate],
    **others: tuple[Estimate, Estimate],
) -> Iterator[dict[str, Any]]:
    """A row for the region and one for its shape elsewhere, whose figures come as pairs."""
    for i, place in enumerate((_REGION, _ELSEWHERE)):
        yield {
            "region": m.region,
            "fill": FILLS.get(m.fill, m.fill),
            "what": place,
            **{name: pair[i].value for name, pair in others.items()},
            "images": cost[i].n,
            **{key: scale * value for key, value in interval_columns(cost[i]).items()},
        }


def _masking_figure(
    e: Explanation,
    title: str,
    caption: str,
    alt_text: str,
    rows: list[dict[str, Any]],
    axis: str,
    columns: Sequence[Column],
) -> Figure:
    """Each fill's cost in each region: a dot with its interval, and a tick for the control's."""
    names, fills = _axis_names(e), list(dict.fromkeys(row["fill"] for row in rows))
    rows = [row | {"region": names[row["region"]]} for row in rows]
    base = alt.Chart(inline_data(rows)).encode(
        y=_regions_axis(names),
        yOffset=alt.YOffset("fill:N", sort=fills),
        color=alt.Color("fill:N", scale=_colours(fills), legend=None),
        tooltip=tooltips(
            "region:N",
            ("what:N", "painted over"),
            ("fill:N", "with"),
            *columns,
        ),
    )
    x = alt.X("value:Q", title=axis, axis=alt.Axis(tickCount=5))
    zero = alt.Chart(inline_data([{"value": 0.0}])).mark_rule(color="var(--rule-strong)")
    is_region = alt.datum.what == _REGION
    regions, controls = base.transform_filter(is_region), base.transform_filter(~is_region)
    ticks = controls.mark_tick(thickness=2, height=8, color="var(--ink)")
    chart = layer(
        zero.encode(x=same_axis(x, "value:Q")),
        ticks.encode(x=x, color=alt.value("var(--ink)")),
        whiskers(regions, x),
        regions.mark_circle(size=46, opacity=1).encode(x=x),
    ).properties(height=_height(e, len(fills)))
    key = tuple(Key(fill, i + 1) for i, fill in enumerate(fills))
    return figure("region-masking", title, caption, alt_text, chart, key=key, wide=False)


# --- what both have ------------------------------------------------------------------------------


def _axis_names(e: Explanation) -> dict[str, str]:
    """The regions, the costliest first, each as it stands on the axis."""
    order = e.by_cost([r.name for r in e.regions])
    return dict(zip(order, short_names(order), strict=True))


def _height(e: Explanation, lines: int) -> int:
    """One height for both charts, so that their rows lie beside each other."""
    n_lines = max(lines, len(e.methods), len({m.fill for m in e.region_maskings}), _LEAST)
    return len(e.regions) * (n_lines * _STEP + 6)


def _regions_axis(names: dict[str, str]) -> alt.Y:
    order = list(names.values())
    axis = alt.Axis(labelLimit=110, grid=True, tickBand="extent")
    return alt.Y("region:N", title=None, sort=order, scale=alt.Scale(domain=order), axis=axis)


def _colours(names: list[str], hollow: Sequence[str] = ()) -> alt.Scale:
    colours = [
        "var(--paper)" if name in hollow else COLOURS[i % len(COLOURS)]
        for i, name in enumerate(names)
    ]
    return alt.Scale(domain=names, range=colours)
