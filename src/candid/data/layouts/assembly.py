"""Assembling a checked Dataset from a layout's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.data import splits
from candid.data.dataset import Dataset, Source
from candid.data.findings import make_finding
from candid.data.layouts.pictures import ImageFiles
from candid.data.sources import FileSource
from candid.data.targets import free_name, select_target
from candid.errors import ConfigError, DataError, TargetError, did_you_mean
from candid.records import Finding, Severity
from candid.settings import DataConfig
from candid.table import PerImage
from candid.tables.attributes import Attribute

_EXAMPLES = 5
_NO_YES = {"Male": ("Female", "Male")}


@dataclass(frozen=True, eq=False)
class LayoutRows(PerImage):
    """A layout's rows, one per annotation; fields as in `Dataset`.

    An id may repeat. `person` are words, `keys` replace the ids for the hash of a split where there
    is no person, `left_out` are the columns that cannot be an attribute, with the reasons.
    """

    PER_IMAGE = ("ids", "label", "split", "person", "keys", "attributes")

    ids: list[str]
    target: str
    classes: tuple[str, ...]
    label: NDArray[np.int16]
    split: NDArray[np.str_] | None = None
    person: list[str | None] | None = None
    keys: list[str] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    no_yes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    is_number: bool = False


def choose_label(
    attributes: Mapping[str, Attribute],
    target: str | None,
    usual: Sequence[str],
    numbers: Sequence[str] = (),
) -> dict[str, Any]:
    """The fields of `LayoutRows` that follow from the target: name, classes, codes, the rest.

    `numbers` are the labels that are numbers even if they look like classes.
    """
    target = columns.choose_target(target, attributes, usual)
    number = columns.is_number(attributes[target], as_number=target in numbers)
    classes, label = columns.to_label(attributes[target], _NO_YES.get(target), number=number)
    rest = {name: a for name, a in attributes.items() if name != target}
    fields = {"target": target, "classes": classes, "label": label, "is_number": number}
    return fields | {"attributes": rest, "no_yes": _NO_YES}


def file_source(
    root: Path, paths: Sequence[str], *, anywhere: bool = False
) -> Callable[[NDArray[np.intp]], Source]:
    """A function that makes the source of selected images in a folder."""
    return lambda keep: FileSource(root, [paths[i] for i in keep], anywhere=anywhere)


def assemble(
    path: Path,
    layout: str,
    rows: LayoutRows,
    source: Callable[[NDArray[np.intp]], Source],
    config: DataConfig,
    findings: Sequence[Finding] = (),
) -> Dataset:
    """Drop repeated rows, complete the split, and choose the attributes.

    `source` makes the source of the remaining rows; `findings` are those so far.
    """
    if not rows.ids:
        raise DataError(
            f"No picture in {path} has an annotation.",
            expected="pictures and the rows that describe them, under the same names",
            todo="look at the first names on both sides, or name a layout with --layout",
        )
    index, class_words = np.arange(len(rows.ids)), rows.classes
    rows, index, excluded = _apply_class_settings(rows, index, config)
    rows, index, repeated = _drop_repeats(rows, index)
    attributes, left_out = _select_attributes(rows, config)
    ids = rows.ids if rows.keys is None else rows.keys
    people = rows.person or [None] * len(ids)
    keys = [f"image {k}" if p is None else f"person {p}" for k, p in zip(ids, people, strict=True)]
    split, split_hash, chosen = splits.fill_split(rows.split, np.array(keys), rows.label, config)
    return Dataset(
        name=path.resolve().name,
        layout=layout,
        target=rows.target,
        classes=rows.classes,
        ids=np.array(rows.ids, dtype=np.str_),
        label=rows.label,
        split=split,
        source=source(index),
        person=None if rows.person is None else columns.identities(rows.person),
        attributes={a.name: a for a in attributes},
        findings=(*findings, *excluded, *repeated, *left_out, *chosen),
        split_hash=split_hash,
        class_words=class_words,
        no_yes=rows.no_yes,
        numbers=(rows.target,) if rows.is_number else (),
    )


def _apply_class_settings(
    rows: LayoutRows, index: NDArray[np.intp], config: DataConfig
) -> tuple[LayoutRows, NDArray[np.intp], tuple[Finding, ...]]:
    """Rename and exclude classes as in the settings; the rows, their indices, and findings."""
    if not config.class_names and not config.exclude_classes:
        return rows, index, ()
    if rows.is_number:
        raise ConfigError(
            f"The label {rows.target!r} is a number, and has no classes to name or to exclude.",
            expected="data.class_names and data.exclude_classes empty",
            todo="leave them out",
        )
    names = rename_classes(rows.classes, config)
    classes = [c for c in dict.fromkeys(names) if c not in config.exclude_classes]
    code = np.array([classes.index(c) if c in classes else -2 for c in names] + [-1], np.int16)
    rows = replace(rows, classes=tuple(classes), label=code[rows.label])
    excluded = counted_finding("CLASSES-EXCLUDED", rows[rows.label == -2].ids, len(rows.ids))
    keep = np.flatnonzero(rows.label > -2)
    return rows[keep], index[keep], (excluded,)


def rename_classes(words: Sequence[str], config: DataConfig) -> list[str]:
    """The label's values, renamed as in the settings."""
    names = dict(word.split("=", 1) for word in config.class_names)
    return [names.get(word, word) for word in words]


