"""human (vladmandic): the JSON of `human.detect`, whose `face` lists the faces of an image.

`gender` is "male", "female" or "unknown". `genderScore` of the default model is twice the distance
of the probability from a half (at most 0.99); of GEAR, the only one with race, the probability of
the answer. `race` lists those above a threshold, so it is read as an answer. `box` is left, top,
width, height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from candid.predictions.outputs.traits import Trait, box_area, hard_trait, to_number

_GENDERS = ("female", "male")
_RACES = ("white", "black", "asian", "indian", "other")
_FIELDS = ("genderScore", "boxScore", "faceScore", "boxRaw", "genderConfidence", "boxConfidence")
_NOTE = (
    "genderScore was read as human's own model writes it: twice the distance of the probability "
    "from a half."
)


def is_human(face: Mapping[str, Any]) -> bool:
    """Whether human writes such a record."""
    return any(name in face for name in _FIELDS)


def human_traits(face: Mapping[str, Any]) -> dict[str, Trait]:
    """Gender, and race of GEAR."""
    traits = {"gender": _gender(face), "race": _race(face.get("race"))}
    return {name: trait for name, trait in traits.items() if trait is not None}


def _gender(face: Mapping[str, Any]) -> Trait | None:
    answer = hard_trait(_GENDERS, face.get("gender"))
    score = to_number(face.get("genderScore", face.get("genderConfidence")))
    if answer is None or not 0 <= score <= 1:
        return answer
    is_gear = "race" in face
    p = score if is_gear else 0.5 + score / 2
    probabilities = {word: p if answer.probabilities[word] else 1 - p for word in _GENDERS}
    return Trait(probabilities, note="" if is_gear else _NOTE)


def _race(race: Any) -> Trait | None:
    if isinstance(race, str) or not isinstance(race, Sequence):
        return None
    answers = [a for a in race if isinstance(a, Mapping) and a.get("race") in _RACES]
    best = max(answers, key=lambda a: to_number(a.get("score")), default=None)
    return None if best is None else hard_trait(_RACES, best["race"])


def human_area(face: Mapping[str, Any]) -> float:
    """Pixels of the face's box."""
    try:
        _, _, width, height = face["box"]
    except (KeyError, TypeError, ValueError):
        return 0.0
    return box_area(width, height)
