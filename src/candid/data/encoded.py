"""Checks of encoded images: the header's claims, the memory to decode, and truncation.

Pillow fills the pixels of a truncated image with black or, in a JPEG, with grey. Here it is
damaged.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
from PIL import Image

from candid.errors import ImageError

# Plain raster formats only: for an EPS, Pillow would start Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# Suffixes and magic bytes of formats that not every installation reads.
PHONE_SUFFIXES = (".avif", ".heic", ".heif", ".hif")
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"mif1": "HEIF"}
_NEEDED = {"AVIF": "Pillow 11.3 or later", "HEIF": "pillow-heif (the extra 'heif')"}

# The codes of errors for images that are rejected by their header.
TOO_MANY_PIXELS, TOO_MUCH_MEMORY = "too-many-pixels", "too-much-memory"

# The C library returns blocks of more than 32 MB at once, and keeps smaller ones for the thread
# that freed them. So large images are not stored in blocks of 16 MB, as by default.
with contextlib.suppress(AttributeError):
    Image.core.set_block_size(1 << 28)  # type: ignore[attr-defined]

DAMAGED = "damaged or cut short"
STRIP = 1 << 18  # pixels that are converted at a time

_ORIENTATION = 0x0112
_FILLS = 85, 171  # values that stay where a decoder writes nothing
_END_OF_JPEG = b"\xff\xd9"
_PADDING = b"\x55\xaa" * 32  # decoded where pixels are missing


def unreadable(cause: str, particulars: str = "", *, code: str = "") -> ImageError:
    """The error for an image that cannot be decoded."""
    return ImageError(
        cause,
        particulars=particulars,
        expected=f"a whole picture: {', '.join(readable())}",
        todo="save the picture again, or remove it from the data",
        code=code,
    )


class Budget:
    """A limit of memory for all threads that decode at the same time; the rest wait.

    There is no queue: a small image need not wait for a huge one. An image that needs more than the
    limit is rejected.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._freed = threading.Condition()

    @contextlib.contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Reserve `size` bytes, once they are free, while the block runs.

        Raises ImageError with the code TOO_MUCH_MEMORY where they exceed the limit.
        """
        if size > self._limit:
            raise unreadable(
                f"needs {size:,} bytes to be decoded, more than the {self._limit:,} that all "
                "decoding may take",
                code=TOO_MUCH_MEMORY,
            )
        with self._freed:
            self._freed.wait_for(lambda: self._held + size <= self._limit)
            self._held += size
        try:
            yield
        finally:
            with self._freed:
                self._held -= size
                self._freed.notify_all()


@functools.cache
def readable() -> tuple[str, ...]:
    """The formats that this installation reads; phones' formats depend on Pillow and its plugin."""
    optional = []
    with contextlib.suppress(ImportError):
        from PIL import AvifImagePlugin

        optional += ["AVIF"] if AvifImagePlugin.SUPPORTED else []
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        optional.append("HEIF")
    return (*FORMATS, *optional)


def not_readable_here(data: bytes) -> str:
    """The format of an image that another installation could read, and its requirement; or ""."""
    name = _BRANDS.get(data[8:12], "") if data[4:8] == b"ftyp" else ""
    return "" if not name or name in readable() else f"{name}, which needs {_NEEDED[name]}"


def open_encoded(data: bytes) -> Image.Image:
    """Open an image; reads its header only."""
    return Image.open(BytesIO(data), formats=readable())


