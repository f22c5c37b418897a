"""Face detectors: boxes, and eyes where they can.

OpenCV before version 5 has one in its package (Viola & Jones 2001: a cascade for faces and one for
eyes). From version 5 on it has none; a model for its `FaceDetectorYN` (YuNet, Wu et al. 2023) is
then named by path.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from candid.errors import DataError, DependencyError, require_extra

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
        """The box in an image enlarged by this factor."""
        left, top, width, height = (
            round(factor * v, 1) for v in (self.left, self.top, self.width, self.height)
        )
        return Box(left, top, width, height, self.score)

    def values(self) -> dict[str, float]:
        """The values by the names of a table's columns."""
        edges = ("left", "top", "width", "height")
        return {f"box_{e}": float(getattr(self, e)) for e in edges} | {
            "box_score": round(self.score, 4)
        }


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """A detected face: its box, and its eyes, the one on the image's left first.

    `square` (3, 3) maps [-1, 1]² to the pixels of a training image of it, where that is known.
    """

    box: Box
    eyes: tuple[Point, Point] | None = None
    square: NDArray[np.float64] | None = field(default=None, compare=False)


def largest_first(faces: Iterable[DetectedFace]) -> list[DetectedFace]:
    """The faces by the area of their boxes; ties from the upper left."""
    return sorted(faces, key=lambda f: (-f.box.width * f.box.height, f.box.top, f.box.left))


class Detector(Protocol):
    """Finds faces; thread-safe."""

    name: str

    def __call__(self, pixels: Pixels) -> list[DetectedFace]:
        """The faces in an image (height, width, 3)."""
        ...


# In place of a file: OpenCV's own detector.
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
    exists = hasattr(cv2, "CascadeClassifier") and (folder / FACE_CASCADE).is_file()
    return folder if exists else None


FACE_CASCADE, _EYE_CASCADE = "haarcascade_frontalface_default.xml", "haarcascade_eye.xml"
_MIN_SIDE = 256  # smaller images are enlarged, as the cascade was trained on faces from 24 pixels
_MAX_SIDE = 4096  # pixels along the longer edge of an enlarged image


def _enlargement(pixels: Pixels) -> float:
    """The factor by which an image is enlarged before detection."""
    height, width = map(int, pixels.shape[:2])
    return max(1.0, min(_MIN_SIDE / min(height, width), _MAX_SIDE / max(height, width)))


class Cascade:
    """The cascades of faces and eyes in OpenCV's package."""

    name = "OpenCV's cascade"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._local = threading.local()  # a cascade is not thread-safe

    def __call__(self, pixels: Pixels) -> list[DetectedFace]:
        """The faces in an image (height, width, 3)."""
        cv2 = load_cv2()
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        factor = _enlargement(pixels)
        border = 0
        if factor > 1:  # a crop: the face may reach to its edges
            grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
            border = min(grey.shape) // 4
            grey = cv2.copyMakeBorder(grey, border, border, border, border, cv2.BORDER_REPLICATE)
        min_size = max(24, min(grey.shape) // 24)
        boxes, _, scores = self._cascade(FACE_CASCADE).detectMultiScale3(
            grey, 1.1, 5, minSize=(min_size, min_size), outputRejectLevels=True
        )

        def to_image(x: float, y: float) -> Point:
            """From the enlarged image with its border to the image."""
            return (x - border) / factor, (y - border) / factor

        faces = []
        for (x, y, w, h), score in zip(boxes, np.ravel(scores), strict=True):
            size = float(w) / factor, float(h) / factor
            box = Box(*to_image(float(x), float(y)), *size, float(score))
            eyes = self._eyes(grey[y : y + h, x : x + w])
            if eyes is not None:
                (ax, ay), (bx, by) = eyes
                eyes = to_image(x + ax, y + ay), to_image(x + bx, y + by)
            faces.append(DetectedFace(box, eyes))
        return faces

    def _eyes(self, face: NDArray[np.uint8]) -> tuple[Point, Point] | None:
        """One eye in each upper half of a face, level enough to be a pair; else None."""
        height, width = face.shape
        upper = face[: int(0.6 * height)]
        min_size, max_size = max(8, width // 8), width // 2
        boxes = self._cascade(_EYE_CASCADE).detectMultiScale(
            upper, 1.05, 4, minSize=(min_size, min_size), maxSize=(max_size, max_size)
        )
        centres = [(float(x + w / 2), float(y + h / 2)) for x, y, w, h in boxes]
        left = [c for c in centres if c[0] < width / 2]
        right = [c for c in centres if c[0] >= width / 2]
        if len(left) != 1 or len(right) != 1:
            return None
        (ax, ay), (bx, by) = left[0], right[0]
        if not 0.25 * width < bx - ax < 0.6 * width or abs(by - ay) > 0.35 * (bx - ax):
            return None
        return left[0], right[0]

    def _cascade(self, name: str) -> Any:
        loaded = self._local.__dict__
        if name not in loaded:
            loaded[name] = load_cv2().CascadeClassifier(str(self._folder / name))
        return loaded[name]


class YuNet:
    """A model for OpenCV's FaceDetectorYN: boxes, eyes, noses and corners of mouths."""

    def __init__(self, model: Path) -> None:
        self._model = str(model)
        self.name = f"FaceDetectorYN with {model.name}"
        self._local = threading.local()  # it stores the size of its images
        if not model.is_file():
            raise DataError(
                f"There is no detector {model}.",
                expected="the ONNX file of a YuNet face detector",
                todo="check the path",
            )
        self(np.zeros((64, 64, 3), np.uint8))

    def __call__(self, pixels: Pixels) -> list[DetectedFace]:
        """The faces in an image (height, width, 3)."""
        cv2 = load_cv2()
        factor = _enlargement(pixels)
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        if factor > 1:
            bgr = cv2.resize(bgr, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        height, width = bgr.shape[:2]
        try:
            if "net" not in self._local.__dict__:
                self._local.net = cv2.FaceDetectorYN.create(self._model, "", (width, height), 0.7)
            self._local.net.setInputSize((width, height))
            _, rows = self._local.net.detect(bgr)
        except cv2.error as error:
            raise DataError(
                f"OpenCV cannot use {self._model}: {' '.join(str(error).split())[:200]}",
                expected="the ONNX file of a YuNet face detector, for OpenCV's FaceDetectorYN",
                todo="name another with --detector",
            ) from error
        faces = []
        for row in [] if rows is None else np.asarray(rows, np.float64):
            x, y, w, h, ax, ay, bx, by = (float(v) for v in row[:8] / factor)
            faces.append(DetectedFace(Box(x, y, w, h, float(row[14])), ((ax, ay), (bx, by))))
        return faces


def load_cv2() -> Any:
    """OpenCV, where it is installed."""
    with require_extra("Finding faces needs", "crop"):
        import cv2
    return cv2
