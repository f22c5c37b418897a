"""Augmentation of a whole batch at once: one homography and one change of colour per image.

Flip, rotation, perspective and framing compose to one 3×3 matrix per image, so that an image is
resampled once, whatever happens to it; brightness, contrast and saturation compose to one 3×3
matrix and an offset. Erased patches come last. Parameters are drawn on the CPU from a generator of
the caller, so the same seed gives the same augmentation on every device.

Homographies and their coordinates are those of `candid.models.warping`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candid.models.forward import Images
from candid.models.warping import frame_matrices, warp
from candid.settings import AugmentConfig
from candid.training.own_parts import own_augmentation

# Aspect ratios of erased patches, from Zhong et al., "Random Erasing Data Augmentation", 2020.
_ASPECT = (0.3, 1 / 0.3)


def augment(
    images: Tensor, config: AugmentConfig, generator: torch.Generator, side: int = 0
) -> Tensor:
    """Augment every image; (batch, 3, side, side) float → the same device and type.

    Images are normalised so that 0 is the mean colour, and `generator` is one of the CPU. The
    output has `side` pixels per side; 0: as the input. Places outside the input repeat its edge;
    erased patches are 0. A custom function (`augment.extra`) comes last.
    """
    homographies = draw_homographies(len(images), config, generator)
    if _only_flips(config) and side in (0, images.shape[3]) and images.shape[2] == images.shape[3]:
        flips = (homographies[:, 0, 0] < 0).to(images.device)
        images = torch.where(flips[:, None, None, None], images.flip(3), images)
    else:
        visible = draw_crops(len(images), config, generator) if config.crop else None
        images = warp(images, homographies.to(images.device), side, config.outside, visible=visible)
    batch, _, height, width = images.shape
    if config.brightness > 0 or config.contrast > 0 or config.saturation > 0:
        images = recolour(images, *draw_colours(batch, config, generator))
    if config.erase > 0 and config.erase_patches > 0:
        boxes = draw_patches(batch, height, width, config, generator)
        images = erase(images, boxes.to(images.device))
    return own_augmentation(config.extra, images, generator) if config.extra else images


def _only_flips(config: AugmentConfig) -> bool:
    """Whether images are at most mirrored, so that no pixel is resampled."""
    rotates = config.rotation > 0 and config.rotation_degrees > 0
    tilts = config.perspective > 0 and config.perspective_shift > 0
    return not (rotates or tilts or config.zoom or config.aspect or config.shift or config.crop)


def draw_homographies(batch: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """(batch, 3, 3) float32: framing, perspective, rotation and flip, from output to input."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator)

    def happens(probability: float) -> Tensor:
        return uniform() < probability

    # Every number is drawn whether it is used or not: changing one probability then leaves the
    # others' numbers as they were.
    flips = happens(config.flip)
    angles = (2 * uniform() - 1) * math.radians(config.rotation_degrees)
    angles = torch.where(happens(config.rotation), angles, 0.0)
    shifts = (2 * uniform(4, 2) - 1) * config.perspective_shift
    shifts = torch.where(happens(config.perspective)[:, None, None], shifts, 0.0)
    matrices = square_to_quad(_CORNERS + shifts) @ rotation(angles) @ horizontal_flip(flips)
    if not (config.zoom or config.aspect or config.shift):  # the only ones drawn on demand
        return matrices
    zooms, aspects = (2 * uniform(2) - 1).mul(torch.tensor([config.zoom, config.aspect])).unbind(1)
    x, y = (2 * uniform(2) - 1).mul(2 * config.shift).unbind(1)
    frames = torch.stack([zooms, aspects, x, y, torch.zeros(batch)], dim=1)
    return frame_matrices(frames) @ matrices


