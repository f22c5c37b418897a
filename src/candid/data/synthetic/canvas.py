"""The supersampled canvas of material numbers that a Face is painted on, in its pose.

A palette gives the image and the pixels' centres the region masks, so both agree. Coordinates:
(u, v) in half image sides, u to the right, v down, (0, 0) the middle of the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from candid.data.synthetic.face import Face

Points = NDArray[np.float64]
Field = NDArray[np.float32]

# The paints of each region. Skin is divided by position, not by paint.
_PAINTS_OF = {
    "background": ("background",),
    "hair": ("hair back", "hair", "hair light"),
    "forehead": (),
    "brows": ("brow",),
    "eyes": ("crease", "eye white", "iris", "iris light", "pupil", "glint", "lash"),
    "nose": ("nose shade", "nose light", "nostril"),
    "cheeks": ("skin", "skin mark"),
    "mouth": ("moustache", "lip", "lip light", "mouth inside", "teeth", "tongue"),
    "jaw": ("beard",),
    "ears": ("ear", "ear shade", "earring"),
    "neck": ("neck", "neck shade"),
    "clothes": ("clothes", "collar"),
    "hat": ("hat", "hat band", "hat light"),
    "glasses": ("frame", "lens", "lens light"),
}
REGIONS = tuple(_PAINTS_OF)
_MATERIALS = [(paint, region) for region, paints in _PAINTS_OF.items() for paint in paints]
NUMBER = {paint: i for i, (paint, _) in enumerate(_MATERIALS)}
REGION_OF = np.array([REGIONS.index(region) for _, region in _MATERIALS], np.uint8)
PAINTS = tuple(NUMBER)[1:]
_STEPS = 6  # of a spline between two points
_INVERSE_RADII = np.array([1 / 0.6**2, 1 / 0.8**2])
_SKIN = {"skin", "skin mark", "nose shade", "nose light", "ear", "neck"}
_ABOVE = {"hair", "hair light", "hat", "hat band"}  # these cast a shadow on the forehead
# A palette whose channels mark skin, what is above skin, and everything but the background.
COVER = bytes([0, 0, 0] + [255 * x for p in PAINTS for x in (p in _SKIN, p in _ABOVE, True)])


@dataclass(frozen=True, slots=True)
class _Shape:
    """A polygon, or a line with a width in pixels."""

    points: Points  # (m, 2)
    index: int
    lift: float
    body: bool = False
    width: int = 0


class Canvas:
    """A supersampled canvas of material numbers, and the pose of the head."""

    def __init__(self, face: Face, side: int) -> None:
        self.side = side
        self.fine = 4 if side <= 160 else 3
        size = side * self.fine
        self.image = Image.new("P", (size, size), 0)
        self.draw = ImageDraw.Draw(self.image)
        self.shapes: list[_Shape] = []
        self.scale = face.zoom * size / 2
        self.middle = size / 2 * np.array([1 + face.shift_x, 1.04 + face.shift_y])
        tilt, yaw, pitch = (math.radians(x) for x in (face.tilt, face.yaw, face.pitch))
        c, s = math.cos(tilt), math.sin(tilt)
        self.rotation = np.array([[c, s], [-s, c]])  # row vectors
        self.parallax = np.array([math.sin(yaw), math.sin(pitch)])

    def fill(self, points: Points, paint: str, lift: float = 0.0, *, body: bool = False) -> None:
        """Paint the polygon through (m, 2) points on the head, `lift` above it; or on the body."""
        self.shapes.append(_Shape(points, NUMBER[paint], lift, body))

    def stroke(self, points: Points, width: float, paint: str, lift: float = 0.0) -> None:
        """Paint a line through (m, 2) points."""
        pixels = max(1, round(width * self.scale))
        self.shapes.append(_Shape(points, NUMBER[paint], lift, width=pixels))

    def finish(self) -> None:
        """Draw all shapes onto the image, in order; their points are projected at once."""
        ends = (2 * np.cumsum([len(s.points) for s in self.shapes])).tolist()
        points = self._project().ravel().tolist()
        for s, start, end in zip(self.shapes, [0, *ends], ends, strict=False):
            if s.width:
                self.draw.line(points[start:end], fill=s.index, width=s.width, joint="curve")
            else:
                self.draw.polygon(points[start:end], fill=s.index)
        self.shapes.clear()

    def _project(self) -> Points:
        """(m, 2) pixel coordinates of all points."""
        points = np.concatenate([shape.points for shape in self.shapes])
        counts = [len(shape.points) for shape in self.shapes]
        lift = np.repeat([shape.lift for shape in self.shapes], counts)
        body = np.repeat([shape.body for shape in self.shapes], counts)
        # The height of the head's surface towards the viewer.
        depth = 0.4 * np.sqrt(np.maximum(0, 1 - points**2 @ _INVERSE_RADII)) + lift
        on_head = (points + depth[:, None] * self.parallax) @ self.rotation
        return np.where(body[:, None], points, on_head) * self.scale + self.middle

    def blob(self, right: Sequence[tuple[float, float]], paint: str, lift: float = 0.0) -> None:
        """Paint a smooth shape and its mirror image, by the points of its right half."""
        self.fill(spline(*mirror(*right)), paint, lift)

    def disc(
        self, u: float, v: float, radius: float | tuple[float, float], paint: str, lift: float = 0.0
    ) -> None:
        """Paint a circle, or an ellipse with two radii."""
        self.fill(np.array([u, v]) + circle(20) * radius, paint, lift)

    def grid(self) -> tuple[Field, Field]:
        """(side, side) coordinates on the head of each pixel's centre."""
        centres = (np.arange(self.side) + 0.5) * self.fine
        x = (centres[None, :] - self.middle[0]) / self.scale
        y = (centres[:, None] - self.middle[1]) / self.scale
        (c, s), _ = self.rotation
        u = c * x + s * y
        v = -s * x + c * y
        # From the surface back to the plane of the shapes, in one step.
        depth = 0.4 * np.sqrt(np.maximum(0, 1 - (u / 0.6) ** 2 - (v / 0.8) ** 2))
        return (
            (u - depth * self.parallax[0]).astype(np.float32),
            (v - depth * self.parallax[1]).astype(np.float32),
        )

    def render(self, palette: bytes) -> Field:
        """(side, side, 3) mean colour of each pixel with the palette."""
        self.image.putpalette(palette)
        return np.asarray(self.image.convert("RGB").reduce(self.fine), np.float32)


