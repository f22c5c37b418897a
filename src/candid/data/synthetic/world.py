"""A FaceWorld: the numbers of faces and people, the label's cue, and the planted biases.

`plan` turns the settings into one `Face` per image with its ground truth, before pixels are drawn.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.data.synthetic.face import (
    BINARY,
    CATEGORICAL,
    Face,
    attribute_word,
    draw_image,
    draw_person,
    face_attributes,
)
from candid.errors import ConfigError, did_you_mean
from candid.predictions import Attribute
from candid.records import SPLITS
from candid.settings import setting

TARGET = "Face"

# The cue that decides the label, and its two classes, the negative one first.
CUES: dict[str, tuple[str, str]] = {
    "jaw and brow": ("Round", "Square"),
    "jaw": ("Round", "Square"),
    "brow": ("Arched", "Straight"),
    "mouth": ("Small-mouthed", "Wide-mouthed"),
    "hat": ("Bareheaded", "Hatted"),
}

EFFECTS = ("weak cue", "shortcut", "label noise")

# The attributes that a plant may switch without changing the person.
_SWITCHES = ("Wearing_Hat", "Eyeglasses", "Smiling", "Mouth_Open", "Earrings")


@dataclass(frozen=True, slots=True)
class Plant:
    """A planted bias.

    The group are the images in which the attribute has the value. The effects: "weak cue": in a
    share `strength` of the group's images the cue is that of a fair coin, so that a perfect reader
    is right in 1 − strength / 2 of them. "shortcut": in a share `strength` of all images the
    attribute has the value exactly where the label is the second class. "label noise": the
    annotator errs in a share `strength` of the group's, in place of `FaceWorld.label_noise`.
    """

    attribute: str
    effect: str
    strength: float  # a share, 0 to 1
    split: str = "all"  # or "train", "validation", "test"
    value: str = "yes"


@dataclass(frozen=True, slots=True)
class FaceWorld:
    """The settings of synthetic faces; equal worlds give equal pixels.

    Raises ConfigError for an impossible value, or for plants that contradict each other or the cue.
    """

    n: int = setting(3000, "pictures", low=3, high=1_000_000)
    people: int = setting(0, "people in them; 0: one per five pictures", low=0)
    side: int = setting(64, "pixels per side", low=16, high=2048)
    seed: int = setting(0, "the same seed draws the same faces", low=0)
    cue: str = setting("jaw and brow", "the part that decides the label", choices=tuple(CUES))
    cue_strength: float = setting(
        1.0, "how far the two classes lie apart, as a share of the most", low=0.05, high=1
    )
    positive_share: float = setting(
        0.58, "share of people in the second class", low=0.01, high=0.99
    )
    label_noise: float = setting(0.02, "share of labels that are wrong", low=0, high=0.5)
    hats: float = setting(0.15, "share of pictures with a hat", low=0, high=1)
    glasses: float = setting(0.2, "share of pictures with eyeglasses", low=0, high=1)
    smiles: float = setting(0.5, "share of pictures with a smile", low=0, high=1)
    open_mouths: float = setting(0.3, "share of pictures with an open mouth", low=0, high=1)
    earrings: float = setting(0.2, "share of pictures with earrings", low=0, high=1)
    beards: float = setting(0.15, "share of people with a beard", low=0, high=1)
    moustaches: float = setting(0.15, "share of people with a moustache", low=0, high=1)
    light: float = setting(1.0, "strongest light; 0: flat and neutral", low=0, high=1)
    blur: float = setting(0.5, "strongest blur, in pixels of a 64-pixel picture", low=0, high=4)
    noise: float = setting(5.0, "strongest noise of the camera, in grey levels", low=0, high=64)
    validation_share: float = setting(0.1, "share of people for validation", low=0.01, high=0.4)
    test_share: float = setting(0.1, "share of people for test", low=0.01, high=0.4)
    planted: tuple[Plant, ...] = setting((), "the planted biases")
    jpeg_quality: int = setting(92, "quality of the JPEG files; 0: PNG", low=0, high=100)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            if f.name != "planted":
                _check(f, getattr(self, f.name))
        if not 3 <= self.head_count <= self.n:
            raise ConfigError(
                f"{self.head_count} people cannot share {self.n} pictures and three splits.",
                expected="at least 3 people, and a picture for each",
                todo="set people between 3 and n, or 0 for one per five pictures",
            )
        if not isinstance(self.planted, tuple) or not all(
            isinstance(p, Plant) for p in self.planted
        ):
            raise ConfigError(
                f"planted = {self.planted!r} is not a tuple of plants.",
                expected='a tuple such as (Plant("Wearing_Hat", "weak cue", 0.5),)',
                todo="write it so; a tuple of one ends with a comma",
            )
        for plant in self.planted:
            _check_plant(plant, self)
        for name, times in Counter(p.attribute for p in self.planted).items():
            if times > 1:
                raise ConfigError(
                    f"Two biases are planted on {name}.",
                    expected="one per attribute, so that each effect is known",
                    todo="plant the second on another attribute",
                )

    @property
    def head_count(self) -> int:
        """The number of people."""
        return self.people or max(3, self.n // 5)

    @property
    def classes(self) -> tuple[str, str]:
        """The label's classes, the negative one first."""
        return CUES[self.cue]


