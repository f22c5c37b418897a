"""The row of an image in a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from candid.errors import ImageError
from candid.inference.classify import Prediction

if TYPE_CHECKING:
    from candid.inference.several import LabelAnswer, SeveralLabeller


_NAMES = ("prediction", "probabilities", "abstained", "reason", "width", "height")
_UNREAD: dict[str, Any] = dict.fromkeys(_NAMES) | {"abstained": False}


def image_row(
    result: Prediction | ImageError | None, several: SeveralLabeller | None = None
) -> dict[str, Any]:
    """The row of an image: its prediction, or an error."""
    if not isinstance(result, Prediction):
        return _UNREAD | {"error": result.what if result else "not decoded"}
    row: dict[str, Any] = {
        "prediction": None if result.abstains else result.prediction,
        "probabilities": result.probability,
        "abstained": result.abstains,
        "reason": result.unlike or result.unsure or None,
        "width": result.crop.width,
        "height": result.crop.height,
        "error": None,
    }
    if several is None:
        return row
    labels = {a.label.name: _label_row(a, result) for a in several.label_answers(result)}
    row |= {"prediction": None, "probabilities": None, "labels": labels}
    return row | {"abstained": all(label["abstained"] for label in labels.values())}


def _label_row(answer: LabelAnswer, prediction: Prediction) -> dict[str, Any]:
    reason = prediction.unlike or answer.unsure
    value, low, high = (None, None, None) if reason or answer.number is None else answer.number
    return {
        "prediction": None if reason else answer.prediction,
        "probabilities": answer.probability or None,
        "value": value,
        "low": low,
        "high": high,
        "abstained": bool(reason),
        "reason": reason or None,
    }
