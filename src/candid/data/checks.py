"""Checks of the data, each of which gives a finding.

A Finding's state is "found", "not found", "not applicable" (it could not be checked) or "too few to
say".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.data.duplicate_findings import duplicate_checks
from candid.data.duplicates import find_copies, luma, row_blocks
from candid.data.findings import example_ids, make_finding, not_applicable
from candid.data.store import Store
from candid.records import SPLITS, Estimate, Finding, Severity, State
from candid.stats.associations import associations
from candid.stats.intervals import wilson
from candid.table import person_numbers
from candid.text.data_checks import alike

FEW = 30  # of fewer images, a share's 95% interval is wider than ±18 points
_SHORTCUT = 0.05  # an association with the label whose interval lies above this is a shortcut
_MOST_LISTED = 4  # sizes, reasons and the like
_BLANK = 2.0  # of 255; an image with a smaller luma deviation shows nothing


def check_data(
    dataset: Dataset,
    store: Store,
    *,
    contrast: NDArray[np.float64] | None = None,
    quiet: bool = False,
) -> tuple[Finding, ...]:
    """All checks, those that found something first, by severity.

    `contrast` (usable,) is that of `luma_statistics` for the usable images, if known.
    """
    findings = (
        *duplicate_checks(dataset, store, find_copies(store, quiet=quiet)),
        unreadable_files(dataset, store),
        missing_labels(dataset),
        alike_values(dataset),
        mixed_sizes(dataset, store),
        mixed_channels(dataset, store),
        mixed_formats(dataset, store),
        blank_images(dataset, store, contrast),
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
    causes = Counter(store.cause(int(row)) for row in rows)
    return make_finding(
        "UNREADABLE-FILES",
        count=len(rows),
        of=len(store),
        severity="serious" if len(rows) > 0.01 * len(store) else "warning",
        examples=example_ids(dataset, rows),
        causes=dict(causes.most_common(_MOST_LISTED)),
    )


def missing_labels(dataset: Dataset) -> Finding:
    """MISSING-LABELS: images without a label."""
    rows = np.flatnonzero(dataset.label < 0)
    return make_finding(
        "MISSING-LABELS",
        count=len(rows),
        of=len(dataset),
        severity="warning",
        examples=example_ids(dataset, rows),
        target=dataset.target,
    )


def alike_values(dataset: Dataset) -> Finding:
    """ALIKE-VALUES: classes, or values of an attribute, that differ in case only."""
    values = {name: a.values for name, a in dataset.attributes.items() if a.kind == "categorical"}
    values[dataset.target] = dataset.classes
    groups: list[list[Any]] = []  # the name, and spellings of one value
    for name, words in values.items():
        spellings: dict[str, list[str]] = {}
        for word in words:
            spellings.setdefault(word.casefold(), []).append(word)
        groups += [[name, s] for s in spellings.values() if len(s) > 1]
    return make_finding(
        "ALIKE-VALUES",
        count=len(groups),
        of=sum(map(len, values.values())),
        severity="warning",
        examples=tuple(alike(*group) for group in groups[:6]),
        alike=groups,
    )


def mixed_sizes(dataset: Dataset, store: Store) -> Finding:
    """MIXED-SIZES: images of several sizes."""
    sizes = np.char.add(
        np.char.add(store.widths.astype(np.str_), "×"), store.heights.astype(np.str_)
    )
    return _mixed(dataset, store, sizes, "MIXED-SIZES", "sizes")


def mixed_channels(dataset: Dataset, store: Store) -> Finding:
    """MIXED-CHANNELS: some grey, some coloured, some with a palette or transparency."""
    return _mixed(dataset, store, store.modes, "MIXED-CHANNELS", "kinds of channels")


def mixed_formats(dataset: Dataset, store: Store) -> Finding:
    """MIXED-FORMATS: some JPEG, some PNG and so on."""
    return _mixed(dataset, store, store.formats, "MIXED-FORMATS", "formats")


def _mixed(
    dataset: Dataset, store: Store, words: NDArray[np.str_], code: str, quantity: str
) -> Finding:
    """Files that differ; serious if associated with the label, as a model would learn it."""
    usable = store.usable
    if not usable.any():
        return not_applicable(code, "no-image")
    values, counts = np.unique(words[usable], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    common = str(values[order[0]])
    rest = np.flatnonzero(usable & (words != common))
    v = _association(dataset, store, words == common) if len(rest) else None
    is_shortcut = v is not None and v.low > _SHORTCUT
    return make_finding(
        code,
        count=len(rest),
        of=int(np.count_nonzero(usable)),
        severity="serious" if is_shortcut else "note",
        examples=example_ids(dataset, rest),
        what=quantity,
        kinds=len(values),
        values={str(values[i]): int(counts[i]) for i in order[:_MOST_LISTED]},
        common=common,
        target=dataset.target,
        association=None if v is None else [v.value, v.low, v.high, v.n],
        telling=is_shortcut,
    )


def _association(dataset: Dataset, store: Store, mark: NDArray[np.bool_]) -> Estimate | None:
    """The association of the mark with the label (Cramér's V); None where it is undefined."""
    rows = np.flatnonzero(store.usable & (dataset.label >= 0))
    (v,) = associations(
        mark[rows, None],
        np.ones((len(rows), 1), np.bool_),
        dataset.label[rows],
        len(dataset.classes),
        person_numbers(None if dataset.person is None else dataset.person[rows]),
        draws=200,
    )
    return None if np.isnan(v.value) else v


def blank_images(
    dataset: Dataset, store: Store, contrast: NDArray[np.float64] | None = None
) -> Finding:
    """BLANK-IMAGES: images of one colour."""
    rows = np.flatnonzero(store.usable)
    deviation = luma_statistics(store, rows)[1] if contrast is None else contrast
    blank = rows[deviation * 255 < _BLANK]
    return make_finding(
        "BLANK-IMAGES",
        count=len(blank),
        of=len(rows),
        severity="warning",
        examples=example_ids(dataset, blank),
        limit=_BLANK,
    )


def luma_statistics(
    store: Store, rows: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of luma within each of the rows' images, 0 to 1."""
    mean, deviation = np.empty(len(rows)), np.empty(len(rows))
    start = 0
    for block in row_blocks(rows):
        grey = luma(store.pixels[block]).reshape(len(block), -1) / np.float32(255)
        mean[start : start + len(block)] = grey.mean(1)
        deviation[start : start + len(block)] = grey.std(1)
        start += len(block)
    return mean, deviation


# --- counts --------------------------------------------------------------------------------------


def class_imbalance(dataset: Dataset, store: Store) -> Finding:
    """CLASS-IMBALANCE: a class with less than half of its even share of train."""
    code = "CLASS-IMBALANCE"
    rows = dataset.rows("train", store.usable)
    counts = np.bincount(dataset.label[rows], minlength=len(dataset.classes))
    n = len(rows)
    if n < FEW:
        return make_finding(code, count=0, of=n, state="too few to say")
    even = n / len(counts)
    rarest = int(np.argmin(counts))
    low, high = wilson(counts[rarest], n)
    rare = counts < even / 2
    return make_finding(
        code,
        count=int(counts[rare].sum()),
        of=n,
        severity="warning" if counts[rarest] < even / 5 else "note",
        state="found" if rare.any() else "not found",
        rarest=dataset.classes[rarest],
        share=[float(counts[rarest] / n), float(low), float(high)],
        classes=dict(zip(dataset.classes, counts.tolist(), strict=True)),
    )


def tiny_classes(dataset: Dataset, store: Store) -> Finding:
    """TINY-CLASSES: classes with fewer than `FEW` images in a split."""
    counts = _class_counts(dataset, store)
    tiny = [list(entry) for entry in counts if 0 < entry[-1] < FEW]
    return make_finding(
        "TINY-CLASSES", count=len(tiny), of=len(counts), severity="warning", few=FEW, groups=tiny
    )


def absent_classes(dataset: Dataset, store: Store) -> Finding:
    """LABEL-ABSENT-IN-SPLIT: a class that a split does not have."""
    counts = _class_counts(dataset, store)
    absent = [[name, split] for name, split, count in counts if count == 0]
    code = "LABEL-ABSENT-IN-SPLIT"
    return make_finding(code, count=len(absent), of=len(counts), severity="serious", classes=absent)


def tiny_groups(dataset: Dataset, store: Store) -> Finding:
    """TINY-GROUPS: attributes' values with fewer than `FEW` images in a split."""
    code = "TINY-GROUPS"
    categorical = [a for a in dataset.attributes.values() if a.kind != "numeric"]
    if not categorical:
        return not_applicable(code, "no-values", few=FEW)
    counts = [
        (f"{a.name} {value}", split, count)
        for split, rows in _rows_by_split(dataset, store)
        for a in categorical
        for value, count in zip(a.values, _count(a.data[rows], len(a.values)), strict=True)
    ]
    tiny = [list(entry) for entry in counts if entry[-1] < FEW]
    return make_finding(code, count=len(tiny), of=len(counts), few=FEW, groups=tiny)


def constant_attributes(dataset: Dataset, store: Store) -> Finding:
    """CONSTANT-ATTRIBUTES: attributes with one value, or none."""
    code = "CONSTANT-ATTRIBUTES"
    if not dataset.attributes:
        return not_applicable(code, "no-attributes")
    rows = np.flatnonzero(store.usable & (dataset.label >= 0))
    constant: dict[str, bool] = {}  # and whether its value is known of any image
    for attribute in dataset.attributes.values():
        data = attribute.data[rows]
        values = data[~np.isnan(data)] if attribute.kind == "numeric" else data[data >= 0]
        if len(np.unique(values)) < 2:
            constant[attribute.name] = len(values) > 0
    n = len(dataset.attributes)
    return make_finding(code, count=len(constant), of=n, attributes=constant)


def _rows_by_split(dataset: Dataset, store: Store) -> Iterable[tuple[str, NDArray[np.intp]]]:
    """Each split that has usable, labelled images, and their rows."""
    by_split = ((split, dataset.rows(split, store.usable)) for split in SPLITS)
    return ((split, rows) for split, rows in by_split if len(rows))


def _count(codes: NDArray[Any], values: int) -> list[int]:
    """The count of each code, without -1."""
    counts: list[int] = np.bincount(codes[codes >= 0], minlength=values).tolist()
    return counts


def _class_counts(dataset: Dataset, store: Store) -> list[tuple[str, str, int]]:
    """(class, split, number of images), for every class in every split that has images."""
    return [
        (name, split, count)
        for split, rows in _rows_by_split(dataset, store)
        for name, count in zip(
            dataset.classes, _count(dataset.label[rows], len(dataset.classes)), strict=True
        )
    ]
