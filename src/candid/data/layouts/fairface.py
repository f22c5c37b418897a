"""FairFace: one CSV for train, one for validation, with age groups, gender and race.

K. Karkkainen and J. Joo, "FairFace: Face Attribute Dataset for Balanced Race, Gender, and Age",
WACV 2021. There is no test set; the published "val" is validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

import candid.tables.columns as columns
from candid.data.dataset import Dataset
from candid.data.layouts.assembly import files_of, left_over
from candid.data.layouts.pictures import Pictures, files_in, folders_in, scan
from candid.data.layouts.table import from_columns, with_split
from candid.errors import DataError, LayoutError
from candid.settings import DataConfig
from candid.tables.delimited import read_delimited, read_header

_FILES = {
    "train": ("fairface_label_train.csv", "train_labels.csv"),
    "validation": ("fairface_label_val.csv", "val_labels.csv"),
}
_COLUMNS = frozenset(("file", "age", "gender", "race"))


def recognise_fairface(path: Path) -> bool:
    """Whether one of FairFace's label files lies here."""
    return bool(_find(path))


def read_fairface(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read FairFace; the label is gender unless race, age or service_test is named."""
    files = _find(path)
    if not files:
        raise LayoutError(
            f"There is no {_FILES['train'][0]} in {path}.",
            expected=f"{_FILES['train'][0]} and {_FILES['validation'][0]} beside train/ and val/",
            todo="name the folder that holds them, or another layout with --layout",
        )
    pictures = scan(Path(config.image_folder or path))
    tables, paths, missing = _located(pictures, files, config)
    extra = sorted(set(pictures.paths).difference(paths))
    if not paths:
        raise DataError(
            f"None of the {len(missing):,} pictures that FairFace's label files name is in "
            f"{pictures.root}.",
            expected="train/1.jpg, … and val/1.jpg, …, in the folder or in one folder in it",
            todo="unpack the pictures there, or name their folder with --image-folder",
        )
    return from_columns(
        path,
        "fairface",
        pa.concat_tables(tables, promote_options="permissive"),
        paths,
        files_of(pictures.root, paths),
        target,
        config,
        where="FairFace's label files",
        usual=("gender",),
        findings=left_over(missing, len(paths) + len(missing), extra, len(pictures.paths)),
    )


def _located(
    pictures: Pictures, files: Mapping[str, Path], config: DataConfig
) -> tuple[list[pa.Table], list[str], list[str]]:
    """The rows of each label file whose picture is there, those pictures, and the others' names."""
    tables, paths, missing = [], list[str](), list[str]()
    for split, file in files.items():
        table = read_delimited(file, config.encoding)
        names = [word or "" for word in columns.to_words(table["file"])]
        found = pictures.locate(names, file.name)
        kept = [row for row, name in enumerate(found) if name is not None]
        paths += [name for name in found if name is not None]
        missing += [name for name, at in zip(names, found, strict=True) if at is None]
        rows = table.drop_columns(["file"]).take(pa.array(kept, pa.int64()))
        tables.append(with_split(rows, split))
    return tables, paths, missing


def _find(path: Path) -> dict[str, Path]:
    """The label file of each split, in the folder or in a folder in it."""
    found: dict[str, Path] = {}
    for place in (path, *folders_in(path)[:20]):
        there = {f.name: f for f in files_in(place, ".csv")}
        for split, names in _FILES.items():
            for name in names:
                if name in there and set(read_header(there[name])) >= _COLUMNS:
                    found.setdefault(split, there[name])
    return found
