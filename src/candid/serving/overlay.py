"""A map laid over its image, and images as PNG."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOR, AGAINST = (11, 102, 168), (194, 78, 0)  # blue and orange: told apart by every kind of eye
_SMALLEST = 256  # pixels per side of a drawn overlay


def png_bytes(image: Image.Image | NDArray[np.uint8]) -> bytes:
    """An image, or its pixels, as a PNG."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, "PNG")
    return out.getvalue()


def laid_over(
    pixels: NDArray[np.uint8], shades: NDArray[np.float32], strength: float
) -> Image.Image:
    """The image (side, side, 3) with its map (side, side) laid over it.

    Above 0 it is blue, below 0 orange, and the strongest place is as opaque as `strength`, 0 to 1.
    """
    side = max(_SMALLEST, len(pixels))
    image = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
    large = Image.fromarray(shades.astype(np.float32))
    value = np.asarray(large.resize((side, side), Image.Resampling.BILINEAR))
    most = float(np.abs(value).max())
    alpha = strength * np.abs(value)[..., None] / most if most > 0 else 0.0
    colour = np.where(value[..., None] >= 0, np.array(FOR), np.array(AGAINST))
    mixed = np.rint(image * (1 - alpha) + colour * alpha).astype(np.uint8)
    return Image.fromarray(mixed)
