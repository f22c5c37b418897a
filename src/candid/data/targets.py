"""Several labels of one data set: which can be learned together, and each as the only label.

The first is the data set's `target`, the others are attributes named by `further_targets`.
`select_target` gives the data set as if it had been read for that label alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.data.dataset import Dataset
from candid.settings import DataConfig
from candid.stats.distribution import NumberScale, fit_scale
from candid.tables.attributes import Attribute, bin_attribute
from candid.tables.numbers import format_number, to_numbers

MOST_CLASSES = 100  # of a label that was not named; more are identifiers

# Columns of every file of predictions, which no attribute may have as its name.
RESERVED = ("id", "split", "label", "person")


def free_name(name: str, names: Collection[str]) -> str:
    """The name, with a suffix if it is reserved for a column of every predictions file."""
    if name.lower() in RESERVED or name.startswith("p_"):
        while name in names:
            name += " (column)"
    return name


def first_target(config: DataConfig) -> str | None:
    """The label that a data set is read for; None: the layout's default."""
    return config.target or next((name for name in config.targets if name != columns.ALL), None)


def with_targets(dataset: Dataset, config: DataConfig) -> Dataset:
    """Add the further labels of the settings to a data set that was read for the first.

    Of all others ("*"), those are left out that are numbers (which must be named), have one class
    or more than `MOST_CLASSES`, or have no two classes in train or no label in validation;
    `targets_left_out` gives the reasons. Raises TargetError where one that is named does not exist
    or cannot be learned.
    """
    named = [
        _find_column(dataset, n) for n in config.targets if n not in (columns.ALL, dataset.target)
    ]
    numbers = [
        name
        for name in named
        if columns.is_number(dataset.attributes[name], as_number=name in config.numbers)
    ]
    dataset = replace(dataset, numbers=(*dataset.numbers, *numbers))
    for name in named:
        label_of(dataset, name)  # raises if it cannot be learned
    rest = [n for n in dataset.attributes if columns.ALL in config.targets and n not in named]
    left_out = {name: reason for name in rest if (reason := _why_not_learned(dataset, name))}
    targets = (*named, *(name for name in rest if name not in left_out))
    names = {*columns.select(dataset.attributes, config.attributes, dataset.target), *targets}
    return replace(
        dataset,
        further_targets=targets,
        targets_left_out=left_out,
        attributes={name: a for name, a in dataset.attributes.items() if name in names},
    )


def _find_column(dataset: Dataset, name: str) -> str:
    column = next((n for n in (name, f"{name} (column)") if n in dataset.attributes), None)
    return column or columns.choose_target(name, (dataset.target, *dataset.attributes), ())


def _why_not_learned(dataset: Dataset, name: str) -> str:
    """Why a label that was not named is not learned; "" where it is."""
    attribute = dataset.attributes[name]
    if columns.is_number(attribute):
        data = attribute.data
        return (
            f"The target {name!r} is a number, from {np.nanmin(data):g} to {np.nanmax(data):g}, "
            "which is learned where it is named."
        )
    classes, label = label_of(dataset, name)
    if len(classes) < 2:
        return "It has one class only."
    if len(classes) > MOST_CLASSES:
        return f"It has {len(classes):,} classes, more than {MOST_CLASSES}."
    labelled = label >= 0
    if len(np.unique(label[labelled & (dataset.split == "train")])) < 2:
        return "Training would see one class only."
    has_validation = (labelled & (dataset.split == "validation")).any()
    return "" if has_validation else "No validation image has a label."


def label_of(dataset: Dataset, name: str) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """The classes of one of the labels, and (n,) each image's index, -1 where unknown.

    Of a number, its distinct values, ascending.
    """
    if name == dataset.target:
        return dataset.classes, dataset.label
    attribute, pair = dataset.attributes[name], dataset.no_yes.get(name)
    return columns.to_label(attribute, pair, number=name in dataset.numbers)


