"""The roles of the columns in a table of any model's predictions.

A column is named, exactly or by a pattern, or recognized by a usual name; without names, every
column with few words or numbers is a group.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

import candid.tables.columns as columns
from candid.errors import ConfigError, PredictionsError, did_you_mean
from candid.predictions.answers import Scale, is_like_a_prediction
from candid.predictions.labels import Label
from candid.tables.attributes import Attribute
from candid.tables.delimited import candid_columns
from candid.text.notes import answer_columns_note

_LEAST_TO_REFUSE = 100  # rows: by chance a very good model is right about fewer


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns to read, and how to read them; see `Predictions.from_table`."""

    label: str | None = None
    prediction: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    person: str | None = None
    split: str | None = None
    ids: str | None = None
    positive: str | None = None
    scale: Scale | None = None
    number: bool = False  # whether label and prediction are numbers
    encoding: str = ""  # of a CSV or TSV file without a byte order mark; UTF-8 where empty

    def __post_init__(self) -> None:
        for name in ("prediction", "groups"):  # one column's name is no series of letters
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, (value,))

    def named(self) -> bool:
        """Whether anything but the encoding is set."""
        return replace(self, encoding="") != Columns()


@dataclass(frozen=True)
class ColumnNames:
    """The names of a table's columns; `notes` says what was assumed."""

    names: list[str]
    source: str
    notes: list[str] = field(default_factory=list)

    def find(self, name: str, role: str) -> str:
        """The name, if a column has it."""
        if name in self.names:
            return name
        raise PredictionsError(
            f"{self.source} has no column called {name!r} for the {role}.",
            expected=f"one of its {len(self.names)} columns",
            todo=did_you_mean(name, self.names),
        )

    def expand(self, patterns: Sequence[str], role: str) -> list[str]:
        """Names and patterns as names, each once, patterns in the file's order."""
        names: list[str] = []
        for name in patterns:
            matches = [n for n in self.names if fnmatch.fnmatchcase(n, name)]
            if name in self.names or not any(c in name for c in "*?["):
                matches = [self.find(name, role)]
            elif not matches:
                raise PredictionsError(
                    f"No column of {self.source} fits the pattern {name!r} for the {role}.",
                    expected="the beginning of some columns' names and a star",
                    todo=did_you_mean(name.strip("*"), self.names),
                )
            names += matches
        if not names:
            raise PredictionsError(
                f"No {role} is named.",
                expected="the name of a column",
                todo=f"name one with --{role}; " + did_you_mean(role, self.names),
            )
        return list(dict.fromkeys(names))

    def label_and_prediction(self, spec: Columns) -> tuple[str, list[str]]:
        """The columns of the label and of the prediction, which are not the same.

        Raises PredictionsError where one is missing, or both are one.
        """
        label = self.find(spec.label or "", "label")
        prediction = self.expand(spec.prediction, "prediction")
        if label in prediction or label in candid_columns(self.names):
            raise PredictionsError(
                f"The column {label!r} is named as the label and as the prediction."
                if label in prediction
                else f"{label!r} is no label: candid predict wrote it, from the model's answers.",
                expected="what an annotator wrote, and what a model said",
                todo="name another column with --prediction"
                if label in prediction
                else "join the annotators' column to the table by id, and name that with --label",
            )
        return label, prediction

    def special(
        self, name: str | None, usual: Sequence[str], role: str, exclude: Iterable[str | None]
    ) -> str | None:
        """The column that was named, or else the first with a usual name, or else None."""
        if name is not None:
            return self.find(name, role)
        return columns.find_usual((n for n in self.names if n not in exclude), usual)

    def person(self, name: str | None, exclude: Iterable[str | None]) -> str | None:
        """The column of persons, if there is one."""
        column = self.special(name, columns.PERSON_COLUMNS, "person", exclude)
        if column and name is None:
            self.notes.append(f"People are told apart by {column!r}.")
        return column

    def split(self, table: pa.Table, name: str | None, exclude: Iterable[str | None]) -> str | None:
        """The column that was named, or one with a usual name that holds splits."""
        column = self.special(name, columns.SPLIT_COLUMNS, "split", exclude)
        if column is None or name is not None:
            return column
        if not columns.is_plain(table.schema.field(column).type):
            return None
        words = {w.lower() for w in columns.distinct_words(table[column])}
        has_train = any(columns.SPLIT_WORDS.get(w) == "train" for w in words)
        return column if words and (has_train or words <= columns.SPLIT_WORDS.keys()) else None

    def attributes(
        self, table: pa.Table, groups: Sequence[str], used: set[str], preds: list[str], label: Label
    ) -> dict[str, Attribute]:
        """The groups that were named, or every other column that can be one.

        `table` may hold the first rows alone. `groups` are names and patterns; none: every column
        but those in `used`, those that cannot be one, and those that look like `preds` or the
        label. Raises PredictionsError where a named column is missing or cannot be a group.
        """
        rest = [n for n in self.names if n not in used]
        names = self.expand(groups, "group") if groups else rest
        parsed = {n: columns.read_column(n, table[n]) for n in names}
        candidates = {n: a for n, a in parsed.items() if isinstance(a, Attribute)}
        if groups:
            for name in (n for n in names if n not in candidates):
                raise PredictionsError(
                    f"The column {name!r} cannot be a group: {parsed[name]}.",
                    expected="a column with a few words, or numbers",
                    todo="name another one with --group",
                )
            return candidates
        return {
            name: attribute
            for name, attribute in candidates.items()
            if not (_is_row_number(attribute) or is_like_a_prediction(name, preds, label))
        }

    def assume(self, groups: Iterable[str], used: set[str], repeats: Sequence[str]) -> None:
        """Note which columns became groups though none was named, and which did not."""
        names = [*groups]
        rest = [n for n in self.names if n not in used]
        if rest:
            listed = ", ".join(names) or "none"
            self.notes.append(f"No group was named, so every column that can be one is: {listed}.")
        if dropped := [n for n in rest if n not in names]:
            self.notes.append(f"Columns that are no groups: {', '.join(dropped)}.")
        if repeats:
            self.notes.append(answer_columns_note(repeats))


def _is_row_number(attribute: Attribute) -> bool:
    """Whether a column just numbers the rows."""
    data = attribute.data
    return attribute.kind == "numeric" and len(data) > 1 and bool(np.all(np.diff(data) == 1))


def columns_unnamed(name: str, names: Iterable[str]) -> ConfigError:
    """The error for a table (or a folder of tables) whose columns are not named."""
    problem = "holds no predictions of a run, so its columns must be named"
    first, prediction = "", "p_Male"
    if candid_columns(names):
        problem = "was written by candid predict: predictions alone"
        first, prediction = "join them by id: ", "'p_*'"
    return ConfigError(
        f"{name} {problem}.",
        expected="the labels of annotators beside them, and --label and --prediction",
        todo=f"{first}candid audit {name} --label gender --prediction {prediction} --group race "
        "--person person",
    )


def refuse_answers(label: str, prediction: Sequence[str], n: int, wrong: int) -> None:
    """Raise a PredictionsError where a label agrees with the likeliest class in every row.

    `n` rows have a label and a prediction, and in `wrong` of them the two differ.
    """
    if wrong or n < _LEAST_TO_REFUSE:
        return
    raise PredictionsError(
        f"The label {label!r} is the likeliest class of {', '.join(prediction)} in each of {n:,} "
        "rows, so it seems to be the model's own answer.",
        expected="what an annotator wrote, about which a model is wrong now and then",
        todo="name the annotators' column with --label; where it is theirs, no mistake is to be "
        "audited",
    )