def demo_world(n: int = 3000, *, side: int = 64, seed: int = 0) -> FaceWorld:
    """The demo's faces: with a hat, half of the images show the cue of a fair coin."""
    planted = (Plant("Wearing_Hat", "weak cue", 0.5),)
    return FaceWorld(n=n, people=max(3, n // 3), side=side, seed=seed, planted=planted)


@dataclass(frozen=True, eq=False)
class FacePlan:
    """n faces to draw with their ground truth."""

    faces: tuple[Face, ...]
    label: NDArray[np.int16]  # (n,) the annotator's, indices into the world's classes
    clean_label: NDArray[np.int16]  # (n,) without errors
    cue: NDArray[np.float64]  # (n,) in [-1, 1]; above 0 for the second class
    cue_agrees: NDArray[np.bool_]  # (n,) with the clean label; always, but for a planted weak cue
    split: NDArray[np.str_]  # (n,)
    person: NDArray[np.int64]  # (n,)
    attributes: Mapping[str, Attribute]  # by name


def plan(world: FaceWorld) -> FacePlan:
    """Sample the parameters and the ground truth of all images of a world."""
    people = [draw_person(_stream(world, 0, p), world) for p in range(world.head_count)]
    positive, magnitude, person, split = _assign_people(world)
    true_class = positive[person]
    faces = [
        Face(**people[p], **draw_image(_stream(world, 1, i), world)) for i, p in enumerate(person)
    ]
    uniform = np.array([_stream(world, 2, i).random(3) for i in range(world.n)])

    error_rate = np.full(world.n, world.label_noise)
    for plant in world.planted:
        if plant.effect == "label noise":
            error_rate[_group(plant, faces, split)] = plant.strength
    label = true_class ^ (uniform[:, 0] < error_rate)
    for k, plant in enumerate(world.planted):
        if plant.effect == "shortcut":
            for i in np.flatnonzero(_in_split(plant, split)).tolist():
                if _stream(world, 3, k, i).random() < plant.strength:
                    value: Any = bool(label[i]) == (plant.value == "yes")
                    faces[i] = replace(faces[i], **{BINARY[plant.attribute]: value})
    cue = np.where(true_class, 1, -1) * magnitude[person]
    for k, plant in enumerate(world.planted):
        if plant.effect == "weak cue":
            for i in np.flatnonzero(_group(plant, faces, split)).tolist():
                chance, coin = _stream(world, 3, k, i).random(2)
                if chance < plant.strength:
                    cue[i] = math.copysign(cue[i], coin - 0.5)
    faces = [_set_cue(world, face, c) for face, c in zip(faces, cue, strict=True)]
    return FacePlan(
        faces=tuple(faces),
        label=label.astype(np.int16),
        clean_label=true_class.astype(np.int16),
        cue=cue,
        cue_agrees=(cue > 0) == true_class,
        split=split,
        person=person,
        attributes=face_attributes(faces),
    )


def _stream(world: FaceWorld, *key: int) -> np.random.Generator:
    """The random numbers of one person, image or plant, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(world.seed, spawn_key=key))


def _assign_people(
    world: FaceWorld,
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64], NDArray[np.str_]]:
    """Each person's class and the size of the cue; each image's person and split."""
    rng, n = _stream(world, 4), world.head_count
    positive = rng.permutation(n) < round(world.positive_share * n)
    magnitude = world.cue_strength * rng.uniform(0.4, 1, n)
    person = np.concatenate([np.arange(n), rng.integers(n, size=world.n - n)])
    rng.shuffle(person)
    # By person, so that nobody is in two splits.
    validation = max(1, round(world.validation_share * n))
    test = max(1, round(world.test_share * n))
    words = np.full(n, SPLITS[0], dtype="<U10")
    words[:validation], words[validation : validation + test] = SPLITS[1], SPLITS[2]
    split = rng.permutation(words)[person]
    return positive, magnitude, person.astype(np.int64), split


def _set_cue(world: FaceWorld, face: Face, cue: float) -> Face:
    """The face with the parts of the cue set to `cue`."""
    match world.cue:
        case "jaw and brow":
            # The parts vary, so that neither alone determines the cue: 0.6 jaw + 0.4 brow = 0.75
            # cue.
            delta = 0.4 * face.jaw
            return replace(face, jaw=0.75 * cue + 0.4 * delta, brow=0.75 * cue - 0.6 * delta)
        case "hat":
            return replace(face, hat=bool(cue > 0))
        case part:
            value: Any = cue
            return replace(face, **{part: value})


def _in_split(plant: Plant, split: NDArray[np.str_]) -> NDArray[np.bool_]:
    """(n,) the images in the plant's split."""
    mask: NDArray[np.bool_] = (split == plant.split) | (plant.split == "all")
    return mask


def _group(plant: Plant, faces: list[Face], split: NDArray[np.str_]) -> NDArray[np.bool_]:
    mask = np.array([attribute_word(face, plant.attribute) == plant.value for face in faces])
    return mask & _in_split(plant, split)


def _check(f: dataclasses.Field[Any], value: Any) -> None:
    """Check a setting against its default's type and its allowed values."""
    meta = f.metadata
    kind = type(f.default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if choices := meta["choices"]:
        expected, ok = "one of: " + ", ".join(choices), value in choices
    else:
        word = "a whole number" if kind is int else "a number"
        expected = f"{word}, at least {meta['low']:g} and at most {meta['high']:g}"
        ok = is_number and meta["low"] <= value <= meta["high"]
        ok = ok and (kind is float or isinstance(value, int))
    if not ok:
        raise ConfigError(
            f"{f.name} = {value!r} is not possible ({f.name}: {meta['explanation']}).",
            expected=expected,
            todo=f"set {f.name}",
        )


def _check_plant(plant: Plant, world: FaceWorld) -> None:
    values = {**dict.fromkeys(BINARY, ("no", "yes")), **CATEGORICAL}
    allowed = {
        "attribute": tuple(_SWITCHES if plant.effect == "shortcut" else values),
        "effect": EFFECTS,
        "split": (*SPLITS, "all"),
        "value": values.get(plant.attribute, ()),
    }
    for name, words in allowed.items():
        value = getattr(plant, name)
        if value not in words:
            raise ConfigError(
                f"Cannot plant a {plant.effect!r} with {name} = {value!r}.",
                expected="one of: " + ", ".join(words),
                todo=did_you_mean(str(value), words),
            )
    is_number = isinstance(plant.strength, int | float) and not isinstance(plant.strength, bool)
    if not (is_number and 0 <= plant.strength <= 1):
        raise ConfigError(
            f"A plant's strength is {plant.strength!r}.",
            expected="a share, at least 0 and at most 1",
            todo=f"set the strength of the plant on {plant.attribute}",
        )
    if world.cue == "hat" and (plant.effect == "weak cue" or plant.attribute == "Wearing_Hat"):
        raise ConfigError(
            f"The hat itself decides the label, so {plant.effect!r} cannot be planted on "
            f"{plant.attribute}.",
            expected="another cue, or a shortcut or label noise on another attribute",
            todo='set cue to "jaw and brow", for example',
        )
