"""Maps as pictures: small, see-through, to lie over a face."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEVELS = 12  # steps of strength each way: the eye sees no more through a face, files stay small
_LARGEST = 96  # pixels per side; a finer map is averaged down to it
_QUANTILE = 0.995  # what counts as full strength: a single pixel must not dim the rest

# From weak to strong. Blue and orange are told apart by everyone who sees colours at all, and blue,
# which most of a map is, stands out from skin. `candid explain RUN PICTURE` has the same.
FOR = ((120, 200, 255), (0, 92, 205))
AGAINST = ((255, 208, 74), (233, 84, 0))
# Regions on the template, as many as a face has parts; the next round begins anew.
REGION_COLOURS = (
    *("#e6550d", "#3182bd", "#31a354", "#756bb1", "#d6b400", "#e377c2"),
    *("#17becf", "#8c564b", "#bcbd22", "#636363", "#9ecae1"),
)


def full_strength(maps: NDArray[Any]) -> float:
    """The size that is drawn at full strength, of maps that are to be compared; 1 where none is."""
    sizes = np.abs(np.asarray(maps, np.float64))
    sizes = sizes[np.isfinite(sizes)]
    size = float(np.quantile(sizes, _QUANTILE)) if sizes.size else 0.0
    return size if size > 0 else float(sizes.max(initial=0.0)) or 1.0


def overlay_image(values: NDArray[Any], full: float) -> str:
    """A map as a picture that is clear where the map is 0 or undefined.

    Parameters
    ----------
    values
        (height, width); above 0 it becomes light to dark blue, below 0 yellow to orange.
    full
        The size that is drawn at full strength.

    Returns
    -------
    str
        A data URI.
    """
    small = _shrink(np.nan_to_num(np.asarray(values, np.float64) / full, posinf=1, neginf=-1))
    levels = np.rint(np.clip(small, -1, 1) * _LEVELS).astype(int) + _LEVELS
    return _encode(_palette()[levels], lossless=True)


def thumbnail_image(pixels: NDArray[np.uint8]) -> str:
    """A picture (height, width, 3) as a data URI, at most as large as a map."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_LARGEST, _LARGEST))
    return _encode(np.asarray(image), lossless=False)


def lossless_image(pixels: NDArray[np.uint8]) -> str:
    """A picture (height, width, 3) as a data URI, every pixel as it is."""
    return _encode(pixels, lossless=True)


def regions_image(template: NDArray[np.uint8], count: int) -> str:
    """Where each of `count` regions lies, in `REGION_COLOURS`, half see-through, as a data URI."""
    rgba = np.zeros((*template.shape, 4), np.uint8)
    for i in range(count):
        colour = REGION_COLOURS[i % len(REGION_COLOURS)].removeprefix("#")
        rgba[template == i] = (*bytes.fromhex(colour), 150)
    return _encode(rgba, lossless=True)


def _palette() -> NDArray[np.uint8]:
    """(2 · levels + 1, 4): from most against, over clear, to most for."""
    strength = np.arange(1, _LEVELS + 1)[:, None] / _LEVELS
    halves = []
    for weak, strong in (AGAINST, FOR):
        colour = np.array(weak) * (1 - strength) + np.array(strong) * strength
        halves.append(np.concatenate([colour, 235 * strength**0.8], axis=1))
    against, for_class = halves
    colours: NDArray[np.float64] = np.concatenate([against[::-1], np.zeros((1, 4)), for_class])
    return np.rint(colours).astype(np.uint8)


def _shrink(values: NDArray[np.float64]) -> NDArray[Any]:
    if max(values.shape) <= _LARGEST:
        return values
    from PIL import Image

    height, width = (min(_LARGEST, n) for n in values.shape)
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def _encode(pixels: NDArray[np.uint8], *, lossless: bool) -> str:
    """WebP, half as large as PNG; PNG where this Pillow was built without it."""
    from PIL import Image, features

    kind = "webp" if features.check("webp") else "png"
    options = {"lossless": lossless, "quality": 80, "method": 4} if kind == "webp" else {}
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
