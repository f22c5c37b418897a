"""From what a layout read, row by row, to a checked Dataset."""

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
from candid.data.layouts.pictures import Pictures
from candid.data.sources import FileSource
from candid.data.targets import free_name, of_target
from candid.errors import ConfigError, DataError, TargetError, did_you_mean
from candid.records import Finding, Severity
from candid.settings import DataConfig
from candid.table import PerImage
from candid.tables.attributes import Attribute

_EXAMPLES = 5
_NO_YES = {"Male": ("Female", "Male")}


@dataclass(frozen=True, eq=False)
class LayoutRows(PerImage):
    """What a layout read: one row per annotation, each with its picture; named as in `Dataset`.

    An id may repeat. `person` are words for who it is, `keys` what the hash of a split falls back
    on instead of the ids, `left_out` the columns that cannot be an attribute, and why.
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

    `numbers` are the labels that are numbers though they look like classes.
    """
    target = columns.choose_target(target, attributes, usual)
    number = columns.is_number(attributes[target], forced=target in numbers)
    classes, label = columns.to_label(attributes[target], _NO_YES.get(target), number=number)
    rest = {name: a for name, a in attributes.items() if name != target}
    named = {"target": target, "classes": classes, "label": label, "is_number": number}
    return named | {"attributes": rest, "no_yes": _NO_YES}


def files_of(
    root: Path, paths: Sequence[str], *, anywhere: bool = False
) -> Callable[[NDArray[np.intp]], Source]:
    """What makes the source of some of the pictures in a folder."""
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

    `source` makes the source of the rows that are kept; `findings` are those so far.
    """
    if not rows.ids:
        raise DataError(
            f"No picture in {path} has an annotation.",
            expected="pictures and the rows that describe them, under the same names",
            todo="look at the first names on both sides, or name a layout with --layout",
        )
    place, class_words = np.arange(len(rows.ids)), rows.classes
    rows, place, excluded = _with_classes(rows, place, config)
    rows, place, repeated = _once(rows, place)
    attributes, left_out = _attributes(rows, config)
    own = rows.ids if rows.keys is None else rows.keys
    who = rows.person or [None] * len(own)
    keys = [f"image {k}" if w is None else f"person {w}" for k, w in zip(own, who, strict=True)]
    split, split_hash, told = splits.complete_split(rows.split, np.array(keys), rows.label, config)
    return Dataset(
        name=path.resolve().name,
        layout=layout,
        target=rows.target,
        classes=rows.classes,
        ids=np.array(rows.ids, dtype=np.str_),
        label=rows.label,
        split=split,
        source=source(place),
        person=None if rows.person is None else columns.identities(rows.person),
        attributes={a.name: a for a in attributes},
        findings=(*findings, *excluded, *repeated, *left_out, *told),
        split_hash=split_hash,
        class_words=class_words,
        no_yes=rows.no_yes,
        numbers=(rows.target,) if rows.is_number else (),
    )


def _with_classes(
    rows: LayoutRows, place: NDArray[np.intp], config: DataConfig
) -> tuple[LayoutRows, NDArray[np.intp], tuple[Finding, ...]]:
    """The rows with the classes that the settings name and exclude, which remain, and findings."""
    if not config.class_names and not config.exclude_classes:
        return rows, place, ()
    if rows.is_number:
        raise ConfigError(
            f"The label {rows.target!r} is a number, and has no classes to name or to exclude.",
            expected="data.class_names and data.exclude_classes empty",
            todo="leave them out",
        )
    named = named_classes(rows.classes, config)
    classes = [c for c in dict.fromkeys(named) if c not in config.exclude_classes]
    code = np.array([classes.index(c) if c in classes else -2 for c in named] + [-1], np.int16)
    rows = replace(rows, classes=tuple(classes), label=code[rows.label])
    excluded = counted_finding("CLASSES-EXCLUDED", rows[rows.label == -2].ids, len(rows.ids))
    keep = np.flatnonzero(rows.label > -2)
    return rows[keep], place[keep], (excluded,)


def named_classes(words: Sequence[str], config: DataConfig) -> list[str]:
    """The names that the settings give the label's values; themselves where they give none."""
    names = dict(word.split("=", 1) for word in config.class_names)
    return [names.get(word, word) for word in words]


def check_class_settings(
    words: Sequence[str], named: Sequence[str], target: str, config: DataConfig
) -> None:
    """Raise a ConfigError where the settings name what is none of the label's values, or exclude
    what is none of the names that these have.
    """
    names = [word.partition("=")[0] for word in config.class_names]
    for setting, wanted, known in (
        ("class_names", names, words),
        ("exclude_classes", config.exclude_classes, named),
    ):
        if strange := [word for word in wanted if word not in known]:
            raise ConfigError(
                f"data.{setting} names {strange[0]!r}, which is no class of {target}.",
                expected=f"some of its {len(set(known))} classes",
                todo=did_you_mean(strange[0], known),
            )


