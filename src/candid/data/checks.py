"""What may be wrong with the data, each as a finding with a code and an honest state.

Every check looks at a dataset and its store and gives one Finding: "found", "not found", "not
applicable" (it could not be looked for) or "too few to say".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.data.duplicate_findings import duplicate_checks
from candid.data.duplicates import find_copies, luma, row_blocks
from candid.data.findings import example_ids, first_few, make_finding, not_applicable
from candid.data.store import Store
from candid.records import SPLITS, Finding, Severity, State
from candid.stats.associations import associations
from candid.stats.bootstrap import person_numbers
from candid.stats.intervals import wilson

# Below this many images a share's 95% interval is wider than ±18 points, so little can be said.
FEW = 30

# An association of files with the label that is surely above this is a shortcut worth a warning.
_TELLING = 0.05

# Less luma deviation than this (of 255) is a blank picture: no eye would see anything in it.
_BLANK = 2.0


def check_data(dataset: Dataset, store: Store, *, quiet: bool = False) -> tuple[Finding, ...]:
    """Every check, the gravest first among those that found something, then the others."""
    findings = (
        *duplicate_checks(dataset, store, find_copies(store, quiet=quiet)),
        unreadable_files(dataset, store),
        missing_labels(dataset),
        alike_values(dataset),
        mixed_sizes(dataset, store),
        mixed_channels(dataset, store),
        mixed_formats(dataset, store),
        blank_images(dataset, store),
        class_imbalance(dataset, store),
        tiny_classes(dataset, store),
        absent_classes(dataset, store),
        tiny_groups(dataset, store),
        constant_attributes(dataset, store),
    )
    return tuple(sorted(findings, key=_gravity))


def _gravity(finding: Finding) -> tuple[int, int]:
    states: tuple[State, ...] = ("found", "too few to say", "not found", "not applicable")
    severities: tuple[Severity, ...] = ("serious", "warning", "note")
    return states.index(finding.state), severities.index(finding.severity)


# --- files and labels ----------------------------------------------------------------------------


def unreadable_files(dataset: Dataset, store: Store) -> Finding:
    """UNREADABLE-FILES: images that could not be decoded, with the reasons."""
    rows = np.flatnonzero(~store.usable)
    reasons: dict[str, int] = {}
    for row in rows:
        reason = store.reasons[int(row)].split(" (")[0]
        reasons[reason] = reasons.get(reason, 0) + 1
    common = sorted(reasons.items(), key=lambda item: -item[1])[:4]
    return make_finding(
        "UNREADABLE-FILES",
        "Files that cannot be read",
        count=len(rows),
        of=len(store),
        severity="serious" if len(rows) > 0.01 * len(store) else "warning",
        found=f"{len(rows):,} of {len(store):,} files cannot be read and are left out: "
        + "; ".join(f"{reason} ({count:,})" for reason, count in common)
        + ".",
        absent=f"All {len(store):,} files can be read.",
        examples=example_ids(dataset, rows),
        todo="mend or remove them",
    )


def missing_labels(dataset: Dataset) -> Finding:
    """MISSING-LABELS: images that nobody labelled."""
    rows = np.flatnonzero(dataset.label < 0)
    return make_finding(
        "MISSING-LABELS",
        "Images without a label",
        count=len(rows),
        of=len(dataset),
        severity="warning",
        found=f"{len(rows):,} of {len(dataset):,} images have no {dataset.target}; they are left "
        "out of training and of every figure.",
        absent=f"Every image has a {dataset.target}.",
        examples=example_ids(dataset, rows),
        todo=f"label them, or see why {dataset.target} is missing",
    )


def alike_values(dataset: Dataset) -> Finding:
    """ALIKE-VALUES: classes, or values of an attribute, that differ in case only."""
    values = {name: a.values for name, a in dataset.attributes.items() if a.kind == "categorical"}
    values[dataset.target] = dataset.classes
    alike = []
    for name, words in values.items():
        spellings: dict[str, list[str]] = {}
        for word in words:
            spellings.setdefault(word.casefold(), []).append(repr(word))
        alike += [f"{name}: {' and '.join(s)}" for s in spellings.values() if len(s) > 1]
    return make_finding(
        "ALIKE-VALUES",
        "Values that differ in case only",
        count=len(alike),
        of=sum(map(len, values.values())),
        severity="warning",
        found=f"Values that differ in case only count as different ones: {first_few(alike)}.",
        absent="No two values of the label or an attribute differ in case only.",
        examples=tuple(alike[:6]),
        todo="write them alike; of the label, data.class_names makes one class of them",
    )


def mixed_sizes(dataset: Dataset, store: Store) -> Finding:
    """MIXED-SIZES: pictures of several sizes."""
    sizes = np.char.add(
        np.char.add(store.widths.astype(np.str_), "×"), store.heights.astype(np.str_)
    )
    return _mixed(dataset, store, sizes, "MIXED-SIZES", "Pictures of several sizes", "sizes")


def mixed_channels(dataset: Dataset, store: Store) -> Finding:
    """MIXED-CHANNELS: some grey, some coloured, some with a palette or transparency."""
    title = "Pictures with different channels"
    return _mixed(dataset, store, store.modes, "MIXED-CHANNELS", title, "kinds of channels")


def mixed_formats(dataset: Dataset, store: Store) -> Finding:
    """MIXED-FORMATS: some JPEG, some PNG and so on."""
    title = "Files in several formats"
    return _mixed(dataset, store, store.formats, "MIXED-FORMATS", title, "formats")


def _mixed(
    dataset: Dataset, store: Store, words: NDArray[np.str_], code: str, title: str, what: str
) -> Finding:
    """Not the same everywhere; serious where it goes with the label, for a model would learn it."""
    usable = store.usable
    if not usable.any():
        return not_applicable(code, title, "No image can be read.")
    values, counts = np.unique(words[usable], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    common = str(values[order[0]])
    others = np.flatnonzero(usable & (words != common))
    telling, sentence = (
        _goes_with_label(dataset, store, words == common, common) if len(others) else (False, "")
    )
    named = first_few([f"{values[i]} ({counts[i]:,})" for i in order], most=4)
    return make_finding(
        code,
        title,
        count=len(others),
        of=int(np.count_nonzero(usable)),
        severity="serious" if telling else "note",
        found=f"There are {len(values):,} {what}: {named}.{sentence}",
        absent=f"All {np.count_nonzero(usable):,} usable images are alike: {common}.",
        examples=example_ids(dataset, others),
        todo="make them alike before training: a model can learn the file instead of the face"
        if telling
        else "see whether they come from different sources",
    )


def _goes_with_label(
    dataset: Dataset, store: Store, mark: NDArray[np.bool_], name: str
) -> tuple[bool, str]:
    """Does the mark surely go with the label, and a sentence with how much."""
    rows = np.flatnonzero(store.usable & (dataset.label >= 0))
    (v,) = associations(
        mark[rows, None],
        np.ones((len(rows), 1), np.bool_),
        dataset.label[rows],
        len(dataset.classes),
        person_numbers(None if dataset.person is None else dataset.person[rows]),
        draws=200,
    )
    if np.isnan(v.value):
        return False, ""
    telling = v.low > _TELLING
    verdict = "goes" if telling else "does not surely go"
    figure = f"Cramér's V {v.value:.2f} [{v.low:.2f}, {v.high:.2f}], n = {v.n:,}"
    return telling, f" Being {name} {verdict} with {dataset.target} ({figure})."


def blank_images(dataset: Dataset, store: Store) -> Finding:
    """BLANK-IMAGES: pictures of one colour."""
    rows = np.flatnonzero(store.usable)
    _, deviation = luma_statistics(store, rows)
    blank = rows[deviation * 255 < _BLANK]
    return make_finding(
        "BLANK-IMAGES",
        "Pictures of one colour",
        count=len(blank),
        of=len(rows),
        severity="warning",
        found=f"{len(blank):,} images show nothing: their luma deviates by less than "
        f"{_BLANK:g} of 255 levels.",
        absent="Every usable image shows something.",
        examples=example_ids(dataset, blank),
        todo="remove them or replace the files",
    )


def luma_statistics(
    store: Store, rows: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of luma within each of the rows' images, 0 to 1."""
    mean, deviation = np.empty(len(rows)), np.empty(len(rows))
    at = 0
    for some in row_blocks(rows):
        grey = luma(store.pixels[some]).reshape(len(some), -1) / np.float32(255)
        mean[at : at + len(some)] = grey.mean(1)
        deviation[at : at + len(some)] = grey.std(1)
        at += len(some)
    return mean, deviation


