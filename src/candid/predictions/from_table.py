"""Any model's table as predictions; see `Predictions.from_table`."""

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
from candid.predictions import Predictions, read_metadata
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
from candid.predictions.repeating import find_number_repeats, find_repeats
from candid.records import SPLITS
from candid.storage.files import regular
from candid.table import ROW, arrow_table
from candid.tables.attributes import Attribute
from candid.tables.delimited import candid_columns, read_table
from candid.tables.spreadsheet import repair
from candid.text import notes as text

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".pq")

_IDS = ("id", "image_id", *columns.PATH_COLUMNS)
_LEAST_TO_DOUBT = 30  # labelled rows of each class before an odd distribution is remarked upon


def written_by_candid(path: Path) -> bool:
    """Whether Candid wrote a file as predictions; reads its Parquet footer only."""
    return _read_metadata(path) is not None


def holds_number(path: Path) -> bool:
    """Whether it holds predictions of a number; reads its Parquet footer only."""
    return "number" in (_read_metadata(path) or {})


def _read_metadata(path: Path) -> dict[str, Any] | None:
    try:
        return read_metadata(pq.read_schema(regular(path)))
    except (OSError, ValueError):  # Arrow's own are among them, as are JSON's
        return None


def must_name_columns(path: Path, encoding: str = "") -> ConfigError:
    """The error for a table whose columns are not named.

    Raises DataError where it cannot be read as a table.
    """
    return columns_unnamed(path.name, _read(path, encoding).column_names)


@dataclass(frozen=True, eq=False)
class _SourceTable:
    """A table and the roles of its columns; `notes` says what was assumed."""

    table: pa.Table
    names: ColumnNames
    label: str
    prediction: list[str]
    spec: Columns

    @property
    def notes(self) -> list[str]:
        return self.names.notes

    @property
    def _answers(self) -> list[str]:
        return [self.label, *self.prediction]

    def per_image(self, label: Label) -> tuple[dict[str, Any], str | None, set[str]]:
        """The fields other than label and prediction; the id column; all columns with a role."""
        spec, names, table = self.spec, self.names, self.table
        person = names.person(spec.person, self._answers)
        split = names.split(table, spec.split, self._answers)
        key = names.special(spec.ids, _IDS, "id", [*self._answers, person])
        _require_plain(table, [n for n in (person, split, key) if n])
        used = {n for n in (*self._answers, person, split, key) if n} | candid_columns(names.names)
        fields: dict[str, Any] = {"target": self.label}
        fields["attributes"] = names.attributes(table, spec.groups, used, self.prediction, label)
        fields["ids"] = _read_ids(table, key, self.notes)
        fields["split"] = _read_splits(table, split, self.notes)
        fields["person"] = columns.identities(columns.to_words(table[person])) if person else None
        return fields, key, used

    def groups(
        self, attributes: Mapping[str, Attribute], repeats: list[str], used: set[str]
    ) -> dict[str, Attribute]:
        """The attributes that are groups: those that were named, or all but the `repeats`."""
        if self.spec.groups:
            return dict(attributes)
        groups = {name: a for name, a in attributes.items() if name not in repeats}
        self.names.assume(groups, used, repeats)
        return groups

    def about(self) -> dict[str, str]:
        """The provenance: where it came from, and the notes."""
        provenance = {"data": self.names.source, "source": "a table of another model's predictions"}
        return provenance | ({"notes": " ".join(self.notes)} if self.notes else {})


def _open_source(table: Any, spec: Columns) -> _SourceTable:
    """Open a file or a data frame; ranges that a spreadsheet took for dates are repaired."""
    is_path = isinstance(table, str | Path)
    name = Path(table).name if is_path else "the table"
    table = _read(Path(table), spec.encoding) if is_path else arrow_table(table)
    names = ColumnNames(table.column_names, name)
    label, prediction = names.label_and_prediction(spec)
    _require_plain(table, [label, *prediction])
    table, repairs = repair(table, [n for n in names.names if n not in (label, *prediction)])
    names.notes.extend(
        f"{r} in {r.rows:,} rows: a spreadsheet takes ranges for dates; they were "
        f"{'read as the ranges' if r.certain else 'left as they are'}."
        for r in repairs
    )
    return _SourceTable(table, names, label, prediction, spec)


