"""Detection of images unlike the training images, for which the model's answers mean nothing.

A face classifier is confident about any image. So a second, small model checks the images: a linear
discriminant between the training images and the same images rotated, shifted, zoomed, shuffled,
blurred, inverted or noisy, on gradients pooled over cells, as in histograms of oriented gradients
(Dalal & Triggs 2005; discriminants on them: Hariharan et al. 2012; anomaly detection by transformed
images: Golan & El-Yaniv 2018). Other images are far from the training images too: photographs of
things, whole scenes, crops of another kind.

The limit is set on validation images so that at most a chosen share of images like them is flagged:
the ⌈(n + 1)(1 - share)⌉-th smallest of their n distances (split conformal prediction, Vovk et al.
2005; exact for exchangeable images, which several of one person are only nearly). The power is
measured on validation images distorted in the same ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from candid.records import Estimate
from candid.stats.intervals import wilson_share
from candid.storage.archives import reading_archive, write_archive
from candid.storage.files import FORMAT, check_format
from candid.table import sample_rows
from candid.text import labelling as text
from candid.text.labelling import UNLIKE as UNLIKE

_GRID = 32  # pixels per side at which gradients are taken
_CELLS = 8  # cells per side
_WEIGHTS = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601
_SMALLEST_GRADIENT = 1e-3  # of 255; keeps a direction defined
_FLAT = 2.0  # gradients below this count as none
_RIDGE = 1e-3  # of the mean variance
_MARGIN = 1.1  # factor on the training images' range of shapes

_Distortion = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Unfamiliar:
    """A detector of images unlike the training images."""

    weight: NDArray[np.float32] = field(repr=False)  # (features,) of the discriminant
    # Distances above it are flagged; infinite where there are too few images to set it.
    limit: float
    false_alarms: float  # the share of images like the validation images that may be flagged
    checked: int  # validation images that the limit was set on
    caught: int  # distorted validation images above the limit
    displaced: int  # distorted validation images
    narrowest: float  # width / height of the training images, with a margin
    widest: float
    # Images whose shorter edge has fewer pixels are flagged, unless it has as many as the model's
    # input: half of the training images' number, or of the input's.
    smallest: int
    # Images whose green channel has a smaller standard deviation are flagged, as they have no
    # gradients.
    faintest: float

    def distances(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(n,) distances of images (n, side, side, 3) from the training images."""
        return (features(pixels) @ self.weight).astype(np.float64)

    def unlike(
        self,
        pixels: NDArray[np.uint8],
        widths: NDArray[Any],
        heights: NDArray[Any],
        *,
        cut: bool = False,
        distances: NDArray[np.float64] | None = None,
    ) -> list[str]:
        """Why each image does not look like the training images, "" where it does.

        `pixels` (n, side, side, 3) is the model's input, `widths` and `heights` (n,) are those of
        the images in their files, or of crops `cut` out of them, whose shape is not checked.
        `distances` (n,) are those of the images, if already computed.
        """
        far = self.distances(pixels) if distances is None else distances
        reasons = np.where(far > self.limit, text.ANOTHER_KIND, "")
        reasons = np.where(_contrast(pixels) < self.faintest, text.NO_CONTRAST, reasons)
        min_side = min(self.smallest, pixels.shape[1])
        return [
            self._odd_shape(w, h, cut, min_side) or str(k)
            for w, h, k in zip(widths, heights, reasons, strict=True)
        ]

    def _odd_shape(self, width: float, height: float, cut: bool, least: int) -> str:
        if not cut and not self.narrowest <= width / height <= self.widest:
            return text.another_shape(width, height)
        if min(width, height) < least:
            return text.too_small(width, height)
        return ""

    @property
    def power(self) -> Estimate:
        """The share of distorted validation images that is flagged."""
        return wilson_share(self.caught, self.displaced)

    def describe(self) -> str:
        """The check's guarantee and power, in one sentence."""
        return text.look_check(self.false_alarms, self.limit, self.checked, self.power)


# --- learning it ---------------------------------------------------------------------------------