def number_scale(dataset: Dataset, name: str) -> NumberScale | None:
    """The bins of a label that is a number, from its training values; else None."""
    if name not in dataset.numbers:
        return None
    words, label = label_of(dataset, name)
    values = to_numbers(words)
    return fit_scale(values, values[label[(dataset.split == "train") & (label >= 0)]])


def cut_into_ranges(dataset: Dataset) -> Dataset:
    """The data set with a label that is a number cut at its quartiles in train, as classes."""
    if not dataset.is_number:
        return dataset
    cut = bin_attribute(_as_attribute(dataset), dataset.rows("train"))
    codes = np.unique(cut.data[cut.data >= 0])
    index = np.append(np.full(len(cut.values), -1, np.int16), np.int16(-1))
    index[codes] = np.arange(len(codes))
    words = tuple(cut.values[i] for i in codes)
    numbers = tuple(n for n in dataset.numbers if n != dataset.target)
    return replace(
        dataset, classes=words, class_words=words, label=index[cut.data], numbers=numbers
    )


def select_target(dataset: Dataset, name: str, config: DataConfig) -> Dataset:
    """The data set with only one of its labels; the others become attributes.

    Only those that `data.attributes` names stay, if it names any.
    """
    classes, label = label_of(dataset, name)
    attributes = dict(dataset.attributes)
    if name != dataset.target:
        del attributes[name]
        first = _as_attribute(dataset)
        attributes = {free_name(first.name, {first.name, *attributes}): first} | attributes
    attribute_names = {*config.attributes} or {*attributes}
    return replace(
        dataset,
        target=name,
        classes=classes,
        label=label,
        class_words=classes,
        attributes={n: replace(a, name=n) for n, a in attributes.items() if n in attribute_names},
        further_targets=(),
        targets_left_out={},
        numbers=tuple(n for n in dataset.numbers if n == name),
    )


def in_ranges_of(cut: Dataset, part: Dataset, rows: NDArray[np.intp]) -> Dataset:
    """The `rows` of a data set with the classes that `cut_into_ranges` gave to all."""
    if not part.is_number:
        return part
    return replace(
        part,
        label=cut.label[rows],
        classes=cut.classes,
        class_words=cut.class_words,
        numbers=cut.numbers,
    )


def _as_attribute(dataset: Dataset) -> Attribute:
    """The first label as an attribute."""
    name, classes = dataset.target, dataset.classes
    if dataset.is_number:
        values = np.append(to_numbers(classes), np.nan)
        return Attribute(name, "numeric", (), values[dataset.label])
    if classes == (dataset.no_yes.get(name) or columns.class_words(name)):
        return Attribute(name, "binary", columns.NO_YES, dataset.label)
    return Attribute(name, "categorical", classes, dataset.label)


def labels_of(dataset: Dataset) -> tuple[NDArray[np.int16], tuple[int, ...]]:
    """(n,) codes of the label, or (n, labels) of several, -1 unknown; and their numbers of classes.

    A number has as many classes as bins, and codes of its distinct values; alone it is (n, 1).
    """
    labels = [label_of(dataset, name)[1] for name in dataset.targets]
    sizes = tuple(len(classes_of(dataset, name)) for name in dataset.targets)
    if not dataset.is_several:
        return dataset.label, sizes
    return np.stack(labels, axis=1), sizes


def classes_of(dataset: Dataset, name: str) -> tuple[str, ...]:
    """The meaning of the outputs for one of the labels: its classes, or the centres of its bins."""
    scale = number_scale(dataset, name)
    return label_of(dataset, name)[0] if scale is None else tuple(map(format_number, scale.centres))


def outputs_of(dataset: Dataset) -> tuple[str, ...]:
    """The meaning of each output of a network that learns the data set's labels."""
    if not dataset.is_several:
        return dataset.classes
    return tuple(f"{name}: {c}" for name in dataset.targets for c in classes_of(dataset, name))
