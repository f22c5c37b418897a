"""Images in memory, or given by paths, as encoded images.

An array is encoded as PNG, which is lossless, so that it gets the same limits and the same resizing
as any file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from candid.data.sources import FileSource, read_file
from candid.errors import DataError

# (height, width, 3) or (height, width) uint8; Pillow's image; or a path.
ImageLike = NDArray[np.uint8] | Image.Image | str | PathLike[str]

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def images_of(images: Any) -> list[ImageLike]:
    """The images of an array (n, height, width, 3), a list, or a data frame's only column.

    Raises
    ------
    DataError
        Where one of them is neither a path nor an image.
    """
    if isinstance(images, str | PathLike | Image.Image):
        images = [images]
    images = _column(images)
    if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim != 4:
        raise _no_images(f"have the shape {images.shape}")
    if not isinstance(images, Iterable):
        raise _no_images(f"are of the type {type(images).__name__}")
    result = list(images)
    for image in result:
        _check(image)
    return result


def _column(images: Any) -> Any:
    """The only column of a data frame or of an array of words; anything else unchanged."""
    import narwhals.stable.v2 as nw

    frame = nw.from_native(images, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        if len(frame.columns) != 1:
            raise _no_images(f"are a data frame of {len(frame.columns)} columns")
        return frame[:, 0].to_list()
    if isinstance(images, np.ndarray) and images.dtype.kind in "OU" and images.ndim == 2:
        return images[:, 0] if images.shape[1] == 1 else images
    return images


def _check(image: Any) -> None:
    if isinstance(image, str | PathLike | Image.Image):
        return
    if not isinstance(image, np.ndarray):
        raise _no_images(f"hold something of the type {type(image).__name__}")
    is_rgb = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (is_rgb or image.ndim == 2) or not image.size:
        raise _no_images(f"hold one of the shape {image.shape} and the type {image.dtype}")


def _no_images(problem: str) -> DataError:
    return DataError(
        f"The images {problem}.",
        expected="a list of paths, or uint8 pixels (n, height, width, 3) in the order RGB",
        todo="pass paths or pixels from 0 to 255 as uint8, not normalised",
    )


def encode_image(image: ImageLike) -> bytes:
    """The bytes of an image's file, or of a PNG file for an image in memory.

    Raises
    ------
    ImageError
        Where the file cannot be read.
    """
    if isinstance(image, str | PathLike):
        return read_file(os.path.realpath(image))
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    else:
        image = ImageOps.exif_transpose(image)
        image = image if image.mode in _PNG_MODES else image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def image_name(image: ImageLike, number: int) -> str:
    """An image's path, or "image" and its number."""
    return os.fspath(image) if isinstance(image, str | PathLike) else f"image {number}"


@dataclass(frozen=True, eq=False)
class MemorySource:
    """Images in memory, or given by paths, as the source of a data set."""

    images: tuple[ImageLike, ...]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, row: int) -> bytes:
        """The encoded bytes of one image."""
        return encode_image(self.images[row])

    def stamp(self) -> str:
        """A digest of the pixels, and of names, sizes and modification times of the files."""
        digest = blake2b(digest_size=16)
        paths = [os.path.abspath(i) for i in self.images if isinstance(i, str | PathLike)]
        digest.update(FileSource(os.getcwd(), paths, anywhere=True).stamp().encode())  # type: ignore[arg-type]
        for image in self.images:
            if not isinstance(image, str | PathLike):
                pixels = np.asarray(image)
                digest.update(repr((pixels.shape, pixels.dtype.str)).encode())
                digest.update(np.ascontiguousarray(pixels).tobytes())
        return digest.hexdigest()
