"""Detectors of faces: boxes, and eyes where they can.

OpenCV before version 5 brings one in its package (Viola & Jones 2001: a cascade for faces and one
for eyes). From version 5 on it brings none; a model for its `FaceDetectorYN` (YuNet, Wu et al.
2023) is then named by path.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from candid.errors import DataError, DependencyError, needing

Pixels = NDArray[np.uint8]
Point = tuple[float, float]


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
class DetectedFace:
    """A face that was found: its box, and its eyes, the one on the picture's left first.

    `square` (3, 3) maps [-1, 1]² to the pixels that a training picture of it would show, where that
    is known.
    """

    box: Box
    eyes: tuple[Point, Point] | None = None
    square: NDArray[np.float64] | None = field(default=None, compare=False)


def largest_first(faces: Iterable[DetectedFace]) -> list[DetectedFace]:
    """The faces by the area of their boxes; of equals, the upper left one first."""
    return sorted(faces, key=lambda f: (-f.box.width * f.box.height, f.box.top, f.box.left))


class Detector(Protocol):
    """Finds faces; safe to use from several threads."""

    name: str

    def __call__(self, pixels: Pixels) -> list[DetectedFace]:
        """The faces in a picture (height, width, 3)."""
        ...


# In place of a file: the detector that OpenCV brings.
OPENCV = Path("opencv")


def open_detector(model: Path | None = None) -> Detector:
    """OpenCV's own detector, or its `FaceDetectorYN` with a model from a file.

    Raises DependencyError where OpenCV is not installed, or brings no detector and none is named;
    DataError where the file is not such a model.
    """
    cv2 = load_cv2()
    if model is not None and model != OPENCV:
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

    def __call__(self, pixels: Pixels) -> list[DetectedFace]:
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

        def back(x: float, y: float) -> Point:
            """From the enlarged image with a border to the image."""
            return (x - edge) / grow, (y - edge) / grow

        found = []
        for (x, y, w, h), score in zip(boxes, np.ravel(scores), strict=True):
            box = Box(*back(float(x), float(y)), float(w) / grow, float(h) / grow, float(score))
            eyes = self._eyes(grey[y : y + h, x : x + w])
            if eyes is not None:
                (ax, ay), (bx, by) = eyes
                eyes = back(x + ax, y + ay), back(x + bx, y + by)
            found.append(DetectedFace(box, eyes))
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


class YuNet:
    """A model for OpenCV's FaceDetectorYN: boxes, eyes, noses and corners of mouths."""

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

    def __call__(self, pixels: Pixels) -> list[DetectedFace]:
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
            found.append(DetectedFace(Box(x, y, w, h, float(row[14])), ((ax, ay), (bx, by))))
        return found


def load_cv2() -> Any:
    """OpenCV, where it is installed."""
    with needing("Finding faces needs", "crop"):
        import cv2
    return cv2
