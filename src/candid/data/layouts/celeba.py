"""CelebA: aligned images, forty attributes, the official split and identities.

Z. Liu, P. Luo, X. Wang and X. Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015. As
published (`list_attr_celeba.txt`, …, in the folder or in `Anno/`, `Eval/`, `Img/`), or as CSV
files, as Kaggle has it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.data import splits
from candid.data.dataset import Dataset
from candid.data.layouts.assembly import (
    LayoutRows,
    assemble,
    choose_label,
    counted_finding,
    file_source,
    match_images,
)
from candid.data.layouts.pictures import ImageFiles, folders_in, scan
from candid.errors import DataError, LayoutError, TargetError
from candid.records import Finding
from candid.settings import DataConfig
from candid.tables.attributes import Attribute
from candid.tables.delimited import first_lines, read_delimited, read_spaced

_ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
_PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
_IDENTITY = ("identity_CelebA.txt", "identity_CelebA.csv")
_IMAGES = ("img_align_celeba", "img_celeba", "img_align_celeba_png")
_FOLDERS = ("", "Anno", "Eval", "Img", "celeba", "CelebA")


def recognise_celeba(path: Path) -> bool:
    """Whether CelebA's attribute file lies here."""
    return _find(path, _ATTRIBUTES) is not None


def read_celeba(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read CelebA; the label is Male unless another attribute is named."""
    file = _find(path, _ATTRIBUTES)
    if file is None:
        raise LayoutError(
            f"There is no {_ATTRIBUTES[0]} in {path}.",
            expected="CelebA's label files in the folder or in Anno/, Eval/, Img/",
            todo="name the folder that holds them, or another layout with --layout",
        )
    table, findings = _read_attributes(file)
    images = scan(Path(config.image_folder)) if config.image_folder else _images(path)
    names = [name or "" for name in columns.to_words(table.column(0))]
    image_names = names  # the label files name JPEG; images were published as PNG, too
    if images.paths and not any(p.endswith(".jpg") for p in images.paths):
        image_names = [name.removesuffix(".jpg") for name in names]
    rows, paths, left_over = match_images(images, image_names, file.name)
    described = table.take(pa.array(rows))
    attributes = {n: _attribute(n, described[n], rows, file) for n in table.column_names[1:]}
    keys = [names[i] for i in rows]
    return assemble(
        path,
        "celeba",
        LayoutRows(
            ids=paths,
            split=_partition(path, keys),
            person=_read_column(_find(path, _IDENTITY), keys),
            **choose_label(attributes, target, ("Male",), config.numbers),
        ),
        file_source(images.root, paths),
        config,
        [*findings, *left_over],
    )


def _find(path: Path, names: tuple[str, ...]) -> Path | None:
    for name in names:
        for folder in _FOLDERS:
            if (file := path / folder / name).is_file():
                return file
    return None


def _read_attributes(file: Path) -> tuple[pa.Table, list[Finding]]:
    """The attribute file as a table of words, the image's name first."""
    if file.suffix == ".csv":
        return read_delimited(file), []
    head = first_lines(file, 2)
    if len(head) < 2 or not head[0].strip().isdigit():
        raise DataError(
            f"{file} does not begin as CelebA's attribute file does.",
            expected="line 1: the number of images; line 2: the attributes' names",
            todo="fetch it again",
        )
    table = read_spaced(file, ["image", *head[1].split()], skip=2)
    count = int(head[0])
    if count == table.num_rows:
        return table, []
    rows = table.num_rows
    finding = counted_finding(
        "LABEL-COUNT", [file.name], 1, severity="warning", file=file.name, said=count, rows=rows
    )
    return table, [finding]


def _attribute(name: str, column: pa.ChunkedArray, rows: NDArray[np.intp], file: Path) -> Attribute:
    words = columns.distinct_words(column)
    if not (words <= {"-1", "1"} or words <= {"0", "1"}) or column.null_count:
        cells = columns.to_words(column)
        row = next(i for i, w in enumerate(cells) if w not in ("-1", "1"))
        line = rows[row] + (2 if file.suffix == ".csv" else 3)
        raise DataError(
            f"{file}, line {line}: {name} is {cells[row]!r}.",
            expected="-1 or 1",
            todo="mend the line, or fetch the file again",
        )
    attribute = columns.read_column(name, column)
    if isinstance(attribute, str):
        raise TargetError(f"{name} cannot be read: {attribute}.", expected="-1 or 1 in every row")
    return attribute


def _images(path: Path) -> ImageFiles:
    for parent in _FOLDERS:
        for name in _IMAGES:
            folder = path / parent / name
            if folder.is_dir():
                while [f.name for f in folders_in(folder)] == [name]:
                    folder /= name  # unpacked into a folder of its own name
                return scan(folder)
    raise LayoutError(
        f"There is no folder {_IMAGES[0]}/ in {path}.",
        expected="the aligned pictures beside the label files, or in Img/",
        todo="unpack img_align_celeba.zip there",
    )


def _partition(path: Path, names: list[str]) -> NDArray[np.str_] | None:
    """The official split, in the order of `names`; None without its file."""
    file = _find(path, _PARTITION)
    codes = _read_column(file, names)
    if file is None or codes is None:
        return None
    for name, code in zip(names, codes, strict=True):
        if code not in splits.CODES:
            raise DataError(
                f"{file} says {code!r} for {name}." if code else f"{file} has no row for {name}.",
                expected="0 (train), 1 (validation) or 2 (test) for every image",
                todo="mend the line, or fetch the file again",
            )
    return splits.read_splits(codes, file=file.name)


def _read_column(file: Path | None, names: list[str]) -> list[str | None] | None:
    """The second column of a file, in the order of `names`; None without a file."""
    if file is None:
        return None
    table = (
        read_delimited(file)
        if file.suffix == ".csv"
        else read_spaced(file, ["image", "value"], skip=0)
    )
    values = dict(
        zip(columns.to_words(table.column(0)), columns.to_words(table.column(1)), strict=True)
    )
    column = [values.get(name) for name in names]
    return column if any(v is not None for v in column) else None
