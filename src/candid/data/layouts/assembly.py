"""From what a layout read, row by row, to a checked Dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.data import splits
from candid.data.dataset import Dataset, Source
from candid.data.layouts.pictures import Pictures
from candid.errors import ConfigError, DataError, TargetError, did_you_mean
from candid.records import Finding
from candid.settings import DataConfig
from candid.tables.attributes import Attribute

_EXAMPLES = 5
_RESERVED = ("id", "split", "label", "identity")  # columns of every predictions file


@dataclass(frozen=True, eq=False)
class Rows:
    """What a layout read: one row per annotation, each with its picture.

    Attributes
    ----------
    ids
        (n,) the path inside the data folder or a row's key; may repeat.
    target, classes, label
        As in `Dataset`.
    split
        (n,) or None where the data has none.
    person
        (n,) words for who it is, None where unknown; None where nobody knows.
    keys
        (n,) what the hash of a split falls back on; None: the ids.
    attributes
        Every other annotation.
    left_out
        Columns that cannot be an attribute, and why.
    """

    ids: Sequence[str]
    target: str
    classes: tuple[str, ...]
    label: NDArray[np.int16]
    split: NDArray[np.str_] | None = None
    person: Sequence[str | None] | None = None
    keys: Sequence[str] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def assemble(
    path: Path,
    layout: str,
    rows: Rows,
    source: Callable[[NDArray[np.intp]], Source],
    config: DataConfig,
    findings: Sequence[Finding] = (),
) -> Dataset:
    """Drop repeated rows, complete the split, choose the attributes, and check that it can be used.

    Parameters
    ----------
    path
        The data folder or file; it gives the name.
    layout
        The layout's name.
    rows
        What was read.
    source
        Makes the source of the rows that are kept.
    config
        Shares of a split that is missing; attributes.
    findings
        What was seen so far.

    Raises
    ------
    DataError
        Where there is no image, or train or validation has no labelled image.
    TargetError
        Where training would see one class only.
    """
    if not len(rows.ids):
        raise DataError(
            f"No picture in {path} has an annotation.",
            expected="pictures and the rows that describe them, under the same names",
            todo="look at the first names on both sides, or name a layout with --layout",
        )
    rows, kept, excluded = _with_classes(rows, config)
    keep, label, repeated = _once(rows)
    seen = [*findings, *excluded, *repeated]
    attributes, more = _attributes(rows, config)
    person = None if rows.person is None else [rows.person[i] for i in keep]
    fallback = rows.ids if rows.keys is None else rows.keys
    keys = np.array(
        [
            f"image {fallback[i]}"
            if person is None or person[row] is None
            else f"person {person[row]}"
            for row, i in enumerate(keep.tolist())
        ]
    )
    own = None if rows.split is None else rows.split[keep]
    split, split_hash, told = splits.complete(own, keys, label, config)
    dataset = Dataset(
        name=path.resolve().name,
        layout=layout,
        target=rows.target,
        classes=rows.classes,
        ids=np.asarray(rows.ids, dtype=np.str_)[keep],
        label=label,
        split=split,
        source=source(kept[keep]),
        identity=None if person is None else columns.people(person),
        attributes={a.name: a[keep] for a in attributes},
        findings=(*seen, *more, *told),
        split_hash=split_hash,
    )
    check_learnable(dataset)
    return dataset


def _with_classes(
    rows: Rows, config: DataConfig
) -> tuple[Rows, NDArray[np.intp], tuple[Finding, ...]]:
    """The rows with the classes that the settings name and exclude, which remain, and findings."""
    if not config.class_names and not config.exclude_classes:
        return rows, np.arange(len(rows.ids)), ()
    names = dict(word.split("=", 1) for word in config.class_names)
    named = [names.get(c, c) for c in rows.classes]
    for setting, wanted, known in (
        ("class_names", list(names), rows.classes),
        ("exclude_classes", list(config.exclude_classes), named),
    ):
        if strange := [word for word in wanted if word not in known]:
            raise ConfigError(
                f"data.{setting} names {strange[0]!r}, which is no class of {rows.target}.",
                expected=f"some of its {len(set(known))} classes",
                todo=did_you_mean(strange[0], known),
            )
    classes = [c for c in dict.fromkeys(named) if c not in config.exclude_classes]
    code = np.array([classes.index(c) if c in classes else -2 for c in named] + [-1], np.int16)
    label = code[rows.label]
    keep = np.flatnonzero(label > -2)
    excluded = finding(
        "CLASSES-EXCLUDED",
        "Images of classes to leave out",
        "{count} of {of} rows are of a class that data.exclude_classes names; they are left out.",
        [rows.ids[i] for i in np.flatnonzero(label == -2).tolist()],
        len(label),
    )
    return _take(replace(rows, classes=tuple(classes), label=label), keep), keep, (excluded,)


def _take(rows: Rows, keep: NDArray[np.intp]) -> Rows:
    kept = keep.tolist()
    return replace(
        rows,
        ids=[rows.ids[i] for i in kept],
        label=rows.label[keep],
        split=None if rows.split is None else rows.split[keep],
        person=None if rows.person is None else [rows.person[i] for i in kept],
        keys=None if rows.keys is None else [rows.keys[i] for i in kept],
        attributes={name: a[keep] for name, a in rows.attributes.items()},
    )


def _once(rows: Rows) -> tuple[NDArray[np.intp], NDArray[np.int16], tuple[Finding, ...]]:
    """Each id's first row, its label (−1 where its rows contradict each other), and findings."""
    ids = np.asarray(rows.ids, dtype=np.str_)
    unique, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    n, labelled = len(ids), rows.label >= 0
    low = np.full(len(unique), np.iinfo(np.int16).max, dtype=np.int16)
    high = np.full(len(unique), -1, dtype=np.int16)
    np.minimum.at(low, inverse[labelled], rows.label[labelled])
    np.maximum.at(high, inverse[labelled], rows.label[labelled])
    contradictory = (high >= 0) & (low < high)
    label = np.where(contradictory, -1, high).astype(np.int16)
    often = np.bincount(inverse, minlength=len(unique)) > 1
    order = np.argsort(first)
    findings = (
        finding(
            "ROWS-REPEATED",
            "Images with several rows",
            "{count} of {of} images have more than one row; each counts once, with its first row.",
            unique[often],
            len(unique),
            todo="Remove the surplus rows.",
        ),
        finding(
            "ROWS-CONTRADICT",
            "Images whose rows contradict each other",
            "{count} of {of} images have rows with different labels; they count as unlabelled.",
            unique[contradictory],
            len(unique),
            severity="warning",
            todo="Look at them and keep the right row.",
        ),
    )
    if len(unique) == n:
        return np.arange(n), rows.label.astype(np.int16), findings
    return first[order], label[order], findings


