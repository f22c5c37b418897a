"""The part of aligned pictures in which all of them are alike: the face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from candid.arrays import Floats
from candid.models.forward import Images
from candid.settings.network import window_edges

_MOST = 2000  # pictures that are looked at
_SHARE = 1 / 8  # of the highest coherence: what is below is not the face
_BY_CHANCE = 5.0  # times what pictures without anything in common have
_MARGIN = 1 / 64  # of the side, on each side of what is found


def face_windows(images: Images, rows: NDArray[np.intp]) -> tuple[str, ...]:
    """The face in aligned pictures without its forehead, and with it; none: all of the pictures.

    The first lacks the upper sixth of the second: the hair line, a fringe, the brim of a hat.
    """
    face = face_window(images, rows)
    if not face:
        return ()
    left, top, right, bottom = window_edges(face)
    return window_words((left, top + (bottom - top) / 6, right, bottom)), face


def face_window(images: Images, rows: NDArray[np.intp]) -> str:
    """Left, top, right and bottom of the face in aligned pictures, from 0 to 1; "": all of them.

    Edges that all pictures have at the same place stay in their mean, others fade. So a place's
    coherence, the squared gradient of the mean picture by the mean squared gradient of the
    pictures, is 1 where all have the same edge, and 1 / n where they have nothing in common. The
    window is the smallest rectangle, as far from the left as from the right, around all places with
    an eighth of the highest coherence, and a margin.

    Of more than 2,000 `rows` some are looked at.
    """
    rows = images.packed(rows)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(_MOST, len(rows))).round().astype(int))]
    pixels = images.pixels[rows if images.at is None else images.at[rows]]
    found = coherence(np.asarray(pixels.cpu() if isinstance(pixels, Tensor) else pixels))
    inside = found >= max(_SHARE * found.max(), _BY_CHANCE / len(rows))
    down, across = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(down):
        return ""
    side = len(found)
    left, top = max(across[0] / side - _MARGIN, 0.0), max(down[0] / side - _MARGIN, 0.0)
    bottom = min((down[-1] + 1) / side + _MARGIN, 1.0)
    return window_words((left, top, 1 - left, bottom)) if (left, top, bottom) != (0, 0, 1) else ""


def window_words(edges: Sequence[float]) -> str:
    """A window as settings have it."""
    return " ".join(f"{edge:.4g}" for edge in edges)


def coherence(pixels: NDArray[np.uint8]) -> Floats:
    """(side, side), from 0 to 1, of pictures (n, side, side, 3) and their mirror images."""
    total, energy = np.zeros(pixels.shape[1:3]), np.zeros(pixels.shape[1:3])
    for some in np.array_split(pixels, max(1, len(pixels) // 256)):
        grey = some.mean(axis=3)
        total += grey.sum(axis=0)
        energy += sum((slope**2).sum(axis=0) for slope in np.gradient(grey, axis=(1, 2)))
    mean = (total + total[:, ::-1]) / (2 * len(pixels))
    of_mean = sum(slope**2 for slope in np.gradient(mean))
    both = (energy + energy[:, ::-1]) / (2 * len(pixels))
    found: Floats = np.divide(of_mean, both, out=np.zeros_like(both), where=both > 0)
    return found
