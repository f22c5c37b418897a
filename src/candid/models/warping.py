"""Planes of pixels read at other places: what augmentation draws and framing undoes.

Coordinates are normalised as in `torch.nn.functional.grid_sample` with `align_corners=False`: -1
and 1 are the outer edges of the image, x to the right, y down. A homography maps a place in the
*output* to the place in the *input* that is read there.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

# What stands outside the image: its edge repeated, or the image mirrored at its edge.
Padding = Literal["border", "reflection"]


def warp(
    images: Tensor,
    homographies: Tensor,
    side: int | tuple[int, int] = 0,
    padding: Padding = "border",
    *,
    kept: Tensor | None = None,
) -> Tensor:
    """Read every image once, bilinearly, at the places that its homography names.

    `images` are (batch, channels, height, width) float; `homographies` (batch, 3, 3), output to
    input, in normalised coordinates; `side` the pixels per side of the output, or its height and
    width; 0: as the input. Of the first images of the batch the rectangles `kept` (few, 4), their
    left, top, right and bottom, are read alone: around them stands their mirror image.
    """
    height, width = _size(side) if side else images.shape[2:]
    places = _places(homographies, height, width)
    if kept is not None:
        few, sides = places[: len(kept)], kept.to(places)[:, :, None, None]
        low = sides[:, :2]
        places = torch.cat([_folded(few, low, sides[:, 2:] - low), places[len(kept) :]])
    return _read(images, places, padding)


def _folded(places: Tensor, low: Tensor | float, size: Tensor | float) -> Tensor:
    """Places, mirrored at `low` and `low + size` until they lie between."""
    return low + size - ((places - low).remainder(2 * size) - size).abs()


def _read(images: Tensor, places: Tensor, padding: Padding) -> Tensor:
    """Images (batch, …) at places (batch, 2, height, width)."""
    grid = places.to(images.dtype).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _read_pyramid(
    levels: list[Tensor], places: Tensor, padding: Padding, coarser: list[Tensor]
) -> Tensor:
    """As `_read`, of square images at several levels of detail, each at the one that it needs.

    `coarser` has, for every level but the first, which images (batch,) need it. All levels of an
    image lie on one sheet, below one another, so that it is read once; a place never leaves its
    level, for it is brought between the middles of that level's outermost pixels. What is outside
    may then count as 0: ONNX Runtime (1.32) reads that four times as quickly as a mirror image.
    """
    sides = [level.shape[2] for level in levels]
    width, height = sides[0], sum(sides)
    # Of each level on the sheet: how far from its middle a place may be, its size, its middle.
    rows = [
        (1 - 1 / side, side / width, side / height, side / width - 1, (side + 2 * top) / height - 1)
        for side, top in zip(sides, accumulate(sides, initial=0), strict=False)
    ]
    where = places.new_tensor(rows)
    lies = where[:1]
    for coarse, at in zip(coarser, where[1:], strict=True):
        lies = torch.where(coarse[:, None], at, lies)
    lies = lies[:, :, None, None]
    outermost, size, middle = lies[:, :1], lies[:, 1:3], lies[:, 3:]
    if padding == "reflection":
        places = _folded(places, -1.0, 2.0)
    grid = places.minimum(outermost).maximum(-outermost) * size + middle
    beside = [F.pad(level, (0, width - level.shape[3])) for level in levels[1:]]
    sheet = torch.cat([levels[0], *beside], 2)
    return F.grid_sample(
        sheet, grid.permute(0, 2, 3, 1), mode="bilinear", padding_mode="zeros", align_corners=False
    )


def reached(homographies: Tensor, side: int | tuple[int, int]) -> Tensor:
    """(batch, 1, height, width) bool: which places of the output are read inside the input."""
    return (_places(homographies, *_size(side)).abs() <= 1).all(1, keepdim=True)


def _size(side: int | tuple[int, int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else side


def _places(homographies: Tensor, height: int, width: int) -> Tensor:
    """(batch, 2, height, width): where each pixel of the output is read."""
    middles = _middles if is_recorded() else _known_middles
    mapped = homographies @ middles(
        height, width, homographies.device
    )  # (batch, 3, height · width)
    return (mapped[:, :2] / mapped[:, 2:]).reshape(-1, 2, height, width)


def _middles(height: int, width: int, device: torch.device) -> Tensor:
    """(3, height · width): the middles of an output's pixels, row by row, with a 1 below each."""
    ys = (torch.arange(height, device=device, dtype=torch.float32) * 2 + 1) / height - 1
    xs = (torch.arange(width, device=device, dtype=torch.float32) * 2 + 1) / width - 1
    return torch.stack(
        [xs.repeat(height), ys.repeat_interleave(width), torch.ones(height * width, device=device)]
    )


