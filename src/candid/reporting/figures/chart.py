"""What every chart shares: how it is drawn twice, its colours, its axes.

Each figure carries a static SVG for print and for browsers without scripts, and alt text that says
what the chart shows. Colours are CSS variables, so one drawing serves light and dark.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import altair as alt
from altair.utils import schemapi

from candid.records import Estimate

WIDE, NARROW = 700, 335  # pixels of the static drawings: a page's column, and half of it
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
COLOURS = [f"var(--c{i})" for i in range(1, 9)]
_DASHES = [[1, 0], [6, 3], [2, 2]]
MOST_CLASSES = 24  # more than these nobody tells apart in one chart; the tables have them all
_MOST_NAMES = 26  # letters of a name from the data on an axis or in a legend


@dataclass(frozen=True)
class Key:
    """What one colour stands for; number 0 is grey, 1 to 8 are the page's `--c1` to `--c8`."""

    name: str
    number: int
    dashed: bool = False
    is_open: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart as the page shows it."""

    name: str  # unique in the page: an HTML id
    # title, caption: plain text
    title: str
    caption: str
    alt: str  # what the chart shows, for those who cannot see it
    spec: dict[str, Any]  # Vega-Lite, its width that of the container
    svg: str  # the same chart, drawn
    # What the colours stand for. It is text beside the chart, so that long names wrap instead of
    # running over.
    key: tuple[Key, ...] = ()


_SNIPPET = "window.vegaEmbed = vegaEmbed;"  # the page calls this alone


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that loads nothing (about 0.9 MB)."""
    import vl_convert

    return str(vl_convert.javascript_bundle(_SNIPPET, _vega_lite_version()))


def skip_validation() -> AbstractContextManager[None]:
    """Switch off Altair's validation against its schema, which the tests do, in a context.

    It takes longer than all else that Altair does.
    """
    return schemapi.debug_mode(False)


def _vega_lite_version() -> str:
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def inline_data(rows: Sequence[dict[str, Any]]) -> alt.InlineData:
    """Rows as Vega takes them: short numbers, and no NaN."""
    # Vega reads JSON, which has no NaN; a rule without an end is not drawn.
    clean = [
        {
            key: None if isinstance(value, float) and not math.isfinite(value) else _round(value)
            for key, value in row.items()
        }
        for row in rows
    ]
    return alt.InlineData(values=clean)


