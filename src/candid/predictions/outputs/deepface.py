"""DeepFace: a dict for each face from `DeepFace.analyze`, or its answer over HTTP.

As its documentation has it, `gender` and `race` hold percents by word, `dominant_gender` and
`dominant_race` the answers, `region` the box, `face_confidence` how sure the detector is: 0 where
it found nothing and the whole picture was analysed (`enforce_detection=False`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candid.predictions.outputs.traits import Trait, box_area, hard_trait, soft_trait, to_number

_WORDS = {
    "gender": ("Woman", "Man"),
    "race": ("asian", "indian", "black", "white", "middle eastern", "latino hispanic"),
}


def is_deepface(face: Mapping[str, Any]) -> bool:
    """Whether DeepFace writes such a record."""
    return any(f"dominant_{name}" in face or isinstance(face.get(name), Mapping) for name in _WORDS)


def deepface_traits(face: Mapping[str, Any]) -> dict[str, Trait]:
    """Gender and race, where present."""
    traits = {}
    for name, words in _WORDS.items():
        numbers, trait = face.get(name), None
        if isinstance(numbers, Mapping):
            trait = soft_trait(words, [numbers.get(word) for word in words])
        trait = trait or hard_trait(words, face.get(f"dominant_{name}"))
        if trait is not None:
            traits[name] = trait
    return traits


def deepface_area(face: Mapping[str, Any]) -> float:
    """Pixels of the face's box."""
    region = face.get("region")
    return box_area(region.get("w"), region.get("h")) if isinstance(region, Mapping) else 0.0


def is_faceless(face: Mapping[str, Any]) -> bool:
    """Whether DeepFace found no face."""
    return to_number(face.get("face_confidence")) == 0
