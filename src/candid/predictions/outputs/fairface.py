"""FairFace: the rows of the CSV that its `predict.py` writes, one for each face that it cut out.

`race`, `race4`, `gender` and `age` are the answers, `race_scores_fair`, `race_scores_fair_4`,
`gender_scores_fair` and `age_scores_fair` the probabilities as NumPy prints them, in the orders
below; `face_name_align` is the file of the face: `<folder>/<picture>_face0.jpg`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from candid.predictions.outputs.traits import Trait, hard_trait, soft_trait

NAME = "face_name_align"
_RACES = (
    *("White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian"),
    "Middle Eastern",
)
_AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
_COLUMNS = {
    "race": ("race_scores_fair", _RACES),
    "race4": ("race_scores_fair_4", ("White", "Black", "Asian", "Indian")),
    "gender": ("gender_scores_fair", ("Male", "Female")),
    "age": ("age_scores_fair", _AGES),
}


def is_fairface(face: Mapping[str, Any]) -> bool:
    """Whether FairFace writes such a record."""
    return NAME in face and any(
        name in face or scores in face for name, (scores, _) in _COLUMNS.items()
    )


def fairface_traits(face: Mapping[str, Any]) -> dict[str, Trait]:
    """Race in seven and in four words, gender, and age in nine ranges."""
    traits = {}
    for name, (scores, words) in _COLUMNS.items():
        numbers = re.sub(r"[\[\],]", " ", str(face.get(scores) or "")).split()
        trait = soft_trait(words, numbers) or hard_trait(words, face.get(name))
        if trait is not None:
            traits[name] = trait
    return traits


def original_name(name: str) -> str:
    """The image's name up to its first point, from the name of a face that was cut out of it."""
    return re.sub(r"_face\d+$", "", re.split(r"[\\/]", name)[-1].split(".")[0])
