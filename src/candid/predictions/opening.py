"""Opening a folder of Parquet tables: the role of each column, and the class of each word.

The label's words, and a model's answers, are looked up in all tables, because a word may occur only
in the last of them; columns of probabilities and groups are judged by the first rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

import candid.tables.columns as columns
from candid.errors import PredictionsError
from candid.predictions import read_metadata
from candid.predictions.answers import Answers, read_answers
from candid.predictions.choosing import ColumnNames, Columns, columns_unnamed
from candid.predictions.folder import BATCH, Folder
from candid.predictions.labels import Label, read_label
from candid.predictions.repeating import find_repeats
from candid.storage.files import check_format, regular
from candid.tables.attributes import Attribute
from candid.tables.delimited import candid_columns

_FIRST = 20_000  # rows that decide the roles of the columns


def tables_in(path: Path) -> tuple[Path, ...]:
    """The Parquet tables of a folder, in order; none for a run folder or a file."""
    is_run = any((path / name).is_file() for name in ("config.toml", "provenance.json"))
    if not path.is_dir() or is_run:
        return ()
    return tuple(sorted(p for p in path.rglob("*") if p.suffix in (".parquet", ".pq")))


def open_folder(path: Path, spec: Columns, *, most_values: int = 100) -> Folder:
    """Open the Parquet tables of a folder and its subfolders; `Folder.pieces` reads them.

    Files that Candid wrote need no names of columns. A group may hold `most_values` words. Raises
    PredictionsError where there is no table, the tables differ, or a column is missing or
    ambiguous; RunError where another release of Candid wrote them, in another format.
    """
    files = tables_in(path)
    if not files:
        raise PredictionsError(
            f"There is no Parquet file in {path}.",
            expected="a folder of Parquet tables with the same columns",
            todo="check the path",
        )
    schema, n = _read_schema(files)
    metadata = read_metadata(schema)
    if metadata is None and (spec.label is None or not spec.prediction):
        raise columns_unnamed(path.name, schema.names)
    fields = (
        _foreign_fields(path, files, schema, spec, most_values)
        if metadata is None
        else _candid_fields(schema, metadata, most_values)
    )
    words = {a.name: dict[str, int]() for a in fields["attributes"]}
    return Folder(path=path, files=files, n=n, words=words, **fields)


def _read_schema(files: Sequence[Path]) -> tuple[pa.Schema, int]:
    """The schema, the same for all tables, and the number of rows of all."""
    first: pa.Schema | None = None
    rows = 0
    for file in files:
        try:
            footer = pq.read_metadata(regular(file))
            schema = pq.read_schema(file)
        except (OSError, pa.ArrowException) as error:
            raise PredictionsError(
                f"Cannot read {file}: {error}",
                expected="a Parquet file",
                todo="remove it, or write it again",
            ) from error
        if (metadata := read_metadata(schema)) is not None:
            check_format(file, metadata.get("format"))
        rows += footer.num_rows
        first = schema if first is None else first
        differs = {*first.names} ^ {*schema.names}
        if differs:
            raise PredictionsError(
                f"{file.name} has other columns than {files[0].name}: "
                f"{', '.join(sorted(differs)[:5])}.",
                expected="tables with the same columns",
                todo="put other tables elsewhere",
            )
        if read_metadata(first) is not None and _model_metadata(first) != _model_metadata(schema):
            raise PredictionsError(
                f"{file.name} has other classes or attributes than {files[0].name}.",
                expected="predictions of one model",
                todo="audit each model's files on their own",
            )
    if first is None or not rows:
        raise PredictionsError(
            "The tables have no rows.", expected="at least one image", todo="check the folder"
        )
    return first, rows


def _model_metadata(schema: pa.Schema) -> list[Any]:
    metadata = read_metadata(schema) or {}
    return [metadata.get(name) for name in ("target", "classes", "attributes", "hard")]


def _candid_fields(schema: pa.Schema, metadata: dict[str, Any], most: int) -> dict[str, Any]:
    """The fields of a `Folder` of tables that Candid wrote."""
    notes, attributes = list[str](), []
    for name, a in metadata["attributes"].items():
        if a["kind"] == "numeric" or len(a["values"]) > most:
            notes.append(
                f"{name} was left out: a folder of tables is audited by words alone, at most "
                f"{most} of them."
            )
        else:
            attributes.append(Attribute(name, a["kind"], tuple(a["values"]), np.empty(0, np.int16)))
    classes = tuple(metadata["classes"])
    person = "person" if "person" in schema.names else None
    return {
        "target": metadata["target"],
        "classes": classes,
        "hard": bool(metadata.get("hard", False)),
        "attributes": tuple(attributes),
        "by_person": person is not None,
        "notes": tuple(notes),
        "_columns": {
            "label": "label",
            "prediction": [f"p_{c}" for c in classes],
            "person": person,
            "split": "split",
            "most": most,
        },
        "_label_words": {c: i for i, c in enumerate(classes)},
    }


def _foreign_fields(
    path: Path, files: Sequence[Path], schema: pa.Schema, spec: Columns, most: int
) -> dict[str, Any]:
    """The fields of a `Folder` of another model's tables."""
    names = ColumnNames(schema.names, path.name)
    label, prediction = names.label_and_prediction(spec)
    first = _first_rows(files)
    answers, words = _read_meaning(files, schema, first, label, prediction, spec)
    person = names.person(spec.person, [label, *prediction])
    split = names.split(first, spec.split, [label, *prediction])
    if split is None:
        names.notes.append("There is no split column, so every row counts as test.")
    used = {x for x in (label, *prediction, person, split) if x} | candid_columns(names.names)
    attributes = names.attributes(first, spec.groups, used, prediction, answers.label)
    if not spec.groups:
        code = columns.map_words(first[label], words.__getitem__).astype(np.int16)
        truth = replace(answers.label, code=code)
        repeats = _find_repeats(first, attributes, truth, prediction, spec)
        attributes = {name: a for name, a in attributes.items() if name not in repeats}
        names.assume(attributes, used, repeats)
    groups = [a for a in attributes.values() if a.kind != "numeric" and len(a.values) <= most]
    dropped = [a.name for a in attributes.values() if a not in groups]
    if dropped:
        names.notes.append(
            f"Left out, because a folder of tables is audited by words alone, at most {most}: "
            f"{', '.join(dropped)}."
        )
    return {
        "target": label,
        "classes": answers.label.classes,
        "hard": answers.hard,
        "attributes": tuple(groups),
        "by_person": person is not None,
        "notes": tuple(names.notes),
        "_columns": {
            "label": label,
            "prediction": prediction,
            "person": person,
            "split": split,
            "positive": spec.positive,
            "scale": spec.scale or "probability",
            "most": most,
        },
        "_answers": answers,
        "_label_words": words,
    }


