"""Small encoded images for a report."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from candid.data.dataset import Dataset
from candid.data.decode import decode, decode_whole


def png(pixels: NDArray[np.uint8]) -> bytes:
    """(height, width, 3) uint8 as a PNG file."""
    return _encode(pixels, "PNG", optimize=True)


def for_page(pixels: NDArray[np.uint8]) -> bytes:
    """(height, width, 3) uint8 as a WebP file, or as a JPEG where Pillow has no WebP."""
    if features.check("webp"):
        return _encode(pixels, "WEBP", quality=80, method=4)
    return _encode(pixels, "JPEG", quality=85)


def thumbnail(dataset: Dataset, row: int, *, side: int, max_pixels: int) -> bytes:
    """An image of the data set, stretched to a square as for the network, encoded `for_page`.

    Raises ImageError where it cannot be decoded.
    """
    decoded = decode(dataset.source.read(row), side=side, max_pixels=max_pixels)
    return for_page(decoded.pixels)


def preview(dataset: Dataset, row: int, *, longest: int, max_pixels: int) -> bytes:
    """An image of the data set as a JPEG of at most `longest` pixels a side.

    Raises ImageError where it cannot be decoded.
    """
    decoded = decode_whole(dataset.source.read(row), longest=longest, max_pixels=max_pixels)
    return _encode(decoded.pixels, "JPEG", quality=92)


def _encode(pixels: NDArray[np.uint8], kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
