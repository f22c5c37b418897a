"""Images with their maps as overlays."""

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

_WHOLE = ((0, 0), (1, 0), (1, 1), (0, 1))  # the corners of an image, in shares of its sides


@dataclass(frozen=True, eq=False)
class ExplainedPicture:
    """An image's answer, and its maps."""

    name: str  # the file
    # (height, width, 3): the network's input; where the run frames, the original image
    pixels: NDArray[np.uint8]
    prediction: str  # the calibrated answer; of a number its value and interval in words
    probability: float  # of the answer; NaN for a number
    # by method: (height, width), for the answer (above 0) and against it
    maps: dict[str, NDArray[np.float32]]
    badges: dict[str, str]  # by method: whether it could be trusted in the run; "" where unknown
    # (4, 2) of the network's input, in shares of width and height; None: the input is `pixels`
    corners: NDArray[np.float64] | None = None
    # value and ends of the interval of a number; else None
    number: tuple[float, float, float] | None = None

    @property
    def title(self) -> str:
        """The answer in a few words."""
        if self.number is not None:
            return self.prediction
        return f"{self.prediction} {self.probability:.1%}"


def overlay_map(
    pixels: NDArray[np.uint8],
    shades: NDArray[np.float32],
    strength: float,
    corners: NDArray[np.float64] | None = None,
) -> Image.Image:
    """An image (height, width, 3) with its map (height, width) as an overlay.

    Above 0 is blue, below 0 orange, the largest value has the opacity `strength`. A line connects
    the `corners` (4, 2), in shares of width and height, unless they are the image's.
    """
    height, width = pixels.shape[:2]
    longest = max(height, width)
    scale = max(SMALLEST, longest) / longest
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    resized = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    large = Image.fromarray(shades.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    values = np.asarray(large)
    largest = float(np.abs(values).max())
    alpha = strength * np.abs(values)[..., None] / largest if largest > 0 else 0.0
    colour = np.where(values[..., None] >= 0, np.array(FOR), np.array(AGAINST))
    blended = np.rint(resized * (1 - alpha) + colour * alpha).astype(np.uint8)
    image = Image.fromarray(blended)
    if corners is not None and not np.allclose(corners, _WHOLE, atol=1e-3):
        outline = [tuple(place) for place in corners[[0, 1, 2, 3, 0]] * size - 0.5]
        ImageDraw.Draw(image).line(outline, fill="white", width=1 + max(size) // SMALLEST)
    return image


def png_bytes(image: Image.Image | NDArray[np.uint8]) -> bytes:
    """An image, or its pixels, as a PNG."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, "PNG")
    return out.getvalue()


def draw_maps(path: Path, explained: Sequence[ExplainedPicture], titles: Mapping[str, str]) -> None:
    """Write a PNG: a row per image, the image itself and then with each method's map.

    Evidence for the answer is blue, evidence against it orange. `titles` are the methods'.
    """
    rows = []
    for e in explained:
        blank = np.zeros(e.pixels.shape[:2], np.float32)
        tiles = {e.title: blank}
        for name, shades in e.maps.items():
            badge = e.badges[name]
            tiles[f"{titles[name]}{f' ({badge})' if badge else ''}"] = shades
        rows.append(
            [(title, overlay_map(e.pixels, m, 0.8, e.corners)) for title, m in tiles.items()]
        )
    width = max(tile.width for row in rows for _, tile in row)
    lines = [np.concatenate([_add_title(*tile, width) for tile in row], axis=1) for row in rows]
    with atomic(path) as part:
        Image.fromarray(np.concatenate(lines)).save(part, "PNG")


def _add_title(title: str, tile: Image.Image, width: int) -> NDArray[np.uint8]:
    """A tile of that width with a line of text above it."""
    image = Image.new("RGB", (width, tile.height + 18), "white")
    image.paste(tile, (0, 18))
    ImageDraw.Draw(image).text((4, 3), title, fill="black")
    return np.asarray(image)


def decode_pictures(
    files: Sequence[Path], side: int, config: DataConfig, *, detail: int = 1
) -> list[Decoded]:
    """Each file with its pixels (detail · side, detail · side, 3) for a network.

    Raises ImageError where a file is no image.
    """
    read = partial(decode, side=side, fit=config.fit, max_pixels=config.max_pixels, detail=detail)
    return [_decode_file(file, read) for file in files]


def decode_original(file: Path, config: DataConfig) -> NDArray[np.uint8]:
    """The pixels of a file (height, width, 3), reduced to a tile of `draw_maps`.

    Raises ImageError where it is no image.
    """
    decoder = partial(decode_whole, longest=SMALLEST, max_pixels=config.max_pixels)
    return _decode_file(file, decoder).pixels


def _decode_file(file: Path, decoder: Callable[[bytes], Decoded]) -> Decoded:
    try:
        return decoder(read_bytes(file))
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
