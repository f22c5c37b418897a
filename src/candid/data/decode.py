"""Decoding an image to a square of RGB pixels, as a viewer would show it."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from candid.data.encoded import (
    DAMAGED,
    STRIP,
    TOO_MANY_PIXELS,
    Budget,
    is_jpeg,
    load_whole,
    memory,
    not_readable_here,
    open_encoded,
    orientation,
    unreadable,
)
from candid.errors import ImageError

# Part of every pack's fingerprint: raise it when the same bytes give other pixels.
VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """An image in sRGB; of `decode_whole` in its own shape, perhaps reduced."""

    pixels: NDArray[np.uint8]  # (side, side, 3), of `decode_whole` (height, width, 3)
    width: int  # of the image in its file, after the EXIF rotation
    height: int
    mode: str  # its channels in the file, in Pillow's words: "RGB", "L", "P", "CMYK", "I;16", …
    format: str  # "JPEG", "PNG", …


_SHARED = Budget(1 << 28)  # of this process


def decode(
    data: bytes,
    *,
    side: int,
    fit: str = "stretch",
    max_pixels: int,
    budget: Budget = _SHARED,
    detail: int = 1,
) -> Decoded:
    """Decode an image to a square of RGB pixels.

    The first frame is taken, the EXIF rotation applied; grey is converted; 16 bits are scaled, not
    clipped; transparency is laid over white; colours of an embedded profile (such as Display P3)
    become sRGB. Large JPEGs are decoded at a half, a quarter or an eighth, never below twice the
    size that is needed, then resampled bicubically with antialiasing. An image that already has the
    size stays bit for bit.

    Parameters
    ----------
    data
        The encoded file.
    side
        Pixels per side of the square.
    fit
        "stretch", "crop" (the centre) or "pad" (with the image's mean colour).
    max_pixels
        An image whose header claims more is rejected before it is decoded.
    budget
        The memory limit; by default one for the process.
    detail
        The square has `detail` × `side` pixels per side, and the mean of each block of `detail` ×
        `detail` of them is the pixel at `side`, but for clipping at white and black.

    Raises
    ------
    ImageError
        Where the bytes are no image, are truncated, or claim too many pixels.
    """

    def draft_size(width: int, height: int) -> tuple[int, int] | None:
        if max(width, height) <= 2 * side:
            return None
        # As if for a square of twice the size, so that the resampling still has a choice.
        size = _fit_size(width, height, side, fit)
        return 2 * size[0], 2 * size[1]

    with _translate_errors(data):
        return _decode_as(
            data, max_pixels, budget, draft_size, lambda image: to_square(image, side, fit, detail)
        )


def decode_whole(
    data: bytes, *, longest: int, max_pixels: int, budget: Budget = _SHARED
) -> Decoded:
    """Decode an image as `decode` does, not to a square but to at most `longest` pixels a side."""

    def shrunk_size(width: int, height: int) -> tuple[int, int] | None:
        scale = longest / max(width, height)
        return (max(1, round(width * scale)), max(1, round(height * scale))) if scale < 1 else None

    def shrink(image: Image.Image) -> Image.Image:
        size = shrunk_size(*image.size)
        return image if size is None else _resize(image, size, (0, 0, *image.size))

    with _translate_errors(data):
        return _decode_as(data, max_pixels, budget, shrunk_size, shrink)


@contextlib.contextmanager
def _translate_errors(data: bytes) -> Iterator[None]:
    """Turn any error of a decoder into an ImageError with a short reason."""
    if not data:
        raise unreadable("empty file", "0 bytes")
    try:
        with _quiet_pillow, _ignore_warnings(per_thread=True):
            yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise unreadable(f"not a picture in a known format{_describe_content(data)}") from None
    except Image.DecompressionBombError as error:
        raise unreadable(f"too many pixels: {error}", code=TOO_MANY_PIXELS) from None
    except MemoryError:
        raise unreadable("decoding it needs more memory than there is") from None
    except Exception as error:  # a damaged file can raise anything inside a decoder
        raise unreadable(DAMAGED, _describe_error(error)) from error


class _QuietPillow:
    """Ignores Pillow's warnings (odd EXIF, odd TIFF tags, size) while any thread decodes.

    `warnings.catch_warnings` swaps a list that all threads share. So the first thread to decode
    removes it, and the last one restores it; and so with Pillow's flag to accept truncated images,
    which the program may have set.
    """

    def __init__(self) -> None:
        self._lock, self._decoding = threading.Lock(), 0
        self._silence = _ignore_warnings(per_thread=False)
        self._leave = False

    def __enter__(self) -> None:
        with self._lock:
            if self._decoding == 0:
                self._silence = _ignore_warnings(per_thread=False)
                self._silence.__enter__()
                self._leave = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._decoding += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._decoding -= 1
            if self._decoding == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._leave
                self._silence.__exit__(None, None, None)


def _ignore_warnings(*, per_thread: bool) -> contextlib.AbstractContextManager[object]:
    """Ignore warnings, if this Python does so per thread (from 3.14 on) or for all, as asked."""
    if getattr(sys.flags, "context_aware_warnings", False) == per_thread:
        return warnings.catch_warnings(action="ignore")
    return contextlib.nullcontext()


_quiet_pillow = _QuietPillow()


def _describe_content(data: bytes) -> str:
    """What else the file seems to be, without quoting it, as the reason may be public."""
    if kind := not_readable_here(data):
        return f", but {kind}"
    if data.startswith(b"PK\x03\x04"):
        return ", but a zip archive: unpack it"
    return ", but text" if all(32 <= b < 127 or b in b"\r\n\t" for b in data[:24]) else ""


def _describe_error(error: Exception) -> str:
    """Type and message of an error, without bytes of the file, which decoders quote."""
    words = re.split(r"b?['\"]", str(error), maxsplit=1)[0].strip()
    return f"{type(error).__name__}: {words}"[:120] if words else type(error).__name__


def _decode_as(
    data: bytes,
    max_pixels: int,
    budget: Budget,
    draft_size: Callable[[int, int], tuple[int, int] | None],
    resize: Callable[[Image.Image], Image.Image],
) -> Decoded:
    """Open, decode (a JPEG no larger than `draft_size`), rotate, resize, and convert to sRGB."""

    def draft(image: Image.Image) -> Image.Image:
        size = draft_size(*image.size) if is_jpeg(image) else None
        if size:
            image.draft(None, size)
        return image

    image = open_encoded(data)
    width, height = image.size
    mode, kind = image.mode, image.format or "?"
    if width * height > max_pixels:
        raise unreadable(
            f"claims {width:,} × {height:,} pixels, more than data.max_pixels = {max_pixels:,}",
            code=TOO_MANY_PIXELS,
        )
    with budget.holding(memory(draft(image), (width, height))):
        image = load_whole(image, data, lambda data: draft(open_encoded(data)))
        profile, turn = image.info.get("icc_profile"), orientation(image)
        image = _rgb(image)
        image = _rotate(image, turn)
        if turn >= 5:  # those by a quarter turn
            width, height = height, width
        image = resize(image)
        if profile:
            image = in_srgb(image, profile)
        return Decoded(np.asarray(image, np.uint8), width, height, mode, kind)


# --- geometry ------------------------------------------------------------------------------------


def _fit_size(width: int, height: int, side: int, fit: str) -> tuple[int, int]:
    """The size of the whole image that fits the square."""
    if fit == "stretch":
        return side, side
    scale = side / (min if fit == "crop" else max)(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def to_square(image: Image.Image, side: int, fit: str, detail: int) -> Image.Image:
    """An RGB image as a square of `detail` × `side` pixels per side; see `decode`."""
    small = _square(image, side, fit)
    if detail == 1:
        return small
    if min(image.size) <= side:
        return small.resize((detail * side, detail * side), Image.Resampling.NEAREST)
    fine = _square(image, detail * side, fit)
    return Image.fromarray(_match_means(np.asarray(fine), np.asarray(small), detail))


def _match_means(
    fine: NDArray[np.uint8], coarse: NDArray[np.uint8], factor: int
) -> NDArray[np.uint8]:
    """`fine`, shifted so that the mean of each block of `factor` × `factor` is a pixel of `coarse`.

    (factor · side, factor · side, 3) for (side, side, 3). All pixels of a block are shifted by the
    same number of levels, the first ones by one more if there is a remainder. Rows in 16 bits take
    a third of the time of pixels in 32, for `factor` up to 11.
    """
    side, block = len(coarse), factor**2
    rows = fine.reshape(side, factor, side * factor * 3)
    missing = np.multiply(coarse, block, dtype=np.int16)
    columns = rows.sum(1, dtype=np.int16).reshape(side, side, factor, 3)
    for k in range(factor):
        missing -= columns[:, :, k]
    pixels = missing.view("V6")[..., 0].repeat(factor, 1)  # of three numbers each
    wide = pixels.view(np.int16).reshape(side, 1, side * factor * 3)
    step = np.floor_divide(wide, np.int16(block))
    order = np.arange(block, dtype=np.int16).reshape(factor, factor).repeat(3, 1)
    shifted = rows + (step + (np.tile(order, side) < wide - step * np.int16(block)))
    levels: NDArray[np.uint8] = shifted.clip(0, 255).astype(np.uint8)
    return levels.reshape(fine.shape)


def _square(image: Image.Image, side: int, fit: str) -> Image.Image:
    width, height = image.size
    if (width, height) == (side, side):
        return image
    if fit == "crop":
        edge = min(width, height)
        left, top = (width - edge) // 2, (height - edge) // 2
        return _resize(image, (side, side), (left, top, left + edge, top + edge))
    size = _fit_size(width, height, side, fit)
    image = _resize(image, size, (0, 0, width, height))
    if fit == "stretch":
        return image
    mean = tuple(int(m) for m in np.rint(np.asarray(image, np.float64).mean((0, 1))))
    canvas = Image.new("RGB", (side, side), mean)
    canvas.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    return canvas


def _resize(
    image: Image.Image, size: tuple[int, int], box: tuple[int, int, int, int]
) -> Image.Image:
    return image.resize(size, Image.Resampling.BICUBIC, box, reducing_gap=3.0)


def _rotate(image: Image.Image, orientation: int) -> Image.Image:
    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


# --- colour --------------------------------------------------------------------------------------


def _rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as RGB; CMYK JPEGs are taken to be inverted, as Adobe writes them."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    scale, divisor = _scale(image) if _is_deep(image) else (1, 1)
    width, height = image.size
    if width * height <= STRIP:
        return _strip_rgb(image, scale, divisor)
    rgb = Image.new("RGB", image.size)
    for strip, top in _strips(image):
        rgb.paste(_strip_rgb(strip, scale, divisor), (0, top))
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[Image.Image, int]]:
    """Strips of an image, each with its top, to limit the memory of conversions."""
    width, height = image.size
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(height, top + rows))), top


def _strip_rgb(image: Image.Image, scale: float, divisor: float) -> Image.Image:
    if _is_deep(image):
        levels = np.asarray(image).astype(np.float64) * scale / divisor
        image = Image.fromarray(np.rint(levels).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(page, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Whether it is grey of more than 8 bits, which Pillow would clip at 255."""
    return image.mode.startswith("I") or image.mode == "F"


def _scale(image: Image.Image) -> tuple[float, float]:
    """The factor and the divisor that bring levels of more than 8 bits to 0 to 255."""
    ends = [(a.min(), a.max()) for a in (np.asarray(strip) for strip, _ in _strips(image))]
    lowest, highest = (float(v) for v in (np.min(ends), np.max(ends)))
    if image.mode == "F" and not (lowest >= 0 and highest <= 255):
        raise unreadable(f"floating-point pixels from {lowest:g} to {highest:g}")
    if lowest < 0 or highest > 65535:
        raise unreadable(f"integer pixels from {lowest:g} to {highest:g}, not 8 or 16 bits")
    if image.mode != "F":
        return 1, 257  # 65535 becomes 255
    return (255, 1) if highest <= 1 else (1, 1)


def in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An RGB image with an embedded profile, in sRGB."""
    transform = _transform(profile)
    return image if transform is None else transform.apply(image)


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """The transform of an embedded RGB profile to sRGB; None for sRGB, another space, or damage."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = ImageCms.getProfileDescription(source)
        if source.profile.xcolor_space.strip() != "RGB" or "srgb" in name.lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
