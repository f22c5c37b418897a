"""The labels of a data set as a file that others read: CSV, `metadata.jsonl`, CelebA's own.

Names of pictures lead from the file's folder to where they lie, where each is a file of its own.
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

_BESIDE = "-labels.csv"


def beside_description(path: Path) -> Path:
    """The table of labels that goes with a description of a data set, `NAME.json`."""
    return path.with_name(f"{path.stem}{_BESIDE}")


def is_described(table: Path) -> bool:
    """Whether a table is one that goes with a description which lies beside it."""
    name = table.name.removesuffix(_BESIDE)
    return name != table.name and table.with_name(f"{name}.json").is_file()


def write_labels(path: Path, dataset: Dataset) -> tuple[Path, ...]:
    """Write ids, labels, splits, people and attributes; the files that were written.

    The name decides: `….csv`; `….jsonl`; `metadata.csv` or `metadata.jsonl`, as Hugging Face's
    `imagefolder` reads it beside the pictures; or `list_attr_celeba.txt`, which gets the partition
    and the identities beside it, for data that were read from such files. Raises ConfigError where
    the name says nothing of the kind, or CelebA's form cannot hold these labels; OutputError where
    it cannot be written, or would take the place of a file of the data's own.
    """
    _refuse_own(path, dataset)
    if path.name == CELEBA[0]:
        return _write_celeba(path, dataset)
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise ConfigError(
            f"{path.name} does not say how labels are to be written.",
            expected=f"a name that ends with .csv or .jsonl, or {CELEBA[0]}",
            todo="name such a file with --out",
        )
    lines = path.suffix.lower() == ".jsonl"
    theirs = lines or path.stem.lower() == "metadata"
    rows = list(_rows(dataset, path.parent, "file_name" if theirs else "path"))
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        if lines:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            writer = CsvWriter(file)
            writer.row(rows[0] if rows else ())
            for row in rows:
                writer.row("" if value is None else value for value in row.values())
    return (path,)


def _refuse_own(path: Path, dataset: Dataset) -> None:
    """Raise an OutputError where a file that lies among the data would be written over."""
    names = CELEBA if path.name == CELEBA[0] else (path.name,)
    files = [path.with_name(name) for name in names]
    there = [file for file in files if file.exists() and not is_described(file)]
    for place in (dataset.origin, *dataset.origins.values()):
        for file in there:
            if place and file.resolve().is_relative_to(Path(place).resolve()):
                raise OutputError(
                    f"{file} stands among the data, which stay as they are.",
                    expected="a name that is free there, or a place elsewhere",
                    todo="name another file with --out",
                )


def _rows(dataset: Dataset, folder: Path, path_column: str) -> Iterator[dict[str, Any]]:
    """Each image's values by column."""
    paths = picture_paths(dataset.source, folder) or dataset.ids.tolist()
    columns: dict[str, list[Any]] = {
        path_column: [as_utf8(path).decode() for path in paths],
        dataset.target: _words(dataset.label, dataset.classes),
        "split": dataset.split.tolist(),
    }
    if dataset.person is not None:
        columns["person"] = [None if p < 0 else p for p in dataset.person.tolist()]
    for name, attribute in dataset.attributes.items():
        columns[name] = _values(attribute)
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _words(codes: Any, words: tuple[str, ...]) -> list[str | None]:
    return [None if code < 0 else words[code] for code in codes.tolist()]


def _values(attribute: Attribute) -> list[Any]:
    if attribute.kind == "numeric":
        return [None if np.isnan(v) else v for v in attribute.data.tolist()]
    return _words(attribute.data, attribute.values)


def picture_paths(source: Source, folder: Path) -> list[str] | None:
    """Where the pictures lie, from a folder; None where they are no files of their own."""
    if isinstance(source, SourceSubset):
        every = picture_paths(source.source, folder)
        return None if every is None else [every[row] for row in source.rows.tolist()]
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
    two = {name: a for name, a in dataset.attributes.items() if a.values == ("no", "yes")}
    fits = dataset.layout == "celeba" and len(two) == len(dataset.attributes)
    if not fits or len(dataset.classes) != 2 or (dataset.label < 0).any():
        raise ConfigError(
            f"{dataset.name} cannot be written as CelebA's {CELEBA[0]}.",
            expected="data of the layout celeba, in which every image has each attribute",
            todo="write a table: --out labels.csv",
        )
    marks = {name: attribute.data > 0 for name, attribute in two.items()}
    marks[dataset.target] = dataset.label == 1
    return {name: np.where(mark, 1, -1) for name, mark in marks.items()}
