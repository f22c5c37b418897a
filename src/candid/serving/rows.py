"""What a request is told of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from candid.errors import ImageError
from candid.inference.classify import Prediction

if TYPE_CHECKING:
    from candid.inference.several import LabelAnswer, SeveralLabeller


_NAMES = ("prediction", "probabilities", "abstained", "reason", "width", "height")
_UNREAD: dict[str, Any] = dict.fromkeys(_NAMES) | {"abstained": False}


def image_row(
    found: Prediction | ImageError | None, several: SeveralLabeller | None = None
) -> dict[str, Any]:
    """The row of an image: its answer, or why there is none."""
    if not isinstance(found, Prediction):
        return _UNREAD | {"error": found.what if found else "not decoded"}
    row: dict[str, Any] = {
        "prediction": None if found.abstains else found.prediction,
        "probabilities": found.probability,
        "abstained": found.abstains,
        "reason": found.unlike or found.unsure or None,
        "width": found.crop.width,
        "height": found.crop.height,
        "error": None,
    }
    if several is None:
        return row
    labels = {one.label.name: _label_row(one, found) for one in several.label_answers(found)}
    row |= {"prediction": None, "probabilities": None, "labels": labels}
    return row | {"abstained": all(label["abstained"] for label in labels.values())}


def _label_row(one: LabelAnswer, found: Prediction) -> dict[str, Any]:
    reason = found.unlike or one.unsure
    value, low, high = (None, None, None) if reason or one.number is None else one.number
    return {
        "prediction": None if reason else one.prediction,
        "probabilities": one.probability or None,
        "value": value,
        "low": low,
        "high": high,
        "abstained": bool(reason),
        "reason": reason or None,
    }
