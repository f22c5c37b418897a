"""Opening a folder of Parquet tables: which columns hold what, and what their words mean.

The label's words, and a model's answers, are looked up in all tables, because a word may stand in
the last of them alone; columns of probabilities and groups are known from the first rows.
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
from candid.predictions import described
from candid.predictions.answers import Answers, read_answers
from candid.predictions.choosing import ColumnNames, Columns, columns_unnamed
from candid.predictions.folder import BATCH, Folder
from candid.predictions.labels import Label, read_label
from candid.predictions.repeating import said_again
from candid.storage.files import check_format, regular
from candid.tables.attributes import Attribute
from candid.tables.delimited import own_columns

_FIRST = 20_000  # rows that decide what the columns are


def tables_in(path: Path) -> tuple[Path, ...]:
    """The Parquet tables of a folder, in order; none for a run folder or a file."""
    is_run = any((path / name).is_file() for name in ("config.toml", "provenance.json"))
    if not path.is_dir() or is_run:
        return ()
    return tuple(sorted(p for p in path.rglob("*") if p.suffix in (".parquet", ".pq")))


def open_folder(path: Path, asked: Columns, *, most_values: int = 100) -> Folder:
    """What a folder of Parquet tables holds, also in folders below it; `Folder.pieces` reads them.

    No columns are named for files that Candid wrote. A group may hold `most_values` words. Raises
    PredictionsError where there is no table, the tables differ, or a column is missing or could
    mean two things; RunError where another release of Candid wrote them, in another format.
    """
    files = tables_in(path)
    if not files:
        raise PredictionsError(
            f"There is no Parquet file in {path}.",
            expected="a folder of Parquet tables with the same columns",
            todo="check the path",
        )
    schema, n = _schema(files)
    own = described(schema)
    if own is None and (asked.label is None or not asked.prediction):
        raise columns_unnamed(path.name, schema.names)
    found = (
        _theirs(path, files, schema, asked, most_values)
        if own is None
        else _ours(schema, own, most_values)
    )
    words = {a.name: dict[str, int]() for a in found["attributes"]}
    return Folder(path=path, files=files, n=n, words=words, **found)


def _schema(files: Sequence[Path]) -> tuple[pa.Schema, int]:
    """The columns, the same in all tables, and the rows of all."""
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
        if (about := described(schema)) is not None:
            check_format(file, about.get("format"))
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
        if described(first) is not None and _core(first) != _core(schema):
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


def _core(schema: pa.Schema) -> list[Any]:
    about = described(schema) or {}
    return [about.get(name) for name in ("target", "classes", "attributes", "hard")]


def _ours(schema: pa.Schema, about: dict[str, Any], most: int) -> dict[str, Any]:
    """What tables of Candid's own hold, as fields of a `Folder`."""
    notes, kept = list[str](), []
    for name, a in about["attributes"].items():
        if a["kind"] == "numeric" or len(a["values"]) > most:
            notes.append(
                f"{name} was left out: a folder of tables is audited by words alone, at most "
                f"{most} of them."
            )
        else:
            kept.append(Attribute(name, a["kind"], tuple(a["values"]), np.empty(0, np.int16)))
    classes = tuple(about["classes"])
    person = "person" if "person" in schema.names else None
    return {
        "target": about["target"],
        "classes": classes,
        "hard": bool(about.get("hard", False)),
        "attributes": tuple(kept),
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


def _theirs(
    path: Path, files: Sequence[Path], schema: pa.Schema, asked: Columns, most: int
) -> dict[str, Any]:
    """What tables of any model hold, as fields of a `Folder`."""
    names = ColumnNames(schema.names, path.name)
    label, chosen = names.label_and_prediction(asked)
    first = _first_rows(files)
    said, words = _meaning(files, schema, first, label, chosen, asked)
    person = names.person(asked.person, [label, *chosen])
    split = names.split(first, asked.split, [label, *chosen])
    if split is None:
        names.notes.append("There is no split column, so every row counts as test.")
    used = {x for x in (label, *chosen, person, split) if x} | own_columns(names.names)
    found = names.attributes(first, asked.groups, used, chosen, said.label)
    if not asked.groups:
        code = columns.numbered(first[label], words.__getitem__).astype(np.int16)
        again = _again(first, found, replace(said.label, code=code), chosen, asked)
        found = {name: a for name, a in found.items() if name not in again}
        names.assume(found, used, again)
    kept = [a for a in found.values() if a.kind != "numeric" and len(a.values) <= most]
    out = [a.name for a in found.values() if a not in kept]
    if out:
        names.notes.append(
            f"Left out, because a folder of tables is audited by words alone, at most {most}: "
            f"{', '.join(out)}."
        )
    return {
        "target": label,
        "classes": said.label.classes,
        "hard": said.hard,
        "attributes": tuple(kept),
        "by_person": person is not None,
        "notes": tuple(names.notes),
        "_columns": {
            "label": label,
            "prediction": chosen,
            "person": person,
            "split": split,
            "positive": asked.positive,
            "scale": asked.scale or "probability",
            "most": most,
        },
        "_said": said,
        "_label_words": words,
    }


def _meaning(
    files: Sequence[Path],
    schema: pa.Schema,
    first: pa.Table,
    label: str,
    chosen: list[str],
    asked: Columns,
) -> tuple[Answers, dict[str, int]]:
    """What the prediction's columns say, and each word of the label as a class."""
    answers = len(chosen) == 1 and not pa.types.is_floating(schema.field(chosen[0]).type)
    looked_up = _distinct(files, [label, *chosen] if answers else [label])
    whole = read_label(looked_up, label)
    place = _places(whole, looked_up[label])
    table, read = looked_up, whole
    if not answers:
        code = columns.numbered(first[label], place.__getitem__).astype(np.int16)
        table, read = first, replace(whole, code=code)
    said = _answered(table, read, chosen, asked)
    if answers:
        whole = said.label
    elif said.label.classes != whole.classes:  # the predictions brought classes with them
        whole = whole.with_classes(said.label.classes)
    return said, _places(whole, looked_up[label])


def _answered(table: pa.Table, label: Label, chosen: list[str], asked: Columns) -> Answers:
    return read_answers(table, label, chosen, asked.positive, asked.scale or "probability")


def _again(
    first: pa.Table, found: dict[str, Attribute], label: Label, chosen: list[str], asked: Columns
) -> list[str]:
    """The attributes that say again what the model said, by the first rows."""
    if all(first[name].null_count == len(first) for name in chosen):
        return []
    said = _answered(first, label, chosen, asked)
    return said_again(found, label.code, said.probability, hard=said.hard)


def _first_rows(files: Sequence[Path]) -> pa.Table:
    for file in files:
        head = pads.dataset(file, format="parquet").head(_FIRST, use_threads=False)
        if len(head):
            return head
    raise AssertionError("_schema counted rows")


def _distinct(files: Sequence[Path], names: list[str]) -> pa.Table:
    """The different rows of some columns in all tables."""
    found: list[pa.Table] = []
    for file in files:
        scanner = pads.dataset(file, format="parquet").scanner(
            columns=names, batch_size=BATCH, batch_readahead=2, use_threads=False
        )
        for batch in scanner.to_batches():
            some = pa.table(batch)
            for i, name in enumerate(names):
                if pa.types.is_dictionary(some.schema.field(i).type):
                    some = some.set_column(i, name, some[name].cast(pa.string()))
            found.append(some.group_by(names, use_threads=False).aggregate([]))
        found = [pa.concat_tables(found).group_by(names, use_threads=False).aggregate([])]
    return found[0].select(names)


def _places(label: Label, column: Any) -> dict[str, int]:
    """Each word's class; `column` holds the rows that `label` has the codes of."""
    words = columns.words_of(column)
    return {w: int(k) for w, k in zip(words, label.code, strict=True) if w is not None}
