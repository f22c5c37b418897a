"""A data set as a file of corrections has it: labels changed, images left out, people known.

The split stays as it is where the data bring one. Where Candid chose it, an image whose person is
corrected goes to the side of that person, and all others stay where they were.
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
from candid.tables.corrections import Consensus, Correction, Kind, read_corrections, standing, tally


def corrected(dataset: Dataset, file: str) -> Dataset:
    """The data set as the corrections in a file have it; itself where none is named.

    Raises DataError where the file cannot be read, or its corrections are of other data: none of
    its images is here, a class is none of the label's, or a label was another one.
    """
    if not file:
        return dataset
    path = Path(file)
    return correct(dataset, read_corrections(path), path.name)


def correct(dataset: Dataset, corrections: Iterable[Correction], name: str = "") -> Dataset:
    """The data set as corrections have it, which are from a file of that name."""
    rows = list(corrections)
    settled, place = tally(rows), {str(i): row for row, i in enumerate(dataset.ids.tolist())}
    _check_any(dataset, rows, place, name)
    label = _labels(dataset, rows, settled, place, name)
    person, split, group = _people(dataset, settled.person, place, name)
    for image in settled.copy_of:
        _last(image, settled.copy_of, name)  # of those that name each other none would be kept
    gone = settled.left_out | {i for i in settled.copy_of if i in place}
    applied = _finding(dataset, settled, place, label != dataset.label, gone, name)
    found = replace(
        dataset,
        label=label,
        label_as_read=dataset.annotated,
        person=person,
        split=split,
        split_hash=group,
        findings=(*dataset.findings, applied),
    )
    keep = np.array([i not in gone for i in dataset.ids.tolist()], np.bool_)
    return found if keep.all() else found[keep]


# --- labels --------------------------------------------------------------------------------------


def _labels(
    dataset: Dataset,
    rows: Iterable[Correction],
    settled: Consensus,
    place: Mapping[str, int],
    name: str,
) -> NDArray[np.int16]:
    code = {word.casefold(): k for k, word in enumerate(dataset.classes)}
    for c in standing(rows):
        if c.kind == "label" and c.id in place and c.now.casefold() not in code:
            raise DataError(
                f"{name} gives {c.id!r} the label {c.now!r}, which is no class of "
                f"{dataset.target!r}.",
                expected=f"one of its {len(dataset.classes)} classes",
                todo=did_you_mean(c.now, dataset.classes),
            )
    _check_was(dataset, rows, place, name)
    label = dataset.label.copy()
    for image, word in settled.label.items():
        if image in place:
            label[place[image]] = code[word.casefold()]
    return label


def _check_was(
    dataset: Dataset, rows: Iterable[Correction], place: Mapping[str, int], name: str
) -> None:
    """Raise where a label was none of those that the data or an earlier correction gave it."""
    known: dict[str, set[str]] = {}
    for c in rows:
        if c.kind != "label" or c.id not in place:
            continue
        own = int(dataset.label[place[c.id]])
        here = dataset.classes[own] if own >= 0 else "unlabelled"
        words = known.setdefault(c.id, {here.casefold()})
        done = c.now.casefold() == here.casefold()  # before these data were written
        if c.was and c.was.casefold() not in words and not done:
            raise DataError(
                f"{name} says that {c.id!r} was {c.was!r}, and here it is {here!r}.",
                expected=f"corrections of these data and of the label {dataset.target!r}",
                todo="name the file that was made for them",
            )
        words.add(c.now.casefold())


# --- copies and people ---------------------------------------------------------------------------


def _last(image: str, towards: Mapping[str, str], name: str) -> str:
    """Where a chain of images ends that leads from one to the next."""
    seen = [image]
    while following := towards.get(seen[-1], ""):
        if following in seen:
            raise DataError(
                f"{name} leads from {image!r} to {following!r} and back again.",
                expected="one picture that the others are held against",
                todo="take one of these lines out",
            )
        seen.append(following)
    return seen[-1]


def _people(
    dataset: Dataset, whose: Mapping[str, str], place: Mapping[str, int], name: str
) -> tuple[NDArray[np.int64] | None, NDArray[np.str_], NDArray[np.uint64] | None]:
    """(n,) who it is, the split, and the hashes that it was chosen by."""
    wanted = {image: other for image, other in whose.items() if image in place}
    if not wanted:
        return dataset.person, dataset.split, dataset.split_hash
    person = np.full(len(dataset), -1, np.int64) if dataset.person is None else dataset.person
    person, split = person.copy(), dataset.split.copy()
    group = None if dataset.split_hash is None else dataset.split_hash.copy()
    for image, other in wanted.items():
        row = place[image]
        if not other:
            person[row] = -1
            continue
        anchor = _anchor(image, whose, place, name)
        if person[anchor] < 0:
            person[anchor] = person.max(initial=-1) + 1
        person[row] = person[anchor]
        if group is not None and group[row] and group[anchor] and _together(dataset, row, anchor):
            split[row], group[row] = split[anchor], group[anchor]
    return person, split, group


def _anchor(image: str, whose: Mapping[str, str], place: Mapping[str, int], name: str) -> int:
    """The picture that says who it is."""
    last = _last(image, whose, name)
    if last not in place:
        raise DataError(
            f"{name} says that {image!r} shows whom {last!r} shows, which is not in the data.",
            expected="an image of these data",
            todo="name another one, or none where nobody knows who it is",
        )
    return place[last]


def _together(dataset: Dataset, row: int, other: int) -> bool:
    """Whether both are of one data set: each is split for itself."""
    source = dataset.attributes.get(SOURCE) if dataset.parts else None
    return source is None or source.data[row] == source.data[other]


# --- what is said of it --------------------------------------------------------------------------


def _check_any(
    dataset: Dataset, rows: list[Correction], place: Mapping[str, int], name: str
) -> None:
    if rows and not any(c.id in place for c in rows):
        raise DataError(
            f"None of the images in {name} is in {dataset.name}; its first is {rows[0].id!r}.",
            expected=f"names such as {str(dataset.ids[0])!r}" if len(dataset) else "images",
            todo="name the file that was made for these data",
        )


def _finding(
    dataset: Dataset,
    settled: Consensus,
    place: Mapping[str, int],
    changed: NDArray[np.bool_],
    gone: frozenset[str],
    name: str,
) -> Finding:
    """How many corrections of which kind, and whose; (n,) marks say whose label was changed."""
    done: dict[Kind, list[str]] = {
        "label": [i for i in dataset.ids[changed].tolist() if i not in gone],
        "leave out": [i for i in settled.left_out if i in place],
        "same image": [i for i in settled.copy_of if i in place],
        "person": [i for i in settled.person if i in place and i not in gone],
    }
    who: Counter[str] = Counter()
    for kind, images in done.items():
        for image in images:
            who.update(settled.who[image, kind])
    images = sorted({i for some in done.values() for i in some}, key=place.__getitem__)
    named = {i for i, _ in settled.who} | set(settled.disputed)
    missing = len(named - place.keys())
    disputed = sum(i in place for i in settled.disputed)
    values: dict[str, Any] = {kind.replace(" ", "_"): len(some) for kind, some in done.items()}
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
        who=dict(sorted(who.items(), key=lambda one: (-one[1], one[0]))),
        **values,
    )