def fit_unfamiliar(
    pixels: NDArray[np.uint8],
    train: NDArray[np.intp],
    validation: NDArray[np.intp],
    widths: NDArray[Any],
    heights: NDArray[Any],
    *,
    false_alarms: float = 0.01,
    max_rows: int = 8000,
    seed: int = 0,
    framed: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
    stretch: float = 1.0,
) -> Unfamiliar:
    """Fit the discriminant on training images, and set the limit on validation images.

    `pixels` are (n, side, side, 3), perhaps memory-mapped, of which at most `most` rows of each
    split are read; `widths` and `heights` (n,) are those of the images in their files.
    `false_alarms` is the share of images like the validation images that may be flagged. `framed`
    warps images to the training images' frame before they are checked: merely zoomed or shifted
    images should then not be flagged, and shapes may differ by `stretch` more.
    """
    rng = np.random.default_rng(seed)
    train, validation = sample_rows(train, max_rows, rng), sample_rows(validation, max_rows, rng)
    inside = np.concatenate([features(b) for b in _blocks(pixels, train)])
    outside = np.concatenate([features(_distort(b, rng, framed)) for b in _blocks(pixels, train)])
    weight = _discriminant(inside, outside)
    blocks = _blocks(pixels, validation)
    near = [features(b) @ weight for b in blocks]
    far = [features(_distort(b, rng, framed)) @ weight for b in _blocks(pixels, validation)]
    limit = _limit(np.concatenate(near) if near else np.zeros(0), false_alarms)
    n_caught = sum(int(np.count_nonzero(f.astype(np.float64) > limit)) for f in far)
    contrasts = np.concatenate([_contrast(b) for b in _blocks(pixels, train)])
    log_aspects = np.log(widths[train] / heights[train])
    shortest = np.minimum(np.minimum(widths[train], heights[train]), pixels.shape[1])
    return Unfamiliar(
        weight=weight,
        limit=limit,
        false_alarms=false_alarms,
        checked=len(validation),
        caught=n_caught,
        displaced=len(validation),
        narrowest=float(np.exp(np.quantile(log_aspects, false_alarms / 2)) / (_MARGIN * stretch)),
        widest=float(np.exp(np.quantile(log_aspects, 1 - false_alarms / 2)) * _MARGIN * stretch),
        smallest=int(np.quantile(shortest, false_alarms) / 2),
        faintest=float(np.quantile(contrasts, false_alarms) / 2),
    )


def _distort(
    block: NDArray[np.uint8],
    rng: np.random.Generator,
    reframe: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None,
) -> NDArray[np.uint8]:
    """Images distorted so that they should be flagged, and framed if `reframe` is given."""
    distorted = displace(block, rng, _DISTORTIONS if reframe is None else _UNFRAMEABLE)
    return distorted if reframe is None else reframe(distorted)


def _contrast(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    std: NDArray[np.float64] = pixels[:, ::2, ::2, 1].std((1, 2), dtype=np.float64)
    return std


def _blocks(pixels: NDArray[np.uint8], rows: NDArray[np.intp]) -> list[NDArray[np.uint8]]:
    return [pixels[rows[start : start + 256]] for start in range(0, len(rows), 256)]


def _discriminant(inside: NDArray[np.float32], outside: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fisher's linear discriminant with a ridge; both classes share one covariance."""
    centred = np.concatenate([inside - inside.mean(0), outside - outside.mean(0)])
    covariance = np.cov(centred.T.astype(np.float64))
    ridge = _RIDGE * np.trace(covariance) / len(covariance) + 1e-12
    difference = outside.mean(0, dtype=np.float64) - inside.mean(0, dtype=np.float64)
    weight = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), difference)
    return weight.astype(np.float32)


def _limit(distances: NDArray[Any], false_alarms: float) -> float:
    """The conformal limit; infinite where there are too few distances for the share."""
    rank = math.ceil((len(distances) + 1) * (1 - false_alarms))
    if rank > len(distances):
        return math.inf
    return float(np.sort(distances.astype(np.float64))[rank - 1])


# --- features ------------------------------------------------------------------------------------