def check_class_settings(
    words: Sequence[str], new_names: Sequence[str], target: str, config: DataConfig
) -> None:
    """Raise a ConfigError where the settings rename or exclude an unknown class."""
    names = [word.partition("=")[0] for word in config.class_names]
    for setting, words_set, allowed in (
        ("class_names", names, words),
        ("exclude_classes", config.exclude_classes, new_names),
    ):
        if unknown := [word for word in words_set if word not in allowed]:
            raise ConfigError(
                f"data.{setting} names {unknown[0]!r}, which is no class of {target}.",
                expected=f"some of its {len(set(allowed))} classes",
                todo=did_you_mean(unknown[0], allowed),
            )


def _drop_repeats(
    rows: LayoutRows, index: NDArray[np.intp]
) -> tuple[LayoutRows, NDArray[np.intp], tuple[Finding, ...]]:
    """The first row of each id, unlabelled where its rows contradict each other; and findings."""
    ids = np.asarray(rows.ids, dtype=np.str_)
    unique, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    labelled = rows.label >= 0
    low = np.full(len(unique), np.iinfo(np.int16).max, dtype=np.int16)
    high = np.full(len(unique), -1, dtype=np.int16)
    np.minimum.at(low, inverse[labelled], rows.label[labelled])
    np.maximum.at(high, inverse[labelled], rows.label[labelled])
    contradictory = (high >= 0) & (low < high)
    label = np.where(contradictory, -1, high).astype(np.int16)
    repeated = np.bincount(inverse, minlength=len(unique)) > 1
    order = np.argsort(first)
    findings = (
        counted_finding("ROWS-REPEATED", unique[repeated], len(unique)),
        counted_finding("ROWS-CONTRADICT", unique[contradictory], len(unique), severity="warning"),
    )
    if len(unique) == len(ids):
        return rows, index, findings
    return replace(rows[first[order]], label=label[order]), index[first[order]], findings


def _select_attributes(
    rows: LayoutRows, config: DataConfig
) -> tuple[list[Attribute], tuple[Finding, ...]]:
    for name in config.attributes:
        if name in rows.left_out:
            raise ConfigError(
                f"data.attributes names {name!r}, but {rows.left_out[name]}.",
                expected="a column with yes or no, with a few words, or with numbers",
                todo="leave it out, or turn it into groups",
            )
    attributes = []
    for name in columns.select(rows.attributes, config.attributes, rows.target):
        attribute = rows.attributes[name]
        attributes.append(replace(attribute, name=free_name(name, rows.attributes)))
    if not rows.left_out or config.attributes:
        return attributes, ()
    left_out = make_finding(
        "COLUMNS-LEFT-OUT",
        count=len(rows.left_out),
        of=len(rows.left_out) + len(rows.attributes),
        columns=dict(islice(rows.left_out.items(), _EXAMPLES)),
    )
    return attributes, (left_out,)