# --- how many of what ----------------------------------------------------------------------------


def class_imbalance(dataset: Dataset, store: Store) -> Finding:
    """CLASS-IMBALANCE: a class with less than half of its even share of train."""
    code, title = "CLASS-IMBALANCE", "A rare class"
    rows = dataset.rows("train", store.usable)
    counts = np.bincount(dataset.label[rows], minlength=len(dataset.classes))
    n = len(rows)
    if n < FEW:
        few = f"There are {n} training images."
        return Finding(code, title, "too few to say", "note", few, count=0, of=n)
    even = n / len(counts)
    rarest = int(np.argmin(counts))
    share, (low, high) = counts[rarest] / n, wilson(counts[rarest], n)
    rare = counts < even / 2
    listed = ", ".join(
        f"{name} {count / n:.1%}" for name, count in zip(dataset.classes, counts, strict=True)
    )
    return make_finding(
        code,
        title,
        count=int(counts[rare].sum()) if rare.any() else 0,
        of=n,
        severity="warning" if counts[rarest] < even / 5 else "note",
        found=f"{dataset.classes[rarest]} has {share:.1%} [{low:.1%}, {high:.1%}] of {n:,} "
        f"training images; an even share were {1 / len(counts):.1%}. In all: {listed}.",
        absent=f"Every class has at least half of its even share of {n:,} training images: "
        f"{listed}.",
        state="found" if rare.any() else "not found",
        todo="weigh the loss by class, and read the figures per class rather than accuracy",
    )