def predictions_from(table: Any, spec: Columns) -> Predictions:
    """Read a file or a data frame; see `Predictions.from_table`."""
    source = _open_source(table, spec)
    label, prediction, notes = source.label, source.prediction, source.notes
    scale = spec.scale or "probability"
    truth = read_label(source.table, label)
    answers = read_answers(source.table, truth, prediction, spec.positive, scale)
    fields, id_column, used = source.per_image(answers.label)
    p = Predictions(
        classes=answers.label.classes,
        label=answers.label.code,
        probability=answers.probability,
        hard=answers.hard,
        **fields,
    )
    p = p[_unique_rows(p, [p.label, *p.probability.T], id_column, notes)]
    p = _predicted_rows(p, prediction, notes)
    repeats = find_repeats(p.attributes, p.label, p.probability, hard=p.hard)
    groups = source.groups(p.attributes, repeats, used)
    p = replace(p, attributes=groups)
    rows = p[np.flatnonzero(p.label >= 0)]
    refuse_answers(label, prediction, len(rows), int(np.count_nonzero(rows.wrong)))
    notes += _remarks(p, answers, prediction[0])
    return replace(p, provenance=source.about())


def number_answers_from(table: Any, spec: Columns) -> NumberAnswers:
    """Predictions of a number, from a file or a data frame with a row per image.

    Raises PredictionsError where there is not one column with predictions, a cell holds no number,
    or no row has both.
    """
    source = _open_source(table, spec)
    if len(source.prediction) > 1 or spec.positive is not None or spec.scale is not None:
        raise PredictionsError(
            f"{len(source.prediction)} columns with predictions are named for the number "
            f"{source.label!r}, or --positive or --scale, which are of classes.",
            expected="one column with what a model said, in the label's own unit",
            todo="name that alone with --prediction; leave --positive and --scale out",
        )
    value, predicted = (
        _numbers(source.table, name, role)
        for name, role in ((source.label, "label"), (source.prediction[0], "prediction"))
    )
    no_label = Label(source.label, (), np.full(len(value), -1, np.int16))
    fields, key, used = source.per_image(no_label)
    p = NumberAnswers(value=value, predicted=predicted, **fields)
    p = p[_unique_rows(p, [value, predicted], key, source.notes)]
    p = _complete_rows(p, source)
    groups = source.groups(p.attributes, find_number_repeats(p), used)
    p = replace(p, attributes=groups)
    return replace(p, provenance=source.about())


def _numbers(table: pa.Table, name: str, role: str) -> NDArray[np.float64]:
    """(n,) a column of numbers, NaN where it is empty."""
    cells = read_cells(table, name)
    require_numbers(cells, role)
    return not_too_large(finite_numbers(cells, role), f"the {role}s {name!r}")


def _complete_rows(answers: NumberAnswers, source: _SourceTable) -> NumberAnswers:
    """The rows that have both a label and a prediction; at least one must."""
    complete = np.isfinite(answers.value) & np.isfinite(answers.predicted)
    if not complete.any():
        raise _no_usable_row(source.label, source.prediction)
    if unpredicted := int(np.count_nonzero(~np.isfinite(answers.predicted))):
        source.notes.append(text.no_prediction(unpredicted, len(answers), source.prediction))
    if unlabelled := int(np.count_nonzero(~np.isfinite(answers.value))):
        source.notes.append(text.rows_unlabelled(unlabelled, len(answers)))
    return answers[complete]


def _no_usable_row(label: str, prediction: list[str]) -> PredictionsError:
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


def _read_splits(table: pa.Table, name: str | None, notes: list[str]) -> NDArray[np.str_]:
    if name is None:
        notes.append("There is no split column, so every row counts as test.")
        return np.full(len(table), "test")
    codes, words = columns.encode(table[name])
    splits = [columns.SPLIT_WORDS.get((w or "").lower()) for w in words]
    for code, (word, split) in enumerate(zip(words, splits, strict=True)):
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
    return np.array([s or "" for s in splits])[codes]


