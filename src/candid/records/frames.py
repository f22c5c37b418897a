"""Rows of figures as a data frame of whatever library is there, and as a small HTML table."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from html import escape
from importlib.util import find_spec
from typing import Any


def frame_of(rows: Sequence[dict[str, Any]]) -> Any:
    """Rows with the same names as a pandas data frame, else a polars one, else an Arrow table."""
    if find_spec("pandas") is not None:
        return importlib.import_module("pandas").DataFrame([*rows])
    if find_spec("polars") is not None:
        return importlib.import_module("polars").DataFrame([*rows], infer_schema_length=None)
    import pyarrow as pa

    return pa.Table.from_pylist([*rows])


def html_table(rows: Sequence[dict[str, Any]], caption: str) -> str:
    """Rows with the same names as an HTML table with a caption; numbers in three digits."""
    parts = [f"<table><caption>{escape(caption)}</caption>"]
    if rows:
        parts.append(f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in rows[0])}</tr>")
    for row in rows:
        parts.append(f"<tr>{''.join(f'<td>{escape(_cell(v))}</td>' for v in row.values())}</tr>")
    return "".join([*parts, "</table>"])


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
