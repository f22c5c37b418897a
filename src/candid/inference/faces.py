"""Faces in photographs, cropped as the training images were.

The place of faces in the training images is measured with the same detector (`measure_frame`), so
that its bias cancels; each detected face is then rotated, scaled and shifted to that place in its
crop. Whether the training images were squeezed is measured on their faces (`measure_squeeze`).
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

_MIN_IMAGES = 20  # training images with one face each, to measure how they lie


@dataclass(frozen=True, slots=True)
class Frame:
    """The place of a face in the training images, in units of their width."""

    aspect: float  # height / width of the training images, unsqueezed
    # x and y of the eye on the image's left, then of the other; NaN where too few were found.
    eyes: tuple[float, float, float, float]
    # x and y of the centre of the detector's box, mean of its edges
    box: tuple[float, float, float]
    n: int  # training images that it was measured on; 0 for a default
    detector: str  # its name
    squeeze: float  # how many times taller real faces are than those in the training images


# CelebA's aligned images, by the means of its landmarks in images of 178 × 218.
CELEBA = Frame(
    aspect=218 / 178,
    eyes=(69.4 / 178, 111.2 / 178, 107.9 / 178, 111.2 / 178),
    box=(0.5, 0.703, 0.535),
    n=0,
    detector="",
    squeeze=1.0,
)


class FaceFinder(Protocol):
    """Finds faces and crops them as the training images were; thread-safe."""

    @property
    def frame(self) -> Frame:
        """The place of a face in the training images."""
        ...

    @property
    def longest(self) -> int:
        """Pixels along the longer edge to which photographs are reduced."""
        ...

    def find(self, pixels: Pixels) -> list[DetectedFace]:
        """The faces in an image (height, width, 3), the largest first."""
        ...

    def crop(self, pixels: Pixels, face: DetectedFace, *, side: int, fit: str) -> Pixels:
        """The face as a training image (side, side, 3)."""
        ...


@dataclass(frozen=True, eq=False)
class Finder:
    """Finds faces with a detector, and crops them by its results on training images."""

    detector: Detector
    frame: Frame
    longest: int = 1600

    def find(self, pixels: Pixels) -> list[DetectedFace]:
        """The faces in an image (height, width, 3), the largest first."""
        return largest_first(self.detector(pixels))

    def crop(self, pixels: Pixels, face: DetectedFace, *, side: int, fit: str) -> Pixels:
        """The face as a training image, made square as these are: (side, side, 3).

        Outside, the photograph's edge is repeated.
        """
        aspect = self.frame.aspect / self.frame.squeeze
        if fit == "crop":
            edge = min(1.0, aspect)
            return self._extract(
                pixels, face, ((1 - edge) / 2, (aspect - edge) / 2), (edge, edge), (side, side)
            )
        if fit == "stretch":
            return self._extract(pixels, face, (0, 0), (1, aspect), (side, side))
        scale = side / max(1.0, aspect)
        size = max(1, round(scale)), max(1, round(scale * aspect))
        inner = self._extract(pixels, face, (0, 0), (1, aspect), size)
        out = np.empty((side, side, 3), np.uint8)
        out[:] = np.rint(inner.mean((0, 1)))  # as `data.decode` pads
        x, y = (side - size[0]) // 2, (side - size[1]) // 2
        out[y : y + size[1], x : x + size[0]] = inner
        return out

    def _extract(
        self, pixels: Pixels, face: DetectedFace, start: Point, extent: Point, size: tuple[int, int]
    ) -> Pixels:
        """A rectangle of the training image around a face, at a size (width, height).

        Start and extent are in units of the training image's width.
        """
        cv2 = load_cv2()
        squeeze = self.frame.squeeze
        # From pixels of the result to the training image, then to the photograph.
        result = np.array(
            [
                [extent[0] / size[0], 0, start[0]],
                [0, squeeze * extent[1] / size[1], squeeze * start[1]],
                [0, 0, 1],
            ]
        )
        matrix = self._to_photograph(face) @ result
        # Sampled at the photograph's resolution, then averaged, against aliasing.
        factor = min(32, max(1, math.ceil(float(np.linalg.norm(matrix[:2, :2], 2)))))
        # Pixels are areas whose centres lie half a pixel inside; for OpenCV at whole numbers.
        shift = np.array([[1 / factor, 0, 0.5 / factor], [0, 1 / factor, 0.5 / factor], [0, 0, 1]])
        warp = matrix @ shift
        warp[:2, 2] -= 0.5
        large = cv2.warpAffine(
            pixels,
            warp[:2],
            (size[0] * factor, size[1] * factor),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        out: Pixels = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
        return out

    def _to_photograph(self, face: DetectedFace) -> NDArray[np.float64]:
        """(3, 3) similarity from the training image to pixels of the photograph."""
        eyes = self.frame.eyes
        if face.eyes is not None and not math.isnan(eyes[0]):
            # As complex numbers, the two eyes give rotation and scale by one division.
            left, right = complex(*eyes[:2]), complex(*eyes[2:])
            a, b = complex(*face.eyes[0]), complex(*face.eyes[1])
            turn = (b - a) / (right - left)
            shift = a - turn * left
        else:
            x, y, size = self.frame.box
            box = face.box
            turn = complex((box.width + box.height) / 2 / size)
            shift = complex(box.left + box.width / 2, box.top + box.height / 2) - turn * complex(
                x, y
            )
        return np.array(
            [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag], [0, 0, 1]]
        )


def measure_frame(pictures: Iterable[Pixels], detector: Detector, *, squeeze: float = 1.0) -> Frame:
    """The median place of faces in training images, each as in its file, over those with one face.

    Raises DataError where there are too few of these.
    """
    boxes, eyes, aspects = [], [], []
    n_images = 0
    for image in pictures:
        n_images += 1
        height, width = image.shape[:2]
        if squeeze != 1:
            height = max(1, round(squeeze * height))
            image = load_cv2().resize(image, (width, height))
        faces = detector(image)
        if len(faces) != 1:
            continue
        aspects.append(height / width)
        b = faces[0].box
        centre = (b.left + b.width / 2, b.top + b.height / 2, (b.width + b.height) / 2)
        boxes.append([v / width for v in centre])
        if faces[0].eyes is not None:
            eyes.append([v / width for point in faces[0].eyes for v in point])
    if len(boxes) < _MIN_IMAGES:
        raise DataError(
            f"The detector finds one face in {len(boxes)} of {n_images} training pictures.",
            expected=f"at least {_MIN_IMAGES}, to learn how faces lie in them",
            todo="crop the photographs by another tool, or name a better --detector",
        )
    undefined = [math.nan] * 4
    e, f, g, h = np.median(eyes, axis=0).tolist() if len(eyes) >= _MIN_IMAGES else undefined
    x, y, size = np.median(boxes, axis=0).tolist()
    aspect = float(np.median(aspects))
    return Frame(aspect, (e, f, g, h), (x, y, size), len(boxes), detector.name, squeeze)


# --- squeezed images -----------------------------------------------------------------------------

# Data sets are often distributed with every image squeezed to a square. Nothing in the files says
# so, and a detector still finds square boxes in them. But OpenCV's cascade was trained on faces of
# natural proportions and tests a face in many windows: the nearer its proportions are to these, the
# more windows match. So images are stretched by several factors, and a parabola through the highest
# mean counts estimates the factor with most matches.
#
# Measured on 60 images each, before the cascade's bias is subtracted: CelebA squeezed to squares
# 1.25 (218 / 178 = 1.22 is true), UTKFace 1.02, FairFace 1.05, drawn faces 1.07 (1 is true of all
# three), standard errors 0.02 to 0.03; the same after each was squeezed by 0.64 to 1.35.
_STRETCHES = np.linspace(-0.75, 0.75, 11)  # logarithms: 0.47 to 2.1 times as tall
_FIT_RADIUS = 2  # stretches on either side of the best that the parabola goes through
_BIAS = 0.03  # the stretch at which the cascade sees most in faces that are not squeezed
_EDGE = 96  # pixels per side, by area
_MIN_LOG = math.log(1.1)  # what is nearer to 1 counts as not squeezed
_MIN_ERRORS = 3  # standard errors from 1 at least


def measure_squeeze(pictures: Iterable[Pixels]) -> float:
    """How many times taller real faces are than those in images (each of any size).

    1.0 unless another factor is significant, and where OpenCV has no cascade (from version 5 on).
    """
    folder = cascades()
    if folder is None:
        return 1.0
    cascade = load_cv2().CascadeClassifier(str(folder / FACE_CASCADE))
    counts = [[_count_windows(cascade, picture, s) for s in _STRETCHES] for picture in pictures]
    return _find_peak(np.array(counts, np.float64))


def _count_windows(cascade: Any, image: Pixels, stretch: float) -> int:
    """The cascade's matching windows in an image stretched vertically by exp(stretch)."""
    cv2 = load_cv2()
    height, width = image.shape[:2]
    factor = math.exp(stretch / 2)
    scale = _EDGE / math.sqrt(height * width)
    size = (max(1, round(width * scale / factor)), max(1, round(height * scale * factor)))
    if max(size) > 8 * _EDGE:
        return 0
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=method)
    border = _EDGE // 4  # the face may reach to the edges
    grey = cv2.copyMakeBorder(grey, *4 * (border,), cv2.BORDER_REPLICATE)
    return len(cascade.detectMultiScale(grey, 1.1, 0, minSize=(border, border)))


def _find_peak(counts: NDArray[np.float64]) -> float:
    """The maximum of a parabola through the mean of counts (images, stretches)."""
    if len(counts) < _MIN_IMAGES:
        return 1.0
    best = min(max(int(counts.mean(0).argmax()), _FIT_RADIUS), len(_STRETCHES) - 1 - _FIT_RADIUS)
    window = slice(best - _FIT_RADIUS, best + _FIT_RADIUS + 1)
    offsets = _STRETCHES[window] - _STRETCHES[best]
    curvature, slope, _ = np.polyfit(offsets, counts[:, window].T, 2)  # each (images,)
    if curvature.mean() > -1e-6:
        return 1.0
    top = float(slope.mean() / (-2 * curvature.mean()))
    error = float(slope.std(ddof=1) / math.sqrt(len(counts)) / (-2 * curvature.mean()))
    stretch = float(_STRETCHES[best]) + min(max(top, offsets[0]), offsets[-1]) - _BIAS
    return math.exp(stretch) if abs(stretch) >= max(_MIN_LOG, _MIN_ERRORS * error) else 1.0
