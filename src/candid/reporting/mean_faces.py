"""What the pictures of the data show, for those who do not see them."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from candid.text import places, words
from candid.text.inputs import ReportInput


def mean_face_texts(inputs: ReportInput) -> dict[str, str]:
    """The alt text of each mean face and each difference of two, by the picture's name."""
    texts = {}
    for picture in inputs.pictures:
        kind, _, name = picture.partition("-")
        if kind == "mean":
            images = _count_images(inputs, name)
            texts[picture] = f"Mean of the {images} labelled {name}{_light(inputs, picture)}"
        elif kind == "difference":
            texts[picture] = f"{_difference(inputs, name)}{_strongest_fields(inputs, picture)}"
    return texts


def _count_images(inputs: ReportInput, name: str) -> str:
    """How many training images bear the label."""
    splits = () if inputs.exploration is None else inputs.exploration.splits
    train = next((s for s in splits if s.split == "train"), None)
    if train is None or name not in inputs.classes:
        return "training images"
    return f"{words.count(train.counts[inputs.classes.index(name)])} training images"


def _difference(inputs: ReportInput, name: str) -> str:
    if name:
        return f"The mean face labelled {name} less that of the others"
    return f"The mean face labelled {inputs.classes[-1]} less that labelled {inputs.classes[0]}"


def _light(inputs: ReportInput, name: str) -> str:
    pixels = _pixels(inputs.pictures[name], "L")
    return "" if pixels is None else f": {places.describe_light(pixels / 255)}"


def _strongest_fields(inputs: ReportInput, name: str) -> str:
    """Where a difference departs from mid-grey."""
    pixels = _pixels(inputs.pictures[name], "RGB")
    if pixels is None:
        return ""
    deviation = np.abs(np.abs(pixels - 127.5) - 0.5).sum(axis=2)  # mid-grey is 127 or 128
    fields = places.strongest_fields(deviation)
    return f": they differ most {fields}" if fields else ": they do not differ"


def _pixels(encoded: bytes, mode: str) -> NDArray[np.float64] | None:
    """A picture as numbers; None where it is none."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image.convert(mode), np.float64)
    except OSError:
        return None