def features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 448) gradients of images (n, side, side, 3), pooled over 8 × 8 cells.

    Seven channels: size, horizontal and vertical part, and the cosines and sines of twice and four
    times the direction; each cell is divided by the mean size in its 3 × 3 neighbourhood, so that
    light and contrast do not matter.
    """
    n, side = pixels.shape[:2]
    across, down, pool = _matrices(side)
    # One product weights the colours and averages across; a second averages down.
    rows = pixels.reshape(n * side, side * 3).astype(np.float32) @ across
    grey = down @ rows.reshape(n, side, _GRID)  # (n, grid, grid)
    channel = np.zeros((7, n, _GRID, _GRID), np.float32)
    inner = channel[:, :, 1:-1, 1:-1]
    gx, gy = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2], grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
    size = np.sqrt(gx * gx + gy * gy) + _SMALLEST_GRADIENT
    cos2, sin2 = (gx * gx - gy * gy) / size, 2 * gx * gy / size
    inner[0], inner[1], inner[2], inner[3], inner[4] = size, gx, gy, cos2, sin2
    inner[5], inner[6] = (cos2 * cos2 - sin2 * sin2) / size, 2 * cos2 * sin2 / size
    cells: Any = pool @ channel @ pool.T  # (7, n, cells, cells)
    padded = np.pad(cells[0], ((0, 0), (1, 1), (1, 1)), mode="edge")
    local = sum(padded[:, i : i + _CELLS, j : j + _CELLS] for i in range(3) for j in range(3)) / 9
    cells /= local + _FLAT
    out: NDArray[np.float32] = np.moveaxis(cells, 0, 1).reshape(n, -1)
    return out


@cache
def _matrices(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """(side · 3, grid) and (grid, side) to make an image small and grey; (cells, grid) to pool."""
    down = _averaging_matrix(side, _GRID)
    across = (down.T[:, None, :] * np.array(_WEIGHTS)[None, :, None]).reshape(side * 3, _GRID)
    pool = _averaging_matrix(_GRID, _CELLS)
    return across.astype(np.float32), down.astype(np.float32), pool.astype(np.float32)


def _averaging_matrix(length: int, parts: int) -> NDArray[np.float64]:
    """(parts, length): weights of the mean of the pixels that each part covers."""
    edges = np.arange(parts + 1) * length / parts
    left = np.maximum(edges[:-1, None], np.arange(length))
    right = np.minimum(edges[1:, None], np.arange(length) + 1)
    weights: NDArray[np.float64] = np.maximum(right - left, 0) * parts / length
    return weights


# --- distorted images ----------------------------------------------------------------------------


def displace(
    pixels: NDArray[np.uint8], rng: np.random.Generator, choices: tuple[_Distortion, ...] = ()
) -> NDArray[np.uint8]:
    """Distort each image (n, side, side, 3) by one of the choices, drawn at random."""
    choices = choices or _DISTORTIONS
    return np.stack([choices[rng.integers(len(choices))](image, rng) for image in pixels])


def _rotate(a: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return _affine(a, degrees=rng.uniform(45, 315))


def _zoom(a: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return _affine(
        a, scale=math.exp(rng.choice([-1, 1]) * rng.uniform(math.log(1.35), math.log(2.5)))
    )


def _shift(a: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    distance, angle = rng.uniform(0.16, 0.38), rng.uniform(0, 2 * math.pi)
    return _affine(a, right=distance * math.cos(angle), down=distance * math.sin(angle))


def _transform(a: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    right, down = rng.uniform(-0.3, 0.3, 2)
    scale = math.exp(rng.uniform(-0.9, 0.9))
    return _affine(a, degrees=rng.uniform(-180, 180), scale=scale, right=right, down=down)


def _shuffle_tiles(a: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    parts = int(rng.choice([2, 4]))
    edge = len(a) // parts
    out = a.copy()
    corners = [(i * edge, j * edge) for i in range(parts) for j in range(parts)]
    for (y, x), k in zip(corners, rng.permutation(len(corners)), strict=True):
        v, u = corners[k]
        out[y : y + edge, x : x + edge] = a[v : v + edge, u : u + edge]
    return out


def _flip_or_blur(a: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    if rng.integers(2):
        return a[::-1]
    side = int(rng.integers(4, 10))
    small = Image.fromarray(a).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small.resize((len(a), len(a)), Image.Resampling.BICUBIC))


def _corrupt(a: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    if rng.integers(2):
        return 255 - a
    noise = rng.normal(0, rng.uniform(40, 120), a.shape)
    return np.clip(a + noise, 0, 255).astype(np.uint8)


_DISTORTIONS = (_rotate, _zoom, _shift, _transform, _shuffle_tiles, _flip_or_blur, _corrupt)
_UNFRAMEABLE = (_rotate, _shuffle_tiles, _flip_or_blur, _corrupt)  # not undone by a frame


def _affine(
    a: NDArray[np.uint8],
    *,
    degrees: float = 0.0,
    scale: float = 1.0,
    right: float = 0.0,
    down: float = 0.0,
) -> NDArray[np.uint8]:
    """Rotate, shrink (scale above 1) or enlarge, and shift by shares of the side.

    Outside, the image is mirrored at its edges.
    """
    side = len(a)
    pad = side // 2
    padded = Image.fromarray(np.pad(a, ((pad, pad), (pad, pad), (0, 0)), mode="symmetric"))
    c, s = math.cos(math.radians(degrees)) * scale, math.sin(math.radians(degrees)) * scale
    half, x, y = side / 2, pad + side * (0.5 + right), pad + side * (0.5 + down)
    matrix = (c, -s, x - c * half + s * half, s, c, y - s * half - c * half)
    size, bilinear = (side, side), Image.Resampling.BILINEAR
    return np.asarray(padded.transform(size, Image.Transform.AFFINE, matrix, bilinear))


# --- as a file -----------------------------------------------------------------------------------

_NUMBERS = tuple(f for f in Unfamiliar.__dataclass_fields__ if f != "weight")
_INTEGERS = ("checked", "caught", "displaced", "smallest")


def write_unfamiliar(path: Path, unfamiliar: Unfamiliar) -> None:
    """Write it atomically."""
    numbers = {name: np.float64(getattr(unfamiliar, name)) for name in _NUMBERS}
    numbers["format"] = np.float64(FORMAT)
    write_archive(path, {"weight": unfamiliar.weight, **numbers}, compressed=False)


def read_unfamiliar(path: Path) -> Unfamiliar | None:
    """Read it; None where there is no file.

    Raises RunError where the file is damaged or has the format of another release.
    """
    if not path.is_file():
        return None
    with reading_archive(
        path,
        expected="what the run learned about the look of its training pictures",
        todo="remove it (pictures are not checked then), or run candid export to make it again",
    ) as file:
        check_format(path, int(file["format"]) if "format" in file else None)
        numbers: dict[str, Any] = {name: float(file[name]) for name in _NUMBERS}
        numbers |= {name: int(numbers[name]) for name in _INTEGERS}
        return Unfamiliar(weight=file["weight"].astype(np.float32), **numbers)