def check_learnable(dataset: Dataset, usable: NDArray[np.bool_] | None = None) -> None:
    """Raise where training or validation is not possible for one of the labels.

    `usable` (n,) marks readable images, if known. Raises DataError where train or validation has no
    labelled (and readable) image; TargetError where all have the same label, or training would see
    one class only.
    """
    _check_distinct(dataset)
    for name in dataset.targets if dataset.further_targets else ():
        try:
            check_learnable(select_target(dataset, name, DataConfig()), usable)
        except (DataError, TargetError) as error:
            raise error.of(name) from error
    for split in ("train", "validation"):
        if not len(dataset.rows(split, usable)):
            n = int(np.count_nonzero(dataset.split == split))
            problem = f"has {n:,} images but no label among them" if n else "is empty"
            if len(dataset.rows(split)):
                problem = f"has {n:,} images but no labelled one that can be read"
            sizes = ", ".join(
                f"{name} {np.count_nonzero(dataset.split == name):,}"
                for name in ("train", "validation", "test")
            )
            single = dataset.n_people() == 1
            reason = "; all are of one person, who stands on one side of a split" if single else ""
            raise DataError(
                f"The {split} split of {dataset.name} {problem} (images: {sizes}{reason}).",
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


def _check_distinct(dataset: Dataset) -> None:
    """Raise a TargetError where all labelled images have the same label."""
    codes = np.unique(dataset.label[dataset.label >= 0])
    if len(codes) != 1:
        return
    label, name = dataset.classes[codes[0]], repr(dataset.target)
    if dataset.is_number:
        raise TargetError(
            f"The target {name} has one value only: every image has {label}.",
            expected="a number that differs between images, or two classes",
            todo="name another target, or add images with another value",
        )
    raise TargetError(
        f"The target {name} has one class only: every labelled image is {label!r}.",
        expected="at least two classes to tell apart",
        todo="name another target, or add images of another class",
    )


def counted_finding(
    code: str,
    items: Sequence[str] | NDArray[np.str_],
    of: int,
    *,
    severity: Severity = "note",
    **values: Any,
) -> Finding:
    """A finding about `items` out of `of`; "not found" where there are none."""
    examples = tuple(str(w) for w in items)
    return make_finding(
        code, count=len(items), of=of, severity=severity, examples=examples, **values
    )


def match_images(
    images: ImageFiles, names: Sequence[str], file: str, *, anywhere: bool = False
) -> tuple[NDArray[np.intp], list[str], list[Finding]]:
    """The rows of a label file whose image exists, these images, and findings about the others.

    `names` are (n,), `file` is its name; see `ImageFiles.locate`.
    """
    matches = images.locate(names, file, anywhere=anywhere)
    rows = np.array([row for row, path in enumerate(matches) if path is not None], dtype=np.intp)
    paths = [path for path in matches if path is not None]
    missing = [name for name, path in zip(names, matches, strict=True) if path is None]
    if not paths:
        similar = images.find_ignoring_case(names[0])
        hint = f", and {similar} is there" if similar else ""
        raise DataError(
            f"None of the {len(names):,} pictures that {file} names is in {images.root}; the "
            f"first is {names[0]!r}{hint}.",
            expected=f"names relative to {images.root} or to a folder in it"
            + (", with large and small letters as the files have them" if similar else ""),
            todo="write the names as the files are called"
            if similar
            else "name the folder of the pictures with --image-folder (in a table: or the right "
            "column with --set data.path_column=…)",
        )
    unused = sorted(set(images.paths).difference(paths))
    return rows, paths, unmatched(missing, len(names), unused, len(images.paths))


def unmatched(
    missing: Sequence[str], rows: int, unused: Sequence[str], images: int
) -> list[Finding]:
    """The findings about rows without an image, and images without a row."""
    without_image = counted_finding("LABELS-WITHOUT-IMAGE", missing, rows, severity="warning")
    return [without_image, unlabelled_finding(unused, images)]


def unlabelled_finding(missing: Sequence[str], of: int) -> Finding:
    """The finding about images without a row."""
    return counted_finding("IMAGES-WITHOUT-LABEL", missing, of, severity="warning")
