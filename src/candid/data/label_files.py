"""Writing the labels of a data set: CSV, `metadata.jsonl`, CelebA's files.

Images are named by their paths from the file's folder, if each is a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from candid.data.dataset import Dataset, Source, SourceSubset
from candid.data.sources import FileSource
from candid.data.splits import CODES
from candid.errors import ConfigError, OutputError
from candid.storage.files import as_utf8, atomic
from candid.tables.attributes import Attribute
from candid.tables.delimited import CsvWriter

CELEBA = ("list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt")

_SUFFIX = "-labels.csv"


def beside_description(path: Path) -> Path:
    """The path of the table of labels beside a data set's description, `NAME.json`."""
    return path.with_name(f"{path.stem}{_SUFFIX}")


def is_described(table: Path) -> bool:
    """Whether a table lies beside a description as its labels."""
    name = table.name.removesuffix(_SUFFIX)
    return name != table.name and table.with_name(f"{name}.json").is_file()


def write_labels(path: Path, dataset: Dataset) -> tuple[Path, ...]:
    """Write ids, labels, splits, people and attributes; returns the files' paths.

    The name decides the format: `….csv`; `….jsonl`; `metadata.csv` or `metadata.jsonl`, as Hugging
    Face's `imagefolder` reads it beside the images; or `list_attr_celeba.txt`, with the partition
    and the identities beside it, for data in that layout. Raises ConfigError for another name, or
    where CelebA's format cannot hold these labels; OutputError where it cannot be written, or would
    overwrite a file of the data.
    """
    _protect_data(path, dataset)
    if path.name == CELEBA[0]:
        return _write_celeba(path, dataset)
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise ConfigError(
            f"{path.name} does not say how labels are to be written.",
            expected=f"a name that ends with .csv or .jsonl, or {CELEBA[0]}",
            todo="name such a file with --out",
        )
    lines = path.suffix.lower() == ".jsonl"
    is_hugging_face = lines or path.stem.lower() == "metadata"
    rows = list(_rows(dataset, path.parent, "file_name" if is_hugging_face else "path"))
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        if lines:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            writer = CsvWriter(file)
            writer.row(rows[0] if rows else ())
            for row in rows:
                writer.row("" if value is None else value for value in row.values())
    return (path,)


def _protect_data(path: Path, dataset: Dataset) -> None:
    """Raise an OutputError where a file among the data would be overwritten."""
    names = CELEBA if path.name == CELEBA[0] else (path.name,)
    files = [path.with_name(name) for name in names]
    existing = [file for file in files if file.exists() and not is_described(file)]
    for origin in (dataset.origin, *dataset.origins.values()):
        for file in existing:
            if origin and file.resolve().is_relative_to(Path(origin).resolve()):
                raise OutputError(
                    f"{file} stands among the data, which stay as they are.",
                    expected="a name that is free there, or a place elsewhere",
                    todo="name another file with --out",
                )


def _rows(dataset: Dataset, folder: Path, path_column: str) -> Iterator[dict[str, Any]]:
    """Each image's values by column."""
    paths = image_paths(dataset.source, folder) or dataset.ids.tolist()
    columns: dict[str, list[Any]] = {
        path_column: [as_utf8(path).decode() for path in paths],
        dataset.target: _words(dataset.label, dataset.classes),
        "split": dataset.split.tolist(),
    }
    if dataset.person is not None:
        columns["person"] = [None if p < 0 else p for p in dataset.person.tolist()]
    for name, attribute in dataset.attributes.items():
        columns[name] = _cells(attribute)
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _words(codes: Any, words: tuple[str, ...]) -> list[str | None]:
    return [None if code < 0 else words[code] for code in codes.tolist()]


def _cells(attribute: Attribute) -> list[Any]:
    if attribute.kind == "numeric":
        return [None if np.isnan(v) else v for v in attribute.data.tolist()]
    return _words(attribute.data, attribute.values)


def image_paths(source: Source, folder: Path) -> list[str] | None:
    """The images' paths from a folder; None where they are not files."""
    if isinstance(source, SourceSubset):
        paths = image_paths(source.source, folder)
        return None if paths is None else [paths[row] for row in source.rows.tolist()]
    if not isinstance(source, FileSource):
        return None
    root = os.path.relpath(source.root, os.path.realpath(folder))
    return [os.path.normpath(os.path.join(root, n)).replace(os.sep, "/") for n in source.names]


# --- CelebA's own files --------------------------------------------------------------------------


def _write_celeba(path: Path, dataset: Dataset) -> tuple[Path, ...]:
    columns = _celeba_columns(dataset)
    names = dataset.ids.tolist()
    cells = np.stack([*columns.values()], axis=1).astype(str).tolist()
    head = [str(len(names)), " ".join(columns)]
    files = {path: [*head, *(" ".join([n, *row]) for n, row in zip(names, cells, strict=True))]}
    code = {split: number for number, split in CODES.items()}
    files[path.with_name(CELEBA[1])] = [
        f"{name} {code[split]}" for name, split in zip(names, dataset.split.tolist(), strict=True)
    ]
    if dataset.person is not None:
        files[path.with_name(CELEBA[2])] = [
            f"{n} {p}" for n, p in zip(names, dataset.person.tolist(), strict=True) if p >= 0
        ]
    for file, lines in files.items():
        with atomic(file) as part:
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tuple(files)


def _celeba_columns(dataset: Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """Attribute → (n,) 1 or -1, the label among them."""
    binary = {name: a for name, a in dataset.attributes.items() if a.values == ("no", "yes")}
    is_celeba = dataset.layout == "celeba" and len(binary) == len(dataset.attributes)
    if not is_celeba or len(dataset.classes) != 2 or (dataset.label < 0).any():
        raise ConfigError(
            f"{dataset.name} cannot be written as CelebA's {CELEBA[0]}.",
            expected="data of the layout celeba, in which every image has each attribute",
            todo="write a table: --out labels.csv",
        )
    marks = {name: attribute.data > 0 for name, attribute in binary.items()}
    marks[dataset.target] = dataset.label == 1
    return {name: np.where(mark, 1, -1) for name, mark in marks.items()}