def is_jpeg(image: Image.Image) -> bool:
    """Whether it can be decoded at a fraction of its size."""
    return image.format in ("JPEG", "MPO")


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; of a PNG that is not loaded only if it precedes the pixels."""
    try:
        if image.format == "PNG" and getattr(image, "tile", None) and "exif" not in image.info:
            return 1  # Pillow would load it
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to lose an image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def memory(image: Image.Image, full_size: tuple[int, int]) -> int:
    """The most bytes that decoding and conversion to RGB need.

    Pixels are not read yet; a JPEG is drafted, and `full_size` is its (width, height) before that.
    """
    width, height = image.size
    pixels, full_pixels = width * height, full_size[0] * full_size[1]
    channel_bytes = 2 if image.mode.startswith("I;") else 1 if image.mode in ("1", "L", "P") else 4
    own_bytes = channel_bytes + 8 * height / pixels  # Pillow holds a pointer for each row
    rgb = 4 + 8 * height / pixels
    decoder = 0.0
    if is_jpeg(image):
        decoder = own_bytes  # a second decoding, where it may be truncated
        if image.info.get("progressive"):  # all coefficients of the full size
            decoder += 2 * len(image.getbands()) * full_pixels / pixels
    elif image.format in ("WEBP", *_NEEDED):
        decoder = 12  # two canvases and a copy; planes, their conversion, and a copy
    elif image.format in ("TIFF", "PPM") or (image.format == "BMP" and channel_bytes == 1):
        decoder = own_bytes  # a whole strip, plain text, runs
    rgb_copy = 0.0 if image.mode == "RGB" and "transparency" not in image.info else rgb
    rotation = 2 * rgb if orientation(image) > 1 else 0.0
    peak = max(own_bytes + decoder + rgb_copy, rotation) + 1  # and the resampled image
    strip = 40 * min(pixels, max(STRIP, width)) if rgb_copy else 0
    return int(pixels * peak) + strip + 16 * width  # rows that decoders keep


def load_whole(
    image: Image.Image, data: bytes, reopen: Callable[[bytes], Image.Image]
) -> Image.Image:
    """Load an image, all of whose pixels must be in its file.

    `image` is `reopen(data)`, which is called again where it may be truncated. Raises ImageError
    where pixels are missing, or Pillow's own errors.
    """
    if is_jpeg(image):
        image.load()
        if _ends_uniformly(image) and not _is_complete(image, data, reopen):
            raise _truncated()
        return image
    corner, complete = _load_over_fill(image, _FILLS[0])
    if not complete:
        image.close()  # so that its pixels are free
        image = reopen(data)
        if _load_over_fill(image, _FILLS[1])[0] != corner:
            raise _truncated()
    return image


def _truncated() -> ImageError:
    return unreadable(DAMAGED, "the file ends before its pixels do")


def _load_over_fill(image: Image.Image, fill: int) -> tuple[bytes, bool]:
    """Load over a filled image: its last 2 × 2 pixels, and whether all of them were written.

    Two rows and columns, because interlaced images end with odd ones.
    """
    tile = getattr(image, "tile", ())
    if not tile or image.format == "TIFF":  # WebP, too: their libraries are strict
        image.load()
        return b"", True
    right, bottom = tile[-1][1][2:]
    image.im = Image.new(image.mode, image.size, fill).im
    image.load()
    corner = image.crop((max(0, right - 2), max(0, bottom - 2), right, bottom))
    blank = np.asarray(Image.new(image.mode, corner.size, fill))
    unchanged = np.asarray(corner) == blank
    return corner.tobytes(), not unchanged.reshape(*blank.shape[:2], -1).all(2).any()


def _ends_uniformly(image: Image.Image) -> bool:
    """Whether the last eight pixels are equal, as in the missing part of a JPEG."""
    width, height = image.size
    last = image.getpixel((width - 1, height - 1))
    columns = range(width - 2, max(0, width - 8) - 1, -1)
    return all(image.getpixel((x, height - 1)) == last for x in columns)  # mostly ends at the first


def _is_complete(image: Image.Image, data: bytes, reopen: Callable[[bytes], Image.Image]) -> bool:
    """Whether a JPEG decodes to the same with padding, so that nothing was missing."""
    end = data.rfind(_END_OF_JPEG)
    padded = reopen(data[:end] + _PADDING + data[end:])
    padded.load()
    return end >= 0 and padded.tobytes() == image.tobytes()
