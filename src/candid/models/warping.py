"""Warps of images by homographies, for augmentation and framing.

Coordinates are normalised as in `torch.nn.functional.grid_sample` with `align_corners=False`: -1
and 1 are the outer edges of the image, x to the right, y down. A homography maps a point of the
*output* to the point of the *input* that is sampled for it.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

# Outside the image: its edge repeated, or the image mirrored at its edge.
Padding = Literal["border", "reflection"]


def warp(
    images: Tensor,
    homographies: Tensor,
    side: int | tuple[int, int] = 0,
    padding: Padding = "border",
    *,
    visible: Tensor | None = None,
) -> Tensor:
    """Resample every image bilinearly by its homography.

    `images` are (batch, channels, height, width) float; `homographies` (batch, 3, 3), output to
    input, in normalised coordinates; `side` the pixels per side of the output, or its height and
    width; 0: as the input. The first images are cropped to the rectangles `visible` (count, 4),
    their left, top, right and bottom, and reflected at the edges of these.
    """
    height, width = _size(side) if side else images.shape[2:]
    points = _sample_points(homographies, height, width)
    if visible is not None:
        cropped, sides = points[: len(visible)], visible.to(points)[:, :, None, None]
        low = sides[:, :2]
        points = torch.cat([_reflect(cropped, low, sides[:, 2:] - low), points[len(visible) :]])
    return _sample(images, points, padding)


def _reflect(points: Tensor, low: Tensor | float, size: Tensor | float) -> Tensor:
    """Points, mirrored at `low` and `low + size` until they lie between."""
    return low + size - ((points - low).remainder(2 * size) - size).abs()


def _sample(images: Tensor, points: Tensor, padding: Padding) -> Tensor:
    """Images (batch, …) at points (batch, 2, height, width)."""
    grid = points.to(images.dtype).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _sample_pyramid(
    levels: list[Tensor], points: Tensor, padding: Padding, coarser: list[Tensor]
) -> Tensor:
    """As `_read`, of square images at several levels of detail, each at the one that it needs.

    `coarser` has, for every level but the first, which images (batch,) need it. All levels of an
    image lie on one sheet, below one another, so that it is sampled once; points are clamped
    between the centres of their level's outermost pixels. The padding may then be zeros, which ONNX
    Runtime (1.32) samples four times as quickly as a reflection.
    """
    sides = [level.shape[2] for level in levels]
    width, height = sides[0], sum(sides)
    # Of each level on the sheet: how far from its centre a point may be, its size, its centre.
    rows = [
        (1 - 1 / side, side / width, side / height, side / width - 1, (side + 2 * top) / height - 1)
        for side, top in zip(sides, accumulate(sides, initial=0), strict=False)
    ]
    layout = points.new_tensor(rows)
    placement = layout[:1]
    for coarse, row in zip(coarser, layout[1:], strict=True):
        placement = torch.where(coarse[:, None], row, placement)
    placement = placement[:, :, None, None]
    bound, size, middle = placement[:, :1], placement[:, 1:3], placement[:, 3:]
    if padding == "reflection":
        points = _reflect(points, -1.0, 2.0)
    grid = points.minimum(bound).maximum(-bound) * size + middle
    padded = [F.pad(level, (0, width - level.shape[3])) for level in levels[1:]]
    sheet = torch.cat([levels[0], *padded], 2)
    return F.grid_sample(
        sheet, grid.permute(0, 2, 3, 1), mode="bilinear", padding_mode="zeros", align_corners=False
    )


def inside_mask(homographies: Tensor, side: int | tuple[int, int]) -> Tensor:
    """(batch, 1, height, width) bool: whether the output's pixels are sampled inside the input."""
    return (_sample_points(homographies, *_size(side)).abs() <= 1).all(1, keepdim=True)


