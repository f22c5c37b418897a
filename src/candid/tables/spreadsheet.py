"""What a spreadsheet does to a table: ranges as dates ("03-Sep" for 3-9, "Oct-19" for 10-19), and
decimal commas.
"""

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
_NOTHING = rf"(?i)^\s*({'|'.join(map(re.escape, MISSING))})?\s*$"
_MOST_VALUES = 1000  # a column with more different ones holds no groups


@dataclass(frozen=True)
class Spoilt:
    """A column with values that look like dates and were `ranges`, and how many rows have one.

    It is certain, and was repaired, where its other values are ranges, too, and none overlaps.
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
) -> tuple[pa.Table, list[Spoilt]]:
    """The table with the ranges that it surely had, and every column that holds such dates.

    `missing` are words for a missing value, which say nothing about a column's other values.
    """
    found = []
    nothing = {"", *(word.lower() for word in missing)}
    for name in names:
        column = table[name]
        if not _has_dates(column):
            continue
        words = column.to_pylist()
        values = {w for w in words if w is not None and w.strip().lower() not in nothing}
        ranges, certain = _judge(sorted(values))
        if not ranges:
            continue
        found.append(Spoilt(name, ranges, sum(w in ranges for w in words), certain))
        if certain:
            mended = pa.array([ranges.get(w, w) for w in words], pa.string())
            table = table.set_column(table.column_names.index(name), name, mended)
    return table, found


def with_points(table: pa.Table) -> pa.Table:
    """A table of words with a decimal point where a column's numbers have a comma ("20,5").

    In many languages a spreadsheet writes numbers so, and another character between the cells.
    Where every comma may as well mark thousands ("12,500"), the column stays as it is.
    """
    for i, name in enumerate(table.column_names):
        words = pc.unique(table[name].unify_dictionaries()).cast(pa.string()).drop_null()
        words = words.filter(pc.invert(pc.match_substring_regex(words, _NOTHING)))
        commas = words.filter(pc.match_substring(words, ","))
        if not len(commas) or pc.all(pc.match_substring_regex(commas, _THOUSANDS)).as_py():
            continue
        if pc.all(pc.match_substring_regex(words, _DECIMAL)).as_py():
            points = pc.replace_substring(table[name].cast(pa.string()), ",", ".")
            table = table.set_column(i, name, points.dictionary_encode())
    return table


def _has_dates(column: Any) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return False
    values = pc.unique(column.cast(kind))
    return len(values) <= _MOST_VALUES and bool(
        pc.any(pc.match_substring_regex(values, _DATE)).as_py()
    )


def _judge(values: Sequence[str]) -> tuple[dict[str, str], bool]:
    """Which of a column's values were ranges, {} where they may well be dates; and how sure."""
    dates = {w: r for w in values if (r := _from_date(w))}
    others = [m for w in values if w not in dates and (m := _RANGE.fullmatch(w.strip()))]
    apart = _apart([*dates.values(), *((int(m[1]), int(m[3])) for m in others)])
    if not others and not apart:
        return {}, False
    dash = others[0][2] if others else "-"
    certain = apart and bool(others) and 2 * len(others) >= len(values) - len(dates)
    return {w: f"{low}{dash}{high}" for w, (low, high) in dates.items()}, certain


def _from_date(word: str) -> _Range | None:
    """The range that became a date: its day (or year) and its month, the smaller first."""
    match = re.match(_DATE, word)
    if match is None:
        return None
    month = 1 + _MONTHS.index((match[2] or match[3]).lower())
    number = int(match[1] or match[4])
    return min(month, number), max(month, number)


def _apart(ranges: Iterable[_Range]) -> bool:
    """Whether no two different ones overlap; they may touch, as 20-30 and 30-40 do."""
    order = sorted(set(ranges))
    return all(one[1] <= other[0] for one, other in pairwise(order))