def tiny_classes(dataset: Dataset, store: Store) -> Finding:
    """TINY-CLASSES: classes with so few images in a split that little can be said of them."""
    counts = _class_counts(dataset, store)
    tiny = [f"{name} in {split} ({count})" for name, split, count in counts if 0 < count < FEW]
    return make_finding(
        "TINY-CLASSES",
        f"Classes with fewer than {FEW} images in a split",
        count=len(tiny),
        of=len(counts),
        severity="warning",
        found=f"Fewer than {FEW} images: {first_few(tiny)}.",
        absent=f"Every class has at least {FEW} images in every split that has it.",
        todo="read their intervals, not their figures; collect more",
    )


def absent_classes(dataset: Dataset, store: Store) -> Finding:
    """LABEL-ABSENT-IN-SPLIT: a class that a split does not have at all."""
    counts = _class_counts(dataset, store)
    absent = [f"no {name} in {split}" for name, split, count in counts if count == 0]
    return make_finding(
        "LABEL-ABSENT-IN-SPLIT",
        "A class that a split lacks",
        count=len(absent),
        of=len(counts),
        severity="serious",
        found=f"There is {first_few(absent)}.",
        absent="Every split has every class.",
        todo="split anew, so that every class stands in every split",
    )


def tiny_groups(dataset: Dataset, store: Store) -> Finding:
    """TINY-GROUPS: attributes' values with so few images in a split that an audit sees little."""
    code, title = "TINY-GROUPS", f"Groups with fewer than {FEW} images in a split"
    coded = [a for a in dataset.attributes.values() if a.kind != "numeric"]
    if not coded:
        return not_applicable(code, title, "There are no attributes with values to count.")
    counts = [
        (f"{a.name} {value}", split, count)
        for split, rows in _rows_by_split(dataset, store)
        for a in coded
        for value, count in zip(a.values, _count(a.data[rows], len(a.values)), strict=True)
    ]
    tiny = [f"{name} in {split} ({count})" for name, split, count in counts if count < FEW]
    return make_finding(
        code,
        title,
        count=len(tiny),
        of=len(counts),
        severity="note",
        found=f"{len(tiny):,} of {len(counts):,} groups have fewer than {FEW} images in a split: "
        f"{first_few(tiny)}.",
        absent=f"Every attribute's value has at least {FEW} images in every split.",
        todo="expect an audit to say nothing of them",
    )


def constant_attributes(dataset: Dataset, store: Store) -> Finding:
    """CONSTANT-ATTRIBUTES: attributes that are the same, or unknown, everywhere."""
    code, title = "CONSTANT-ATTRIBUTES", "Attributes with a single value"
    if not dataset.attributes:
        return not_applicable(code, title, "There are no attributes.")
    rows = np.flatnonzero(store.usable & (dataset.label >= 0))
    constant = []
    for attribute in dataset.attributes.values():
        data = attribute.data[rows]
        known = data[~np.isnan(data)] if attribute.kind == "numeric" else data[data >= 0]
        if len(np.unique(known)) < 2:
            constant.append(attribute.name if len(known) else f"{attribute.name} (never known)")
    return make_finding(
        code,
        title,
        count=len(constant),
        of=len(dataset.attributes),
        severity="note",
        found=f"{first_few(constant)}: the same for every image, so nothing can be compared by it.",
        absent="Every attribute has at least two values.",
        todo="leave them out with data.attributes",
    )


def _rows_by_split(dataset: Dataset, store: Store) -> Iterable[tuple[str, NDArray[np.intp]]]:
    """Each split that has usable, labelled images, and their rows."""
    by_split = ((split, dataset.rows(split, store.usable)) for split in SPLITS)
    return ((split, rows) for split, rows in by_split if len(rows))


def _count(codes: NDArray[Any], values: int) -> list[int]:
    """How often each of so many codes stands there, -1 aside."""
    counts: list[int] = np.bincount(codes[codes >= 0], minlength=values).tolist()
    return counts


def _class_counts(dataset: Dataset, store: Store) -> list[tuple[str, str, int]]:
    """Class, split and number of images, of every class in every split that has any."""
    return [
        (name, split, count)
        for split, rows in _rows_by_split(dataset, store)
        for name, count in zip(
            dataset.classes, _count(dataset.label[rows], len(dataset.classes)), strict=True
        )
    ]
