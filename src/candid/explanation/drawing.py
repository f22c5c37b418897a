"""Pictures with their maps laid over them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from candid.data.decode import decode
from candid.errors import ImageError
from candid.settings import DataConfig
from candid.storage.files import atomic, read_bytes

FOR, AGAINST = (11, 102, 168), (194, 78, 0)  # blue and orange: told apart by every kind of eye
_SMALLEST = 256  # pixels per side of a drawn overlay


@dataclass(frozen=True, eq=False)
class ExplainedPicture:
    """One picture's answer, and its maps."""

    name: str  # the file
    pixels: NDArray[np.uint8]  # (side, side, 3) as the network saw it
    prediction: str
    probability: float  # calibrated
    maps: dict[str, NDArray[np.float32]]  # by method: (side, side), for (above 0) and against
    badges: dict[str, str]  # by method: whether it could be trusted in the run; "" where unknown


def laid_over(
    pixels: NDArray[np.uint8], shades: NDArray[np.float32], strength: float
) -> Image.Image:
    """A picture (side, side, 3) with its map (side, side) laid over it.

    Above 0 is blue, below 0 orange, the largest value the least transparent: as opaque as
    `strength`.
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
        titled = {f"{one.prediction} {one.probability:.1%}": blank}
        for name, shades in one.maps.items():
            badge = one.badges[name]
            titled[f"{titles[name]}{f' ({badge})' if badge else ''}"] = shades
        tiles = []
        for title, shades in titled.items():
            tile = laid_over(one.pixels, shades, 0.8)
            framed = Image.new("RGB", (tile.width, tile.height + 18), "white")
            framed.paste(tile, (0, 18))
            ImageDraw.Draw(framed).text((4, 3), title, fill="black")
            tiles.append(np.asarray(framed))
        rows.append(np.concatenate(tiles, axis=1))
    with atomic(path) as part:
        Image.fromarray(np.concatenate(rows)).save(part, "PNG")


def decode_pictures(
    files: Sequence[Path], side: int, config: DataConfig, *, detail: int = 1
) -> list[tuple[str, NDArray[np.uint8]]]:
    """The name of each file, and its pixels (detail · side, detail · side, 3) for a network.

    An ImageError where a file is no picture.
    """
    pictures = []
    for file in files:
        try:
            encoded = read_bytes(file)
            decoded = decode(
                encoded, side=side, fit=config.fit, max_pixels=config.max_pixels, detail=detail
            )
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
        pictures.append((str(file), decoded.pixels))
    return pictures
