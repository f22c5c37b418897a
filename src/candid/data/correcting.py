"""Corrections applied to a data set: changed labels, images left out, persons.

The data's own split stays. Where Candid chose it, an image whose person is corrected moves to the
split of that person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.data.findings import make_finding
from candid.data.splits import SOURCE
from candid.errors import DataError, did_you_mean
from candid.records import Finding
from candid.tables.corrections import (
    Consensus,
    Correction,
    Kind,
    active_corrections,
    read_corrections,
    tally,
)


def apply_corrections_file(dataset: Dataset, file: str) -> Dataset:
    """Apply the corrections in a file, if one is named.

    Raises DataError where the file cannot be read, or its corrections are of other data: without a
    common image, with an unknown class, or another label before.
    """
    if not file:
        return dataset
    path = Path(file)
    return correct(dataset, read_corrections(path), path.name)


def correct(dataset: Dataset, corrections: Iterable[Correction], name: str = "") -> Dataset:
    """Apply corrections; `name` is that of their file, for errors."""
    rows = list(corrections)
    votes, row_of = tally(rows), {str(i): row for row, i in enumerate(dataset.ids.tolist())}
    _check_overlap(dataset, rows, row_of, name)
    label = _labels(dataset, rows, votes, row_of, name)
    person, split, group = _persons(dataset, votes.person, row_of, name)
    for image in votes.copy_of:
        _follow(image, votes.copy_of, name)  # a circle would drop all of its images
    ids_to_drop = votes.left_out | {i for i in votes.copy_of if i in row_of}
    finding = _finding(dataset, votes, row_of, label != dataset.label, ids_to_drop, name)
    result = replace(
        dataset,
        label=label,
        label_as_read=dataset.annotated,
        person=person,
        split=split,
        split_hash=group,
        findings=(*dataset.findings, finding),
    )
    keep = np.array([i not in ids_to_drop for i in dataset.ids.tolist()], np.bool_)
    return result if keep.all() else result[keep]


# --- labels --------------------------------------------------------------------------------------


def _labels(
    dataset: Dataset,
    rows: Iterable[Correction],
    votes: Consensus,
    row_of: Mapping[str, int],
    name: str,
) -> NDArray[np.int16]:
    code = {word.casefold(): k for k, word in enumerate(dataset.classes)}
    for c in active_corrections(rows):
        if c.kind == "label" and c.id in row_of and c.now.casefold() not in code:
            raise DataError(
                f"{name} gives {c.id!r} the label {c.now!r}, which is no class of "
                f"{dataset.target!r}.",
                expected=f"one of its {len(dataset.classes)} classes",
                todo=did_you_mean(c.now, dataset.classes),
            )
    _check_was(dataset, rows, row_of, name)
    label = dataset.label.copy()
    for image, word in votes.label.items():
        if image in row_of:
            label[row_of[image]] = code[word.casefold()]
    return label


def _check_was(
    dataset: Dataset, rows: Iterable[Correction], row_of: Mapping[str, int], name: str
) -> None:
    """Raise where a `was` is neither the data's label nor that of an earlier correction."""
    words_of: dict[str, set[str]] = {}
    for c in rows:
        if c.kind != "label" or c.id not in row_of:
            continue
        code = int(dataset.label[row_of[c.id]])
        current = dataset.classes[code] if code >= 0 else "unlabelled"
        words = words_of.setdefault(c.id, {current.casefold()})
        is_applied = c.now.casefold() == current.casefold()  # before these data were written
        if c.was and c.was.casefold() not in words and not is_applied:
            raise DataError(
                f"{name} says that {c.id!r} was {c.was!r}, and here it is {current!r}.",
                expected=f"corrections of these data and of the label {dataset.target!r}",
                todo="name the file that was made for them",
            )
        words.add(c.now.casefold())


# --- copies and people ---------------------------------------------------------------------------


def _follow(image: str, next_of: Mapping[str, str], name: str) -> str:
    """The end of a chain of images; raises DataError for a circle."""
    path = [image]
    while following := next_of.get(path[-1], ""):
        if following in path:
            raise DataError(
                f"{name} leads from {image!r} to {following!r} and back again.",
                expected="one picture that the others are held against",
                todo="take one of these lines out",
            )
        path.append(following)
    return path[-1]


