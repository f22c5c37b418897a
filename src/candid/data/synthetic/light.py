"""Drawing one Face: supersampled polygons for the shapes, smooth fields for the light.

The shapes are painted on a canvas of material numbers. Light, shadows, blush, blur and noise are
added at the image's size.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from candid.data.synthetic.canvas import COVER, NUMBER, PAINTS, REGION_OF, REGIONS, Canvas, Field
from candid.data.synthetic.face import RGB, Face, skin_rgb
from candid.data.synthetic.shapes import paint


def draw_face(face: Face, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image, (side, side, 3) uint8 sRGB, and the region of each pixel's centre.

    Regions are (side, side) uint8, indices into `REGIONS`.
    """
    canvas = Canvas(face, side)
    paint(canvas, face)
    u, v = canvas.grid()
    return _light(canvas, face, u, v), _regions(canvas, u, v)


def _palette(face: Face) -> dict[str, RGB]:
    skin = skin_rgb(face.skin_tone)
    dark = 1 - (skin[0] / 255)
    rose = _mix(skin, (176, 62, 74), 0.42)
    stubble = _mix(face.hair, skin, 0.12)
    band = _shade(face.hat_colour, 0.72)
    # The label's cues must have the same contrast on dark and on light skin, or the drawing would
    # add a bias: brows and the shadow below the jaw keep a distance.
    grey = _grey(skin)
    brow = min(1.0, max(12.0, min(0.8 * _grey(face.hair), grey - 60)) / _grey(face.hair))
    return {
        "skin": _shade(skin, 1.0),
        "skin mark": _mix(skin, (96, 48, 26), 0.3),
        "nose shade": _warm_shade(skin, 0.87),
        "nose light": _mix(skin, (255, 246, 236), 0.2),
        "nostril": _warm_shade(skin, 0.5),
        "ear": _warm_shade(skin, 0.95),
        "ear shade": _warm_shade(skin, 0.78),
        "earring": face.earring_colour,
        "neck": _warm_shade(skin, 0.92),
        "neck shade": _warm_shade(skin, min(0.7, max(0.3, 1 - 48 / grey))),
        "clothes": face.clothes,
        "collar": _shade(face.clothes, 0.78),
        "hair back": _shade(face.hair, 0.72),
        "hair": face.hair,
        "hair light": _mix(face.hair, (255, 236, 210), 0.11),
        "brow": _shade(face.hair, brow),
        "crease": _warm_shade(skin, 0.74),
        "eye white": _mix((250, 248, 244), skin, 0.08 + 0.06 * dark),
        "iris": _shade(face.eye, 0.62),
        "iris light": face.eye,
        "pupil": (20, 18, 22),
        "glint": (255, 255, 255),
        "lash": (42, 28, 28),
        "beard": stubble,
        "moustache": _shade(stubble, 0.92),
        "lip": rose,
        "lip light": _mix(rose, (255, 236, 230), 0.2),
        "mouth inside": _warm_shade(rose, 0.42),
        "teeth": (250, 247, 240),
        "tongue": (206, 96, 100),
        "hat": face.hat_colour,
        "hat band": band,
        "hat light": _mix(face.hat_colour, (255, 255, 255), 0.35),
        "frame": face.frame,
        "lens": _mix((34, 36, 46), face.frame, 0.15),
        "lens light": (92, 98, 116),
    }


