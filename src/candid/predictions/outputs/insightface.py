"""InsightFace: `Face` objects, which are dicts, from `FaceAnalysis.get`; answers alone.

`gender` is 1 for male and 0 for female; `sex`, a property that some write down, "M" or "F"; `bbox`
is left, top, right, bottom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candid.predictions.outputs.traits import Trait, box_area, hard_trait, to_number

_WORDS = ("F", "M")
_FIELDS = ("bbox", "kps", "det_score", "age", "embedding")


def is_insightface(face: Mapping[str, Any]) -> bool:
    """Whether InsightFace writes such a record."""
    return face.get("sex") in _WORDS or (
        _decode_gender(face.get("gender")) is not None and any(name in face for name in _FIELDS)
    )


def insightface_traits(face: Mapping[str, Any]) -> dict[str, Trait]:
    """Gender."""
    sex = face.get("sex")
    trait = hard_trait(_WORDS, _decode_gender(face.get("gender")) if sex is None else sex)
    return {} if trait is None else {"gender": trait}


def _decode_gender(gender: Any) -> str | None:
    code = to_number(gender)
    return _WORDS[int(code)] if code in (0, 1) else None


def insightface_area(face: Mapping[str, Any]) -> float:
    """Pixels of the face's box."""
    try:
        left, top, right, bottom = (float(edge) for edge in face["bbox"])
    except (KeyError, TypeError, ValueError):
        return 0.0
    return box_area(right - left, bottom - top)
