"""The parameters of a face, and their random distributions."""

# ruff: noqa: RUF009 - those calls make fields of the dataclass, not values
from __future__ import annotations

import colorsys
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from candid.predictions import Attribute

RGB = tuple[int, int, int]

HAIR_STYLES = ("Bald", "Short", "Curly", "Bob", "Long", "Bun")
HAT_STYLES = ("Beanie", "Cap", "Brimmed")
BACKDROPS = ("Plain", "Gradient", "Lights")
HAIR_COLOURS: dict[str, RGB] = {
    "Black": (36, 31, 34),
    "Blond": (216, 178, 112),
    "Brown": (98, 63, 42),
    "Grey": (170, 170, 176),
    "Red": (166, 80, 42),
}
EYE_COLOURS: dict[str, RGB] = {
    "Blue": (86, 138, 186),
    "Brown": (98, 62, 38),
    "Green": (92, 132, 88),
    "Grey": (128, 140, 148),
}

# The usual bins of the individual typology angle, in degrees (Del Bino & Bernerd, British Journal
# of Dermatology 169, 2013), darkest first; the outer ends are those of the ramp below.
SKIN_BINS: dict[str, tuple[float, float]] = {
    "Dark": (-55.0, -30.0),
    "Brown": (-30.0, 10.0),
    "Tan": (10.0, 28.0),
    "Intermediate": (28.0, 41.0),
    "Light": (41.0, 55.0),
    "Very light": (55.0, 63.0),
}

# CIELAB of skin from very dark to very light: lightness, redness, yellowness. Yellowness is
# largest in the middle, as in measured skin.
_RAMP = np.array(
    [
        (32.0, 9.0, 12.0),
        (38.0, 11.0, 15.0),
        (46.0, 12.5, 18.5),
        (54.0, 12.5, 20.5),
        (61.0, 11.5, 20.5),
        (67.0, 10.5, 19.0),
        (72.0, 9.5, 17.0),
        (77.0, 8.5, 14.5),
        (81.0, 7.5, 12.5),
        (84.0, 7.0, 11.0),
    ]
)


# --- random fields -------------------------------------------------------------------------------

# The value of a field from random numbers, a FaceWorld, and the earlier fields.
Sampler = Callable[[np.random.Generator, Any, Mapping[str, Any]], Any]

_FRAMES: tuple[RGB, ...] = (
    (38, 36, 40),
    (92, 52, 34),
    (150, 44, 52),
    (52, 74, 112),
    (196, 168, 96),
)
_METALS: tuple[RGB, ...] = ((236, 200, 104), (214, 218, 226), (88, 190, 182), (226, 98, 110))


def _field(sampler: Sampler) -> Any:
    """A field of a face with its sampler."""
    return field(metadata={"sampler": sampler})


def _uniform(low: float, high: float) -> Any:
    return _field(lambda rng, *_: rng.uniform(low, high))


def _normal(deviation: float, most: float = math.inf) -> Any:
    return _field(lambda rng, *_: float(np.clip(rng.normal(0, deviation), -most, most)))


def _chance(share: float | str) -> Any:
    """True with a probability, or that of a setting of the world."""
    return _field(
        lambda rng, world, _: bool(
            rng.random() < (getattr(world, share) if isinstance(share, str) else share)
        )
    )


def _word(words: Iterable[str], p: Sequence[float] | None = None) -> Any:
    return _field(lambda rng, *_: str(rng.choice(list(words), p=p)))


def _choice(colours: Sequence[RGB]) -> Any:
    return _field(lambda rng, *_: colours[rng.integers(len(colours))])


def _colour(saturation: tuple[float, float], value: tuple[float, float]) -> Any:
    return _field(lambda rng, *_: _hsv(rng.random(), rng.uniform(*saturation), rng.uniform(*value)))


def _jitter(colour: RGB, rng: np.random.Generator) -> RGB:
    bright = rng.uniform(0.88, 1.12)
    r, g, b = (int(np.clip(c * bright * rng.uniform(0.97, 1.03), 0, 255)) for c in colour)
    return r, g, b


def _pastel(rng: np.random.Generator, hue: float) -> RGB:
    return _hsv(hue, rng.uniform(0.15, 0.5), rng.uniform(0.55, 0.97))


def _hsv(hue: float, saturation: float, value: float) -> RGB:
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * r), round(255 * g), round(255 * b)