def _persons(
    dataset: Dataset, same_as: Mapping[str, str], row_of: Mapping[str, int], name: str
) -> tuple[NDArray[np.int64] | None, NDArray[np.str_], NDArray[np.uint64] | None]:
    """(n,) persons, splits, and the hashes that the split was chosen by."""
    changes = {image: reference for image, reference in same_as.items() if image in row_of}
    if not changes:
        return dataset.person, dataset.split, dataset.split_hash
    person = np.full(len(dataset), -1, np.int64) if dataset.person is None else dataset.person
    person, split = person.copy(), dataset.split.copy()
    group = None if dataset.split_hash is None else dataset.split_hash.copy()
    for image, reference in changes.items():
        row = row_of[image]
        if not reference:
            person[row] = -1
            continue
        anchor = _anchor(image, same_as, row_of, name)
        if person[anchor] < 0:
            person[anchor] = person.max(initial=-1) + 1
        person[row] = person[anchor]
        if group is not None and group[row] and group[anchor] and _one_source(dataset, row, anchor):
            split[row], group[row] = split[anchor], group[anchor]
    return person, split, group


def _anchor(image: str, same_as: Mapping[str, str], row_of: Mapping[str, int], name: str) -> int:
    """The row of the image that a chain of persons leads to."""
    last = _follow(image, same_as, name)
    if last not in row_of:
        raise DataError(
            f"{name} says that {image!r} shows whom {last!r} shows, which is not in the data.",
            expected="an image of these data",
            todo="name another one, or none where nobody knows who it is",
        )
    return row_of[last]


def _one_source(dataset: Dataset, row: int, other: int) -> bool:
    """Whether both are from one data set, as each is split separately."""
    source = dataset.attributes.get(SOURCE) if dataset.parts else None
    return source is None or source.data[row] == source.data[other]


# --- finding -------------------------------------------------------------------------------------


def _check_overlap(
    dataset: Dataset, rows: list[Correction], row_of: Mapping[str, int], name: str
) -> None:
    if rows and not any(c.id in row_of for c in rows):
        raise DataError(
            f"None of the images in {name} is in {dataset.name}; its first is {rows[0].id!r}.",
            expected=f"names such as {str(dataset.ids[0])!r}" if len(dataset) else "images",
            todo="name the file that was made for these data",
        )


def _finding(
    dataset: Dataset,
    votes: Consensus,
    row_of: Mapping[str, int],
    changed: NDArray[np.bool_],
    ids_to_drop: frozenset[str],
    name: str,
) -> Finding:
    """The number of corrections by kind and by author; `changed` (n,) marks changed labels."""
    ids_by_kind: dict[Kind, list[str]] = {
        "label": [i for i in dataset.ids[changed].tolist() if i not in ids_to_drop],
        "leave out": [i for i in votes.left_out if i in row_of],
        "same image": [i for i in votes.copy_of if i in row_of],
        "person": [i for i in votes.person if i in row_of and i not in ids_to_drop],
    }
    who: Counter[str] = Counter()
    for kind, images in ids_by_kind.items():
        for image in images:
            who.update(votes.who[image, kind])
    images = sorted({i for ids in ids_by_kind.values() for i in ids}, key=row_of.__getitem__)
    all_ids = {i for i, _ in votes.who} | set(votes.disputed)
    missing = len(all_ids - row_of.keys())
    disputed = sum(i in row_of for i in votes.disputed)
    values: dict[str, Any] = {kind.replace(" ", "_"): len(ids) for kind, ids in ids_by_kind.items()}
    return make_finding(
        "CORRECTIONS",
        count=len(images),
        of=len(dataset),
        severity="warning" if missing or disputed else "note",
        state="found",
        examples=tuple(images),
        file=name,
        missing=missing,
        disputed=disputed,
        who=dict(sorted(who.items(), key=lambda item: (-item[1], item[0]))),
        **values,
    )
