"""Faces in photographs, cut out as the training images were.

How the training images lie around a face is measured with the detector on them (`measure_frame`),
so that its habits cancel; each found face is then turned, scaled and moved to lie in the crop as
the faces in training did. Training images that were squeezed are told by their faces
(`measure_squeeze`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from candid.errors import DataError
from candid.inference.detectors import (
    FACE_CASCADE,
    DetectedFace,
    Detector,
    Pixels,
    Point,
    cascades,
    largest_first,
    load_cv2,
)

_FEWEST = 20  # training images with one face each, to measure how they lie


@dataclass(frozen=True, slots=True)
class Frame:
    """How a face lies in the training images, in units of their width."""

    aspect: float  # height / width of the training images, as faces are in the world
    # x and y of the eye on the image's left, then of the other; NaN where too few were found.
    eyes: tuple[float, float, float, float]
    # x and y of the centre of the detector's box, mean of its edges
    box: tuple[float, float, float]
    n: int  # training images that it was measured on; 0 where it is a usual value
    detector: str  # with which detector
    squeeze: float  # how many times taller faces are in the world than in the training images


# CelebA's aligned pictures, by the means of its list of landmarks in pictures of 178 × 218.
CELEBA = Frame(
    aspect=218 / 178,
    eyes=(69.4 / 178, 111.2 / 178, 107.9 / 178, 111.2 / 178),
    box=(0.5, 0.703, 0.535),
    n=0,
    detector="",
    squeeze=1.0,
)


class FaceFinder(Protocol):
    """Finds faces and cuts them out as the training images were cut; safe from several threads."""

    @property
    def frame(self) -> Frame:
        """How a face lies in the training images."""
        ...

    @property
    def longest(self) -> int:
        """To so many pixels along the longer edge photographs are made small."""
        ...

    def find(self, pixels: Pixels) -> list[DetectedFace]:
        """The faces in a picture (height, width, 3), the largest first."""
        ...

    def crop(self, pixels: Pixels, face: DetectedFace, *, side: int, fit: str) -> Pixels:
        """The face as a training picture (side, side, 3)."""
        ...


@dataclass(frozen=True, eq=False)
class Finder:
    """Finds faces with a detector, and cuts them out by how it finds them in training images."""

    detector: Detector
    frame: Frame
    longest: int = 1600  # photographs are made this small: a face of 40 pixels still is one of 20

    def find(self, pixels: Pixels) -> list[DetectedFace]:
        """The faces in a picture (height, width, 3), the largest first."""
        return largest_first(self.detector(pixels))

    def crop(self, pixels: Pixels, face: DetectedFace, *, side: int, fit: str) -> Pixels:
        """The face as a training picture, squared as training pictures are: (side, side, 3).

        What lies outside of the photograph is its nearest edge.
        """
        aspect = self.frame.aspect / self.frame.squeeze
        if fit == "crop":
            edge = min(1.0, aspect)
            return self._cut(
                pixels, face, ((1 - edge) / 2, (aspect - edge) / 2), (edge, edge), (side, side)
            )
        if fit == "stretch":
            return self._cut(pixels, face, (0, 0), (1, aspect), (side, side))
        scale = side / max(1.0, aspect)
        size = max(1, round(scale)), max(1, round(scale * aspect))
        inner = self._cut(pixels, face, (0, 0), (1, aspect), size)
        out = np.empty((side, side, 3), np.uint8)
        out[:] = np.rint(inner.mean((0, 1)))  # as `data.decode` pads
        x, y = (side - size[0]) // 2, (side - size[1]) // 2
        out[y : y + size[1], x : x + size[0]] = inner
        return out

    def _cut(
        self, pixels: Pixels, face: DetectedFace, start: Point, extent: Point, size: tuple[int, int]
    ) -> Pixels:
        """A rectangle of a training picture's file, found around a face, at a size (width, height).

        Start and extent are in units of the file's width.
        """
        cv2 = load_cv2()
        tall = self.frame.squeeze
        # From pixels of the result to places in a training picture, then in the photograph.
        result = np.array(
            [
                [extent[0] / size[0], 0, start[0]],
                [0, tall * extent[1] / size[1], tall * start[1]],
                [0, 0, 1],
            ]
        )
        whole = self._placed(face) @ result
        # Cut at the photograph's own resolution, then averaged: else fine patterns turn coarse.
        finer = min(32, max(1, math.ceil(float(np.linalg.norm(whole[:2, :2], 2)))))
        # Pixels are areas whose centres lie half a pixel inside; for OpenCV at whole numbers.
        half = np.array([[1 / finer, 0, 0.5 / finer], [0, 1 / finer, 0.5 / finer], [0, 0, 1]])
        warp = whole @ half
        warp[:2, 2] -= 0.5
        large = cv2.warpAffine(
            pixels,
            warp[:2],
            (size[0] * finer, size[1] * finer),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        out: Pixels = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
        return out

    def _placed(self, face: DetectedFace) -> NDArray[np.float64]:
        """(3, 3) similarity from places in a training picture to pixels of the photograph."""
        eyes = self.frame.eyes
        if face.eyes is not None and not math.isnan(eyes[0]):
            # As complex numbers, the two eyes give the turn and scale by one division.
            left, right = complex(*eyes[:2]), complex(*eyes[2:])
            a, b = complex(*face.eyes[0]), complex(*face.eyes[1])
            turn = (b - a) / (right - left)
            move = a - turn * left
        else:
            x, y, size = self.frame.box
            box = face.box
            turn = complex((box.width + box.height) / 2 / size)
            move = complex(box.left + box.width / 2, box.top + box.height / 2) - turn * complex(
                x, y
            )
        return np.array(
            [[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag], [0, 0, 1]]
        )


def measure_frame(pictures: Iterable[Pixels], detector: Detector, *, squeeze: float = 1.0) -> Frame:
    """How faces lie in training images, each as in its file, by the medians over those with one.

    Raises DataError where the detector finds a face in too few of them.
    """
    boxes, eyes, aspects = [], [], []
    looked = 0
    for picture in pictures:
        looked += 1
        height, width = picture.shape[:2]
        if squeeze != 1:
            height = max(1, round(squeeze * height))
            picture = load_cv2().resize(picture, (width, height))
        found = detector(picture)
        if len(found) != 1:
            continue
        aspects.append(height / width)
        b = found[0].box
        centre = (b.left + b.width / 2, b.top + b.height / 2, (b.width + b.height) / 2)
        boxes.append([v / width for v in centre])
        if found[0].eyes is not None:
            eyes.append([v / width for point in found[0].eyes for v in point])
    if len(boxes) < _FEWEST:
        raise DataError(
            f"The detector finds one face in {len(boxes)} of {looked} training pictures.",
            expected=f"at least {_FEWEST}, to learn how faces lie in them",
            todo="crop the photographs by another tool, or name a better --detector",
        )
    nowhere = [math.nan] * 4
    e, f, g, h = np.median(eyes, axis=0).tolist() if len(eyes) >= _FEWEST else nowhere
    x, y, size = np.median(boxes, axis=0).tolist()
    aspect = float(np.median(aspects))
    return Frame(aspect, (e, f, g, h), (x, y, size), len(boxes), detector.name, squeeze)


# --- whether they lie squeezed -------------------------------------------------------------------

# Data sets are handed around with every image made square, whatever its shape was. Nothing in the
# files says so, and a detector still finds square boxes in them. But OpenCV's cascade of faces was
# trained on faces as they are, and looks at a face in many windows: the nearer its proportions come
# to those, the more windows hold a face. So images are stretched by several factors, and a parabola
# through the highest mean counts says at which one most would be found.
#
# Measured on 60 images each, before what the cascade itself prefers is taken off: CelebA squeezed
# to squares 1.25 (218 / 178 = 1.22 is true), UTKFace 1.02, FairFace 1.05, drawn faces 1.07 (1 is
# true of all three), standard errors 0.02 to 0.03; the same after each was squeezed by 0.64 to
# 1.35.
_STRETCHES = np.linspace(-0.75, 0.75, 11)  # logarithms: 0.47 to 2.1 times as tall
_AROUND = 2  # stretches on either side of the best that the parabola goes through
_PREFERRED = 0.03  # the stretch at which the cascade sees most in faces that are not squeezed
_EDGE = 96  # pixels per side, by area
_LEAST = math.log(1.1)  # what is nearer to 1 counts as not squeezed
_ERRORS = 3  # standard errors from 1 at least


def measure_squeeze(pictures: Iterable[Pixels]) -> float:
    """How many times taller faces are in the world than in pictures (each of any size).

    1.0 where they are as tall, where too little speaks for another factor, and where OpenCV brings
    no cascade (from version 5 on).
    """
    folder = cascades()
    if folder is None:
        return 1.0
    cascade = load_cv2().CascadeClassifier(str(folder / FACE_CASCADE))
    counts = [[_windows(cascade, picture, s) for s in _STRETCHES] for picture in pictures]
    return _peak(np.array(counts, np.float64))


def _windows(cascade: Any, picture: Pixels, stretch: float) -> int:
    """In how many windows the cascade sees a face, in a picture made exp(stretch) times taller."""
    cv2 = load_cv2()
    height, width = picture.shape[:2]
    tall = math.exp(stretch / 2)
    scale = _EDGE / math.sqrt(height * width)
    size = (max(1, round(width * scale / tall)), max(1, round(height * scale * tall)))
    if max(size) > 8 * _EDGE:
        return 0
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=method)
    border = _EDGE // 4  # the face may reach to the edges
    grey = cv2.copyMakeBorder(grey, *4 * (border,), cv2.BORDER_REPLICATE)
    return len(cascade.detectMultiScale(grey, 1.1, 0, minSize=(border, border)))


def _peak(counts: NDArray[np.float64]) -> float:
    """Where the parabola through the mean of counts (pictures, stretches) is highest."""
    if len(counts) < _FEWEST:
        return 1.0
    best = min(max(int(counts.mean(0).argmax()), _AROUND), len(_STRETCHES) - 1 - _AROUND)
    near = slice(best - _AROUND, best + _AROUND + 1)
    around = _STRETCHES[near] - _STRETCHES[best]
    bend, slope, _ = np.polyfit(around, counts[:, near].T, 2)  # each (pictures,)
    if bend.mean() > -1e-6:
        return 1.0
    top = float(slope.mean() / (-2 * bend.mean()))
    error = float(slope.std(ddof=1) / math.sqrt(len(counts)) / (-2 * bend.mean()))
    stretch = float(_STRETCHES[best]) + min(max(top, around[0]), around[-1]) - _PREFERRED
    return math.exp(stretch) if abs(stretch) >= max(_LEAST, _ERRORS * error) else 1.0