def _once(
    rows: LayoutRows, place: NDArray[np.intp]
) -> tuple[LayoutRows, NDArray[np.intp], tuple[Finding, ...]]:
    """Each id's first row, unlabelled where its rows contradict each other; and findings."""
    ids = np.asarray(rows.ids, dtype=np.str_)
    unique, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    labelled = rows.label >= 0
    low = np.full(len(unique), np.iinfo(np.int16).max, dtype=np.int16)
    high = np.full(len(unique), -1, dtype=np.int16)
    np.minimum.at(low, inverse[labelled], rows.label[labelled])
    np.maximum.at(high, inverse[labelled], rows.label[labelled])
    contradictory = (high >= 0) & (low < high)
    label = np.where(contradictory, -1, high).astype(np.int16)
    often = np.bincount(inverse, minlength=len(unique)) > 1
    order = np.argsort(first)
    findings = (
        counted_finding("ROWS-REPEATED", unique[often], len(unique)),
        counted_finding("ROWS-CONTRADICT", unique[contradictory], len(unique), severity="warning"),
    )
    if len(unique) == len(ids):
        return rows, place, findings
    return replace(rows[first[order]], label=label[order]), place[first[order]], findings


def _attributes(
    rows: LayoutRows, config: DataConfig
) -> tuple[list[Attribute], tuple[Finding, ...]]:
    for name in config.attributes:
        if name in rows.left_out:
            raise ConfigError(
                f"data.attributes names {name!r}, but {rows.left_out[name]}.",
                expected="a column with yes or no, with a few words, or with numbers",
                todo="leave it out, or turn it into groups",
            )
    chosen = []
    for name in columns.select(rows.attributes, config.attributes, rows.target):
        attribute = rows.attributes[name]
        chosen.append(replace(attribute, name=free_name(name, rows.attributes)))
    if not rows.left_out or config.attributes:
        return chosen, ()
    left_out = make_finding(
        "COLUMNS-LEFT-OUT",
        count=len(rows.left_out),
        of=len(rows.left_out) + len(rows.attributes),
        columns=dict(islice(rows.left_out.items(), _EXAMPLES)),
    )
    return chosen, (left_out,)


def check_learnable(dataset: Dataset, usable: NDArray[np.bool_] | None = None) -> None:
    """Raise where there is nothing to train on, to validate on, or to tell apart, for any label.

    `usable` says of (n,) images which can be read, where that is known. Raises DataError where
    train or validation has no labelled (and readable) image; TargetError where all have the same
    label, or training would see one class only.
    """
    _check_distinct(dataset)
    for name in dataset.targets if dataset.further_targets else ():
        try:
            check_learnable(of_target(dataset, name, DataConfig()), usable)
        except (DataError, TargetError) as error:
            raise error.of(name) from error
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
            one = dataset.n_people() == 1
            whose = "; all are of one person, who stands on one side of a split" if one else ""
            raise DataError(
                f"The {split} split of {dataset.name} {has} (images: {sizes}{whose}).",
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
    used = np.unique(dataset.label[dataset.label >= 0])
    if len(used) != 1:
        return
    only, name = dataset.classes[used[0]], repr(dataset.target)
    if dataset.is_number:
        raise TargetError(
            f"The target {name} has one value only: every image has {only}.",
            expected="a number that differs between images, or two classes",
            todo="name another target, or add images with another value",
        )
    raise TargetError(
        f"The target {name} has one class only: every labelled image is {only!r}.",
        expected="at least two classes to tell apart",
        todo="name another target, or add images of another class",
    )


def counted_finding(
    code: str,
    which: Sequence[str] | NDArray[np.str_],
    of: int,
    *,
    severity: Severity = "note",
    **values: Any,
) -> Finding:
    """A finding about some of `of` things, with all of them; "not found" where there are none."""
    examples = tuple(str(w) for w in which)
    return make_finding(
        code, count=len(which), of=of, severity=severity, examples=examples, **values
    )


def match_pictures(
    pictures: Pictures, names: Sequence[str], where: str, *, anywhere: bool = False
) -> tuple[NDArray[np.intp], list[str], list[Finding]]:
    """The rows of a label file whose picture is there, those pictures, and what is left over.

    `names` are (n,), `where` is what to call the file; see `Pictures.locate`.
    """
    found = pictures.locate(names, where, anywhere=anywhere)
    rows = np.array([row for row, path in enumerate(found) if path is not None], dtype=np.intp)
    paths = [path for path in found if path is not None]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if not paths:
        like = pictures.in_other_letters(names[0])
        there = f", and {like} is there" if like else ""
        raise DataError(
            f"None of the {len(names):,} pictures that {where} names is in {pictures.root}; the "
            f"first is {names[0]!r}{there}.",
            expected=f"names relative to {pictures.root} or to a folder in it"
            + (", with large and small letters as the files have them" if like else ""),
            todo="write the names as the files are called"
            if like
            else "name the folder of the pictures with --image-folder (in a table: or the right "
            "column with --set data.path_column=…)",
        )
    extra = sorted(set(pictures.paths).difference(paths))
    return rows, paths, left_over(missing, len(names), extra, len(pictures.paths))


def left_over(
    missing: Sequence[str], rows: int, extra: Sequence[str], pictures: int
) -> list[Finding]:
    """The findings about rows whose picture is not there, and pictures that no row describes."""
    gone = counted_finding("LABELS-WITHOUT-IMAGE", missing, rows, severity="warning")
    return [gone, without_label(extra, pictures)]


def without_label(missing: Sequence[str], of: int) -> Finding:
    """The finding about pictures that no row describes."""
    return counted_finding("IMAGES-WITHOUT-LABEL", missing, of, severity="warning")
