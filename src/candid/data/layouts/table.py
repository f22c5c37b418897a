"""A table beside its pictures: a column with paths, one with the label, others as attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import candid.columns as columns
from candid.data import splits
from candid.data.dataset import Dataset, Source
from candid.data.layouts.assembly import Rows, assemble, join
from candid.data.layouts.pictures import files_in, folders_in, scan
from candid.data.sources import FileSource
from candid.delimited import read_table
from candid.errors import ConfigError, DataError, LayoutError, TargetError, did_you_mean
from candid.records import Finding
from candid.settings import DataConfig

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")

LABELS = ("label", "class", "target")


def recognise(path: Path) -> bool:
    """Whether this is a table, or a folder with exactly one, or with one per split folder."""
    if path.is_file():
        return path.name.lower().endswith(SUFFIXES)
    return len(files_in(path, *SUFFIXES)) == 1 or bool(_by_folder(path))


def read(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read a table and the pictures that it names; without a target, label, class or target."""
    table, root, where = _read(path)
    path_column = _path_column(table, config, where)
    names = [word or "" for word in columns.words_of(table[path_column])]
    kept, paths, findings = join(scan(root), names, where)
    return from_columns(
        path,
        "table",
        table.drop_columns([path_column]).take(pa.array(kept)),
        paths,
        lambda keep: FileSource(root, [paths[i] for i in keep]),
        target,
        config,
        where=where,
        rows=kept,
        findings=findings,
    )


def from_columns(
    path: Path,
    layout: str,
    table: pa.Table,
    ids: list[str],
    source: Callable[[NDArray[np.intp]], Source],
    target: str | None,
    config: DataConfig,
    *,
    where: str,
    rows: NDArray[np.intp] | None = None,
    class_names: dict[str, tuple[str, ...]] | None = None,
    usual: Iterable[str] = LABELS,
    findings: Iterable[Finding] = (),
) -> Dataset:
    """A Dataset from annotation columns: find split, identity and target; the rest are attributes.

    Parameters
    ----------
    path, layout
        For the name.
    table
        n rows, without the column of the pictures.
    ids
        (n,) the pictures.
    source
        Makes the source of some of the rows.
    target
        The label's column, or None.
    config
        May name the columns for split and identity.
    where
        What to call the table in an error.
    rows
        (n,) where the rows stand in it, where some were left out.
    class_names
        What the numbers of a column stand for.
    usual
        Targets to try where none is named.
    findings
        What was seen so far.
    """
    split = _split_column(table, config, target, where)
    person = _special(
        table, "identity_column", config.identity_column, columns.IDENTITY_COLUMNS, target, where
    )
    rest = [name for name in table.column_names if name not in (split, person)]
    target = columns.choose_target(target, rest, tuple(usual))
    read_columns = {
        name: columns.read(name, table[name], (class_names or {}).get(name, ())) for name in rest
    }
    chosen = read_columns.pop(target)
    if isinstance(chosen, str):
        raise TargetError(
            f"The target {target!r} of {where} cannot be learned: {chosen}.",
            expected="a column with a few values to tell apart",
            todo="name another target",
        )
    classes, label = columns.as_label(chosen)
    parts = (
        splits.read_words(columns.words_of(table[split]), where=where, rows=rows) if split else None
    )
    return assemble(
        path,
        layout,
        Rows(
            ids=ids,
            target=target,
            classes=classes,
            label=label,
            split=parts,
            person=columns.words_of(table[person]) if person else None,
            attributes={n: a for n, a in read_columns.items() if not isinstance(a, str)},
            left_out={n: why for n, why in read_columns.items() if isinstance(why, str)},
        ),
        source,
        config,
        tuple(findings),
    )


def _read(path: Path) -> tuple[pa.Table, Path, str]:
    """The table, the folder that its paths are relative to, and what to call it."""
    if path.is_file():
        if not path.name.lower().endswith(SUFFIXES):
            raise LayoutError(
                f"{path} is a file, but no table.",
                expected=f"a folder, or a file ending in {', '.join(SUFFIXES)}",
                todo="name the data folder",
            )
        return read_table(path), path.parent, path.name
    files = files_in(path, *SUFFIXES)
    if len(files) == 1:
        return read_table(files[0]), path, files[0].name
    if by_folder := _by_folder(path):
        return _joined(by_folder), path, "the split folders' tables"
    seen = ", ".join(f.name for f in files[:8]) or "none"
    raise LayoutError(
        f"There is not exactly one table in {path} (seen: {seen}).",
        expected="one CSV, TSV or Parquet file beside the pictures",
        todo="name the table itself instead of its folder",
    )


def _by_folder(path: Path) -> list[tuple[str, Path]]:
    """Split folders that each hold their table (`train/metadata.csv`, as `datasets` has it)."""
    found = []
    for folder in folders_in(path):
        files = files_in(folder, *(f"metadata{suffix}" for suffix in SUFFIXES))
        if folder.name.lower() in splits.WORDS and len(files) == 1:
            found.append((folder.name, files[0]))
    return found


def _joined(by_folder: list[tuple[str, Path]]) -> pa.Table:
    """The split folders' tables below each other, with a split, and paths from the folder above."""
    tables = []
    for folder, file in by_folder:
        table = read_table(file)
        name = _path_column(table, DataConfig(), str(file))
        paths = [f"{folder}/{p}" if p else None for p in columns.words_of(table[name])]
        table = table.set_column(table.column_names.index(name), name, pa.array(paths, pa.string()))
        if "split" not in table.column_names:
            table = table.append_column("split", pa.array([folder] * len(paths), pa.string()))
        tables.append(table)
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"The tables {', '.join(str(f) for _, f in by_folder)} do not fit together: {error}",
            expected="the same columns in each",
            todo="give them the same columns",
        ) from error


def _path_column(table: pa.Table, config: DataConfig, where: str) -> str:
    name = _special(table, "path_column", config.path_column, columns.PATH_COLUMNS, None, where)
    if name is None:
        raise LayoutError(
            f"No column of {where} is known to hold paths (columns: "
            f"{', '.join(table.column_names[:12])}).",
            expected=f"one of: {', '.join(columns.PATH_COLUMNS[:8])}, …",
            todo="name it with --set data.path_column=…",
        )
    return name


def _split_column(
    table: pa.Table, config: DataConfig, target: str | None, where: str
) -> str | None:
    """The column with the splits; one that only sounds like it (a number of folds) is not it."""
    name = _special(
        table, "split_column", config.split_column, columns.SPLIT_COLUMNS, target, where
    )
    if name and (config.split_column or splits.are_words(columns.distinct_words(table[name]))):
        return name
    return None


def _special(
    table: pa.Table,
    setting: str,
    named: str,
    usual: tuple[str, ...],
    target: str | None,
    where: str,
) -> str | None:
    """The column that a setting names, or else the first of the usual ones but for the target."""
    names = table.column_names
    if named:
        if named not in names:
            raise ConfigError(
                f"data.{setting} is {named!r}, which is no column of {where}.",
                expected="one of the table's columns",
                todo=did_you_mean(named, names),
            )
        return named
    lower = {name.lower().strip(): name for name in reversed(names)}
    return next((lower[w] for w in usual if w in lower and lower[w] != target), None)
