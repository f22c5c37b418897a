"""Faces in photographs, found by the network that frames.

A photograph is read in overlapping windows of many sizes, each as if it were a picture of one face.
The framing network says how a face lies against the window, the picture is read in that frame, and
so on. Windows that hold part of the same face end in the same frame, those of anything else end
anywhere: where enough of them agree, and a last look finds no more to undo than in the training
data's own pictures, there is a face. That is a Hough transform whose votes a network casts
(Ballard, 1981, "Generalizing the Hough transform to detect arbitrary shapes"; Gall & Lempitsky,
2009, "Class-specific Hough forests for object detection").

The frame that is found is the training pictures' own, so that no other detector need be measured
on them. `bench/photographs.py` holds it against OpenCV's cascade.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor

from candid.inference.detectors import Box, DetectedFace, Pixels, largest_first
from candid.inference.faces import Frame
from candid.models.framing import Framing
from candid.models.warping import frame_matrices, halve, scale_factors, to_pixels, warp
from candid.records.framing import CORNERS

_STEP = 2**0.75  # from one size of windows to the next
_STRIDE = 0.5  # from one window to the next, in shares of its side
_LEAST = 32  # pixels per side of a window; of large photographs a share of the shorter edge
_SHARE = 1 / 16
_LARGEST = 1.25  # of the shorter edge: a face may fill the photograph
_LOOKS = 3  # that move a window; one more says what is left
_BLOCK = 64  # windows at a time
_ALIKE = 0.25  # mean distance of corners up to which frames agree, in shares of the smaller side
_VOTES = 8  # windows that must agree
_APART = 0.5  # faces whose centres are nearer than this share of the larger side are one
_SMALLEST = 1e-3  # half a square's side in pixels at least, so that it has a size
_MOST = 4000  # frames that are compared each with each

# A found box is the square of a whole training picture.
WHOLE = Frame(1.0, (math.nan,) * 4, (0.5, 0.5, 1.0), n=0, detector="framing", squeeze=1.0)


@dataclass(frozen=True, eq=False)
class FramingFinder:
    """Finds faces with a framing network, and cuts them out as the training images were cut."""

    framing: Framing
    frame: Frame = WHOLE
    longest: int = 1024  # photographs are made this small

    def find(self, pixels: Pixels) -> list[DetectedFace]:
        """The faces in a picture (height, width, 3), the largest first."""
        height, width = pixels.shape[:2]
        with torch.inference_mode():
            squares, rest = self._settled(_Photograph(pixels), _windows(height, width))
        centre = squares[:, :2, 2]
        inside = (centre >= 0).all(1) & (centre < np.array([width, height])).all(1)
        kept = np.flatnonzero(inside & (rest <= float(self.framing.limit)))
        kept = kept[np.argsort(rest[kept], kind="stable")[:_MOST]]
        return largest_first(_face(square, votes) for square, votes in _agreed(squares[kept]))

    def crop(self, pixels: Pixels, face: DetectedFace, *, side: int, fit: str) -> Pixels:
        """The face as the network saw its training pictures (side, side, 3), whatever the fit.

        Where the photograph ends, it is mirrored.
        """
        if face.square is None:
            raise ValueError("only faces that a framing network found can be cut out by one")
        with torch.inference_mode():
            square = torch.from_numpy(face.square[None]).float()
            found: Pixels = to_pixels(_Photograph(pixels).read(square, side))[0].numpy()
        return found

    def _settled(
        self, photograph: _Photograph, windows: Tensor
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where windows (n, 3, 3) end, and how far off a last look (n,) finds a face there."""
        ends, rests = [], []
        for squares in torch.split(windows, _BLOCK):
            for _ in range(_LOOKS):
                off, _ = self._look(photograph, squares)
                squares = squares @ frame_matrices(off)
            ends.append(squares)
            rests.append(self._look(photograph, squares)[1])
        return torch.cat(ends).double().numpy(), torch.cat(rests).double().numpy()

    def _look(self, photograph: _Photograph, squares: Tensor) -> tuple[Tensor, Tensor]:
        seen = photograph.read(squares, self.framing.look_side)
        return self.framing.look(seen.contiguous(memory_format=torch.channels_last))


