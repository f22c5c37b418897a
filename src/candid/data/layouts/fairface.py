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
from candid.data.layouts.assembly import file_source, unmatched
from candid.data.layouts.pictures import ImageFiles, files_in, folders_in, scan
from candid.data.layouts.table import dataset_from_columns, set_split
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
    images = scan(Path(config.image_folder or path))
    tables, paths, missing = _match_rows(images, files, config)
    unused = sorted(set(images.paths).difference(paths))
    if not paths:
        raise DataError(
            f"None of the {len(missing):,} pictures that FairFace's label files name is in "
            f"{images.root}.",
            expected="train/1.jpg, … and val/1.jpg, …, in the folder or in one folder in it",
            todo="unpack the pictures there, or name their folder with --image-folder",
        )
    return dataset_from_columns(
        path,
        "fairface",
        pa.concat_tables(tables, promote_options="permissive"),
        paths,
        file_source(images.root, paths),
        target,
        config,
        file="FairFace's label files",
        usual=("gender",),
        findings=unmatched(missing, len(paths) + len(missing), unused, len(images.paths)),
    )


def _match_rows(
    images: ImageFiles, files: Mapping[str, Path], config: DataConfig
) -> tuple[list[pa.Table], list[str], list[str]]:
    """The rows of each label file whose image exists, these images, and the others' names."""
    tables, paths, missing = [], list[str](), list[str]()
    for split, file in files.items():
        table = read_delimited(file, config.encoding)
        names = [word or "" for word in columns.to_words(table["file"])]
        matches = images.locate(names, file.name)
        matched = [row for row, name in enumerate(matches) if name is not None]
        paths += [name for name in matches if name is not None]
        missing += [name for name, match in zip(names, matches, strict=True) if match is None]
        rows = table.drop_columns(["file"]).take(pa.array(matched, pa.int64()))
        tables.append(set_split(rows, split))
    return tables, paths, missing


def _find(path: Path) -> dict[str, Path]:
    """The label file of each split, in the folder or in a subfolder."""
    files: dict[str, Path] = {}
    for folder in (path, *folders_in(path)[:20]):
        csv_files = {f.name: f for f in files_in(folder, ".csv")}
        for split, names in _FILES.items():
            for name in names:
                if name in csv_files and set(read_header(csv_files[name])) >= _COLUMNS:
                    files.setdefault(split, csv_files[name])
    return files
