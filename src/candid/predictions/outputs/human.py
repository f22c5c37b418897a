"""human (vladmandic): the JSON of `human.detect`, whose `face` lists the faces of a picture.

`gender` is "male", "female" or "unknown" and `genderScore` how sure that is: of the model that is
used unless told otherwise, twice the distance of the probability from a half (at most 0.99); of
GEAR, which alone tells race, the probability of the answer. `race` lists those above a threshold,
so that it is read as an answer. `box` is left, top, width, height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from candid.predictions.outputs.traits import Trait, box_area, number_of, trait_of_answer

_GENDERS = ("female", "male")
_RACES = ("white", "black", "asian", "indian", "other")
_OWN = ("genderScore", "boxScore", "faceScore", "boxRaw", "genderConfidence", "boxConfidence")
_NOTE = (
    "genderScore was read as human's own model writes it: twice the distance of the probability "
    "from a half."
)


def is_human(face: Mapping[str, Any]) -> bool:
    """Whether human writes such a record."""
    return any(name in face for name in _OWN)


def human_traits(face: Mapping[str, Any]) -> dict[str, Trait]:
    """Gender, and race where GEAR told it."""
    gender, race = _gender(face), _race(face.get("race"))
    return ({} if gender is None else {"gender": gender}) | ({} if race is None else {"race": race})


def _gender(face: Mapping[str, Any]) -> Trait | None:
    answer = trait_of_answer(_GENDERS, face.get("gender"))
    score = number_of(face.get("genderScore", face.get("genderConfidence")))
    if answer is None or not 0 <= score <= 1:
        return answer
    is_gear = "race" in face
    sure = score if is_gear else 0.5 + score / 2
    shares = {word: sure if answer.shares[word] else 1 - sure for word in _GENDERS}
    return Trait(shares, note="" if is_gear else _NOTE)


def _race(race: Any) -> Trait | None:
    if isinstance(race, str) or not isinstance(race, Sequence):
        return None
    known = [one for one in race if isinstance(one, Mapping) and one.get("race") in _RACES]
    best = max(known, key=lambda one: number_of(one.get("score")), default=None)
    return None if best is None else trait_of_answer(_RACES, best["race"])


def human_area(face: Mapping[str, Any]) -> float:
    """Pixels of the face's box."""
    try:
        _, _, width, height = face["box"]
    except (KeyError, TypeError, ValueError):
        return 0.0
    return box_area(width, height)
