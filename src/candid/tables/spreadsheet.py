"""Repairs of what spreadsheets do to tables: ranges as dates ("03-Sep" for 3-9), decimal commas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from candid.tables.columns import MISSING

_Range = tuple[int, int]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = f"({'|'.join(_MONTHS)})"
_DATE = rf"(?i)^\s*(?:(\d{{1,2}})-{_MONTH}|{_MONTH}-(\d{{1,2}}))\s*$"
_RANGE = re.compile(r"(\d+)(\s*(?:-|–|to)\s*)(\d+)")
_DECIMAL = r"^\s*[+-]?\d+(,\d+)?([eE][+-]?\d+)?\s*%?\s*$"
_THOUSANDS = r"^\s*[+-]?[1-9]\d{0,2},\d{3}\s*%?\s*$"
_MISSING = rf"(?i)^\s*({'|'.join(map(re.escape, MISSING))})?\s*$"
_MOST_VALUES = 1000  # a column with more distinct ones holds no groups


@dataclass(frozen=True)
class DateColumn:
    """A column with values that look like dates and were `ranges`, and the number of such rows.

    It is certain, and was repaired, where its other values are ranges, too, and none overlap.
    """

    column: str
    ranges: Mapping[str, str]
    rows: int
    certain: bool

    def __str__(self) -> str:
        pairs = ", ".join(f"{date} ({was})" for date, was in self.ranges.items())
        return f"{self.column}: {pairs}"


def repair(
    table: pa.Table, names: Iterable[str], missing: Sequence[str] = ()
) -> tuple[pa.Table, list[DateColumn]]:
    """The table with all certain ranges restored, and every column that holds such dates.

    `missing` are words for a missing value, which are ignored.
    """
    date_columns = []
    empty = {"", *(word.lower() for word in missing)}
    for name in names:
        column = table[name]
        if not _has_dates(column):
            continue
        words = column.to_pylist()
        values = {w for w in words if w is not None and w.strip().lower() not in empty}
        ranges, certain = _guess_ranges(sorted(values))
        if not ranges:
            continue
        date_columns.append(DateColumn(name, ranges, sum(w in ranges for w in words), certain))
        if certain:
            column = pa.array([ranges.get(w, w) for w in words], pa.string())
            table = table.set_column(table.column_names.index(name), name, column)
    return table, date_columns


def convert_decimal_commas(table: pa.Table) -> pa.Table:
    """A table of words with a decimal point where a column's numbers have a comma ("20,5").

    Where every comma may as well mark thousands ("12,500"), the column stays as it is.
    """
    for i, name in enumerate(table.column_names):
        words = pc.unique(table[name].unify_dictionaries()).cast(pa.string()).drop_null()
        words = words.filter(pc.invert(pc.match_substring_regex(words, _MISSING)))
        commas = words.filter(pc.match_substring(words, ","))
        if not len(commas) or pc.all(pc.match_substring_regex(commas, _THOUSANDS)).as_py():
            continue
        if pc.all(pc.match_substring_regex(words, _DECIMAL)).as_py():
            points = pc.replace_substring(table[name].cast(pa.string()), ",", ".")
            table = table.set_column(i, name, points.dictionary_encode())
    return table


def _has_dates(column: Any) -> bool:
    dtype = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(dtype) or pa.types.is_large_string(dtype)):
        return False
    values = pc.unique(column.cast(dtype))
    return len(values) <= _MOST_VALUES and bool(
        pc.any(pc.match_substring_regex(values, _DATE)).as_py()
    )


def _guess_ranges(values: Sequence[str]) -> tuple[dict[str, str], bool]:
    """The ranges behind a column's dates, {} where they may well be dates; and whether certain."""
    dates = {w: r for w in values if (r := _date_to_range(w))}
    ranges = [m for w in values if w not in dates and (m := _RANGE.fullmatch(w.strip()))]
    disjoint = _are_disjoint([*dates.values(), *((int(m[1]), int(m[3])) for m in ranges)])
    if not ranges and not disjoint:
        return {}, False
    dash = ranges[0][2] if ranges else "-"
    certain = disjoint and bool(ranges) and 2 * len(ranges) >= len(values) - len(dates)
    return {w: f"{low}{dash}{high}" for w, (low, high) in dates.items()}, certain


def _date_to_range(word: str) -> _Range | None:
    """The range behind a date: its day (or year) and its month, the smaller first."""
    match = re.match(_DATE, word)
    if match is None:
        return None
    month = 1 + _MONTHS.index((match[2] or match[3]).lower())
    number = int(match[1] or match[4])
    return min(month, number), max(month, number)


def _are_disjoint(ranges: Iterable[_Range]) -> bool:
    """Whether no two distinct ranges overlap; they may touch, as 20-30 and 30-40 do."""
    order = sorted(set(ranges))
    return all(a[1] <= b[0] for a, b in pairwise(order))