# In the order of sampling: another order would give other faces.
@dataclass(frozen=True, slots=True)
class Person:
    """A person's constant features. Lengths are in half image sides, angles in degrees.

    `jaw`, `brow` and `mouth` run from -1 to 1: round to square, arched to straight, small to wide.
    """

    hair_colour: str = _word(HAIR_COLOURS)
    eye_colour: str = _word(EYE_COLOURS)
    jaw: float = _uniform(-1, 1)
    brow: float = _uniform(-1, 1)
    mouth: float = _uniform(-0.6, 0.6)
    head_width: float = _uniform(0.46, 0.51)
    chin: float = _uniform(0.63, 0.68)
    eye_size: float = _uniform(0.9, 1.15)
    eye_gap: float = _uniform(0.2, 0.225)
    nose_size: float = _uniform(0.85, 1.2)
    lips: float = _uniform(0.75, 1.3)
    ears: float = _uniform(0.85, 1.15)
    skin_tone: float = _field(lambda rng, _, v: rng.uniform(*v["bin"]))  # typology angle
    hair_style: str = _word(HAIR_STYLES, [0.08, 0.27, 0.2, 0.15, 0.2, 0.1])
    hair: RGB = _field(lambda rng, _, v: _jitter(HAIR_COLOURS[v["hair_colour"]], rng))
    parting: float = _uniform(-0.6, 0.6)
    volume: float = _uniform(0.0, 1.0)
    eye: RGB = _field(lambda rng, _, v: _jitter(EYE_COLOURS[v["eye_colour"]], rng))
    freckles: bool = _chance(0.12)
    beard: bool = _chance("beards")
    moustache: bool = _chance("moustaches")


@dataclass(frozen=True, slots=True)
class Face(Person):
    """All parameters of one image."""

    back_near: RGB = _field(lambda rng, _, v: _pastel(rng, v["hue"]))
    dark_lenses: bool = _chance(0.35)
    smile: float = _uniform(0.45, 1.0)
    opening: float = _uniform(0.4, 1.0)
    gaze: float = _uniform(-1, 1)
    round_lenses: bool = _chance(0.5)
    frame: RGB = _choice(_FRAMES)
    hat_style: str = _word(HAT_STYLES)
    hat_colour: RGB = _colour((0.4, 0.72), (0.4, 0.85))
    earring_colour: RGB = _choice(_METALS)
    clothes: RGB = _colour((0.25, 0.65), (0.35, 0.9))
    tilt: float = _normal(3.5)
    yaw: float = _normal(8, most=20)
    pitch: float = _normal(3, most=8)
    zoom: float = _uniform(0.97, 1.07)
    shift_x: float = _normal(0.02)
    shift_y: float = _normal(0.02)
    light_from: float = _uniform(-80, 80)  # direction of the light: -90 left, 0 above, 90 right
    # Its strength: 0 is flat and neutral, 1 is a lamp. Its colour: -1 blue, 1 orange.
    light: float = _field(lambda rng, world, _: rng.uniform(0.15, 1.0) * world.light)
    warmth: float = _uniform(-1, 1)
    backdrop: str = _word(BACKDROPS)
    back_far: RGB = _field(lambda rng, _, v: _pastel(rng, v["hue"] + rng.uniform(-0.12, 0.12)))
    back_angle: float = _uniform(0, 360)
    # Standard deviations: in pixels of a 64-pixel image, and in grey levels.
    blur: float = _field(lambda rng, world, _: world.blur * rng.random())
    noise: float = _field(lambda rng, world, _: world.noise * rng.uniform(0.1, 1.0))
    noise_seed: int = _field(lambda rng, *_: int(rng.integers(2**31)))
    hat: bool = _chance("hats")
    glasses: bool = _chance("glasses")
    smiling: bool = _chance("smiles")
    mouth_open: bool = _chance("open_mouths")
    earrings: bool = _chance("earrings")


_PERSON_FIELDS = dataclasses.fields(Person)
_IMAGE_FIELDS = dataclasses.fields(Face)[len(_PERSON_FIELDS) :]


def draw_person(rng: np.random.Generator, world: Any) -> dict[str, Any]:
    """The fields of a `Person` of a FaceWorld."""
    bins = list(SKIN_BINS.values())
    return _draw(_PERSON_FIELDS, rng, world, bin=bins[rng.integers(len(bins))])


def draw_image(rng: np.random.Generator, world: Any) -> dict[str, Any]:
    """The fields that `Face` adds to `Person`."""
    return _draw(_IMAGE_FIELDS, rng, world, hue=rng.random())