def _grey(colour: tuple[float, float, float]) -> float:
    """Luma, ITU-R BT.601."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _shade(colour: tuple[float, float, float], factor: float) -> RGB:
    return _mix(colour, (0, 0, 0), 1 - factor)


def _warm_shade(colour: tuple[float, float, float], factor: float) -> RGB:
    """A shadow on skin, which loses more blue than red."""
    r, g, b = colour
    return round(r * factor**0.85), round(g * factor), round(b * factor**1.08)


def _mix(
    colour: tuple[float, float, float], other: tuple[float, float, float], share: float
) -> RGB:
    r, g, b = (round(x + share * (y - x)) for x, y in zip(colour, other, strict=True))
    return r, g, b


def _light(canvas: Canvas, face: Face, u: Field, v: Field) -> NDArray[np.uint8]:
    """The (side, side, 3) image: flat colours, then light, shadow, backdrop, blur and noise."""
    # The background is black in the palette, so edges are already weighted by cover.
    paints = _palette(face)
    rgb = canvas.render(bytes([0, 0, 0] + [c for name in PAINTS for c in paints[name]]))
    skin, above, cover = np.moveaxis(canvas.render(COVER) / np.float32(255), 2, 0)

    angle = math.radians(face.light_from)
    towards = np.clip((u * math.sin(angle) - v * math.cos(angle)) / 0.75, -1.2, 1.2)
    round_off = ((u / face.head_width) ** 2 + (v / 0.7) ** 2) ** 2
    shade = 1 + face.light * (0.17 * towards - 0.07 * np.minimum(round_off, 1.5))
    fall = max(1, round(canvas.side * 0.028))
    cast = np.roll(_soften(255 * above, canvas.side * 0.03), fall, axis=0) / 255 * (1 - above)
    shade *= 1 - 0.3 * face.light * cast * skin
    sheen = np.exp(-(((v + 0.5 + 0.1 * u * math.sin(angle)) / 0.09) ** 2))
    shade *= 1 + 0.16 * face.light * sheen * above
    warm = face.warmth * face.light
    tint = np.array([1 + 0.04 * warm, 1 + 0.01 * warm, 1 - 0.05 * warm], np.float32)
    rgb = rgb * shade[..., None] * tint

    blush = sum(np.exp(-(((u - d * 0.27) / 0.1) ** 2) - ((v - 0.17) / 0.08) ** 2) for d in (-1, 1))
    rgb += (blush * skin * 0.1)[..., None] * np.array([70, -50, -30], np.float32)
    rgb += (1 - cover)[..., None] * _backdrop(face, canvas.side)
    return _camera(rgb, face, canvas.side)


def _backdrop(face: Face, side: int) -> Field:
    near, far = (np.array(c, np.float32) for c in (face.back_near, face.back_far))
    line = np.linspace(-1, 1, side, dtype=np.float32)
    x, y = line[None, :], line[:, None]
    angle = math.radians(face.back_angle)
    along = (x * math.cos(angle) + y * math.sin(angle)) / 2.8 + 0.5
    if face.backdrop == "Plain":
        along = 0.35 * along
    back: Field = near + along[..., None] * (far - near)
    if face.backdrop == "Lights":
        clear = np.ones_like(along)
        for k in range(7):
            turn = angle + 2.4 * k
            cx, cy = 0.9 * math.cos(turn) * (0.7 + 0.04 * k), 0.75 * math.sin(1.7 * turn) - 0.15
            radius = 0.12 + 0.025 * ((k * 3) % 5)
            clear *= 1 - 0.28 * np.clip((radius - np.hypot(x - cx, y - cy)) * 14, 0, 1)
        back = np.asarray(255 - clear[..., None] * (255 - back), np.float32)
    vignette = 1 - 0.06 * (x**2 + y**2)
    return np.asarray(back * vignette[..., None], np.float32)


def _camera(rgb: Field, face: Face, side: int) -> NDArray[np.uint8]:
    if face.blur > 0.05:
        rgb = _soften(rgb, face.blur * side / 64)
    if face.noise > 0:
        rng = np.random.default_rng(face.noise_seed)
        rgb = rgb + np.float32(face.noise) * rng.standard_normal(rgb.shape, np.float32)
    return _bytes(rgb)


def _soften(field: Field, sigma: float) -> Field:
    """Blur a field of 0 to 255."""
    blurred = Image.fromarray(_bytes(field)).filter(ImageFilter.GaussianBlur(sigma))
    return np.asarray(blurred, np.float32)


def _bytes(field: Field) -> NDArray[np.uint8]:
    return np.asarray(np.clip(field + 0.5, 0, 255), np.uint8)


def _regions(canvas: Canvas, u: Field, v: Field) -> NDArray[np.uint8]:
    """(side, side) regions: the material at each centre, and skin by its position."""
    size = (canvas.side, canvas.side)
    material = np.asarray(canvas.image.resize(size, Image.Resampling.NEAREST), np.uint8)
    regions: NDArray[np.uint8] = REGION_OF[material]
    skin = (material == NUMBER["skin"]) | (material == NUMBER["skin mark"])
    eye = ((np.abs(u) - 0.21) / 0.15) ** 2 + ((v + 0.025) / 0.1) ** 2 < 1
    rules = (  # a later one wins
        ("forehead", v < -0.13),
        ("jaw", v > 0.3),
        ("eyes", eye),
        ("nose", (np.abs(u) < 0.04 + 0.25 * np.maximum(0, v)) & (v > -0.12) & (v < 0.24)),
        ("mouth", (u / 0.25) ** 2 + ((v - 0.39) / 0.11) ** 2 < 1),
    )
    for name, mask in rules:
        regions[skin & mask] = REGIONS.index(name)
    return regions
