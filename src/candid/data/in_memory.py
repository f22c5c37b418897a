"""A data set of images and labels in memory."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import candid.tables.columns as columns
from candid.data.arrays import MemorySource, image_name, images_of
from candid.data.dataset import Dataset
from candid.data.layouts.assembly import LayoutRows, assemble
from candid.settings import Config
from candid.table import arrow_table, per_image_values
from candid.tables.attributes import Attribute
from candid.tables.numbers import encode_numbers


def load_images(
    images: Any,
    label: Any,
    *,
    target: str = "label",
    classes: Sequence[Any] | None = None,
    person: Any = None,
    groups: Any = None,
    split: Any = None,
    config: Config | None = None,
) -> Dataset:
    """A data set of images in memory, or of a list of paths.

    A run on images in memory cannot find them later: pass the data set to `train` or `run`.

    Parameters
    ----------
    images
        uint8 pixels (n, height, width, 3), a list of such arrays, of Pillow's images, or n paths.
    label, person
        (n,) words, whole numbers or booleans; and the person in each image.
    target, classes
        The label's name, and its values in the wanted order; None: those that occur, sorted.
    groups
        What to audit by: a data frame, a mapping of names to (n,) values, or one column.
    split, config
        (n,) train, validation or test; None: chosen by person, in the shares of `config.data`.

    Raises
    ------
    DataError
        Where values are missing, lengths differ, or something is no image.
    """
    image_list, data_config = images_of(images), (config or Config()).data
    is_number = target in data_config.numbers
    if is_number:
        values = np.asarray(label, np.float64)
        classes, code = encode_numbers(Attribute(target, "numeric", (), values))
        label = [None if c < 0 else classes[c] for c in code.tolist()]
    fields = per_image_values(label, target, classes, groups, None, _ids(image_list), split)
    # The split depends on persons as words, and not on the order of the images.
    persons = None if person is None else arrow_table({"person": person})["person"]
    rows = LayoutRows(
        ids=fields["ids"].tolist(),
        target=target,
        classes=fields["classes"],
        label=fields["label"],
        split=None if split is None else fields["split"],
        person=None if persons is None else columns.to_words(persons),
        keys=[image_name(image, number) for number, image in enumerate(image_list, 1)],
        attributes=fields["attributes"],
        is_number=is_number,
    )
    return assemble(
        Path("images"),
        "memory",
        rows,
        lambda keep: MemorySource(tuple(image_list[i] for i in keep)),
        data_config,
    )


def _ids(images: Sequence[Any]) -> list[str]:
    """A unique name for each; repeated ones are numbered."""
    names = [image_name(image, number) for number, image in enumerate(images, 1)]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    counters = {name: itertools.count(1) for name in repeated}
    return [f"{name} ({next(counters[name])})" if name in repeated else name for name in names]
