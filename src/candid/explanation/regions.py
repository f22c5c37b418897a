"""Where the parts of a face are, so that a map can be asked how much of it lies in the mouth.

The parts are drawn once, in a frame that is the face's own: the eyes at (-½, 0) and (½, 0), the
middle of the mouth at (0, 1). Five points of a picture (eyes, nose, corners of the mouth) carry the
frame into it. Aligned pictures share one set of points, CelebA's mean landmarks for example; where
there are points or masks for each picture, these are used instead.

A template knows where a mouth is on average. Hair, neck and background are the most uncertain:
long hair lies where it likes.
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
    """Which part every pixel of n images belongs to."""

    names: tuple[str, ...]  # of the parts
    masks: NDArray[np.uint8]  # (n, side, side) index into `names`; (1, side, side) shared by all
    source: str  # where they come from: "masks", "landmarks", "celeba", …

    def __getitem__(self, rows: NDArray[np.intp]) -> Regions:
        """The same for some of the images."""
        masks = self.masks if len(self.masks) == 1 else self.masks[rows]
        return Regions(self.names, masks, self.source)

    def of(self, row: int) -> NDArray[np.uint8]:
        """(side, side) of one image."""
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
    """The template's parts in n pictures, carried there by five points each.

    `points` are (n, 5, 2) or (5, 2) x, y in shares of the picture's width and height: the eye on
    the left of the picture, the one on the right, the tip of the nose, the left and right corner of
    the mouth. A ConfigError where they are not those of a face: in one line, or the eyes swapped.
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
    across, down = right - left, mouth - middle
    turn = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    if (turn <= 1e-6).any():
        raise ConfigError(
            f"The points of the face cannot be right: {points[np.argmin(turn)].round(3).tolist()}.",
            expected="the eye on the left first, then the one on the right, the mouth below both",
            todo="check their order and that they are shares of width and height",
        )
    at = (np.arange(side) + 0.5) / side
    dx = at[None, None, :] - middle[:, 0, None, None]
    dy = at[None, :, None] - middle[:, 1, None, None]
    ax, ay, bx, by, area = (
        value[:, None, None] for value in (across[:, 0], across[:, 1], down[:, 0], down[:, 1], turn)
    )
    u = (dx * by - dy * bx) / area
    v = (dy * ax - dx * ay) / area
    return Regions(PARTS, _parts(u, v), source)


def from_masks(names: tuple[str, ...], masks: NDArray[np.uint8], side: int) -> Regions:
    """Masks that somebody drew, brought to the size of the maps without mixing parts.

    `masks` are (n, height, width) indices into `names`; a ConfigError where they are something
    else.
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
    small = masks[:, rows[:, None], columns[None, :]]
    return Regions(tuple(names), small.astype(np.uint8), "masks")


def fitted(points: Points, width: int, height: int, fit: str) -> Points:
    """Points (…, 2) in shares of a picture, in shares of the square that `data.fit` makes of it."""
    if fit == "stretch":
        return points
    side = (min if fit == "crop" else max)(width, height)
    scale = np.array([width, height]) / side
    return (points - 0.5) * scale + 0.5


def _parts(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The part at each place of the face's own frame; later ones lie over earlier ones."""

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


# --- what lies in them ---------------------------------------------------------------------------


def map_shares(
    method: str,
    maps: NDArray[np.float32],
    regions: Regions,
    sets: Sequence[ImageSet],
    sample: Sample,
    confidence: float,
) -> list[RegionShare]:
    """How much of the maps lies in each region, per set of images, beside its share of the area.

    Of the (n, side, side) maps only the absolute values count; a map of zeros has no shares.
    """
    strength = np.abs(maps)
    total = strength.sum(axis=(1, 2), dtype=np.float64)[:, None]
    area = regions.areas(len(maps))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where((total > 0) & (area > 0), regions.sums(strength) / total, np.nan)
    made = []
    for each in sets:
        rows, who = each.mask, sample.persons(each.mask)
        shares = ratios(share[rows], None, who, confidence=confidence)
        dense = ratios(share[rows], area[rows], who, confidence=confidence)
        seen = regions_seen(regions.names, area[rows])
        for region, part, density in zip(seen, shares, dense, strict=True):
            key = each.about.key
            made.append(RegionShare(method, key, region.name, part, region.area, density))
    return made


def regions_seen(names: Sequence[str], areas: NDArray[np.float64]) -> list[Region]:
    """In how many of (n, parts) images each region is to be seen, and how large it is there."""
    mine = [column[column > 0] for column in areas.T]
    return [
        Region(name, len(a), float(a.mean()) if len(a) else float("nan"))
        for name, a in zip(names, mine, strict=True)
    ]


def masks_of(regions: Regions | None, rows: NDArray[np.intp], side: int) -> NDArray[np.uint8]:
    """(rows, side, side) index of the region at each pixel, 255 where there are none."""
    made = np.full((len(rows), side, side), _NO_REGION, np.uint8)
    if regions is not None:
        made[:] = regions[rows].masks
    return made


def commonest(regions: Regions | None, side: int) -> NDArray[np.uint8]:
    """(side, side) index of the region that most images have at each pixel; 255: none."""
    if regions is None:
        return np.full((side, side), _NO_REGION, np.uint8)
    counts = np.stack([(regions.masks == i).sum(0) for i in range(len(regions.names))])
    most: NDArray[np.uint8] = counts.argmax(0).astype(np.uint8)
    return most
