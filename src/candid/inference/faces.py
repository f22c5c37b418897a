"""Faces in photographs, cut out as the training pictures were.

A detector finds boxes, and eyes where it can. How the training pictures lie around a face is
measured with the same detector on them (`measure_frame`), so that its habits cancel; each found
face is then turned, scaled and moved to lie in the crop as the faces in training did.

OpenCV before version 5 brings a detector in its package (Viola & Jones 2001: a cascade for faces
and one for eyes). From version 5 on it brings none; a model for its `FaceDetectorYN` (YuNet, Wu et
al. 2023) is then named by path.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from candid.errors import DataError, DependencyError

Pixels = NDArray[np.uint8]
Point = tuple[float, float]

_LONGEST = 1600  # photographs are made this small: a face of 40 pixels still is one of 20
_FEWEST = 20  # training pictures with one face each, to measure how they lie


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, and how sure the detector is, in its own units."""

    left: float
    top: float
    width: float
    height: float
    score: float

    def scaled(self, factor: float) -> Box:
        """The same in a picture that is larger by this factor."""
        left, top, width, height = (
            round(factor * v, 1) for v in (self.left, self.top, self.width, self.height)
        )
        return Box(left, top, width, height, self.score)

    def values(self) -> dict[str, float]:
        """By the names of a table's columns."""
        edges = ("left", "top", "width", "height")
        return {f"box_{e}": float(getattr(self, e)) for e in edges} | {
            "box_score": round(self.score, 4)
        }


@dataclass(frozen=True, slots=True)
class Face:
    """A face that was found: its box, and its eyes, the one on the picture's left first."""

    box: Box
    eyes: tuple[Point, Point] | None = None


class Detector(Protocol):
    """Finds faces; safe to use from several threads."""

    name: str

    def __call__(self, pixels: Pixels) -> list[Face]:
        """The faces in a picture (height, width, 3)."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """How a face lies in the training pictures, in units of their width.

    Attributes
    ----------
    aspect
        Height / width of the training pictures, as faces are in the world.
    eyes
        x and y of the eye on the picture's left, then of the other; NaN where too few were found.
    box
        x and y of the centre of the detector's box, and the mean of its edges.
    n
        Training pictures that it was measured on; 0 where it is a usual value.
    detector
        With which detector.
    squeeze
        How many times taller faces are in the world than in the training pictures' files.
    """

    aspect: float
    eyes: tuple[float, float, float, float]
    box: tuple[float, float, float]
    n: int
    detector: str
    squeeze: float


# CelebA's aligned pictures, by the means of its list of landmarks in pictures of 178 × 218.
CELEBA = Frame(
    aspect=218 / 178,
    eyes=(69.4 / 178, 111.2 / 178, 107.9 / 178, 111.2 / 178),
    box=(0.5, 0.703, 0.535),
    n=0,
    detector="",
    squeeze=1.0,
)


@dataclass(frozen=True, eq=False)
class Finder:
    """Finds faces and cuts them out as the training pictures were cut.

    Attributes
    ----------
    detector
        What finds them.
    frame
        How they lie in the training pictures.
    longest
        Photographs with a longer edge are made smaller before.
    """

    detector: Detector
    frame: Frame
    longest: int = _LONGEST

    def find(self, pixels: Pixels) -> list[Face]:
        """The faces in a picture (height, width, 3), the largest first."""
        return sorted(
            self.detector(pixels),
            key=lambda f: (-f.box.width * f.box.height, f.box.top, f.box.left),
        )

    def crop(self, pixels: Pixels, face: Face, *, side: int, fit: str) -> Pixels:
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
        self, pixels: Pixels, face: Face, start: Point, extent: Point, size: tuple[int, int]
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

    def _placed(self, face: Face) -> NDArray[np.float64]:
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
    """How faces lie in training pictures (each of any size), by the medians over those with one.

    Parameters
    ----------
    pictures
        As they are in their files.
    detector
        The one that will find faces in photographs.
    squeeze
        From `candid.inference.squeeze.measure_squeeze`.

    Raises
    ------
    DataError
        Where the detector finds a face in too few of them.
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
    e = np.median(eyes, axis=0).tolist() if len(eyes) >= _FEWEST else nowhere
    x, y, size = np.median(boxes, axis=0).tolist()
    aspect = float(np.median(aspects))
    placed = (e[0], e[1], e[2], e[3])
    return Frame(aspect, placed, (x, y, size), len(boxes), detector.name, squeeze)


# --- detectors -----------------------------------------------------------------------------------


def open_detector(model: Path | None = None) -> Detector:
    """OpenCV's own detector, or its `FaceDetectorYN` with a model from a file.

    Raises
    ------
    DependencyError
        Where OpenCV is not installed, or brings no detector and none is named.
    DataError
        Where the file is not such a model.
    """
    cv2 = load_cv2()
    if model is not None:
        return YuNet(model)
    folder = cascades()
    if folder is None:
        raise DependencyError(
            f"OpenCV {cv2.__version__} brings no face detector.",
            expected="OpenCV 4, whose package has one, or a model for its FaceDetectorYN",
            todo="name a YuNet model with --detector face_detection_yunet.onnx (from OpenCV's "
            "collection of models), or pip install 'opencv-python-headless<5'",
        )
    return Cascade(folder)


def cascades() -> Path | None:
    """The folder of the cascades in OpenCV's package; None where it has none."""
    cv2 = load_cv2()
    folder = Path(getattr(cv2.data, "haarcascades", ""))
    known = hasattr(cv2, "CascadeClassifier") and (folder / FACE_CASCADE).is_file()
    return folder if known else None


