"""A map laid over its picture, as a PNG."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOR, AGAINST = (11, 102, 168), (194, 78, 0)  # blue and orange: told apart by every kind of eye
_SMALLEST = 256  # pixels per side of a drawn overlay


def overlay(pixels: NDArray[np.uint8], shades: NDArray[np.float32], strength: float) -> bytes:
    """The picture with its map laid over it, as a PNG; see `laid_over`."""
    out = io.BytesIO()
    laid_over(pixels, shades, strength).save(out, "PNG")
    return out.getvalue()


def laid_over(
    pixels: NDArray[np.uint8], shades: NDArray[np.float32], strength: float
) -> Image.Image:
    """The picture with its map laid over it.

    Parameters
    ----------
    pixels
        (side, side, 3).
    shades
        (side, side): above 0 is blue, below 0 orange, the largest the least transparent.
    strength
        How opaque the strongest place is, 0 to 1.
    """
    side = max(_SMALLEST, len(pixels))
    picture = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
    large = Image.fromarray(shades.astype(np.float32)).resize(
        (side, side), Image.Resampling.BILINEAR
    )
    value = np.asarray(large)
    most = float(np.abs(value).max())
    alpha = strength * np.abs(value)[..., None] / most if most > 0 else 0.0
    colour = np.where(value[..., None] >= 0, np.array(FOR), np.array(AGAINST))
    mixed = np.rint(picture * (1 - alpha) + colour * alpha).astype(np.uint8)
    return Image.fromarray(mixed)