@lru_cache(maxsize=16)
def _known_middles(height: int, width: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # so that it may be used where gradients are asked for, too
        return _middles(height, width, device)


def is_recorded() -> bool:
    """Whether what is computed becomes a graph, for pictures that nobody knows yet."""
    return bool(torch.jit.is_tracing() or torch.compiler.is_compiling())  # type: ignore[attr-defined,no-untyped-call]


def halved(images: Tensor) -> Tensor:
    """(batch, channels, height, width) at half the pixels per side: the mean of each 2×2."""
    half = (images.shape[2] // 2, images.shape[3] // 2)
    return F.interpolate(images, size=half, mode="bilinear", align_corners=False)


def magnified(maps: Tensor) -> Tensor:
    """(batch,) how many times longer affine maps (batch, 3, 3) make lengths: by √ of areas."""
    turn = maps[:, :2, :2]
    area = turn[:, 0, 0] * turn[:, 1, 1] - turn[:, 0, 1] * turn[:, 1, 0]
    return area.abs().sqrt()


def level_warp(
    images: Tensor, homographies: Tensor, side: int, padding: Padding, *, levels: int = 2
) -> Tensor:
    """`warp` with less aliasing where it shrinks: each image is read at the detail that it needs.

    Of `levels` halvings of an image (the first is itself) the one is read whose pixels lie about as
    far apart as the places that are read (mipmaps: Williams, 1983, "Pyramidal parametrics").
    Homographies must be affine. (batch, channels, height, height) → (batch, channels, side, side).
    """
    # Pixels between neighbours of the output.
    step = magnified(homographies).to(images) * (images.shape[2] / side)
    coarser = [step >= 2 ** (level - 0.5) for level in range(1, levels)]
    places = _places(homographies, side, side)
    if is_recorded():  # each is read at one of all levels
        pyramid = [images]
        for _ in coarser:
            pyramid.append(halved(pyramid[-1]))
        return _read_pyramid(pyramid, places, padding, coarser)
    if not coarser:
        return _read(images, places, padding)
    read = images.new_empty(len(images), images.shape[1], side, side)
    # Of the images that are left at this level.
    rows = torch.arange(len(images), device=images.device)
    for coarse in [*coarser, torch.zeros_like(step, dtype=torch.bool)]:
        further = coarse.index_select(0, rows)
        here, there = (~further).nonzero()[:, 0], further.nonzero()[:, 0]
        read_now = rows.index_select(0, here)
        seen = _read(images.index_select(0, here), places.index_select(0, read_now), padding)
        read.index_copy_(0, read_now, seen)
        if len(there) == 0:
            break
        rows, images = rows.index_select(0, there), halved(images.index_select(0, there))
    return read


def frame_matrices(frames: Tensor) -> Tensor:
    """(batch, 5) → (batch, 3, 3): each frame as a map from its own square to the image's.

    A frame is log scale, log aspect, x and y of its centre, and its angle in radians: the square
    [-1, 1]² becomes e^(scale ± aspect) times as wide and high, turned, and moved. A scale above 0
    makes it reach beyond the image.
    """
    scale, aspect, x, y, angle = frames.unbind(1)
    cos, sin = angle.cos(), angle.sin()
    wide, high = (scale + aspect).exp(), (scale - aspect).exp()
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = (cos * wide, -sin * high, x, sin * wide, cos * high, y, zero, zero, one)
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)


def to_pixels(planes: Tensor) -> Tensor:
    """(n, height, width, 3) uint8 of planes (n, 3, height, width) from 0 to 255, rounded."""
    return planes.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
