"""An encoded picture before its pixels: what it claims, what it will take, and whether it is whole.

Pillow takes the early end of a stream of pixels for black and, in a JPEG, for grey. Here such a
picture is damaged: what no file holds was never seen.
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

# Plain raster formats only: Pillow would also start Ghostscript for a stranger's EPS.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# What the names of others end with that not every installation reads, and how their files begin.
PHONE_SUFFIXES = (".avif", ".heic", ".heif", ".hif")
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"mif1": "HEIF"}
_NEEDED = {"AVIF": "Pillow 11.3 or later", "HEIF": "pillow-heif (the extra 'heif')"}

# The codes of errors for what is refused by its header alone.
TOO_MANY_PIXELS, TOO_MUCH_MEMORY = "too-many-pixels", "too-much-memory"

# The C library returns pieces of more than 32 MB as soon as they are free, and keeps smaller ones
# for the thread that freed them. So large pictures are not stored in pieces of 16 MB, as usual.
with contextlib.suppress(AttributeError):
    Image.core.set_block_size(1 << 28)  # type: ignore[attr-defined]

DAMAGED = "damaged or cut short"
STRIP = 1 << 18  # pixels that are converted at a time

_ORIENTATION = 0x0112
_INKS = 85, 171  # what a decoder leaves where it writes nothing
_END_OF_JPEG = b"\xff\xd9"
_MORE = b"\x55\xaa" * 32  # to be decoded where pixels are missing


def unreadable(cause: str, particulars: str = "", *, code: str = "") -> ImageError:
    """The error for a picture that is not decoded."""
    return ImageError(
        cause,
        particulars=particulars,
        expected=f"a whole picture: {', '.join(readable())}",
        todo="save the picture again, or remove it from the data",
        code=code,
    )


class Budget:
    """Bytes that all who decode at the same time may fill together; the rest wait.

    Who needs little may pass who waits for much: a small picture must not wait for a huge one. A
    picture that needs more than the limit by itself is refused.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._freed = threading.Condition()

    @contextlib.contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Hold so many bytes, once they are free, while the block runs.

        Raises ImageError with the code TOO_MUCH_MEMORY where they can never be free.
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
    """The formats that can be read here: those of telephones where Pillow or its plugin does."""
    more = []
    with contextlib.suppress(ImportError):
        from PIL import AvifImagePlugin

        more += ["AVIF"] if AvifImagePlugin.SUPPORTED else []
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        more.append("HEIF")
    return (*FORMATS, *more)


def not_readable_here(data: bytes) -> str:
    """The format of a picture that another installation could read, and what it takes; or ""."""
    kind = _BRANDS.get(data[8:12], "") if data[4:8] == b"ftyp" else ""
    return "" if not kind or kind in readable() else f"{kind}, which needs {_NEEDED[kind]}"


def open_encoded(data: bytes) -> Image.Image:
    """A picture of which the header alone was read."""
    return Image.open(BytesIO(data), formats=readable())


def is_jpeg(image: Image.Image) -> bool:
    """Whether it can be decoded at a fraction of its size."""
    return image.format in ("JPEG", "MPO")


def orientation(image: Image.Image) -> int:
    """1 to 8, as EXIF has it; of a PNG that is not loaded only what precedes its pixels."""
    if is_jpeg(image) and not {"exif", "xmp"} & image.info.keys():
        return 1  # as Pillow would say after some steps
    try:
        if image.format == "PNG" and getattr(image, "tile", None) and "exif" not in image.info:
            return 1  # Pillow would load it
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to lose a picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def memory(image: Image.Image, claimed: tuple[int, int]) -> int:
    """Bytes that decoding it and making it RGB takes at most.

    Its pixels are not read yet; a JPEG is drafted, and `claimed` its width and height before that.
    """
    width, height = image.size
    pixels, whole = width * height, claimed[0] * claimed[1]
    one = 2 if image.mode.startswith("I;") else 1 if image.mode in ("1", "L", "P") else 4
    own = one + 8 * height / pixels  # Pillow holds a pointer for each row
    rgb = 4 + 8 * height / pixels
    decoder = 0.0
    if is_jpeg(image):
        decoder = own  # a second look, where it may be cut short
        if image.info.get("progressive"):  # all coefficients, of the whole picture
            decoder += 2 * len(image.getbands()) * whole / pixels
    elif image.format in ("WEBP", *_NEEDED):
        decoder = 12  # two canvases and a copy; planes, what is made of them, and a copy
    elif image.format in ("TIFF", "PPM") or (image.format == "BMP" and one == 1):
        decoder = own  # a whole strip, plain text, runs
    converted = 0.0 if image.mode == "RGB" and "transparency" not in image.info else rgb
    turned = 2 * rgb if orientation(image) > 1 else 0.0
    peak = max(own + decoder + converted, turned) + 1  # and what is resampled
    at_a_time = 40 * min(pixels, max(STRIP, width)) if converted else 0
    return int(pixels * peak) + at_a_time + 16 * width  # rows that decoders keep


def load_whole(
    image: Image.Image, data: bytes, opened: Callable[[bytes], Image.Image]
) -> Image.Image:
    """A picture with its pixels, all of which its file holds.

    `image` is `opened(data)`, which looks a second time where it may be cut short. Raises
    ImageError where pixels are missing and Pillow does not mind; it raises what it likes where it
    does.
    """
    if is_jpeg(image):
        image.load()
        if _ends_flat(image) and not _is_whole(image, data, opened):
            raise _cut_short()
        return image
    corner, is_written = _load_over(image, _INKS[0])
    if not is_written:
        image.close()  # so that its pixels are free
        image = opened(data)
        if _load_over(image, _INKS[1])[0] != corner:
            raise _cut_short()
    return image


def _cut_short() -> ImageError:
    return unreadable(DAMAGED, "the file ends before its pixels do")


def _load_over(image: Image.Image, ink: int) -> tuple[bytes, bool]:
    """Load over a picture of that ink: its last 2 × 2 pixels, and whether all of them were written.

    Two rows and columns, because interlaced pictures end with odd ones.
    """
    tile = getattr(image, "tile", ())
    if not tile or image.format == "TIFF":  # WebP, too: libraries of their own, which are strict
        image.load()
        return b"", True
    right, bottom = tile[-1][1][2:]
    image.im = Image.new(image.mode, image.size, ink).im
    image.load()
    corner = image.crop((max(0, right - 2), max(0, bottom - 2), right, bottom))
    blank = np.asarray(Image.new(image.mode, corner.size, ink))
    same = np.asarray(corner) == blank
    return corner.tobytes(), not same.reshape(*blank.shape[:2], -1).all(2).any()


def _ends_flat(image: Image.Image) -> bool:
    """Whether the last eight pixels are equal, as where a JPEG decoder has nothing to decode."""
    width, height = image.size
    pixels = image.load()
    if pixels is None:
        return False
    last = pixels[width - 1, height - 1]
    columns = range(width - 2, max(0, width - 8) - 1, -1)
    return all(pixels[x, height - 1] == last for x in columns)  # mostly ends at the first


def _is_whole(image: Image.Image, data: bytes, opened: Callable[[bytes], Image.Image]) -> bool:
    """Whether a JPEG stays the same with more to decode: then nothing was missing."""
    end = data.rfind(_END_OF_JPEG)
    longer = opened(data[:end] + _MORE + data[end:])
    longer.load()
    return end >= 0 and longer.tobytes() == image.tobytes()
