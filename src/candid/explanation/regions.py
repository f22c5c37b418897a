"""The parts of a face as regions of an image, for a map's share in each.

A template of the parts is defined in the face's frame: the eyes at (-½, 0) and (½, 0), the middle
of the mouth at (0, 1). Five points of an image (eyes, nose, corners of the mouth) map the frame to
it. Aligned images share one set of points, for example CelebA's mean landmarks; points or masks for
each image are used where there are any.

A template has the average place of a mouth. Hair, neck and background are the most uncertain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candid.errors import ConfigError
from candid.explanation.sample import ImageSet, Sample
from candid.records.explanation import Region, RegionShare
from candid.stats.intervals import ratios

# In the order in which the template names them.
PARTS = (
    *("background", "hair", "forehead", "brows", "eyes"),
    *("nose", "cheeks", "mouth", "jaw", "neck"),
)

_NO_REGION = 255

Points = NDArray[np.float64]  # (…, 5, 2): x, y in shares of width and height

# The means of CelebA's own landmarks (list_landmarks_align_celeba.txt), in pixels of 178 × 218.
CELEBA: Points = np.array(
    [[69.36, 111.19], [107.70, 111.14], [87.86, 135.11], [71.35, 152.15], [105.55, 152.06]]
) / [178, 218]


@dataclass(frozen=True, eq=False)
class Regions:
    """The part of every pixel of n images."""

    names: tuple[str, ...]  # of the parts
    masks: NDArray[np.uint8]  # (n, side, side) index into `names`; (1, side, side) shared by all
    source: str  # "masks", "landmarks", "celeba", …

    def __getitem__(self, rows: NDArray[np.intp]) -> Regions:
        """The regions of some of the images."""
        masks = self.masks if len(self.masks) == 1 else self.masks[rows]
        return Regions(self.names, masks, self.source)

    def of(self, row: int) -> NDArray[np.uint8]:
        """(side, side) mask of one image."""
        mask: NDArray[np.uint8] = self.masks[0 if len(self.masks) == 1 else row]
        return mask

    def sums(self, maps: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, parts) sums of (n, side, side) maps within each part."""
        k, n = len(self.names), len(maps)
        flat = maps.reshape(n, -1)
        if len(self.masks) == 1:
            inside = np.eye(k, dtype=np.float32)[self.masks.ravel()]  # (pixels, parts)
            return (flat @ inside).astype(np.float64)
        cell = self.masks.reshape(n, -1).astype(np.intp) + k * np.arange(n)[:, None]
        sums = np.asarray(np.bincount(cell.ravel(), flat.ravel(), n * k), np.float64)
        return sums.reshape(n, k)

    def areas(self, n: int) -> NDArray[np.float64]:
        """(n, parts): the share of each image's area."""
        k, m = len(self.names), len(self.masks)
        flat = self.masks.reshape(m, -1)
        counts = np.stack([np.bincount(row, minlength=k)[:k] for row in flat])
        return np.broadcast_to(counts / flat.shape[1], (n, k))


# --- from points and masks -----------------------------------------------------------------------


def from_points(points: Points, side: int, *, source: str = "landmarks") -> Regions:
    """The template's parts in n images, mapped by five points each.

    `points` are (n, 5, 2) or (5, 2) x, y in shares of the image's width and height: the eye on the
    left of the image, the one on the right, the tip of the nose, the left and right corner of the
    mouth. Raises ConfigError where they are collinear, or the eyes swapped.
    """
    points = np.asarray(points, np.float64)
    if points.shape[-2:] != (5, 2) or points.ndim > 3 or not np.isfinite(points).all():
        raise ConfigError(
            f"The points of the face have the shape {points.shape}.",
            expected="five finite points x, y (eyes, nose, corners of the mouth) for all images or "
            "for each",
            todo="set explain.regions, or pass them as (5, 2) or (n, 5, 2)",
        )
    points = points.reshape(-1, 5, 2)
    left, right = points[:, 0], points[:, 1]
    mouth, middle = points[:, 3:].mean(1), (left + right) / 2
    eyes, down = right - left, mouth - middle
    area = eyes[:, 0] * down[:, 1] - eyes[:, 1] * down[:, 0]
    if (area <= 1e-6).any():
        wrong = points[np.argmin(area)].round(3).tolist()
        raise ConfigError(
            f"The points of the face cannot be right: {wrong}.",
            expected="the eye on the left first, then the one on the right, the mouth below both",
            todo="check their order and that they are shares of width and height",
        )
    centres = (np.arange(side) + 0.5) / side
    dx = centres[None, None, :] - middle[:, 0, None, None]
    dy = centres[None, :, None] - middle[:, 1, None, None]
    ax, ay, bx, by, det = (value[:, None, None] for value in (*eyes.T, *down.T, area))
    u = (dx * by - dy * bx) / det
    v = (dy * ax - dx * ay) / det
    return Regions(PARTS, _template_parts(u, v), source)