def _read_ids(table: pa.Table, name: str | None, notes: list[str]) -> NDArray[np.str_]:
    row_names = [f"{ROW}{i}" for i in range(1, len(table) + 1)]
    if name is None:
        notes.append("No column names the images, so the rows are numbered.")
        return np.array(row_names)
    words = columns.to_words(table[name])
    if empty := words.count(None):
        notes.append(text.rows_unnamed(empty, name))
    return np.array([w or row for w, row in zip(words, row_names, strict=True)])


# --- rows ----------------------------------------------------------------------------------------


def _unique_rows(
    p: Predictions | NumberAnswers, parts: list[NDArray[Any]], key: str | None, notes: list[str]
) -> NDArray[np.intp]:
    """The rows without repeats; rows with the same id and other contents are an error.

    `parts` (n,) are compared, and split, person and attributes.
    """
    ids, first, inverse = np.unique(p.ids, return_index=True, return_inverse=True)
    if len(ids) == len(p):
        return np.arange(len(p))
    first_of = first[inverse]
    parts = [*parts, p.split, *(a.data for a in p.attributes.values())]
    parts += [] if p.person is None else [p.person]
    differs = np.zeros(len(p), np.bool_)
    for part in parts:  # NaN, which does not equal itself, is missing
        differs |= (part != part[first_of]) & ((part == part) | (part[first_of] == part[first_of]))
    if differs.any():
        row = int(np.argmax(differs))
        raise PredictionsError(
            f"{str(p.ids[row])!r} stands in rows {first_of[row] + 1} and {row + 1} of {key!r} with "
            f"different contents; {len(p) - len(ids):,} rows repeat an id.",
            expected="one row per image",
            todo="remove the repeated rows, or name a column that tells the images apart with --id",
        )
    notes.append(text.rows_repeated(len(p) - len(ids)))
    return np.sort(first)


def _predicted_rows(p: Predictions, prediction: list[str], notes: list[str]) -> Predictions:
    """The rows that have a prediction; at least one must also have a label."""
    complete = np.asarray(~np.isnan(p.probability).any(axis=1))
    if not complete.all():
        missing = int(np.count_nonzero(~complete))
        notes.append(text.no_prediction(missing, len(p), prediction))
        p = p[complete]
    if not (p.label >= 0).any():
        raise _no_usable_row(p.target, prediction)
    return p  # the audit counts those without a label


def _remarks(p: Predictions, answers: Answers, column: str) -> Iterator[str]:
    """Remarks on probabilities that are possible but suspicious."""
    if p.hard:
        yield ANSWERS_ALONE
        yield from _offset_remarks(p, column)
    if p.hard or answers.positive is None:
        return
    positive = p.label == answers.positive
    negative = (p.label >= 0) & ~positive
    score, name = p.probability[:, answers.positive], p.classes[answers.positive]
    yield f"{column!r} was taken for the probability of {name!r}."
    if min(np.count_nonzero(positive), np.count_nonzero(negative)) < _LEAST_TO_DOUBT:
        return
    high, low = float(score[positive].mean()), float(score[negative].mean())
    if high < low:
        yield (
            f"It is {high:.2f} on average where the label says {name!r} and {low:.2f} elsewhere: "
            "it may be the probability of the other class."
        )
    elif score.min() >= 0.5:
        yield "It is never below 0.5: it may be the confidence in the answer."


def _offset_remarks(p: Predictions, column: str) -> Iterator[str]:
    """A remark on answers that agree with far more labels when shifted by one."""
    if not all(c.isdecimal() for c in p.classes):
        return
    number = np.array([int(c) for c in p.classes])
    rows = np.flatnonzero(p.label >= 0)
    label, answer = number[p.label[rows]], number[p.prediction[rows]]
    for step in (1, -1):
        as_read, shifted = np.mean(answer == label), np.mean(answer + step == label)
        if len(rows) >= _LEAST_TO_DOUBT and shifted > 2 * as_read and shifted > 0.5:
            yield text.counted_otherwise(column, float(as_read), float(shifted), step)