def _round(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def interval_columns(estimate: Estimate) -> dict[str, float]:
    """A figure and the ends of its interval, as columns."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def shorten(name: str, max_length: int = _MOST_NAMES) -> str:
    """A name from the data, cut to fit an axis."""
    return name if len(name) <= max_length else name[: max_length - 1] + "…"


def short_names(names: Sequence[str], max_length: int = _MOST_NAMES) -> list[str]:
    """The names, cut where they are long, and still distinct."""
    shortened = [shorten(name, max_length) for name in names]
    return list(names) if len(set(shortened)) < len(set(names)) else shortened


def colour(
    names: Sequence[str], places: Sequence[int] | None = None, *, field: str = "class"
) -> alt.Color:
    """One colour per class, the same in every chart; `places` are their places among all."""
    indices = range(len(names)) if places is None else places
    scale = alt.Scale(domain=list(names), range=[COLOURS[i % len(COLOURS)] for i in indices])
    return alt.Color(f"{field}:N", sort=list(names), scale=scale, legend=None)


def colour_key(names: Sequence[str], places: Sequence[int] | None = None) -> tuple[Key, ...]:
    """The key to `colour` and `dash`."""
    indices = range(len(names)) if places is None else places
    return tuple(
        Key(name, i % len(COLOURS) + 1, dashed=i >= len(COLOURS))
        for name, i in zip(names, indices, strict=True)
    )


def dash(names: Sequence[str], places: Sequence[int]) -> alt.StrokeDash:
    """More classes than colours: the next round is dashed."""
    dashes = [_DASHES[(i // len(COLOURS)) % len(_DASHES)] for i in places]
    scale = alt.Scale(domain=list(names), range=dashes)
    return alt.StrokeDash("class:N", sort=list(names), scale=scale, legend=None)


def same_axis(channel: Any, field: str) -> Any:
    """A copy of an axis for another field, so that layers agree on scale and title."""
    axis = channel.copy()
    axis.shorthand = field
    return axis


def layer(*charts: alt.Chart) -> alt.LayerChart:
    """Charts over each other, the first below all others."""
    return alt.LayerChart(layer=[*charts])


def whiskers(base: alt.Chart, x: alt.X, width: float = 1.5, **channels: Any) -> alt.Chart:
    """The intervals of a chart whose rows have `low` and `high`."""
    lines: alt.Chart = base.mark_rule(strokeWidth=width)
    return lines.encode(x=same_axis(x, "low:Q"), x2="high:Q", **channels)


def forest(
    data: Sequence[dict[str, Any]],
    x: alt.X,
    states: Mapping[str, str],
    tips: list[alt.Tooltip],
    *,
    width: int,
    only: str = "",
) -> alt.LayerChart:
    """A forest plot: each row's `group` on a line, its figure with its interval beside 0.

    `states` gives the colour of each row's `state`, `width` the pixels of a name; only rows for
    which the expression `only` holds are drawn.
    """
    chart = alt.Chart(inline_data(data))
    base = (chart.transform_filter(only) if only else chart).encode(
        y=group_axis([row["group"] for row in data], width),
        color=alt.Color(
            "state:N",
            scale=alt.Scale(domain=list(states), range=list(states.values())),
            legend=None,
        ),
        tooltip=tips,
    )
    dots = base.mark_circle(size=50, opacity=1).encode(x=x)
    return layer(zero_line(x), whiskers(base, x, 2), dots)


def group_axis(names: Sequence[str], width: int, field: str = "group") -> alt.Y:
    """Names from top to bottom, in this order, each at most so many pixels wide."""
    return alt.Y(f"{field}:N", title=None, sort=list(names), axis=alt.Axis(labelLimit=width))


Column = str | tuple[str, str | None] | tuple[str, str | None, str]


def tooltips(*columns: Column) -> list[alt.Tooltip]:
    """Tooltips: a field, or a field with its title and its format."""
    channels = []
    for column in columns:
        field, *options = (column,) if isinstance(column, str) else column
        named: dict[str, Any] = dict(zip(("title", "format"), options, strict=False))
        channels.append(alt.Tooltip(field, **{name: x for name, x in named.items() if x}))
    return channels


def interval_tips(form: str) -> tuple[Column, Column]:
    """The ends of an interval, for `tooltips`."""
    return ("low:Q", "from", form), ("high:Q", "to", form)


def zero_line(x: Any) -> alt.Chart:
    """The dashed upright line at 0 of a quantitative axis."""
    field = str(x.shorthand).removesuffix(":Q")
    line: alt.Chart = (
        alt.Chart(inline_data([{field: 0}]))
        .mark_rule(color="var(--rule-strong)", strokeDash=[4, 4])
        .encode(x=x)
    )
    return line


def diagonal(scale: alt.Scale, low: float = 0.0) -> alt.Chart:
    """The dashed line on which both axes agree."""
    line: alt.Chart = (
        alt.Chart(inline_data([{"a": low, "b": low}, {"a": 1.0, "b": 1.0}]))
        .mark_line(color="var(--faint)", strokeDash=[4, 4], strokeWidth=1.5)
        .encode(x=alt.X("a:Q", scale=scale, title=""), y=alt.Y("b:Q", scale=scale, title=""))
    )
    return line


def share_axis(field: str, title: str) -> alt.X:
    """A horizontal axis of shares, from 0."""
    return alt.X(field, title=title, scale=alt.Scale(domainMin=0), axis=percent_axis())


def percent_axis() -> alt.Axis:
    """Few ticks, in percent."""
    return alt.Axis(format="~%", tickCount=5)


def plain_axis() -> alt.Axis:
    """Few ticks, whole numbers, no grid."""
    return alt.Axis(grid=False, tickCount=6, format=",d")


def figure(
    name: str,
    title: str,
    caption: str,
    alt_text: str,
    chart: alt.Chart | alt.LayerChart,
    *,
    key: tuple[Key, ...] = (),
    wide: bool = True,
) -> Figure:
    """Draw a chart and keep its specification, without an address and as wide as it may be."""
    spec: dict[str, Any] = chart.to_dict(validate=schemapi.DEBUG_MODE)
    del spec["$schema"]  # an address: nothing in the page names another place
    spec["config"] = _CONFIG
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["padding"] = 2
    spec["background"] = "transparent"
    # Letters are measured without the reader's fonts, so the drawing keeps some room at its side.
    static = {
        "width": WIDE if wide else NARROW,
        "padding": {"left": 12, "right": 6, "top": 2, "bottom": 2},
        # One picture with one text: what every mark says of itself, nobody is read.
        "config": _CONFIG | {"aria": False},
    }
    svg = _draw(json.dumps(spec | static))
    return Figure(
        name=name,
        title=title,
        caption=caption,
        alt=alt_text,
        spec=spec | {"width": "container"},
        svg=_prefix_ids(svg, name),
        key=key,
    )


@lru_cache(maxsize=256)
def _draw(spec: str) -> str:
    """The drawing as SVG; pages that are made again have most of their charts in common."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(spec, vl_version=_vega_lite_version()))


def _prefix_ids(svg: str, name: str) -> str:
    """Prefix the ids of a drawing's clip paths and gradients: they share one page with others'."""
    svg = re.sub(r'\bid="([\w-]+)"', rf'id="{name}-\1"', svg)
    return re.sub(r"url\(#([\w-]+)\)", rf"url(#{name}-\1)", svg)


_AXIS = {
    "labelColor": "var(--muted)",
    "titleColor": "var(--muted)",
    "gridColor": "var(--rule)",
    "domainColor": "var(--rule-strong)",
    "tickColor": "var(--rule-strong)",
    "labelFont": _FONT,
    "titleFont": _FONT,
    "labelFontSize": 11.5,
    "titleFontSize": 11.5,
    "titleFontWeight": "normal",
    "titlePadding": 8,
    "labelOverlap": "greedy",
    "labelSeparation": 4,
}
_CONFIG: dict[str, Any] = {
    "font": _FONT,
    "view": {"stroke": None},
    "axis": _AXIS,
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
    "axisX": {"labelFlush": True},
    "text": {"font": _FONT},
}