def _read_meaning(
    files: Sequence[Path],
    schema: pa.Schema,
    first: pa.Table,
    label: str,
    prediction: list[str],
    spec: Columns,
) -> tuple[Answers, dict[str, int]]:
    """The answers in the prediction's columns, and the class of each word of the label."""
    hard = len(prediction) == 1 and not pa.types.is_floating(schema.field(prediction[0]).type)
    distinct = _distinct_rows(files, [label, *prediction] if hard else [label])
    full_label = read_label(distinct, label)
    class_by_word = _class_by_word(full_label, distinct[label])
    table, table_label = distinct, full_label
    if not hard:
        code = columns.map_words(first[label], class_by_word.__getitem__).astype(np.int16)
        table, table_label = first, replace(full_label, code=code)
    answers = _read_answers(table, table_label, prediction, spec)
    if hard:
        full_label = answers.label
    elif answers.label.classes != full_label.classes:  # the predictions brought classes with them
        full_label = full_label.with_classes(answers.label.classes)
    return answers, _class_by_word(full_label, distinct[label])


def _read_answers(table: pa.Table, label: Label, prediction: list[str], spec: Columns) -> Answers:
    return read_answers(table, label, prediction, spec.positive, spec.scale or "probability")


def _find_repeats(
    first: pa.Table, groups: dict[str, Attribute], label: Label, names: list[str], spec: Columns
) -> list[str]:
    """The attributes that repeat the model's answers in the first rows."""
    if all(first[name].null_count == len(first) for name in names):
        return []
    answers = _read_answers(first, label, names, spec)
    return find_repeats(groups, label.code, answers.probability, hard=answers.hard)


def _first_rows(files: Sequence[Path]) -> pa.Table:
    for file in files:
        head = pads.dataset(file, format="parquet").head(_FIRST, use_threads=False)
        if len(head):
            return head
    raise AssertionError("_schema counted rows")


def _distinct_rows(files: Sequence[Path], names: list[str]) -> pa.Table:
    """The distinct rows of some columns in all tables."""
    tables: list[pa.Table] = []
    for file in files:
        scanner = pads.dataset(file, format="parquet").scanner(
            columns=names, batch_size=BATCH, batch_readahead=2, use_threads=False
        )
        for batch in scanner.to_batches():
            rows = pa.table(batch)
            for i, name in enumerate(names):
                if pa.types.is_dictionary(rows.schema.field(i).type):
                    rows = rows.set_column(i, name, rows[name].cast(pa.string()))
            tables.append(rows.group_by(names, use_threads=False).aggregate([]))
        tables = [pa.concat_tables(tables).group_by(names, use_threads=False).aggregate([])]
    return tables[0].select(names)


def _class_by_word(label: Label, column: Any) -> dict[str, int]:
    """The class of each word; `column` holds the rows whose codes `label` has."""
    words = columns.to_words(column)
    return {w: int(k) for w, k in zip(words, label.code, strict=True) if w is not None}