def from_masks(names: tuple[str, ...], masks: NDArray[np.uint8], side: int) -> Regions:
    """Given masks, resized to the maps without interpolation.

    `masks` are (n, height, width) indices into `names`; else raises ConfigError.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3 or masks.dtype.kind not in "ui" or not masks.size:
        raise ConfigError(
            f"The masks have the shape {masks.shape} and the type {masks.dtype}.",
            expected="whole numbers (n, height, width)",
            todo="write one number per pixel",
        )
    if int(masks.max()) >= len(names) or int(masks.min()) < 0:
        raise ConfigError(
            f"The masks hold the number {int(masks.max())}, and there are {len(names)} names.",
            expected="numbers from 0 that index the names",
            todo="name every part",
        )
    height, width = masks.shape[1:]
    rows = ((np.arange(side) + 0.5) * height / side).astype(np.intp)
    columns = ((np.arange(side) + 0.5) * width / side).astype(np.intp)
    resized = masks[:, rows[:, None], columns[None, :]]
    return Regions(tuple(names), resized.astype(np.uint8), "masks")


def fit_points(points: Points, width: int, height: int, fit: str) -> Points:
    """Points (…, 2) in shares of an image, in shares of the square that `data.fit` makes of it."""
    if fit == "stretch":
        return points
    side = (min if fit == "crop" else max)(width, height)
    scale = np.array([width, height]) / side
    return (points - 0.5) * scale + 0.5


def _template_parts(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The part at each point of the face's frame; later ones overwrite earlier ones."""

    def ellipse(x: float, y: float, width: float, height: float) -> NDArray[np.bool_]:
        return ((u - x) / width) ** 2 + ((v - y) / height) ** 2 <= 1

    side = np.abs(u)
    # The oval of the face ends at the hairline above and at the chin below.
    face = ellipse(0, 0.35, 1.14, 1.5)
    head = ellipse(0, -0.25, 1.75, 1.95)
    locks = (side < 1.75) & (v > -0.25) & (v < 1.75)
    layers = {
        "hair": head | locks,
        "neck": (side < 0.85) & (v > 1.2),
        "cheeks": face,
        "jaw": face & (v > 0.8),
        "forehead": face & (v < -0.2),
        "brows": face & (v > -0.46) & (v < -0.17) & (side > 0.1) & (side < 0.98),
        "eyes": ellipse(-0.52, 0, 0.38, 0.19) | ellipse(0.52, 0, 0.38, 0.19),
        "nose": (v > -0.2) & (v < 0.74) & (side < 0.15 + 0.25 * np.clip(v, 0, 1)),
        "mouth": ellipse(0, 1.06, 0.66, 0.29),
    }
    parts = np.full(u.shape, PARTS.index("background"), np.uint8)
    for name, inside in layers.items():
        parts[inside] = PARTS.index(name)
    return parts


# --- shares of maps ------------------------------------------------------------------------------


def map_shares(
    method: str,
    maps: NDArray[np.float32],
    regions: Regions,
    sets: Sequence[ImageSet],
    sample: Sample,
    confidence: float,
) -> list[RegionShare]:
    """Each region's share of the maps, per set of images, and its density: share by area.

    Of the (n, side, side) maps' absolute values; a map of zeros has no shares.
    """
    strength = np.abs(maps)
    total = strength.sum(axis=(1, 2), dtype=np.float64)[:, None]
    area = regions.areas(len(maps))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where((total > 0) & (area > 0), regions.sums(strength) / total, np.nan)
    records = []
    for image_set in sets:
        rows, person = image_set.mask, sample.persons(image_set.mask)
        shares = ratios(share[rows], None, person, confidence=confidence)
        densities = ratios(share[rows], area[rows], person, confidence=confidence)
        visible = visible_regions(regions.names, area[rows])
        for region, part, density in zip(visible, shares, densities, strict=True):
            key = image_set.about.key
            records.append(RegionShare(method, key, region.name, part, region.area, density))
    return records


def visible_regions(names: Sequence[str], areas: NDArray[np.float64]) -> list[Region]:
    """In how many images each region is visible, and its mean area there, from (n, parts) areas."""
    visible = [column[column > 0] for column in areas.T]
    return [
        Region(name, len(a), float(a.mean()) if len(a) else float("nan"))
        for name, a in zip(names, visible, strict=True)
    ]


def region_masks(regions: Regions | None, rows: NDArray[np.intp], side: int) -> NDArray[np.uint8]:
    """(rows, side, side) index of the region at each pixel, 255 where there are none."""
    masks = np.full((len(rows), side, side), _NO_REGION, np.uint8)
    if regions is not None:
        masks[:] = regions[rows].masks
    return masks


def most_common_regions(regions: Regions | None, side: int) -> NDArray[np.uint8]:
    """(side, side) index of the region that most images have at each pixel; 255: none."""
    if regions is None:
        return np.full((side, side), _NO_REGION, np.uint8)
    counts = np.stack([(regions.masks == i).sum(0) for i in range(len(regions.names))])
    mode: NDArray[np.uint8] = counts.argmax(0).astype(np.uint8)
    return mode