def _attributes(rows: Rows, config: DataConfig) -> tuple[list[Attribute], tuple[Finding, ...]]:
    for name in config.attributes:
        if name in rows.left_out:
            raise ConfigError(
                f"data.attributes names {name!r}, but {rows.left_out[name]}.",
                expected="a column with yes or no, with a few words, or with numbers",
                todo="leave it out, or turn it into groups",
            )
    chosen = []
    for name in columns.narrow(rows.attributes, config.attributes, rows.target):
        attribute = rows.attributes[name]
        if name.lower() in _RESERVED or name.startswith("p_"):
            while name in rows.attributes:
                name += " (column)"
            attribute = replace(attribute, name=name)
        chosen.append(attribute)
    if not rows.left_out or config.attributes:
        return chosen, ()
    reasons = "; ".join(f"{name}: {why}" for name, why in list(rows.left_out.items())[:_EXAMPLES])
    left_out = Finding(
        "COLUMNS-LEFT-OUT",
        "Columns that are no attribute",
        "found",
        "note",
        f"Columns that were not read as attributes: {reasons}.",
        len(rows.left_out),
        len(rows.left_out) + len(rows.attributes),
    )
    return chosen, (left_out,)


def check_learnable(dataset: Dataset, usable: NDArray[np.bool_] | None = None) -> None:
    """Raise where there is nothing to train on, to validate on, or to tell apart.

    Parameters
    ----------
    dataset
        The labels.
    usable
        (n,) which images can be read, where that is known.

    Raises
    ------
    DataError
        Where train or validation has no labelled (and readable) image.
    TargetError
        Where training would see one class only.
    """
    for split in ("train", "validation"):
        if not len(dataset.rows(split, usable)):
            there = int(np.count_nonzero(dataset.split == split))
            has = f"has {there:,} images but no label among them" if there else "is empty"
            if len(dataset.rows(split)):
                has = f"has {there:,} images but no labelled one that can be read"
            sizes = ", ".join(
                f"{name} {np.count_nonzero(dataset.split == name):,}"
                for name in ("train", "validation", "test")
            )
            raise DataError(
                f"The {split} split of {dataset.name} {has} (images: {sizes}).",
                expected="labelled images for training and for validation",
                todo="add or mend images, change the split, or, where the data has none, set "
                "data.validation_share and data.test_share",
            )
    rows = dataset.rows("train", usable)
    classes = np.unique(dataset.label[rows])
    if len(classes) < 2:
        raise TargetError(
            f"Training would see one class only: all {len(rows):,} labelled training images"
            f"{'' if usable is None else ' that can be read'} are "
            f"{dataset.classes[classes[0]]!r}.",
            expected="at least two classes in train",
            todo="add or mend images of another class, or change the split",
        )