def _draw(
    fields: Sequence[dataclasses.Field[Any]], rng: np.random.Generator, world: Any, **values: Any
) -> dict[str, Any]:
    for f in fields:
        values[f.name] = f.metadata["sampler"](rng, world, values)
    return {f.name: values[f.name] for f in fields}


# --- skin ----------------------------------------------------------------------------------------


def skin_tone_bin(ita: float) -> str:
    """The usual name for an individual typology angle in degrees: "Dark" … "Very light"."""
    return next((name for name, (_, high) in SKIN_BINS.items() if ita <= high), "Very light")


def skin_lab(ita: float) -> tuple[float, float, float]:
    """The CIELAB colour (D65) of drawn skin whose individual typology angle is `ita` degrees.

    The angle is arctan((L* − 50) / b*) (Chardon et al., International Journal of Cosmetic
    Science 13, 1991), so L* follows from b*, which is taken from a ramp of realistic skin.
    """
    angles = np.degrees(np.arctan2(_RAMP[:, 0] - 50, _RAMP[:, 2]))
    a, b = (float(np.interp(ita, angles, _RAMP[:, k])) for k in (1, 2))
    return 50 + b * math.tan(math.radians(ita)), a, b


def skin_rgb(ita: float) -> tuple[float, float, float]:
    """The sRGB colour, 0 to 255 and not rounded, of `skin_lab(ita)`."""
    lightness, a, b = skin_lab(ita)
    fy = (lightness + 16) / 116
    cubes = [t**3 if t > 6 / 29 else 3 * (6 / 29) ** 2 * (t - 4 / 29) for t in
             (fy + a / 500, fy, fy - b / 200)]  # fmt: skip
    xyz = np.array(cubes) * (0.95047, 1.0, 1.08883)
    linear = np.clip(np.array(_XYZ_TO_LINEAR) @ xyz, 0, 1)
    r, g, b = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return float(255 * r), float(255 * g), float(255 * b)


_XYZ_TO_LINEAR = (  # IEC 61966-2-1
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)


# --- attributes ----------------------------------------------------------------------------------

# The attributes with two values, by their field of Face.
BINARY = {
    "Wearing_Hat": "hat",
    "Eyeglasses": "glasses",
    "Dark_Glasses": "dark_lenses",
    "Smiling": "smiling",
    "Mouth_Open": "mouth_open",
    "Beard": "beard",
    "Moustache": "moustache",
    "Earrings": "earrings",
    "Freckles": "freckles",
}
CATEGORICAL: dict[str, tuple[str, ...]] = {
    "Hair_Style": HAIR_STYLES,
    "Hair_Colour": tuple(HAIR_COLOURS),
    "Eye_Colour": tuple(EYE_COLOURS),
    "Skin_Tone": tuple(SKIN_BINS),
    "Backdrop": BACKDROPS,
}
_NUMERIC = {
    "ITA": "skin_tone",
    "Head_Tilt": "tilt",
    "Head_Turn": "yaw",
    "Light": "light",
    "Light_From": "light_from",
    "Light_Warmth": "warmth",
    "Blur": "blur",
    "Noise": "noise",
}


def attribute_word(face: Face, attribute: str) -> str:
    """The value of a binary or categorical attribute, as in the label file."""
    match attribute:
        case "Skin_Tone":
            return skin_tone_bin(face.skin_tone)
        case "Dark_Glasses":
            return "yes" if face.glasses and face.dark_lenses else "no"
        case _ if attribute in BINARY:
            return "yes" if getattr(face, BINARY[attribute]) else "no"
        case _:
            return str(getattr(face, attribute.lower()))


def face_attributes(faces: Sequence[Face]) -> dict[str, Attribute]:
    """The attributes of n faces."""
    attributes: dict[str, Attribute] = {}
    for name in BINARY:
        yes = np.array([attribute_word(face, name) == "yes" for face in faces], np.int16)
        attributes[name] = Attribute(name, "binary", ("no", "yes"), yes)
    for name in CATEGORICAL:
        words = [attribute_word(face, name) for face in faces]
        values, data = np.unique(words, return_inverse=True)
        codes = data.astype(np.int16)
        attributes[name] = Attribute(name, "categorical", tuple(values.tolist()), codes)
    for name, field_name in _NUMERIC.items():
        # As many digits as in the label file.
        numbers = np.array([round(getattr(face, field_name), 3) for face in faces])
        attributes[name] = Attribute(name, "numeric", (), numbers)
    return attributes
