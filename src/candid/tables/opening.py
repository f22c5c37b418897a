"""Opening a folder of Parquet tables: which columns hold what, and what their words mean.

The label's words, and a model's answers, are looked up in all tables, because a word may stand in
the last of them alone; columns of probabilities and groups are known from the first rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

import candid.tables.columns as columns
from candid.errors import PredictionsError
from candid.predictions import Attribute, described
from candid.storage.files import regular
from candid.tables.answers import Answers, Scale, read_answers
from candid.tables.choosing import ColumnNames, attributes_of, split_column
from candid.tables.folder import BATCH, Folder
from candid.tables.labels import Label, read_label
from candid.tables.own import own_columns, unnamed

_FIRST = 20_000  # rows that decide what the columns are


def tables_in(path: Path) -> tuple[Path, ...]:
    """The Parquet tables of a folder, in order; none for a run folder or a file."""
    if not path.is_dir() or (path / "config.toml").is_file():
        return ()
    return tuple(sorted(p for p in path.rglob("*") if p.suffix in (".parquet", ".pq")))


def open_folder(
    path: Path,
    *,
    label: str | None,
    prediction: Sequence[str] = (),
    groups: Sequence[str] = (),
    identity: str | None = None,
    split: str | None = None,
    positive: str | None = None,
    scale: Scale = "probability",
    most_values: int = 100,
) -> Folder:
    """What a folder of Parquet tables holds; its rows are read by `Folder.pieces`.

    Parameters
    ----------
    path
        The folder; tables may lie in folders below it.
    label, prediction, groups, identity, split, positive, scale
        As in `read_foreign`; not named for files that Candid wrote.
    most_values
        A group may hold so many words.

    Raises
    ------
    PredictionsError
        Where there is no table, the tables differ, or a column is missing or could mean two things.
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
    if own is not None:
        return _ours(path, files, n, schema, own, most_values)
    if label is None or not prediction:
        raise unnamed(path.name, schema.names)
    asked = _Asked(label, prediction, groups, identity, split, positive, scale)
    return _theirs(path, files, n, schema, asked, most_values)


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
        rows += footer.num_rows
        if first is None:
            first = schema
        differs = {*first.names} ^ {*schema.names}
        if differs:
            raise PredictionsError(
                f"{file.name} has other columns than {files[0].name}: "
                f"{', '.join(sorted(differs)[:5])}.",
                expected="tables with the same columns",
                todo="put other tables elsewhere",
            )
        ours = [described(s) for s in (first, schema)]
        if ours[0] is not None and _core(ours[0]) != _core(ours[1] or {}):
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


def _core(about: dict[str, Any]) -> Any:
    return {name: about.get(name) for name in ("target", "classes", "attributes", "hard")}


def _ours(
    path: Path,
    files: tuple[Path, ...],
    n: int,
    schema: pa.Schema,
    about: dict[str, Any],
    most: int,
) -> Folder:
    nothing = np.empty(0, np.int16)
    notes, kept = list[str](), []
    for name, a in about["attributes"].items():
        if a["kind"] == "numeric" or len(a["values"]) > most:
            notes.append(
                f"{name} was left out: a folder of tables is audited by words alone, at most "
                f"{most} of them."
            )
        else:
            kept.append(Attribute(name, a["kind"], tuple(a["values"]), nothing))
    classes = tuple(about["classes"])
    return Folder(
        path=path,
        files=files,
        n=n,
        target=about["target"],
        classes=classes,
        hard=bool(about.get("hard", False)),
        attributes=tuple(kept),
        by_person="identity" in schema.names,
        notes=tuple(notes),
        words={a.name: {} for a in kept},
        _columns={
            "label": "label",
            "prediction": [f"p_{c}" for c in classes],
            "person": "identity" if "identity" in schema.names else None,
            "split": "split",
            "most": most,
        },
        _label_words={c: i for i, c in enumerate(classes)},
    )


@dataclass(frozen=True)
class _Asked:
    """The columns that were named, and what was said about them: see `open_folder`."""

    label: str
    prediction: Sequence[str]
    groups: Sequence[str]
    identity: str | None
    split: str | None
    positive: str | None
    scale: Scale


def _theirs(
    path: Path, files: tuple[Path, ...], n: int, schema: pa.Schema, asked: _Asked, most: int
) -> Folder:
    names = ColumnNames(schema.names, path.name)
    label, chosen = names.told(asked.label, list(asked.prediction))
    first = _first_rows(files)
    said, words = _meaning(files, schema, first, label, chosen, asked)
    notes: list[str] = []
    person = names.special(asked.identity, columns.IDENTITY_COLUMNS, "identity", {label, *chosen})
    if person and asked.identity is None:
        notes.append(f"People are told apart by {person!r}.")
    by_split = split_column(first, names, asked.split, {label, *chosen})
    if by_split is None:
        notes.append("There is no split column, so every row counts as test.")
    used = {x for x in (label, *chosen, person, by_split) if x} | own_columns(names.names)
    found = attributes_of(first, names, asked.groups, used, chosen, said.label, notes)
    kept = [a for a in found.values() if a.kind != "numeric" and len(a.values) <= most]
    out = [a.name for a in found.values() if a not in kept]
    if out:
        notes.append(
            f"Left out, because a folder of tables is audited by words alone, at most {most}: "
            f"{', '.join(out)}."
        )
    return Folder(
        path=path,
        files=files,
        n=n,
        target=label,
        classes=said.label.classes,
        hard=said.hard,
        attributes=tuple(kept),
        by_person=person is not None,
        notes=tuple(notes),
        words={a.name: {} for a in kept},
        _columns={
            "label": label,
            "prediction": chosen,
            "person": person,
            "split": by_split,
            "positive": asked.positive,
            "scale": asked.scale,
            "most": most,
        },
        _said=said,
        _label_words=words,
    )


def _meaning(
    files: Sequence[Path],
    schema: pa.Schema,
    first: pa.Table,
    label: str,
    chosen: list[str],
    asked: _Asked,
) -> tuple[Answers, dict[str, int]]:
    """What the prediction's columns say, and each word of the label as a class."""
    answers = len(chosen) == 1 and not pa.types.is_floating(schema.field(chosen[0]).type)
    looked_up = _distinct(files, [label, *chosen] if answers else [label])
    read = read_label(looked_up, label)
    said = read_answers(
        looked_up if answers else first,
        read if answers else _coded(read, looked_up[label], first[label]),
        chosen,
        asked.positive,
        asked.scale,
    )
    whole = said.label if answers else _as(read, said.label.classes)
    return said, _places(whole, looked_up[label])


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
    codes, words = columns.coded(column)
    said = [words[c] if c >= 0 else None for c in codes]
    return {w: int(k) for w, k in zip(said, label.code, strict=True) if w is not None}


def _coded(read: Label, looked_up: Any, column: Any) -> Label:
    """The label of other rows, whose words were all looked up."""
    place = _places(read, looked_up)
    codes, words = columns.coded(column)
    index = np.array([-1 if w is None else place[w] for w in words] + [-1], dtype=np.int16)
    return replace(read, code=index[codes])


def _as(read: Label, classes: tuple[str, ...]) -> Label:
    """The label with the classes that the predictions brought with them."""
    return read if read.classes == classes else read.with_classes(classes)
