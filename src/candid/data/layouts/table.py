"""A table beside its pictures: a column with paths, one with the label, others as attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.data import splits
from candid.data.dataset import Dataset, Source
from candid.data.findings import make_finding
from candid.data.label_files import is_described
from candid.data.layouts.assembly import LayoutRows, assemble, files_of, match_pictures
from candid.data.layouts.pictures import Pictures, files_in, folders_in, scan, scan_named
from candid.errors import ConfigError, DataError, LayoutError, TargetError, did_you_mean
from candid.records import Finding
from candid.settings import DataConfig
from candid.tables.attributes import Attribute
from candid.tables.delimited import read_column_names, read_table
from candid.tables.spreadsheet import DateColumn, repair

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl")
_TABLES = (*SUFFIXES[:-1], "metadata.jsonl")  # in a folder, where other JSON lines may lie, too

LABELS = ("label", "class", "target")


def recognise_picture_table(path: Path) -> bool:
    """Whether this is a table, or a folder with one (of several: with paths), or one per split."""
    if path.is_file():
        return path.name.lower().endswith(SUFFIXES)
    files = _tables(path)
    return len(files) == 1 or bool(_with_paths(files, DataConfig())) or bool(_by_folder(path))


def read_picture_table(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read a table and the pictures that it names; without a target, label, class or target.

    Paths are relative to `data.image_folder`, or else to the table's folder, and may lead out of
    it: a table on this machine is its user's own.
    """
    table, root, where = _read(path, config)
    root = Path(config.image_folder or root)
    path_column = _path_column(table, config, where)
    names = [word or "" for word in columns.to_words(table[path_column])]
    kept, paths, findings = match_pictures(
        _pictures(root, names, where), names, where, anywhere=True
    )
    table = table.drop_columns([path_column]).take(pa.array(kept))
    if Path(where).stem.lower() == "metadata" and not _split_column(table, config, target, where):
        table = _with_folders(table, paths)
    return from_columns(
        path,
        "table",
        table,
        paths,
        files_of(root, paths, anywhere=True),
        target,
        config,
        where=where,
        rows=kept,
        findings=findings,
    )


def _pictures(root: Path, names: list[str], where: str) -> Pictures:
    """The pictures in the folders that the names lead to; all, where that finds fewer than half."""
    near = scan_named(root, names)
    found = near.locate(names, where, anywhere=True)
    missed = sum(
        at is None and near.inside(n) is not None for n, at in zip(names, found, strict=True)
    )
    return near if 2 * missed <= len(names) else scan(root)


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
    """A Dataset from annotation columns: find split, person and target; the rest are attributes.

    `table` has n rows without the column of the pictures, which `ids` names and `source` makes the
    source of; `rows` are their places in the file, which is called `where` in an error;
    `class_names` say what numbers stand for, `usual` which column is the label where none is named.
    """
    split = _split_column(table, config, target, where)
    person = _special(table, config, "person_column", columns.PERSON_COLUMNS, target, where)
    rest = [name for name in table.column_names if name not in (split, person)]
    if target == columns.ALL:
        target = next((n for n in rest if _is_label(columns.read_column(n, table[n]))), None)
    target = columns.choose_target(target, rest, tuple(usual))
    table, spoilt = repair(table, rest, config.missing)
    named, missing = class_names or {}, config.missing
    read = {n: columns.read_column(n, table[n], named.get(n, ()), missing) for n in rest}
    chosen = read.pop(target)
    if config.class_names and not _as_told(chosen, config.class_names):
        # By what stands in the table, which for a ClassLabel is its number.
        absent = (*missing, "-1") if target in named else missing
        chosen = columns.read_words(target, table[target], absent)
    if isinstance(chosen, str):
        raise TargetError(
            f"The target {target!r} of {where} cannot be learned: {chosen}.",
            expected="a column with a few values to tell apart",
            todo="name another target",
        )
    number = target in config.numbers and not config.class_names
    number = columns.is_number(chosen, forced=number)
    classes, label = columns.to_label(chosen, number=number)
    words = columns.to_words(table[split]) if split else None
    made = LayoutRows(
        ids=ids,
        target=target,
        classes=classes,
        label=label,
        split=None if words is None else splits.read_splits(words, where=where, rows=rows),
        person=columns.to_words(table[person], missing) if person else None,
        attributes={n: a for n, a in read.items() if not isinstance(a, str)},
        left_out={n: why for n, why in read.items() if isinstance(why, str)},
        is_number=number,
    )
    dates = [_dates(one, table.num_rows) for one in spoilt]
    return assemble(path, layout, made, source, config, (*findings, *dates))


def _as_told(column: Attribute | str, names: Sequence[str]) -> bool:
    """Whether the settings name a class of yes and no as it is told: "not Smiling=sad"."""
    if isinstance(column, str) or column.kind != "binary":
        return False
    told = columns.class_words(column.name)
    return any(name.partition("=")[0] in told for name in names)


def _is_label(column: Attribute | str) -> bool:
    """Whether a column has a few values to tell apart."""
    if isinstance(column, str) or column.kind == "numeric":
        return False
    return len(np.unique(column.data[column.known])) > 1


