"""Several labels of one data set: which can be learned together, and each as the label alone.

The first is the data set's `target`, the others are attributes that `further_targets` names, so
that nothing is held twice. `of_target` makes of it what reading it for that label alone gives.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.data.dataset import Dataset
from candid.settings import DataConfig
from candid.stats.distribution import NumberScale, scale_of
from candid.tables.attributes import Attribute, bin_attribute
from candid.tables.numbers import format_number, numbers_of

MOST_CLASSES = 100  # of a label that nobody named; more are names or numbers of something

# Columns of every file of predictions, which no attribute can be called.
RESERVED = ("id", "split", "label", "person")


def free_name(name: str, taken: Collection[str]) -> str:
    """What an attribute is called where its name is that of a column of every predictions file."""
    if name.lower() in RESERVED or name.startswith("p_"):
        while name in taken:
            name += " (column)"
    return name


def first_target(config: DataConfig) -> str | None:
    """The label that a data set is read for; None: the layout's own."""
    return config.target or next((name for name in config.targets if name != columns.ALL), None)


def with_targets(dataset: Dataset, config: DataConfig) -> Dataset:
    """A data set that was read for the first of the labels, for all that the settings name.

    Of all others ("*"), those are left out that are numbers (which are learned where they are
    named), have one class or more than `MOST_CLASSES`, or have no two classes in train or no label
    in validation; `targets_left_out` says which and why. Raises TargetError where one that is named
    does not exist or cannot be learned.
    """
    named = [
        _column_of(dataset, n) for n in config.targets if n not in (columns.ALL, dataset.target)
    ]
    numbers = [
        name
        for name in named
        if columns.is_number(dataset.attributes[name], forced=name in config.numbers)
    ]
    dataset = replace(dataset, numbers=(*dataset.numbers, *numbers))
    for name in named:
        label_of(dataset, name)  # says why not
    rest = [n for n in dataset.attributes if columns.ALL in config.targets and n not in named]
    left_out = {name: why for name in rest if (why := _unlearnable(dataset, name))}
    chosen = (*named, *(name for name in rest if name not in left_out))
    kept = {*columns.select(dataset.attributes, config.attributes, dataset.target), *chosen}
    return replace(
        dataset,
        further_targets=chosen,
        targets_left_out=left_out,
        attributes={name: a for name, a in dataset.attributes.items() if name in kept},
    )


def _column_of(dataset: Dataset, name: str) -> str:
    found = next((n for n in (name, f"{name} (column)") if n in dataset.attributes), None)
    return found or columns.choose_target(name, (dataset.target, *dataset.attributes), ())


def _unlearnable(dataset: Dataset, name: str) -> str:
    """Why a label that nobody named is not learned; "" where it is."""
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
    known = label >= 0
    if len(np.unique(label[known & (dataset.split == "train")])) < 2:
        return "Training would see one class only."
    seen = (known & (dataset.split == "validation")).any()
    return "" if seen else "No validation image has a label."


def label_of(dataset: Dataset, name: str) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """The classes of one of the labels, and (n,) each image's among them, -1 where unknown.

    Of a number, its different values, ascending.
    """
    if name == dataset.target:
        return dataset.classes, dataset.label
    attribute, two = dataset.attributes[name], dataset.no_yes.get(name)
    return columns.to_label(attribute, two, number=name in dataset.numbers)


def number_scale(dataset: Dataset, name: str) -> NumberScale | None:
    """The bins of a label that is a number, from its training values; None of any other."""
    if name not in dataset.numbers:
        return None
    words, label = label_of(dataset, name)
    values = numbers_of(words)
    return scale_of(values, values[label[(dataset.split == "train") & (label >= 0)]])


def in_ranges(dataset: Dataset) -> Dataset:
    """The data set with a label that is a number cut at its quartiles in train, as classes."""
    if not dataset.is_number:
        return dataset
    cut = bin_attribute(_as_attribute(dataset), dataset.rows("train"))
    used = np.unique(cut.data[cut.data >= 0])
    place = np.append(np.full(len(cut.values), -1, np.int16), np.int16(-1))
    place[used] = np.arange(len(used))
    words = tuple(cut.values[i] for i in used)
    numbers = tuple(n for n in dataset.numbers if n != dataset.target)
    return replace(
        dataset, classes=words, class_words=words, label=place[cut.data], numbers=numbers
    )


def of_target(dataset: Dataset, name: str, config: DataConfig) -> Dataset:
    """The data set with one of its labels alone; the others are attributes of it.

    Those are left out that `data.attributes` does not name, where it names some.
    """
    classes, label = label_of(dataset, name)
    attributes = dict(dataset.attributes)
    if name != dataset.target:
        del attributes[name]
        first = _as_attribute(dataset)
        attributes = {free_name(first.name, {first.name, *attributes}): first} | attributes
    wanted = {*config.attributes} or {*attributes}
    return replace(
        dataset,
        target=name,
        classes=classes,
        label=label,
        class_words=classes,
        attributes={n: replace(a, name=n) for n, a in attributes.items() if n in wanted},
        further_targets=(),
        targets_left_out={},
        numbers=tuple(n for n in dataset.numbers if n == name),
    )


def in_ranges_of(cut: Dataset, part: Dataset, kept: NDArray[np.intp]) -> Dataset:
    """The rows `kept` of a data set with the classes that `in_ranges` gave to all."""
    if not part.is_number:
        return part
    return replace(
        part,
        label=cut.label[kept],
        classes=cut.classes,
        class_words=cut.class_words,
        numbers=cut.numbers,
    )


def _as_attribute(dataset: Dataset) -> Attribute:
    """The first label as the attribute that it was."""
    name, classes = dataset.target, dataset.classes
    if dataset.is_number:
        values = np.append(numbers_of(classes), np.nan)
        return Attribute(name, "numeric", (), values[dataset.label])
    if classes == (dataset.no_yes.get(name) or columns.class_words(name)):
        return Attribute(name, "binary", columns.NO_YES, dataset.label)
    return Attribute(name, "categorical", classes, dataset.label)


def labels_of(dataset: Dataset) -> tuple[NDArray[np.int16], tuple[int, ...]]:
    """(n,) codes of the label, or (n, labels) of several, -1 where unknown; and each one's classes.

    A number among them has as many classes as bins, and codes of its different values; alone it is
    (n, 1).
    """
    labels = [label_of(dataset, name)[1] for name in dataset.targets]
    sizes = tuple(len(classes_of(dataset, name)) for name in dataset.targets)
    if not dataset.is_several:
        return dataset.label, sizes
    return np.stack(labels, axis=1), sizes


def classes_of(dataset: Dataset, name: str) -> tuple[str, ...]:
    """What the outputs for one of the labels say: its classes, or the values of its bins."""
    scale = number_scale(dataset, name)
    return label_of(dataset, name)[0] if scale is None else tuple(map(format_number, scale.centres))


def outputs_of(dataset: Dataset) -> tuple[str, ...]:
    """What each output of a network that learns the data set's labels says."""
    if not dataset.is_several:
        return dataset.classes
    return tuple(f"{name}: {c}" for name in dataset.targets for c in classes_of(dataset, name))
