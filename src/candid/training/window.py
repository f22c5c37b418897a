"""The face's window in aligned images: where they resemble each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from candid.arrays import FloatArray
from candid.models.forward import Images
from candid.settings.network import window_edges

_MAX_IMAGES = 2000
_SHARE = 1 / 8  # of the highest coherence: what is below is not the face
_MIN_OVER_CHANCE = 5.0  # times the coherence of unrelated images
_MARGIN = 1 / 64  # of the side, on each side


def face_windows(images: Images, rows: NDArray[np.intp]) -> tuple[str, ...]:
    """The face in aligned images without its forehead, and with it; none: the whole image.

    The first lacks the upper sixth of the second: the hair line, a fringe, the brim of a hat.
    """
    face = face_window(images, rows)
    if not face:
        return ()
    left, top, right, bottom = window_edges(face)
    return format_window((left, top + (bottom - top) / 6, right, bottom)), face


def face_window(images: Images, rows: NDArray[np.intp]) -> str:
    """Left, top, right and bottom of the face in aligned images, from 0 to 1; "": the whole image.

    Edges that all images have at the same place stay in their mean, others fade. So a place's
    coherence, the squared gradient of the mean image by the mean squared gradient of the images, is
    1 where all have the same edge, and 1 / n where they have nothing in common. The window is the
    smallest rectangle, as far from the left as from the right, around all places with an eighth of
    the highest coherence, and a margin.

    At most 2,000 of the `rows` are used.
    """
    rows = images.packed(rows)
    spread = np.linspace(0, len(rows) - 1, min(_MAX_IMAGES, len(rows)))
    rows = rows[np.unique(spread.round().astype(int))]
    pixels = images.pixels[rows if images.at is None else images.at[rows]]
    values = coherence(np.asarray(pixels.cpu() if isinstance(pixels, Tensor) else pixels))
    inside = values >= max(_SHARE * values.max(), _MIN_OVER_CHANCE / len(rows))
    down, across = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(down):
        return ""
    side = len(values)
    left, top = max(across[0] / side - _MARGIN, 0.0), max(down[0] / side - _MARGIN, 0.0)
    bottom = min((down[-1] + 1) / side + _MARGIN, 1.0)
    return format_window((left, top, 1 - left, bottom)) if (left, top, bottom) != (0, 0, 1) else ""


def format_window(edges: Sequence[float]) -> str:
    """A window as settings write it."""
    return " ".join(f"{edge:.4g}" for edge in edges)


def coherence(pixels: NDArray[np.uint8]) -> FloatArray:
    """(side, side), from 0 to 1, of images (n, side, side, 3) and their mirror images."""
    total, energy = np.zeros(pixels.shape[1:3]), np.zeros(pixels.shape[1:3])
    for block in np.array_split(pixels, max(1, len(pixels) // 256)):
        grey = block.mean(axis=3)
        total += grey.sum(axis=0)
        energy += sum((slope**2).sum(axis=0) for slope in np.gradient(grey, axis=(1, 2)))
    mean = (total + total[:, ::-1]) / (2 * len(pixels))
    energy_of_mean = sum(slope**2 for slope in np.gradient(mean))
    energy = (energy + energy[:, ::-1]) / (2 * len(pixels))
    zeros: FloatArray = np.zeros_like(energy)
    return np.divide(energy_of_mean, energy, out=zeros, where=energy > 0)