def _size(side: int | tuple[int, int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else side


def _sample_points(homographies: Tensor, height: int, width: int) -> Tensor:
    """(batch, 2, height, width): where each pixel of the output is sampled."""
    pixel_centres = _pixel_centres if is_tracing() else _cached_pixel_centres
    mapped = homographies @ pixel_centres(
        height, width, homographies.device
    )  # (batch, 3, height · width)
    return (mapped[:, :2] / mapped[:, 2:]).reshape(-1, 2, height, width)


def _pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """(3, height · width): homogeneous coordinates of the pixels' centres, row by row."""
    ys = (torch.arange(height, device=device, dtype=torch.float32) * 2 + 1) / height - 1
    xs = (torch.arange(width, device=device, dtype=torch.float32) * 2 + 1) / width - 1
    return torch.stack(
        [xs.repeat(height), ys.repeat_interleave(width), torch.ones(height * width, device=device)]
    )


@lru_cache(maxsize=16)
def _cached_pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # so that it can be used with gradients, too
        return _pixel_centres(height, width, device)


def is_tracing() -> bool:
    """Whether torch is recording the operations as a graph."""
    return bool(torch.jit.is_tracing() or torch.compiler.is_compiling())  # type: ignore[attr-defined,no-untyped-call]


def halve(images: Tensor) -> Tensor:
    """(batch, channels, height, width) at half the pixels per side: the mean of each 2×2."""
    half = (images.shape[2] // 2, images.shape[3] // 2)
    return F.interpolate(images, size=half, mode="bilinear", align_corners=False)


def scale_factors(maps: Tensor) -> Tensor:
    """(batch,) how many times longer affine maps (batch, 3, 3) make lengths: by √ of areas."""
    linear = maps[:, :2, :2]
    area = linear[:, 0, 0] * linear[:, 1, 1] - linear[:, 0, 1] * linear[:, 1, 0]
    return area.abs().sqrt()


def level_warp(
    images: Tensor, homographies: Tensor, side: int, padding: Padding, *, levels: int = 2
) -> Tensor:
    """`warp` with less aliasing where it shrinks: each image is sampled at the detail it needs.

    Of `levels` halvings of an image (the first is itself) the one is sampled whose pixels lie about
    as far apart as the points (mipmaps: Williams, 1983, "Pyramidal parametrics"). Homographies must
    be affine. (batch, channels, height, height) → (batch, channels, side, side).
    """
    # Pixels between neighbours of the output.
    step = scale_factors(homographies).to(images) * (images.shape[2] / side)
    coarser = [step >= 2 ** (level - 0.5) for level in range(1, levels)]
    points = _sample_points(homographies, side, side)
    if is_tracing():  # a graph must have all levels
        pyramid = [images]
        for _ in coarser:
            pyramid.append(halve(pyramid[-1]))
        return _sample_pyramid(pyramid, points, padding, coarser)
    if not coarser:
        return _sample(images, points, padding)
    out = images.new_empty(len(images), images.shape[1], side, side)
    # The images that are left at this level.
    rows = torch.arange(len(images), device=images.device)
    for coarse in [*coarser, torch.zeros_like(step, dtype=torch.bool)]:
        needs_coarser = coarse.index_select(0, rows)
        done, remaining = (~needs_coarser).nonzero()[:, 0], needs_coarser.nonzero()[:, 0]
        done_rows = rows.index_select(0, done)
        sampled = _sample(images.index_select(0, done), points.index_select(0, done_rows), padding)
        out.index_copy_(0, done_rows, sampled)
        if len(remaining) == 0:
            break
        rows, images = rows.index_select(0, remaining), halve(images.index_select(0, remaining))
    return out


def frame_matrices(frames: Tensor) -> Tensor:
    """(batch, 5) → (batch, 3, 3): each frame as a map from its own square to the image's.

    A frame is log scale, log aspect, x and y of its centre, and its angle in radians: the square
    [-1, 1]² becomes e^(scale ± aspect) times as wide and high, turned, and moved. A scale above 0
    makes it reach beyond the image.
    """
    scale, aspect, x, y, angle = frames.unbind(1)
    cos, sin = angle.cos(), angle.sin()
    wide, tall = (scale + aspect).exp(), (scale - aspect).exp()
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = (cos * wide, -sin * tall, x, sin * wide, cos * tall, y, zero, zero, one)
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)


def to_pixels(planes: Tensor) -> Tensor:
    """(n, height, width, 3) uint8 of planes (n, 3, height, width) from 0 to 255, rounded."""
    return planes.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