def draw_crops(batch: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """(count, 4) rectangles to crop the first images to: left, top, right, bottom, -1 to 1.

    Each side has from `crop_smallest` to all of the image's, uniformly, and lies anywhere in it.
    """
    count = round(config.crop * batch)
    size = config.crop_smallest + (1 - config.crop_smallest) * torch.rand(
        count, 2, generator=generator
    )
    low = torch.rand(count, 2, generator=generator) * (1 - size)
    return 2 * torch.cat([low, low + size], dim=1) - 1


_CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def horizontal_flip(flips: Tensor) -> Tensor:
    """(batch,) bool → (batch, 3, 3)."""
    matrix = torch.eye(3).repeat(len(flips), 1, 1)
    matrix[:, 0, 0] = torch.where(flips, -1.0, 1.0)
    return matrix


def rotation(angles: Tensor) -> Tensor:
    """(batch,) radians → (batch, 3, 3); a positive angle turns the image anticlockwise."""
    matrix = torch.eye(3).repeat(len(angles), 1, 1)
    cos, sin = angles.cos(), angles.sin()
    matrix[:, 0, 0], matrix[:, 0, 1] = cos, -sin
    matrix[:, 1, 0], matrix[:, 1, 1] = sin, cos
    return matrix


def square_to_quad(quads: Tensor) -> Tensor:
    """The homographies that take the corners of the square [-1, 1]² to those of `quads`.

    Closed form of Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, section
    2.2.3, for the unit square, after a scaling of [-1, 1]² to it. `quads` are (batch, 4, 2): x and
    y of the corners top left, top right, bottom right, bottom left.
    """
    p0, p1, p2, p3 = quads.double().unbind(1)  # each (batch, 2)
    total = p0 - p1 + p2 - p3
    d1, d2 = p1 - p2, p3 - p2
    area = d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1]
    g = (total[:, 0] * d2[:, 1] - d2[:, 0] * total[:, 1]) / area
    h = (d1[:, 0] * total[:, 1] - total[:, 0] * d1[:, 1]) / area
    unit = torch.empty(len(quads), 3, 3, dtype=torch.float64)
    unit[:, :2, 0] = p1 - p0 + g[:, None] * p1
    unit[:, :2, 1] = p3 - p0 + h[:, None] * p3
    unit[:, :2, 2] = p0
    unit[:, 2] = torch.stack([g, h, torch.ones_like(g)], dim=1)
    to_unit = torch.tensor([[0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 1]], dtype=torch.float64)
    matrix = unit @ to_unit
    return (matrix / matrix[:, 2:, 2:]).float()


def draw_colours(
    batch: int, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(batch, 3, 3) and (batch, 3, 1) float32: saturation, contrast and brightness, in this order.

    Saturation moves a colour from or to the mean of its channels, contrast from or to 0, which is
    the mean colour of the images; brightness adds the same to all channels.
    """

    def uniform(largest: float) -> Tensor:
        return (2 * torch.rand(batch, 1, 1, generator=generator) - 1) * largest

    brightness, contrast, saturation = map(
        uniform, (config.brightness, config.contrast, config.saturation)
    )
    matrix = (1 + saturation) * torch.eye(3) - saturation / 3
    return (1 + contrast) * matrix, brightness.expand(batch, 3, 1)


def recolour(images: Tensor, matrices: Tensor, offsets: Tensor) -> Tensor:
    """Every pixel's three channels times the matrix of its image, plus the offset."""
    batch, channels, height, width = images.shape
    flat = images.reshape(batch, channels, height * width)
    matrices, offsets = (x.to(images) for x in (matrices, offsets))
    return torch.baddbmm(offsets, matrices, flat).reshape(images.shape)


def draw_patches(
    batch: int, height: int, width: int, config: AugmentConfig, generator: torch.Generator
) -> Tensor:
    """(batch, patches, 4) float: top, left, bottom, right in pixels; an empty box where none."""
    shape = (batch, config.erase_patches)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    happens = uniform(0, 1) < config.erase
    area = uniform(config.erase_smallest, config.erase_largest) * height * width
    aspect = uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])).exp()
    heights = (area * aspect).sqrt().clamp(max=height)
    widths = (area / aspect).sqrt().clamp(max=width)
    top = uniform(0, 1) * (height - heights)
    left = uniform(0, 1) * (width - widths)
    boxes = torch.stack([top, left, top + heights, left + widths], dim=2)
    return torch.where(happens[:, :, None], boxes, 0.0)


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Set to 0 the pixels whose centres lie in one of the image's boxes."""
    _, _, height, width = images.shape
    ys = torch.arange(height, device=images.device) + 0.5
    xs = torch.arange(width, device=images.device) + 0.5
    top, left, bottom, right = boxes[..., None].unbind(2)  # each (batch, patches, 1)
    in_rows = (ys >= top) & (ys < bottom)  # (batch, patches, height)
    in_columns = (xs >= left) & (xs < right)  # (batch, patches, width)
    erased = (in_rows[..., :, None] & in_columns[..., None, :]).any(1)  # (batch, height, width)
    return images.masked_fill(erased[:, None], 0.0)


def augmented_grid(
    images: Images,
    rows: NDArray[np.intp],
    config: AugmentConfig,
    *,
    columns: int = 8,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """One line per image: the original, then `columns` - 1 augmented versions.

    (rows · side, columns · side, 3) uint8.
    """
    cpu = torch.device("cpu")
    batch = images.batch(rows, cpu)
    generator = torch.Generator().manual_seed(seed)
    versions = [batch, *(augment(batch, config, generator) for _ in range(columns - 1))]
    grid = torch.stack(versions, dim=1)  # (rows, columns, 3, side, side)
    mean, std = (torch.tensor(v)[:, None, None] for v in (images.mean, images.std))
    pixels = ((grid * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    lines = pixels.permute(0, 3, 1, 4, 2)  # (rows, side, columns, side, 3)
    return lines.reshape(len(rows) * images.side, columns * images.side, 3).numpy()
