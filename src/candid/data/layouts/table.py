"""A table beside its images: a column with paths, one with the label, others as attributes."""

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
from candid.data.layouts.assembly import LayoutRows, assemble, file_source, match_images
from candid.data.layouts.pictures import ImageFiles, files_in, folders_in, scan, scan_named
from candid.errors import ConfigError, DataError, LayoutError, TargetError, did_you_mean
from candid.records import Finding
from candid.settings import DataConfig
from candid.tables.attributes import Attribute
from candid.tables.delimited import read_column_names, read_table
from candid.tables.spreadsheet import DateColumn, repair

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl")
_TABLES = (*SUFFIXES[:-1], "metadata.jsonl")  # in a folder, which may hold other JSON lines, too

LABELS = ("label", "class", "target")


def recognise_image_table(path: Path) -> bool:
    """Whether this is a table, or a folder with one (of several: with paths), or one per split."""
    if path.is_file():
        return path.name.lower().endswith(SUFFIXES)
    files = _tables(path)
    return len(files) == 1 or bool(_path_tables(files, DataConfig())) or bool(_by_folder(path))


def read_image_table(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read a table and find its images; the default target is label, class or target.

    Paths are relative to `data.image_folder`, or else to the table's folder, and may leave it.
    """
    table, root, name = _read_tables(path, config)
    root = Path(config.image_folder or root)
    path_column = _path_column(table, config, name)
    names = [word or "" for word in columns.to_words(table[path_column])]
    images = _find_images(root, names, name)
    rows, paths, findings = match_images(images, names, name, anywhere=True)
    table = table.drop_columns([path_column]).take(pa.array(rows))
    if Path(name).stem.lower() == "metadata" and not _split_column(table, config, target, name):
        table = _add_split_from_paths(table, paths)
    return dataset_from_columns(
        path,
        "table",
        table,
        paths,
        file_source(root, paths, anywhere=True),
        target,
        config,
        file=name,
        rows=rows,
        findings=findings,
    )


def _find_images(root: Path, names: list[str], file: str) -> ImageFiles:
    """The images in the names' folders; in all folders, if that finds fewer than half."""
    images = scan_named(root, names)
    matches = images.locate(names, file, anywhere=True)
    missing = sum(
        m is None and images.inside(n) is not None for n, m in zip(names, matches, strict=True)
    )
    return images if 2 * missing <= len(names) else scan(root)


def dataset_from_columns(
    path: Path,
    layout: str,
    table: pa.Table,
    ids: list[str],
    source: Callable[[NDArray[np.intp]], Source],
    target: str | None,
    config: DataConfig,
    *,
    file: str,
    rows: NDArray[np.intp] | None = None,
    class_names: dict[str, tuple[str, ...]] | None = None,
    usual: Iterable[str] = LABELS,
    findings: Iterable[Finding] = (),
) -> Dataset:
    """A Dataset from annotation columns: find split, person and target; the rest are attributes.

    `table` has n rows without the column of the images, which are `ids`, and whose source `source`
    makes; `rows` are the rows in the file, which errors call `file`; `class_names` are the names
    of codes by column, `usual` the columns for the label where none is named.
    """
    split = _split_column(table, config, target, file)
    person = _find_column(table, config, "person_column", columns.PERSON_COLUMNS, target, file)
    rest = [name for name in table.column_names if name not in (split, person)]
    if target == columns.ALL:
        target = next((n for n in rest if _is_label(columns.read_column(n, table[n]))), None)
    target = columns.choose_target(target, rest, tuple(usual))
    table, date_columns = repair(table, rest, config.missing)
    names, missing = class_names or {}, config.missing
    parsed = {n: columns.read_column(n, table[n], names.get(n, ()), missing) for n in rest}
    column = parsed.pop(target)
    if config.class_names and not _names_class_words(column, config.class_names):
        # By the table's own values, which for a ClassLabel are numbers.
        missing_words = (*missing, "-1") if target in names else missing
        column = columns.read_words(target, table[target], missing_words)
    if isinstance(column, str):
        raise TargetError(
            f"The target {target!r} of {file} cannot be learned: {column}.",
            expected="a column with a few values to tell apart",
            todo="name another target",
        )
    number = target in config.numbers and not config.class_names
    number = columns.is_number(column, as_number=number)
    classes, label = columns.to_label(column, number=number)
    words = columns.to_words(table[split]) if split else None
    layout_rows = LayoutRows(
        ids=ids,
        target=target,
        classes=classes,
        label=label,
        split=None if words is None else splits.read_splits(words, file=file, rows=rows),
        person=columns.to_words(table[person], missing) if person else None,
        attributes={n: a for n, a in parsed.items() if not isinstance(a, str)},
        left_out={n: reason for n, reason in parsed.items() if isinstance(reason, str)},
        is_number=number,
    )
    dates = [_dates_finding(date_column, table.num_rows) for date_column in date_columns]
    return assemble(path, layout, layout_rows, source, config, (*findings, *dates))


def _names_class_words(column: Attribute | str, names: Sequence[str]) -> bool:
    """Whether the settings rename a binary class by its word: "not Smiling=sad"."""
    if isinstance(column, str) or column.kind != "binary":
        return False
    words = columns.class_words(column.name)
    return any(name.partition("=")[0] in words for name in names)


def _is_label(column: Attribute | str) -> bool:
    """Whether a column has at least two classes."""
    if isinstance(column, str) or column.kind == "numeric":
        return False
    return len(np.unique(column.data[column.known])) > 1


def set_split(table: pa.Table, split: str) -> pa.Table:
    """The table with one split for all rows."""
    if "split" in table.column_names:
        table = table.drop_columns(["split"])
    return table.append_column("split", pa.array([split] * table.num_rows, pa.string()))


def _add_split_from_paths(table: pa.Table, paths: list[str]) -> pa.Table:
    """Add the split where every path begins with the folder of one of several.

    So `datasets` reads one `metadata.csv` for all splits: `train/a.jpg`, `test/b.jpg`.
    """
    folders = [path.removeprefix("data/").partition("/")[0].lower() for path in paths]
    found_splits = {splits.WORDS.get(word) for word in folders}
    if None in found_splits or len(found_splits) < 2 or "split" in table.column_names:
        return table
    return table.append_column("split", pa.array(folders, pa.string()))


def _dates_finding(date_column: DateColumn, n: int) -> Finding:
    """The finding about ranges that a spreadsheet took for dates."""
    return make_finding(
        "RANGES-AS-DATES",
        count=date_column.rows,
        of=n,
        severity="note" if date_column.certain else "warning",
        state="found",
        column=date_column.column,
        ranges=dict(date_column.ranges),
        certain=date_column.certain,
    )


def _read_tables(path: Path, config: DataConfig) -> tuple[pa.Table, Path, str]:
    """The table, the folder that its paths are relative to, and its name."""
    if path.is_file():
        if not path.name.lower().endswith(SUFFIXES):
            raise LayoutError(
                f"{path} is a file, but no table.",
                expected=f"a folder, or a file ending in {', '.join(SUFFIXES)}",
                todo="name the data folder",
            )
        return read_table(path, config.encoding), path.parent, path.name
    files = _tables(path)
    tables = files if len(files) == 1 else _path_tables(files, config)
    if len(tables) == 1:
        return read_table(tables[0], config.encoding), path, tables[0].name
    if not tables and (by_folder := _by_folder(path)):
        return _concatenate(by_folder, config), path, "the split folders' tables"
    listed = tables or files
    names = ", ".join(f.name for f in listed[:8]) or "none"
    like = f", such as {listed[0]}" if listed else ""
    raise LayoutError(
        f"There is not exactly one table that names pictures in {path} (seen: {names}).",
        expected="one CSV, TSV or Parquet file, or metadata.jsonl",
        todo=f"name the table itself instead of its folder{like}; or, where the folders' names are "
        "the classes, --layout folder",
    )


def _tables(path: Path) -> list[Path]:
    """A folder's tables, without those that `--croissant NAME.json` wrote."""
    files = files_in(path, *_TABLES)
    tables = [f for f in files if not is_described(f)]
    return tables or files


def _path_tables(files: list[Path], config: DataConfig) -> list[Path]:
    usual_names = (config.path_column,) if config.path_column else columns.PATH_COLUMNS
    usual = set(map(columns.normalize_name, usual_names))
    names = {f: read_column_names(f, config.encoding) for f in files}
    return [f for f in files if not usual.isdisjoint(map(columns.normalize_name, names[f]))]


def _by_folder(path: Path) -> list[tuple[str, Path]]:
    """Split folders with a table each (`train/metadata.csv`, as of `datasets`)."""
    tables = []
    for folder in folders_in(path):
        files = files_in(folder, *(f"metadata{suffix}" for suffix in SUFFIXES))
        if folder.name.lower() in splits.WORDS and len(files) == 1:
            tables.append((folder.name, files[0]))
    return tables


def _concatenate(by_folder: list[tuple[str, Path]], config: DataConfig) -> pa.Table:
    """Concatenate the split folders' tables, with a split, and paths from the folder above."""
    tables = []
    for folder, file in by_folder:
        table = read_table(file, config.encoding)
        name = _path_column(table, config, str(file))
        paths = [f"{folder}/{p}" if p else None for p in columns.to_words(table[name])]
        table = table.set_column(table.column_names.index(name), name, pa.array(paths, pa.string()))
        tables.append(table if "split" in table.column_names else set_split(table, folder))
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"The tables {', '.join(str(f) for _, f in by_folder)} do not fit together: {error}",
            expected="the same columns in each",
            todo="give them the same columns",
        ) from error