@cache
def circle(n: int) -> Points:
    """(n, 2) points on the unit circle."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.column_stack([np.cos(angle), np.sin(angle)])


@cache
def _spline_basis(n: int, closed: bool) -> Points:
    """(m, n) weights of a Catmull–Rom spline through n points."""
    t = np.linspace(0, 1, _STEPS, endpoint=False)[:, None]
    w0, w1 = -0.5 * t + t**2 - 0.5 * t**3, 1 - 2.5 * t**2 + 1.5 * t**3
    w2, w3 = 0.5 * t + 2 * t**2 - 1.5 * t**3, -0.5 * t**2 + 0.5 * t**3
    weights = np.hstack([w0, w1, w2, w3])
    pieces = []
    for i in range(n if closed else n - 1):
        piece = np.zeros((_STEPS, n))
        for k in range(4):
            j = i + k - 1
            piece[:, j % n if closed else min(max(j, 0), n - 1)] += weights[:, k]
        pieces.append(piece)
    if not closed:
        pieces.append(np.eye(n)[-1:])
    return np.vstack(pieces)


def spline(*points: tuple[float, float], closed: bool = True) -> Points:
    """(m, 2) points of a Catmull–Rom spline through the given ones."""
    curve: Points = _spline_basis(len(points), closed) @ np.array(points)
    return curve


def mirror(*right: tuple[float, float]) -> list[tuple[float, float]]:
    """The points and their mirror images, in order; the first and last may lie on the axis."""
    left = [(-u, v) for u, v in reversed(right) if u != 0.0]
    return [*right, *left]