def finding(
    code: str,
    title: str,
    detail: str,
    which: Sequence[str] | NDArray[np.str_],
    of: int,
    *,
    severity: str = "note",
    todo: str = "",
) -> Finding:
    """A finding about some of `of` things, with all of them; "not found" where there are none."""
    count = len(which)
    return Finding(
        code=code,
        title=title,
        state="found" if count else "not found",
        severity=severity,  # type: ignore[arg-type]
        detail=detail.format(count=f"{count:,}", of=f"{of:,}"),
        count=count,
        of=of,
        examples=tuple(str(w) for w in which),
        todo=todo if count else "",
    )


def join(
    pictures: Pictures, names: Sequence[str], where: str, *, anywhere: bool = False
) -> tuple[NDArray[np.intp], list[str], list[Finding]]:
    """The rows of a label file whose picture is there, those pictures, and what is left over.

    Parameters
    ----------
    pictures
        What lies in the data folder.
    names
        (n,) the picture that each row names.
    where
        What to call the file in an error.
    anywhere
        Whether names may lead out of the data folder.

    Raises
    ------
    DataError
        Where a name leads out of the data folder and may not, or no picture is there.
    """
    found = pictures.locate(names, where, anywhere=anywhere)
    rows = np.array([row for row, path in enumerate(found) if path is not None], dtype=np.intp)
    paths = [path for path in found if path is not None]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if not paths:
        raise DataError(
            f"None of the {len(names):,} pictures that {where} names is in {pictures.root}; the "
            f"first is {names[0]!r}.",
            expected=f"names relative to {pictures.root} or to a folder in it",
            todo="name the folder of the pictures with --image-folder (in a table: or the right "
            "column with --set data.path_column=…)",
        )
    extra = sorted(set(pictures.paths).difference(paths))
    findings = [without_image(missing, len(names)), without_label(extra, len(pictures.paths))]
    return rows, paths, findings


def without_image(missing: Sequence[str], of: int) -> Finding:
    """The finding about rows whose picture is not there."""
    return finding(
        "LABELS-WITHOUT-IMAGE",
        "Rows without a picture",
        "{count} of {of} rows name a picture that is not there; they are left out.",
        missing,
        of,
        severity="warning",
        todo="Complete the pictures, or remove the rows.",
    )


def without_label(missing: Sequence[str], of: int) -> Finding:
    """The finding about pictures that no row describes."""
    return finding(
        "IMAGES-WITHOUT-LABEL",
        "Pictures without a label",
        "{count} of {of} pictures have no row that describes them; they are left out.",
        missing,
        of,
        severity="warning",
        todo="Complete the labels, or remove the pictures.",
    )