def _path_column(table: pa.Table, config: DataConfig, file: str) -> str:
    name = _find_column(table, config, "path_column", columns.PATH_COLUMNS, None, file)
    if name is None:
        raise LayoutError(
            f"No column of {file} is known to hold paths (columns: "
            f"{', '.join(table.column_names[:12])}).",
            expected=f"one of: {', '.join(columns.PATH_COLUMNS[:8])}, …",
            todo="name it with --set data.path_column=…",
        )
    return name


def _split_column(table: pa.Table, config: DataConfig, target: str | None, file: str) -> str | None:
    """The column with the splits; one of another meaning (a number of folds) is ignored."""
    name = _find_column(table, config, "split_column", columns.SPLIT_COLUMNS, target, file)
    if name and (config.split_column or splits.is_split(columns.distinct_words(table[name]))):
        return name
    return None


def _find_column(
    table: pa.Table,
    config: DataConfig,
    setting: str,
    usual: tuple[str, ...],
    target: str | None,
    file: str,
) -> str | None:
    """The column that a setting names, or else the first of the usual ones except the target."""
    names, name = table.column_names, str(getattr(config, setting))
    if not name:
        return columns.find_usual((n for n in names if n != target), usual)
    if name not in names:
        raise ConfigError(
            f"data.{setting} is {name!r}, which is no column of {file}.",
            expected="one of the table's columns",
            todo=did_you_mean(name, names),
        )
    return name
