"""Anybody's table as predictions; see `Predictions.from_table`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.errors import ConfigError, PredictionsError
from candid.predictions import Predictions, described
from candid.predictions.answers import ANSWERS_ALONE, Answers, read_answers
from candid.predictions.choosing import ColumnNames, Columns, columns_unnamed, refuse_answers
from candid.predictions.labels import read_label
from candid.records import SPLITS
from candid.storage.files import regular
from candid.table import arrow_table
from candid.tables.delimited import own_columns, read_table
from candid.tables.spreadsheet import repair
from candid.text import notes as text

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")

_IDS = ("id", "image_id", *columns.PATH_COLUMNS)
_LEAST_TO_DOUBT = 30  # labelled rows on each side before an odd distribution is remarked upon


def written_by_candid(path: Path) -> bool:
    """Whether a file is a Parquet file of predictions that Candid wrote; opens its footer only."""
    try:
        return described(pq.read_schema(regular(path))) is not None
    except (OSError, ValueError):  # Arrow's own are among them, as are JSON's
        return False


def must_name_columns(path: Path) -> ConfigError:
    """What to say of a table whose columns are not named.

    Raises DataError where it cannot be read as a table.
    """
    return columns_unnamed(path.name, _read(path).column_names)


def predictions_from(table: Any, asked: Columns) -> Predictions:
    """Read a file or a data frame; see `Predictions.from_table`."""
    is_file = isinstance(table, str | Path)
    where = Path(table).name if is_file else "the table"
    table = _read(Path(table)) if is_file else arrow_table(table)
    names = ColumnNames(table.column_names, where)
    label, chosen = names.label_and_prediction(asked)
    table, spoilt = repair(table, [n for n in names.names if n not in (label, *chosen)])
    scale = asked.scale or "probability"
    said = read_answers(table, read_label(table, label), chosen, asked.positive, scale)

    notes = names.notes
    notes += [
        f"{one} in {one.rows:,} rows: a spreadsheet takes ranges for dates; they were "
        f"{'read as the ranges' if one.certain else 'left as they are'}."
        for one in spoilt
    ]
    person = names.person(asked.person, [label, *chosen])
    split = names.split(table, asked.split, [label, *chosen])
    key = names.special(asked.ids, _IDS, "id", [label, *chosen, person])
    used = {n for n in (label, *chosen, person, split, key) if n} | own_columns(names.names)
    attributes = names.attributes(table, asked.groups, used, chosen, said.label)
    found = Predictions(
        target=label,
        classes=said.label.classes,
        ids=_ids(table, key, notes),
        split=_splits(table, split, notes),
        label=said.label.code,
        probability=said.probability,
        person=columns.people(columns.words_of(table[person])) if person else None,
        attributes=attributes,
        hard=said.hard,
    )
    found = _usable(_without_duplicates(found, key, notes), chosen, notes)
    rows = found[np.flatnonzero(found.label >= 0)]
    refuse_answers(label, chosen, len(rows), int(np.count_nonzero(rows.wrong)))
    notes += _doubts(found, said, chosen[0])
    about = {"data": where, "source": "a table of another model's predictions"}
    return replace(found, provenance=about | ({"notes": " ".join(notes)} if notes else {}))


# --- columns -------------------------------------------------------------------------------------


def _read(path: Path) -> pa.Table:
    if path.is_dir() or (path.exists() and not path.name.lower().endswith(SUFFIXES)):
        raise PredictionsError(
            f"{path} is {'a folder' if path.is_dir() else 'not a table that can be read'}.",
            expected=f"a file ending in {', '.join(SUFFIXES)}",
            todo="save the predictions as CSV, TSV or Parquet",
        )
    return read_table(path)


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
    numbered = [f"row {i}" for i in range(1, len(table) + 1)]
    if name is None:
        notes.append("No column names the images, so the rows are numbered.")
        return np.array(numbered)
    words = columns.words_of(table[name])
    if empty := words.count(None):
        notes.append(text.rows_unnamed(empty, name))
    return np.array([w or row for w, row in zip(words, numbered, strict=True)])


# --- rows ----------------------------------------------------------------------------------------


def _without_duplicates(p: Predictions, key: str | None, notes: list[str]) -> Predictions:
    """Rows with the same id and the same contents once; with other contents they are an error."""
    ids, first, inverse = np.unique(p.ids, return_index=True, return_inverse=True)
    if len(ids) == len(p):
        return p
    to = first[inverse]
    parts = [p.label, p.split, *p.probability.T, *(a.data for a in p.attributes.values())]
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
    return p[np.sort(first)]


def _usable(p: Predictions, chosen: list[str], notes: list[str]) -> Predictions:
    """The rows that have a prediction; at least one must also have a label."""
    complete = np.asarray(~np.isnan(p.probability).any(axis=1))
    if not complete.all():
        missing = int(np.count_nonzero(~complete))
        notes.append(text.no_prediction(missing, len(p), chosen))
        p = p[complete]
    unlabelled = int(np.count_nonzero(p.label < 0))
    if unlabelled == len(p):
        raise PredictionsError(
            f"No row has both a label in {p.target!r} and a prediction in {', '.join(chosen)}.",
            expected="at least one",
            todo="check the names of the columns",
        )
    if unlabelled:
        notes.append(text.rows_unlabelled(unlabelled, len(p)))
    return p


def _doubts(p: Predictions, said: Answers, column: str) -> Iterator[str]:
    """Remarks on probabilities that are possible and hardly meant so."""
    if p.hard:
        yield ANSWERS_ALONE
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
