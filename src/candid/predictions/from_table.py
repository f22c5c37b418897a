"""Anybody's table as predictions; see `Predictions.from_table`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.errors import ConfigError, PredictionsError
from candid.predictions import Predictions, described
from candid.predictions.answers import (
    ANSWERS_ALONE,
    Answers,
    finite_numbers,
    read_answers,
    read_cells,
    require_numbers,
)
from candid.predictions.choosing import ColumnNames, Columns, columns_unnamed, refuse_answers
from candid.predictions.labels import Label, read_label
from candid.predictions.numbers import NumberAnswers, not_too_large
from candid.predictions.repeating import number_said_again, said_again
from candid.records import SPLITS
from candid.storage.files import regular
from candid.table import ROW, arrow_table
from candid.tables.attributes import Attribute
from candid.tables.delimited import own_columns, read_table
from candid.tables.spreadsheet import repair
from candid.text import notes as text

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".pq")

_IDS = ("id", "image_id", *columns.PATH_COLUMNS)
_LEAST_TO_DOUBT = 30  # labelled rows on each side before an odd distribution is remarked upon


def written_by_candid(path: Path) -> bool:
    """Whether a file is a Parquet file of predictions that Candid wrote; opens its footer only."""
    return _said_of_itself(path) is not None


def holds_number(path: Path) -> bool:
    """Whether it is one of a label that is a number; opens its footer only."""
    return "number" in (_said_of_itself(path) or {})


def _said_of_itself(path: Path) -> dict[str, Any] | None:
    try:
        return described(pq.read_schema(regular(path)))
    except (OSError, ValueError):  # Arrow's own are among them, as are JSON's
        return None


def must_name_columns(path: Path, encoding: str = "") -> ConfigError:
    """What to say of a table whose columns are not named.

    Raises DataError where it cannot be read as a table.
    """
    return columns_unnamed(path.name, _read(path, encoding).column_names)


@dataclass(frozen=True, eq=False)
class _Named:
    """A table and which of its columns hold what; `notes` says what was assumed."""

    table: pa.Table
    names: ColumnNames
    label: str
    prediction: list[str]
    asked: Columns

    @property
    def notes(self) -> list[str]:
        return self.names.notes

    @property
    def _taken(self) -> list[str]:
        return [self.label, *self.prediction]

    def per_image(self, label: Label) -> tuple[dict[str, Any], str | None, set[str]]:
        """What any predictions hold beside label and prediction.

        Also the column with the ids, and all columns that something else than groups was read from.
        """
        asked, names, table = self.asked, self.names, self.table
        person = names.person(asked.person, self._taken)
        split = names.split(table, asked.split, self._taken)
        key = names.special(asked.ids, _IDS, "id", [*self._taken, person])
        _require_plain(table, [n for n in (person, split, key) if n])
        used = {n for n in (*self._taken, person, split, key) if n} | own_columns(names.names)
        found: dict[str, Any] = {"target": self.label}
        found["attributes"] = names.attributes(table, asked.groups, used, self.prediction, label)
        found["ids"] = _ids(table, key, self.notes)
        found["split"] = _splits(table, split, self.notes)
        found["person"] = columns.people(columns.words_of(table[person])) if person else None
        return found, key, used

    def groups(
        self, found: Mapping[str, Attribute], again: list[str], used: set[str]
    ) -> dict[str, Attribute]:
        """The attributes that are groups: those that were named, or all but those said `again`."""
        if self.asked.groups:
            return dict(found)
        kept = {name: a for name, a in found.items() if name not in again}
        self.names.assume(kept, used, again)
        return kept

    def about(self) -> dict[str, str]:
        """Where it came from, and the notes."""
        about = {"data": self.names.where, "source": "a table of another model's predictions"}
        return about | ({"notes": " ".join(self.notes)} if self.notes else {})


def _named(table: Any, asked: Columns) -> _Named:
    """A file or a data frame with its columns; ranges that a spreadsheet took for dates mended."""
    is_file = isinstance(table, str | Path)
    where = Path(table).name if is_file else "the table"
    table = _read(Path(table), asked.encoding) if is_file else arrow_table(table)
    names = ColumnNames(table.column_names, where)
    label, chosen = names.label_and_prediction(asked)
    _require_plain(table, [label, *chosen])
    table, spoilt = repair(table, [n for n in names.names if n not in (label, *chosen)])
    names.notes.extend(
        f"{one} in {one.rows:,} rows: a spreadsheet takes ranges for dates; they were "
        f"{'read as the ranges' if one.certain else 'left as they are'}."
        for one in spoilt
    )
    return _Named(table, names, label, chosen, asked)


def predictions_from(table: Any, asked: Columns) -> Predictions:
    """Read a file or a data frame; see `Predictions.from_table`."""
    named = _named(table, asked)
    label, chosen, notes = named.label, named.prediction, named.notes
    scale = asked.scale or "probability"
    truth = read_label(named.table, label)
    said = read_answers(named.table, truth, chosen, asked.positive, scale)
    fields, key, used = named.per_image(said.label)
    found = Predictions(
        classes=said.label.classes,
        label=said.label.code,
        probability=said.probability,
        hard=said.hard,
        **fields,
    )
    found = found[_once(found, [found.label, *found.probability.T], key, notes)]
    found = _usable(found, chosen, notes)
    again = said_again(found.attributes, found.label, found.probability, hard=found.hard)
    groups = named.groups(found.attributes, again, used)
    found = replace(found, attributes=groups)
    rows = found[np.flatnonzero(found.label >= 0)]
    refuse_answers(label, chosen, len(rows), int(np.count_nonzero(rows.wrong)))
    notes += _doubts(found, said, chosen[0])
    return replace(found, provenance=named.about())


def number_answers_from(table: Any, asked: Columns) -> NumberAnswers:
    """What any model says of a number, from a file or a data frame with a row per image.

    Raises PredictionsError where there is not one column with predictions, a cell holds no number,
    or no row has both.
    """
    named = _named(table, asked)
    if len(named.prediction) > 1 or asked.positive is not None or asked.scale is not None:
        raise PredictionsError(
            f"{len(named.prediction)} columns with predictions are named for the number "
            f"{named.label!r}, or --positive or --scale, which are of classes.",
            expected="one column with what a model said, in the label's own unit",
            todo="name that alone with --prediction; leave --positive and --scale out",
        )
    value, predicted = (
        _numbers(named.table, name, role)
        for name, role in ((named.label, "label"), (named.prediction[0], "prediction"))
    )
    nothing = Label(named.label, (), np.full(len(value), -1, np.int16))
    fields, key, used = named.per_image(nothing)
    found = NumberAnswers(value=value, predicted=predicted, **fields)
    found = found[_once(found, [value, predicted], key, named.notes)]
    found = _with_numbers(found, named)
    groups = named.groups(found.attributes, number_said_again(found), used)
    found = replace(found, attributes=groups)
    return replace(found, provenance=named.about())


def _numbers(table: pa.Table, name: str, role: str) -> NDArray[np.float64]:
    """(n,) a column of numbers, NaN where it is empty."""
    cells = read_cells(table, name)
    require_numbers(cells, role)
    return not_too_large(finite_numbers(cells, role), f"the {role}s {name!r}")


def _with_numbers(p: NumberAnswers, named: _Named) -> NumberAnswers:
    """The rows that have both a label and a prediction; at least one must."""
    both = np.isfinite(p.value) & np.isfinite(p.predicted)
    if not both.any():
        raise _nothing(named.label, named.prediction)
    if silent := int(np.count_nonzero(~np.isfinite(p.predicted))):
        named.notes.append(text.no_prediction(silent, len(p), named.prediction))
    if unlabelled := int(np.count_nonzero(~np.isfinite(p.value))):
        named.notes.append(text.rows_unlabelled(unlabelled, len(p)))
    return p[both]


def _nothing(label: str, prediction: list[str]) -> PredictionsError:
    return PredictionsError(
        f"No row has both a label in {label!r} and a prediction in {', '.join(prediction)}.",
        expected="at least one",
        todo="check the names of the columns",
    )


# --- columns -------------------------------------------------------------------------------------


def _require_plain(table: pa.Table, names: list[str]) -> None:
    for name in names:
        if not columns.is_plain(kind := table.schema.field(name).type):
            raise PredictionsError(
                f"The column {name!r} holds {kind}.",
                expected="a word or a number in every row",
                todo="name another column, or give each of its parts a column of its own",
            )


def _read(path: Path, encoding: str) -> pa.Table:
    if path.is_dir() or (path.exists() and not path.name.lower().endswith(SUFFIXES)):
        raise PredictionsError(
            f"{path} is {'a folder' if path.is_dir() else 'not a table that can be read'}.",
            expected=f"a file ending in {', '.join(SUFFIXES)}",
            todo="save the predictions as CSV, TSV, JSON lines or Parquet",
        )
    return read_table(path, encoding)


def _splits(table: pa.Table, name: str | None, notes: list[str]) -> NDArray[np.str_]:
    if name is None:
        notes.append("There is no split column, so every row counts as test.")
        return np.full(len(table), "test")
    codes, words = columns.coded(table[name])
    known = [columns.SPLIT_WORDS.get((w or "").lower()) for w in words]
    for code, (word, split) in enumerate(zip(words, known, strict=True)):
        if split is None and (rows := np.flatnonzero(codes == code)).size:
            raise PredictionsError(
                f"The split column {name!r} holds {word!r} in row {rows[0] + 1}.",
                expected="train, validation or test",
                todo="rename the word, or leave the column out",
            )
    if (codes < 0).any():
        raise PredictionsError(
            f"The split column {name!r} is empty in {np.count_nonzero(codes < 0):,} rows, "
            f"such as row {int(np.argmax(codes < 0)) + 1}.",
            expected=f"one of {', '.join(SPLITS)} in every row",
            todo="fill it",
        )
    return np.array([s or "" for s in known])[codes]


def _ids(table: pa.Table, name: str | None, notes: list[str]) -> NDArray[np.str_]:
    numbered = [f"{ROW}{i}" for i in range(1, len(table) + 1)]
    if name is None:
        notes.append("No column names the images, so the rows are numbered.")
        return np.array(numbered)
    words = columns.words_of(table[name])
    if empty := words.count(None):
        notes.append(text.rows_unnamed(empty, name))
    return np.array([w or row for w, row in zip(words, numbered, strict=True)])


# --- rows ----------------------------------------------------------------------------------------


def _once(
    p: Predictions | NumberAnswers, parts: list[NDArray[Any]], key: str | None, notes: list[str]
) -> NDArray[np.intp]:
    """Rows with the same id and the same contents once; with other contents they are an error.

    `parts` are (n,) what is compared beside split, person and attributes.
    """
    ids, first, inverse = np.unique(p.ids, return_index=True, return_inverse=True)
    if len(ids) == len(p):
        return np.arange(len(p))
    to = first[inverse]
    parts = [*parts, p.split, *(a.data for a in p.attributes.values())]
    parts += [] if p.person is None else [p.person]
    differs = np.zeros(len(p), np.bool_)
    for part in parts:  # what is not equal to itself is missing
        differs |= (part != part[to]) & ((part == part) | (part[to] == part[to]))
    if differs.any():
        row = int(np.argmax(differs))
        raise PredictionsError(
            f"{str(p.ids[row])!r} stands in rows {to[row] + 1} and {row + 1} of {key!r} with "
            f"different contents; {len(p) - len(ids):,} rows repeat an id.",
            expected="one row per image",
            todo="remove the repeated rows, or name a column that tells the images apart with --id",
        )
    notes.append(text.rows_repeated(len(p) - len(ids)))
    return np.sort(first)


def _usable(p: Predictions, chosen: list[str], notes: list[str]) -> Predictions:
    """The rows that have a prediction; at least one must also have a label."""
    complete = np.asarray(~np.isnan(p.probability).any(axis=1))
    if not complete.all():
        missing = int(np.count_nonzero(~complete))
        notes.append(text.no_prediction(missing, len(p), chosen))
        p = p[complete]
    if not (p.label >= 0).any():
        raise _nothing(p.target, chosen)
    return p  # of rows without a label, whoever judges them says how many there are


def _doubts(p: Predictions, said: Answers, column: str) -> Iterator[str]:
    """Remarks on probabilities that are possible and hardly meant so."""
    if p.hard:
        yield ANSWERS_ALONE
        yield from _counted_otherwise(p, column)
    if p.hard or said.positive is None:
        return
    mine = p.label == said.positive
    other = (p.label >= 0) & ~mine
    score, name = p.probability[:, said.positive], p.classes[said.positive]
    yield f"{column!r} was taken for the probability of {name!r}."
    if min(np.count_nonzero(mine), np.count_nonzero(other)) < _LEAST_TO_DOUBT:
        return
    high, low = float(score[mine].mean()), float(score[other].mean())
    if high < low:
        yield (
            f"It is {high:.2f} on average where the label says {name!r} and {low:.2f} elsewhere: "
            "it may be the probability of the other class."
        )
    elif score.min() >= 0.5:
        yield "It is never below 0.5: it may be the confidence in the answer."


def _counted_otherwise(p: Predictions, column: str) -> Iterator[str]:
    """A remark on answers that agree with far more labels where one is added, or taken away."""
    if not all(c.isdecimal() for c in p.classes):
        return
    number = np.array([int(c) for c in p.classes])
    rows = np.flatnonzero(p.label >= 0)
    label, answer = number[p.label[rows]], number[p.prediction[rows]]
    for step in (1, -1):
        as_read, shifted = np.mean(answer == label), np.mean(answer + step == label)
        if len(rows) >= _LEAST_TO_DOUBT and shifted > 2 * as_read and shifted > 0.5:
            yield text.counted_otherwise(column, float(as_read), float(shifted), step)