class _Photograph:
    """A photograph at several sizes, to be read in squares of its own pixels."""

    def __init__(self, pixels: Pixels) -> None:
        planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float().contiguous()
        self.height, self.width = pixels.shape[:2]
        self.levels = [planes]
        while min(self.levels[-1].shape[2:]) >= 2:
            self.levels.append(halve(self.levels[-1]))

    def read(self, squares: Tensor, side: int) -> Tensor:
        """(n, 3, side, side) from 0 to 255 of squares (n, 3, 3), each from [-1, 1]² to pixels."""
        size = torch.tensor([[2 / self.width, 0, -1], [0, 2 / self.height, -1], [0, 0, 1]])
        step = _sides(squares) / side  # pixels between neighbours of what is read
        level = step.log2().round().clamp(0, len(self.levels) - 1)
        read = torch.empty(len(squares), 3, side, side)
        for number, planes in enumerate(self.levels):
            rows = (level == number).nonzero()[:, 0]
            if len(rows):
                same = planes.expand(len(rows), -1, -1, -1)
                read[rows] = warp(same, size @ squares[rows], side, "reflection")
        return read


def _windows(height: int, width: int) -> Tensor:
    """(n, 3, 3): overlapping squares of many sizes, each from [-1, 1]² to pixels."""
    short = min(height, width)
    sides = [min(max(_LEAST, _SHARE * short), _LARGEST * short)]
    while sides[-1] * _STEP <= _LARGEST * short:
        sides.append(sides[-1] * _STEP)
    squares = [
        (side, x, y)
        for side in sides
        for y in _centres(side, height)
        for x in _centres(side, width)
    ]
    side, x, y = torch.tensor(squares, dtype=torch.float32).unbind(1)
    found = torch.zeros(len(squares), 3, 3)
    found[:, 0, 0] = found[:, 1, 1] = side / 2
    found[:, 0, 2], found[:, 1, 2], found[:, 2, 2] = x, y, 1
    return found


def _centres(side: float, length: int) -> list[float]:
    if side >= length:
        return [length / 2]
    count = math.ceil((length - side) / (_STRIDE * side)) + 1
    centres: list[float] = np.linspace(side / 2, length - side / 2, count).tolist()
    return centres


def _sides(squares: Tensor) -> Tensor:
    """(n,) pixels per side of squares, by their area."""
    return 2 * scale_factors(squares).clamp(min=_SMALLEST)


def _agreed(squares: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], int]]:
    """Where enough of squares (n, 3, 3) agree: their mean, and how many they are."""
    if len(squares) < _VOTES:
        return []
    corners = (squares @ np.array(CORNERS, np.float64))[:, :2].transpose(2, 0, 1)  # (4, n, 2)
    sides = _sides(torch.from_numpy(squares)).numpy()
    off = sum(cdist(corner, corner) for corner in corners) / len(corners)
    near = off <= _ALIKE * np.minimum(sides[:, None], sides[None])
    left, found = np.ones(len(squares), np.bool_), []
    while left.any():
        votes = (near & left).sum(1) * left
        best = int(votes.argmax())
        if votes[best] < _VOTES:
            break
        members = near[best] & left
        square, side = squares[members].mean(0), sides[members].mean()
        found.append((square, int(votes[best])))
        away = np.linalg.norm(squares[:, :2, 2] - square[:2, 2], axis=1)
        left &= ~members & (away >= _APART * np.maximum(side, sides))
    return found


def _face(square: NDArray[np.float64], votes: int) -> DetectedFace:
    corners = (square @ np.array(CORNERS, np.float64))[:2]
    (left, top), (right, bottom) = corners.min(1).tolist(), corners.max(1).tolist()
    return DetectedFace(Box(left, top, right - left, bottom - top, votes), square=square)
