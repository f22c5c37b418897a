"""Face detection by the framing network.

A photograph is sampled in overlapping windows of many sizes, each as if it were an image of one
face. The framing network estimates the face's frame relative to the window, the window is moved
there, and so on. Windows that contain part of the same face converge to the same frame, others
anywhere: where enough of them agree, and the last distance is no larger than for training images,
there is a face. That is a Hough transform with a network's votes (Ballard, 1981, "Generalizing the
Hough transform to detect arbitrary shapes"; Gall & Lempitsky, 2009, "Class-specific Hough forests
for object detection").

The detected frame is that of the training images, so that no other detector need be measured on
them. `bench/photographs.py` compares it with OpenCV's cascade.
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
_MIN_SIDE = 32  # pixels per side of a window; of large photographs a share of the shorter edge
_MIN_SHARE = 1 / 16
_MAX_SHARE = 1.25  # of the shorter edge: a face may fill the photograph
_LOOKS = 3  # that move a window; one more measures the distance
_BLOCK = 64  # windows at a time
_AGREEMENT = 0.25  # mean distance of corners of frames that agree, in shares of the smaller side
_MIN_VOTES = 8  # windows that must agree
_MIN_DISTANCE = 0.5  # faces whose centres are nearer than this share of the larger side are one
_MIN_HALF_SIDE = 1e-3  # pixels
_MAX_FRAMES = 4000  # frames that are compared pairwise

# A detected box is the square of a whole training image.
WHOLE = Frame(1.0, (math.nan,) * 4, (0.5, 0.5, 1.0), n=0, detector="framing", squeeze=1.0)


@dataclass(frozen=True, eq=False)
class FramingFinder:
    """Finds faces with a framing network, and crops them as the training images were."""

    framing: Framing
    frame: Frame = WHOLE
    longest: int = 1024

    def find(self, pixels: Pixels) -> list[DetectedFace]:
        """The faces in an image (height, width, 3), the largest first."""
        height, width = pixels.shape[:2]
        with torch.inference_mode():
            squares, rest = self._converge(_Photograph(pixels), _make_windows(height, width))
        centre = squares[:, :2, 2]
        inside = (centre >= 0).all(1) & (centre < np.array([width, height])).all(1)
        rows = np.flatnonzero(inside & (rest <= float(self.framing.limit)))
        rows = rows[np.argsort(rest[rows], kind="stable")[:_MAX_FRAMES]]
        return largest_first(_to_face(square, votes) for square, votes in _cluster(squares[rows]))

    def crop(self, pixels: Pixels, face: DetectedFace, *, side: int, fit: str) -> Pixels:
        """The face in the frame of the training images (side, side, 3), whatever the fit.

        Outside, the photograph is mirrored.
        """
        if face.square is None:
            raise ValueError("only faces that a framing network found can be cut out by one")
        with torch.inference_mode():
            square = torch.from_numpy(face.square[None]).float()
            cropped: Pixels = to_pixels(_Photograph(pixels).sample(square, side))[0].numpy()
        return cropped

    def _converge(
        self, photograph: _Photograph, windows: Tensor
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The squares to which windows (n, 3, 3) converge, and (n,) the last distances."""
        ends, distances = [], []
        for squares in torch.split(windows, _BLOCK):
            for _ in range(_LOOKS):
                offsets, _ = self._look(photograph, squares)
                squares = squares @ frame_matrices(offsets)
            ends.append(squares)
            distances.append(self._look(photograph, squares)[1])
        return torch.cat(ends).double().numpy(), torch.cat(distances).double().numpy()

    def _look(self, photograph: _Photograph, squares: Tensor) -> tuple[Tensor, Tensor]:
        inputs = photograph.sample(squares, self.framing.look_side)
        return self.framing.look(inputs.contiguous(memory_format=torch.channels_last))


