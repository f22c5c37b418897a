"""The canvas that a Face is painted on: material numbers, finer than the picture, in a pose.

Its palette gives the colours and its centres the region masks, so that picture and masks cannot
disagree. Coordinates: (u, v) in half image sides, u to the right, v down, (0, 0) the middle of the
head.
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

# What is painted of each region. Skin is divided by place, not by paint.
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
_INVERSE_RADII = np.array([1 / 0.6**2, 1 / 0.8**2])
_SKIN = {"skin", "skin mark", "nose shade", "nose light", "ear", "neck"}
_ABOVE = {"hair", "hair light", "hat", "hat band"}  # what throws a shadow on the forehead
# A palette whose three channels say: is it skin, does it lie above skin, is it anything at all.
COVER = bytes([0, 0, 0] + [255 * x for p in PAINTS for x in (p in _SKIN, p in _ABOVE, True)])


@dataclass(frozen=True, slots=True)
class _Painted:
    """A polygon, or a line of some pixels' width."""

    points: Points  # (m, 2)
    ink: int
    lift: float
    body: bool = False
    width: int = 0


class Canvas:
    """A fine canvas of material numbers, and the pose that everything on it stands in."""

    def __init__(self, face: Face, side: int) -> None:
        self.side = side
        self.fine = 4 if side <= 160 else 3
        size = side * self.fine
        self.image = Image.new("P", (size, size), 0)
        self.draw = ImageDraw.Draw(self.image)
        self.painted: list[_Painted] = []
        self.scale = face.zoom * size / 2
        self.middle = size / 2 * np.array([1 + face.shift_x, 1.04 + face.shift_y])
        tilt, yaw, pitch = (math.radians(x) for x in (face.tilt, face.yaw, face.pitch))
        c, s = math.cos(tilt), math.sin(tilt)
        self.turn = np.array([[c, s], [-s, c]])  # row vectors
        self.slide = np.array([math.sin(yaw), math.sin(pitch)])

    def fill(self, points: Points, paint: str, lift: float = 0.0, *, body: bool = False) -> None:
        """Paint the polygon through (m, 2) points on the head, `lift` above it; or on the body."""
        self.painted.append(_Painted(points, NUMBER[paint], lift, body))

    def stroke(self, points: Points, width: float, paint: str, lift: float = 0.0) -> None:
        """Paint a line through (m, 2) points."""
        pixels = max(1, round(width * self.scale))
        self.painted.append(_Painted(points, NUMBER[paint], lift, width=pixels))

    def finish(self) -> None:
        """Put what was painted onto the image, in its order, as all points are placed at once."""
        ends = (2 * np.cumsum([len(one.points) for one in self.painted])).tolist()
        places = self._places().ravel().tolist()
        for one, start, end in zip(self.painted, [0, *ends], ends, strict=False):
            if one.width:
                self.draw.line(places[start:end], fill=one.ink, width=one.width, joint="curve")
            else:
                self.draw.polygon(places[start:end], fill=one.ink)
        self.painted.clear()

    def _places(self) -> Points:
        """(m, 2) pixels of all points that were painted."""
        points = np.concatenate([one.points for one in self.painted])
        counts = [len(one.points) for one in self.painted]
        lift = np.repeat([one.lift for one in self.painted], counts)
        body = np.repeat([one.body for one in self.painted], counts)
        # How far the head's surface stands out towards the viewer.
        depth = 0.4 * np.sqrt(np.maximum(0, 1 - points**2 @ _INVERSE_RADII)) + lift
        on_head = (points + depth[:, None] * self.slide) @ self.turn
        return np.where(body[:, None], points, on_head) * self.scale + self.middle

    def blob(self, right: Sequence[tuple[float, float]], paint: str, lift: float = 0.0) -> None:
        """Paint a smooth shape and its mirror image, by the points of its right half."""
        self.fill(spline(*mirrored(*right)), paint, lift)

    def disc(
        self, u: float, v: float, radius: float | tuple[float, float], paint: str, lift: float = 0.0
    ) -> None:
        """Paint a circle, or an ellipse with two radii."""
        self.fill(np.array([u, v]) + circle(20) * radius, paint, lift)

    def grid(self) -> tuple[Field, Field]:
        """(side, side) coordinates on the head of each pixel's centre, depth left aside."""
        centres = (np.arange(self.side) + 0.5) * self.fine
        x = (centres[None, :] - self.middle[0]) / self.scale
        y = (centres[:, None] - self.middle[1]) / self.scale
        (c, s), _ = self.turn
        u = c * x + s * y
        v = -s * x + c * y
        # One step back from the surface to the plane that shapes are given in.
        depth = 0.4 * np.sqrt(np.maximum(0, 1 - (u / 0.6) ** 2 - (v / 0.8) ** 2))
        return (
            (u - depth * self.slide[0]).astype(np.float32),
            (v - depth * self.slide[1]).astype(np.float32),
        )

    def coloured(self, palette: bytes) -> Field:
        """(side, side, 3) mean over each pixel of what the palette makes of the materials."""
        self.image.putpalette(palette)
        return np.asarray(self.image.convert("RGB").reduce(self.fine), np.float32)


@cache
def circle(n: int) -> Points:
    """(n, 2) points on the unit circle."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.column_stack([np.cos(angle), np.sin(angle)])


@cache
def _spline_basis(n: int, steps: int, closed: bool) -> Points:
    """(m, n) weights of a Catmull–Rom spline through n points."""
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    before, here = -0.5 * t + t**2 - 0.5 * t**3, 1 - 2.5 * t**2 + 1.5 * t**3
    after, beyond = 0.5 * t + 2 * t**2 - 1.5 * t**3, -0.5 * t**2 + 0.5 * t**3
    weights = np.hstack([before, here, after, beyond])
    pieces = []
    for i in range(n if closed else n - 1):
        piece = np.zeros((steps, n))
        for k in range(4):
            j = i + k - 1
            piece[:, j % n if closed else min(max(j, 0), n - 1)] += weights[:, k]
        pieces.append(piece)
    if not closed:
        pieces.append(np.eye(n)[-1:])
    return np.vstack(pieces)


def spline(*points: tuple[float, float], closed: bool = True) -> Points:
    """(m, 2) points of a Catmull–Rom spline through the given ones."""
    curve: Points = _spline_basis(len(points), 6, closed) @ np.array(points)
    return curve


def mirrored(*right: tuple[float, float]) -> list[tuple[float, float]]:
    """The points and their mirror images, in order; the first and last may lie on the axis."""
    left = [(-u, v) for u, v in reversed(right) if u != 0.0]
    return [*right, *left]
