"""Which columns of a stranger's table hold what.

A column is named, as it stands in the file or by a pattern, or it is known by a usual name; without
names, every column with few words or numbers is a group.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

import candid.tables.columns as columns
from candid.errors import PredictionsError, did_you_mean
from candid.predictions import Attribute
from candid.tables.answers import is_like_a_prediction
from candid.tables.labels import Label
from candid.tables.own import own_columns

__all__ = ["ColumnNames", "attributes_of", "split_column"]


@dataclass(frozen=True)
class ColumnNames:
    """The columns' names, and how they are asked for."""

    names: list[str]
    where: str

    def one(self, name: str, role: str) -> str:
        """The column called so, as it stands in the file."""
        if name in self.names:
            return name
        raise PredictionsError(
            f"{self.where} has no column called {name!r} for the {role}.",
            expected=f"one of its {len(self.names)} columns",
            todo=did_you_mean(name, self.names),
        )

    def expand(self, wanted: Sequence[str], role: str) -> list[str]:
        """Names and patterns as names, each once, patterns in the file's order."""
        found: list[str] = []
        for name in wanted:
            matching = [n for n in self.names if fnmatch.fnmatchcase(n, name)]
            if name in self.names or not any(c in name for c in "*?["):
                matching = [self.one(name, role)]
            elif not matching:
                raise PredictionsError(
                    f"No column of {self.where} fits the pattern {name!r} for the {role}.",
                    expected="the beginning of some columns' names and a star",
                    todo=did_you_mean(name.strip("*"), self.names),
                )
            found += matching
        if not found:
            raise PredictionsError(
                f"No {role} is named.",
                expected="the name of a column",
                todo=f"name one with --{role}; " + did_you_mean(role, self.names),
            )
        return list(dict.fromkeys(found))

    def told(self, label: str, prediction: Sequence[str]) -> tuple[str, list[str]]:
        """The columns of the label and of the prediction, which are not the same.

        Raises
        ------
        PredictionsError
            Where one is missing, or both are one.
        """
        label = self.one(label, "label")
        chosen = [self.one(name, "prediction") for name in self.expand(prediction, "prediction")]
        if label in chosen or label in own_columns(self.names):
            raise PredictionsError(
                f"The column {label!r} is named as the label and as the prediction."
                if label in chosen
                else f"{label!r} is no label: candid predict wrote it, from the model's answers.",
                expected="what an annotator wrote, and what a model said",
                todo="name another column with --prediction"
                if label in chosen
                else "join the annotators' column to the table by id, and name that with --label",
            )
        return label, chosen

    def special(
        self, name: str | None, usual: Sequence[str], role: str, taken: set[str | None]
    ) -> str | None:
        """The column that was named, or else the first with a usual name, or else None."""
        if name is not None:
            return self.one(name, role)
        lower = {n.lower().strip(): n for n in reversed(self.names) if n not in taken}
        return next((lower[u] for u in usual if u in lower), None)


def attributes_of(
    table: pa.Table,
    names: ColumnNames,
    groups: Sequence[str],
    used: set[str],
    chosen: list[str],
    label: Label,
    notes: list[str],
) -> dict[str, Attribute]:
    """The groups that were named, or every other column that can be one.

    Parameters
    ----------
    table, names
        The table (or its first rows), and the names of its columns.
    groups
        Names and patterns; none: every column but those in `used` and those that cannot be one.
    used
        The columns that hold something else.
    chosen, label
        The columns of the prediction and the label that was read: what looks like them is no group.
    notes
        What was assumed is added.

    Raises
    ------
    PredictionsError
        Where a column that was named is missing or cannot be a group.
    """
    if groups:
        read = {n: columns.read(n, table[n]) for n in names.expand(groups, "group")}
        for name, found in read.items():
            if isinstance(found, str):
                raise PredictionsError(
                    f"The column {name!r} cannot be a group: {found}.",
                    expected="a column with a few words, or numbers",
                    todo="name another one with --group",
                )
        return {n: a for n, a in read.items() if not isinstance(a, str)}
    rest = [n for n in names.names if n not in used]
    read = {n: columns.read(n, table[n]) for n in rest}
    out = [
        n
        for n, a in read.items()
        if isinstance(a, str) or _is_counter(a) or is_like_a_prediction(n, chosen, label)
    ]
    if rest:
        taken = ", ".join(n for n in rest if n not in out) or "none"
        notes.append(f"No group was named, so every column that can be one is: {taken}.")
    if out:
        notes.append(f"Columns that are no groups: {', '.join(out)}.")
    return {n: a for n, a in read.items() if not isinstance(a, str) and n not in out}


def split_column(
    table: pa.Table, names: ColumnNames, name: str | None, taken: set[str]
) -> str | None:
    """The column that was named, or one with a usual name that holds no other words."""
    found = names.special(name, columns.SPLIT_COLUMNS, "split", {*taken})
    if found is None or name is not None:
        return found
    words = {w.lower() for w in columns.distinct_words(table[found])}
    return found if words and words <= columns.SPLIT_WORDS.keys() else None


def _is_counter(attribute: Attribute) -> bool:
    """Whether a column just numbers the rows, as an index does."""
    data = attribute.data
    return attribute.kind == "numeric" and len(data) > 1 and bool(np.all(np.diff(data) == 1))