def with_split(table: pa.Table, split: str) -> pa.Table:
    """The table with one split for all rows, whatever it said of it before."""
    if "split" in table.column_names:
        table = table.drop_columns(["split"])
    return table.append_column("split", pa.array([split] * table.num_rows, pa.string()))


def _with_folders(table: pa.Table, paths: list[str]) -> pa.Table:
    """With a split, where every path begins with a folder that is called as one of several.

    That is how `datasets` reads one `metadata.csv` for all splits: `train/a.jpg`, `test/b.jpg`.
    """
    near = [path.removeprefix("data/").partition("/")[0].lower() for path in paths]
    known = {splits.WORDS.get(word) for word in near}
    if None in known or len(known) < 2 or "split" in table.column_names:
        return table
    return table.append_column("split", pa.array(near, pa.string()))


def _dates(spoilt: DateColumn, n: int) -> Finding:
    """That a spreadsheet took ranges for dates, and what became of them."""
    return make_finding(
        "RANGES-AS-DATES",
        count=spoilt.rows,
        of=n,
        severity="note" if spoilt.certain else "warning",
        state="found",
        column=spoilt.column,
        ranges=dict(spoilt.ranges),
        certain=spoilt.certain,
    )


def _read(path: Path, config: DataConfig) -> tuple[pa.Table, Path, str]:
    """The table, the folder that its paths are relative to, and what to call it."""
    if path.is_file():
        if not path.name.lower().endswith(SUFFIXES):
            raise LayoutError(
                f"{path} is a file, but no table.",
                expected=f"a folder, or a file ending in {', '.join(SUFFIXES)}",
                todo="name the data folder",
            )
        return read_table(path, config.encoding), path.parent, path.name
    files = _tables(path)
    chosen = files if len(files) == 1 else _with_paths(files, config)
    if len(chosen) == 1:
        return read_table(chosen[0], config.encoding), path, chosen[0].name
    if not chosen and (by_folder := _by_folder(path)):
        return _joined(by_folder, config), path, "the split folders' tables"
    some = chosen or files
    seen = ", ".join(f.name for f in some[:8]) or "none"
    such = f", such as {some[0]}" if some else ""
    raise LayoutError(
        f"There is not exactly one table that names pictures in {path} (seen: {seen}).",
        expected="one CSV, TSV or Parquet file, or metadata.jsonl",
        todo=f"name the table itself instead of its folder{such}; or, where the folders' names are "
        "the classes, --layout folder",
    )


def _tables(path: Path) -> list[Path]:
    """A folder's tables, but for what `--croissant NAME.json` wrote there of another one."""
    files = files_in(path, *_TABLES)
    own = [f for f in files if not is_described(f)]
    return own or files


def _with_paths(files: list[Path], config: DataConfig) -> list[Path]:
    named = (config.path_column,) if config.path_column else columns.PATH_COLUMNS
    usual = set(map(columns.normalize_name, named))
    names = {f: read_column_names(f, config.encoding) for f in files}
    return [f for f in files if not usual.isdisjoint(map(columns.normalize_name, names[f]))]


def _by_folder(path: Path) -> list[tuple[str, Path]]:
    """Split folders that each hold their table (`train/metadata.csv`, as `datasets` has it)."""
    found = []
    for folder in folders_in(path):
        files = files_in(folder, *(f"metadata{suffix}" for suffix in SUFFIXES))
        if folder.name.lower() in splits.WORDS and len(files) == 1:
            found.append((folder.name, files[0]))
    return found


def _joined(by_folder: list[tuple[str, Path]], config: DataConfig) -> pa.Table:
    """The split folders' tables below each other, with a split, and paths from the folder above."""
    tables = []
    for folder, file in by_folder:
        table = read_table(file, config.encoding)
        name = _path_column(table, config, str(file))
        paths = [f"{folder}/{p}" if p else None for p in columns.to_words(table[name])]
        table = table.set_column(table.column_names.index(name), name, pa.array(paths, pa.string()))
        tables.append(table if "split" in table.column_names else with_split(table, folder))
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"The tables {', '.join(str(f) for _, f in by_folder)} do not fit together: {error}",
            expected="the same columns in each",
            todo="give them the same columns",
        ) from error


def _path_column(table: pa.Table, config: DataConfig, where: str) -> str:
    name = _special(table, config, "path_column", columns.PATH_COLUMNS, None, where)
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
    name = _special(table, config, "split_column", columns.SPLIT_COLUMNS, target, where)
    if name and (config.split_column or splits.is_split(columns.distinct_words(table[name]))):
        return name
    return None


def _special(
    table: pa.Table,
    config: DataConfig,
    setting: str,
    usual: tuple[str, ...],
    target: str | None,
    where: str,
) -> str | None:
    """The column that a setting names, or else the first of the usual ones but for the target."""
    names, named = table.column_names, str(getattr(config, setting))
    if not named:
        return columns.find_usual((n for n in names if n != target), usual)
    if named not in names:
        raise ConfigError(
            f"data.{setting} is {named!r}, which is no column of {where}.",
            expected="one of the table's columns",
            todo=did_you_mean(named, names),
        )
    return named
