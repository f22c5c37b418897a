"""Folders of images: `train/<class>/…`, `val/<class>/…`, `test/<class>/…`, or `<class>/…`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from candid.data import splits
from candid.data.dataset import Dataset
from candid.data.layouts.assembly import (
    LayoutRows,
    assemble,
    choose_label,
    counted_finding,
    file_source,
    unlabelled_finding,
)
from candid.data.layouts.pictures import ImageFiles, folders_in, glance, scan
from candid.errors import DataError, LayoutError, TargetError
from candid.records import Finding
from candid.settings import DataConfig
from candid.tables.attributes import Attribute
from candid.tables.columns import NO_SUCH_TARGET, natural_key

_TARGET = "class"  # the label's name


def recognise_folder(path: Path) -> bool:
    """Whether there are folders of images, or folders called train, val or test."""
    inner = folders_in(path)
    if any(f.name.lower() in splits.WORDS and glance(f, 1, 4) for f in inner):
        return True
    if len(inner) == 1:
        return bool(glance(inner[0], 1, 0))
    return sum(bool(glance(f, 1, 4)) for f in inner[:100]) >= 2


def read_folder(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read folders of images; the folders' names are the classes.

    Subfolders of a class folder are read too. Where the top folders are splits, other folders
    beside them are left out, with a finding.
    """
    images = scan(path)
    images.reject_outside()
    by_split = any(f.name.lower() in splits.WORDS for f in folders_in(path))
    depth = int(by_split)  # of the folder that names the class
    parts = {p: p.split("/") for p in images.paths}
    split = {p: splits.WORDS.get(parts[p][0].lower(), "") for p in parts if by_split}
    ids = [p for p, part in parts.items() if len(part) > depth + 1 and (not by_split or split[p])]
    if not ids:
        raise _no_classes(path, by_split, len(images.paths))
    values = tuple(sorted({parts[p][depth] for p in ids}, key=natural_key))
    _check_target(target, path, values)
    index = {name: i for i, name in enumerate(values)}
    codes = np.array([index[parts[p][depth]] for p in ids], dtype=np.int16)
    attributes = {_TARGET: Attribute(_TARGET, "categorical", values, codes)}
    rows = LayoutRows(
        ids=ids,
        split=np.array([split[p] for p in ids], dtype="<U10") if by_split else None,
        **choose_label(attributes, _TARGET, (), config.numbers),
    )
    findings = _findings(images, ids)
    return assemble(path, "folder", rows, file_source(path, ids), config, findings)


def _check_target(target: str | None, path: Path, values: Sequence[str]) -> None:
    """Raise a TargetError for another target than the folders' names."""
    if target not in (None, _TARGET):
        raise TargetError(
            f"There is no label called {target!r} in {path}: the folders' names are the label.",
            expected=f"no target for folders of classes ({', '.join(values[:4])}"
            + (", …)" if len(values) > 4 else ")"),
            todo="leave --target out, or name a table with such a column instead",
            code=NO_SUCH_TARGET,
        )


def _findings(images: ImageFiles, ids: Sequence[str]) -> list[Finding]:
    """Findings about files that are not in the data set."""
    labelled = set(ids)
    unlabelled = [p for p in images.paths if p not in labelled]
    files = len(images.others) + len(images.paths)
    other_files = counted_finding("FILES-LEFT-OUT", images.others, files)
    return [unlabelled_finding(unlabelled, len(images.paths)), other_files]


def _no_classes(path: Path, by_split: bool, n: int) -> LayoutError | DataError:
    if not n:
        return DataError(
            f"There are no pictures in {path}.",
            expected="one folder of pictures per class",
            todo="check the path",
        )
    return LayoutError(
        f"The {n:,} pictures in {path} do not lie in folders that name their class.",
        expected="train/<class>/…, val/<class>/…" if by_split else "<class>/… or train/<class>/…",
        todo="sort them into one folder per class, or name another layout with --layout",
    )