FACE_CASCADE, _EYE_CASCADE = "haarcascade_frontalface_default.xml", "haarcascade_eye.xml"
_SMALL = 256  # pixels; smaller pictures are enlarged, for the cascade has seen faces of 24 and more
_ENLARGED = 4096  # pixels at most along the longer edge: a sliver of any length holds no face


def _growth(pixels: Pixels) -> float:
    """By what a picture is enlarged before faces are looked for."""
    height, width = map(int, pixels.shape[:2])
    return max(1.0, min(_SMALL / min(height, width), _ENLARGED / max(height, width)))


class Cascade:
    """The cascades of faces and eyes in OpenCV's package."""

    name = "OpenCV's cascade"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine = threading.local()  # a cascade keeps what it works on inside

    def __call__(self, pixels: Pixels) -> list[Face]:
        """The faces in a picture (height, width, 3)."""
        cv2 = load_cv2()
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        grow = _growth(pixels)
        edge = 0
        if grow > 1:  # a crop: the face may reach to its edges
            grey = cv2.resize(grey, None, fx=grow, fy=grow, interpolation=cv2.INTER_CUBIC)
            edge = min(grey.shape) // 4
            grey = cv2.copyMakeBorder(grey, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        least = max(24, min(grey.shape) // 24)
        boxes, _, scores = self._cascade(FACE_CASCADE).detectMultiScale3(
            grey, 1.1, 5, minSize=(least, least), outputRejectLevels=True
        )
        back = _Back(grow, edge)
        found = []
        for (x, y, w, h), score in zip(boxes, np.ravel(scores), strict=True):
            left, top = back.point(float(x), float(y))
            box = Box(left, top, float(w) / grow, float(h) / grow, float(score))
            eyes = self._eyes(grey[y : y + h, x : x + w])
            placed = None
            if eyes is not None:
                a, b = (back.point(x + u, y + v) for u, v in eyes)
                placed = (a, b)
            found.append(Face(box, placed))
        return found

    def _eyes(self, face: NDArray[np.uint8]) -> tuple[Point, Point] | None:
        """One eye in each upper half of a face, level enough to be a pair; None without."""
        height, width = face.shape
        upper = face[: int(0.6 * height)]
        least, most = max(8, width // 8), width // 2
        found = self._cascade(_EYE_CASCADE).detectMultiScale(
            upper, 1.05, 4, minSize=(least, least), maxSize=(most, most)
        )
        centres = [(float(x + w / 2), float(y + h / 2)) for x, y, w, h in found]
        left = [c for c in centres if c[0] < width / 2]
        right = [c for c in centres if c[0] >= width / 2]
        if len(left) != 1 or len(right) != 1:
            return None
        (ax, ay), (bx, by) = left[0], right[0]
        if not 0.25 * width < bx - ax < 0.6 * width or abs(by - ay) > 0.35 * (bx - ax):
            return None
        return left[0], right[0]

    def _cascade(self, name: str) -> Any:
        mine = self._mine.__dict__
        if name not in mine:
            mine[name] = load_cv2().CascadeClassifier(str(self._folder / name))
        return mine[name]


@dataclass(frozen=True, slots=True)
class _Back:
    """From an enlarged picture with a border to the picture."""

    grow: float
    edge: int

    def point(self, x: float, y: float) -> Point:
        return (x - self.edge) / self.grow, (y - self.edge) / self.grow


class YuNet:
    """A model for OpenCV's FaceDetectorYN: boxes, eyes, noses and corners of mouths.

    Parameters
    ----------
    model
        The ONNX file.

    Raises
    ------
    DataError
        Where it is not such a model.
    """

    def __init__(self, model: Path) -> None:
        self._model = str(model)
        self.name = f"FaceDetectorYN with {model.name}"
        self._mine = threading.local()  # it keeps the size of its pictures inside
        if not model.is_file():
            raise DataError(
                f"There is no detector {model}.",
                expected="the ONNX file of a YuNet face detector",
                todo="check the path",
            )
        self(np.zeros((64, 64, 3), np.uint8))

    def __call__(self, pixels: Pixels) -> list[Face]:
        """The faces in a picture (height, width, 3)."""
        cv2 = load_cv2()
        grow = _growth(pixels)
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        if grow > 1:
            bgr = cv2.resize(bgr, None, fx=grow, fy=grow, interpolation=cv2.INTER_CUBIC)
        height, width = bgr.shape[:2]
        try:
            if "net" not in self._mine.__dict__:
                self._mine.net = cv2.FaceDetectorYN.create(self._model, "", (width, height), 0.7)
            self._mine.net.setInputSize((width, height))
            _, rows = self._mine.net.detect(bgr)
        except cv2.error as error:
            raise DataError(
                f"OpenCV cannot use {self._model}: {' '.join(str(error).split())[:200]}",
                expected="the ONNX file of a YuNet face detector, for OpenCV's FaceDetectorYN",
                todo="name another with --detector",
            ) from error
        found = []
        for row in [] if rows is None else np.asarray(rows, np.float64):
            x, y, w, h, ax, ay, bx, by = (float(v) for v in row[:8] / grow)
            found.append(Face(Box(x, y, w, h, float(row[14])), ((ax, ay), (bx, by))))
        return found


def load_cv2() -> Any:
    """OpenCV, where it is installed."""
    try:
        import cv2
    except ImportError as error:
        raise DependencyError(
            f"Finding faces needs a library that is not installed: {error.name}.",
            expected="the extra 'crop'",
            todo="pip install 'candid[crop]'",
        ) from error
    return cv2
