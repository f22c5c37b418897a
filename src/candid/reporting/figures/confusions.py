"""Which label was taken for which, as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from candid.records import SplitEvaluation
from candid.reporting.figures.chart import (
    COLOURS,
    MOST_CLASSES,
    Column,
    Figure,
    figure,
    group_axis,
    inline_data,
    layer,
    plain_axis,
    short_names,
    tooltips,
)
from candid.text import words

_MOST_PAIRS = 20  # of classes that are taken for each other, where these are too many for a matrix
_TOOLTIPS: tuple[Column, ...] = (
    ("label:N", "labelled"),
    ("prediction:N", "predicted"),
    ("count:Q", "images", ","),
    ("share:Q", "share of the label’s images", ".1%"),
)


def confusion(split: SplitEvaluation) -> Figure | None:
    """Counts of labels by predictions, shaded by the share of the label’s images.

    Of more than `MOST_CLASSES` classes the pairs that are taken for each other most often.
    """
    names = short_names([c.name for c in split.classes])
    rows = _cells(names, split)
    if not rows:
        return None
    confused = sorted(
        (r for r in rows if r["label"] != r["prediction"] and r["count"]),
        key=lambda r: r["count"],
        reverse=True,
    )
    n_wrong = sum(r["count"] for r in confused)
    off_diagonal = f"{words.count(n_wrong)} of {words.count(split.n)} images off the diagonal."
    pairs = "; ".join(
        f"labelled {r['label']}, predicted {r['prediction']}: {words.count(r['count'])}"
        for r in confused[:6]
    )
    description = f"{off_diagonal} Most often {pairs}." if pairs else off_diagonal
    name = f"confusion-{split.split}"
    if len(names) > MOST_CLASSES and confused:
        return _confused_pairs(name, split.split, confused, off_diagonal, description)
    step = 30 if len(names) <= 10 else 14
    return figure(
        name,
        f"Confusion, {split.split}",
        "Rows are labels, columns predictions; the stronger the colour, the larger the share of "
        f"the row. {off_diagonal}",
        f"Confusion matrix, {split.split}. {description}",
        _confusion_marks(rows, names).properties(height=max(180, step * len(names))),
        wide=len(names) > 6,
    )


def _cells(names: Sequence[str], split: SplitEvaluation) -> list[dict[str, Any]]:
    """How often each label was predicted as each class."""
    rows = []
    for label, counts in zip(names, split.confusion, strict=True):
        total = sum(counts)
        rows += [
            {"label": label, "prediction": p, "count": n, "share": n / total if total else 0.0}
            for p, n in zip(names, counts, strict=True)
        ]
    return rows


def _confused_pairs(
    name: str, split: str, confused: list[dict[str, Any]], off_diagonal: str, description: str
) -> Figure:
    """A bar for each label and prediction that is not the label: so many classes fill no matrix."""
    rows = confused[:_MOST_PAIRS]
    labels = [f"{_shorten_middle(r['label'])} as {_shorten_middle(r['prediction'])}" for r in rows]
    if len(set(labels)) < len(labels):
        labels = [f"{r['label']} as {r['prediction']}" for r in rows]
    data = [r | {"pair": p} for r, p in zip(rows, labels, strict=True)]
    bars: alt.Chart = alt.Chart(inline_data(data)).mark_bar(color=COLOURS[0], height=9)
    bars = bars.encode(
        x=alt.X("count:Q", title="images", axis=plain_axis()),
        y=group_axis(labels, 250, "pair"),
        tooltip=tooltips(*_TOOLTIPS),
    )
    return figure(
        name,
        f"Most often confused, {split}",
        f"A label and what was predicted instead: the {len(rows)} most frequent of "
        f"{words.count(len(confused))} pairs. {off_diagonal}",
        f"What was taken for what, {split}. {description}",
        bars.properties(height=16 * len(rows)),
    )


def _shorten_middle(name: str, max_length: int = 14) -> str:
    """A name whose ends are kept, as that is where names that are alike differ."""
    half = max_length // 2
    return name if len(name) <= max_length else f"{name[:half]}…{name[1 - half :]}"


def _confusion_marks(rows: list[dict[str, Any]], names: list[str]) -> alt.Chart | alt.LayerChart:
    """A shaded cell for each label and prediction; with a few classes, its count."""
    axis = alt.Axis(labelLimit=90, domain=False, ticks=False, labelFlush=False)
    across = axis.copy()
    across.labelAngle = 0 if len(names) <= 3 else -90
    across.labelOverlap = False
    base = alt.Chart(inline_data(rows)).encode(
        x=alt.X(
            "prediction:N",
            title="predicted",
            sort=names,
            axis=across,
        ),
        y=alt.Y("label:N", title="labelled", sort=names, axis=axis),
        tooltip=tooltips(*_TOOLTIPS),
    )
    shade = alt.Scale(domain=[0, 1], range=[0.06, 1])
    cells: alt.Chart = base.mark_rect(color=COLOURS[0], stroke="var(--paper)", strokeWidth=2)
    cells = cells.encode(opacity=alt.Opacity("share:Q", scale=shade, legend=None))
    if len(names) > 10:
        return cells
    ink = alt.condition("datum.share > 0.55", alt.value("var(--paper)"), alt.value("var(--ink)"))
    counts = base.mark_text(fontSize=13 if len(names) <= 4 else 10).encode(
        text=alt.Text("count:Q", format=","), color=ink
    )
    return layer(cells, counts)
