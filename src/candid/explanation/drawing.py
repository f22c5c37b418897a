"""Pictures with their maps laid over them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from candid.data.decode import Decoded, decode, decode_whole
from candid.errors import ImageError
from candid.settings import DataConfig
from candid.storage.files import atomic, read_bytes

FOR, AGAINST = (11, 102, 168), (194, 78, 0)  # blue and orange: told apart by every kind of eye
SMALLEST = 256  # pixels of the longer side of a drawn overlay, at least

_WHOLE = ((0, 0), (1, 0), (1, 1), (0, 1))  # the corners of a picture, in shares of its sides


@dataclass(frozen=True, eq=False)
class ExplainedPicture:
    """One picture's answer, and its maps."""

    name: str  # the file
    # (height, width, 3): the square that the network saw; where the run frames, the picture as it
    # came
    pixels: NDArray[np.uint8]
    prediction: str  # the calibrated answer; of a number its value and interval in words
    probability: float  # of the answer; NaN for a number
    # by method: (height, width), for the answer (above 0) and against it
    maps: dict[str, NDArray[np.float32]]
    badges: dict[str, str]  # by method: whether it could be trusted in the run; "" where unknown
    # (4, 2) of what the network saw, in shares of width and height; None: it saw `pixels`
    corners: NDArray[np.float64] | None = None
    # value and ends of the interval of a number; else None
    number: tuple[float, float, float] | None = None

    @property
    def title(self) -> str:
        """The answer in a few words."""
        if self.number is not None:
            return self.prediction
        return f"{self.prediction} {self.probability:.1%}"


def laid_over(
    pixels: NDArray[np.uint8],
    shades: NDArray[np.float32],
    strength: float,
    corners: NDArray[np.float64] | None = None,
) -> Image.Image:
    """A picture (height, width, 3) with its map (height, width) laid over it.

    Above 0 is blue, below 0 orange, the largest value the least transparent: as opaque as
    `strength`. A line goes round the `corners` (4, 2), in shares of width and height, unless they
    are the picture's own.
    """
    height, width = pixels.shape[:2]
    longest = max(height, width)
    scale = max(SMALLEST, longest) / longest
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    picture = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    large = Image.fromarray(shades.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    value = np.asarray(large)
    most = float(np.abs(value).max())
    alpha = strength * np.abs(value)[..., None] / most if most > 0 else 0.0
    colour = np.where(value[..., None] >= 0, np.array(FOR), np.array(AGAINST))
    mixed = np.rint(picture * (1 - alpha) + colour * alpha).astype(np.uint8)
    drawn = Image.fromarray(mixed)
    if corners is not None and not np.allclose(corners, _WHOLE, atol=1e-3):
        around = [tuple(place) for place in corners[[0, 1, 2, 3, 0]] * size - 0.5]
        ImageDraw.Draw(drawn).line(around, fill="white", width=1 + max(size) // SMALLEST)
    return drawn


def png_bytes(image: Image.Image | NDArray[np.uint8]) -> bytes:
    """An image, or its pixels, as a PNG."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, "PNG")
    return out.getvalue()


def draw_maps(path: Path, explained: Sequence[ExplainedPicture], titles: Mapping[str, str]) -> None:
    """Write a PNG: a row per picture, the picture itself and then it below each method's map.

    What speaks for the answer is blue, what speaks against it orange. `titles` are the methods'.
    """
    rows = []
    for one in explained:
        blank = np.zeros(one.pixels.shape[:2], np.float32)
        titled = {one.title: blank}
        for name, shades in one.maps.items():
            badge = one.badges[name]
            titled[f"{titles[name]}{f' ({badge})' if badge else ''}"] = shades
        rows.append(
            [(title, laid_over(one.pixels, m, 0.8, one.corners)) for title, m in titled.items()]
        )
    wide = max(tile.width for row in rows for _, tile in row)
    drawn = [np.concatenate([_titled(*tile, wide) for tile in row], axis=1) for row in rows]
    with atomic(path) as part:
        Image.fromarray(np.concatenate(drawn)).save(part, "PNG")


def _titled(title: str, tile: Image.Image, width: int) -> NDArray[np.uint8]:
    """A tile of that width with a line of text above it."""
    made = Image.new("RGB", (width, tile.height + 18), "white")
    made.paste(tile, (0, 18))
    ImageDraw.Draw(made).text((4, 3), title, fill="black")
    return np.asarray(made)


def decode_pictures(
    files: Sequence[Path], side: int, config: DataConfig, *, detail: int = 1
) -> list[Decoded]:
    """Each file with its pixels (detail · side, detail · side, 3) for a network.

    An ImageError where a file is no picture.
    """
    how = partial(decode, side=side, fit=config.fit, max_pixels=config.max_pixels, detail=detail)
    return [_decoded(file, how) for file in files]


def decode_as_it_came(file: Path, config: DataConfig) -> NDArray[np.uint8]:
    """The pixels of a file (height, width, 3), small enough for a tile of `draw_maps`.

    An ImageError where it is no picture.
    """
    how = partial(decode_whole, longest=SMALLEST, max_pixels=config.max_pixels)
    return _decoded(file, how).pixels


def _decoded(file: Path, how: Callable[[bytes], Decoded]) -> Decoded:
    try:
        return how(read_bytes(file))
    except OSError as error:
        raise ImageError(
            f"Cannot read {file}: {error.strerror or error}.",
            expected="a picture",
            todo="check the path",
        ) from error
    except ImageError as error:
        raise ImageError(
            f"{file} is not a picture: {error.what}.",
            expected=error.expected,
            todo="name a picture",
        ) from error