class _Photograph:
    """An image pyramid of a photograph, sampled in squares of its pixels."""

    def __init__(self, pixels: Pixels) -> None:
        planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float().contiguous()
        self.height, self.width = pixels.shape[:2]
        self.levels = [planes]
        while min(self.levels[-1].shape[2:]) >= 2:
            self.levels.append(halve(self.levels[-1]))

    def sample(self, squares: Tensor, side: int) -> Tensor:
        """(n, 3, side, side) from 0 to 255 of squares (n, 3, 3), each from [-1, 1]² to pixels."""
        size = torch.tensor([[2 / self.width, 0, -1], [0, 2 / self.height, -1], [0, 0, 1]])
        step = _side_lengths(squares) / side  # pixels between samples
        level = step.log2().round().clamp(0, len(self.levels) - 1)
        out = torch.empty(len(squares), 3, side, side)
        for number, planes in enumerate(self.levels):
            rows = (level == number).nonzero()[:, 0]
            if len(rows):
                copies = planes.expand(len(rows), -1, -1, -1)
                out[rows] = warp(copies, size @ squares[rows], side, "reflection")
        return out


def _make_windows(height: int, width: int) -> Tensor:
    """(n, 3, 3): overlapping squares of many sizes, each from [-1, 1]² to pixels."""
    short = min(height, width)
    sides = [min(max(_MIN_SIDE, _MIN_SHARE * short), _MAX_SHARE * short)]
    while sides[-1] * _STEP <= _MAX_SHARE * short:
        sides.append(sides[-1] * _STEP)
    squares = [
        (side, x, y)
        for side in sides
        for y in _window_centres(side, height)
        for x in _window_centres(side, width)
    ]
    side, x, y = torch.tensor(squares, dtype=torch.float32).unbind(1)
    windows = torch.zeros(len(squares), 3, 3)
    windows[:, 0, 0] = windows[:, 1, 1] = side / 2
    windows[:, 0, 2], windows[:, 1, 2], windows[:, 2, 2] = x, y, 1
    return windows


def _window_centres(side: float, length: int) -> list[float]:
    if side >= length:
        return [length / 2]
    count = math.ceil((length - side) / (_STRIDE * side)) + 1
    centres: list[float] = np.linspace(side / 2, length - side / 2, count).tolist()
    return centres


def _side_lengths(squares: Tensor) -> Tensor:
    """(n,) pixels per side of squares, by their area."""
    return 2 * scale_factors(squares).clamp(min=_MIN_HALF_SIDE)


def _cluster(squares: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], int]]:
    """Clusters of squares (n, 3, 3) with enough votes: their means and votes."""
    if len(squares) < _MIN_VOTES:
        return []
    corners = (squares @ np.array(CORNERS, np.float64))[:, :2].transpose(2, 0, 1)  # (4, n, 2)
    sides = _side_lengths(torch.from_numpy(squares)).numpy()
    distances = sum(cdist(corner, corner) for corner in corners) / len(corners)
    near = distances <= _AGREEMENT * np.minimum(sides[:, None], sides[None])
    remaining, clusters = np.ones(len(squares), np.bool_), []
    while remaining.any():
        votes = (near & remaining).sum(1) * remaining
        best = int(votes.argmax())
        if votes[best] < _MIN_VOTES:
            break
        members = near[best] & remaining
        square, side = squares[members].mean(0), sides[members].mean()
        clusters.append((square, int(votes[best])))
        offsets = np.linalg.norm(squares[:, :2, 2] - square[:2, 2], axis=1)
        remaining &= ~members & (offsets >= _MIN_DISTANCE * np.maximum(side, sides))
    return clusters


def _to_face(square: NDArray[np.float64], votes: int) -> DetectedFace:
    corners = (square @ np.array(CORNERS, np.float64))[:2]
    (left, top), (right, bottom) = corners.min(1).tolist(), corners.max(1).tolist()
    return DetectedFace(Box(left, top, right - left, bottom - top, votes), square=square)
