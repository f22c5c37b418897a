"""Records as tables: a data frame of whichever library is installed, and a plain table of HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

Row = Mapping[str, Any]


class Tabular:
    """A record that can be shown as rows of plain values."""

    __slots__ = ()

    def rows(self) -> list[dict[str, Any]]:
        """Dicts with the same names in each."""
        raise NotImplementedError

    def to_frame(self) -> Any:
        """`rows` as a data frame: pandas where it is installed, else polars, else Arrow."""
        return frame_of(self.rows())

    def _repr_html_(self) -> str:
        return html_of(self.rows())


def frame_of(rows: Sequence[Row]) -> Any:
    """A pandas or polars frame, by what is installed, else a `pyarrow.Table`; a row for each."""
    if find_spec("pandas"):
        return import_module("pandas").DataFrame(list(rows))
    if find_spec("polars"):
        return import_module("polars").DataFrame(list(rows), infer_schema_length=None)
    return import_module("pyarrow").Table.from_pylist([dict(row) for row in rows])


def frame_of_table(table: Any) -> Any:
    """A frame from a `pyarrow.Table`, as `frame_of` makes it."""
    if find_spec("pandas"):
        return table.to_pandas()
    if find_spec("polars"):
        return import_module("polars").from_arrow(table)
    return table


def with_figure(row: Row, figure: Any) -> dict[str, Any]:
    """A row and the columns of its figure, a `candid.records.Estimate`."""
    names = ("value", "low", "high", "n", "people", "method")
    return {**row, **{name: getattr(figure, name) for name in names}}


def in_short(row: Row, *names: str) -> dict[str, Any]:
    """Some columns of such a row, then its figure with the interval as one text."""
    low, high = row["low"], row["high"]
    interval = "" if math.isnan(low) else f"{low:.4g} to {high:.4g}"
    return {name: row[name] for name in names} | {
        "value": row["value"],
        "interval": interval,
        "n": row["n"],
    }


def html_of(rows: Sequence[Row], title: str = "") -> str:
    """A small table for notebooks; numbers with four digits, and nothing for what is undefined."""
    names = list(rows[0]) if rows else []
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row[name]))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_of(rows: Sequence[Row], title: str) -> str:
    """A table as text: the title, and below it aligned columns."""
    if not rows:
        return title
    table = [[*rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)
    return "\n".join((title, *lines))


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
