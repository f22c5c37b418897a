"""What the report says about a network seen from inside, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from candid.records.inside import Inside, Neighbour, NumberInside, NumberNeighbour, Unit
from candid.text import number, words


def unit_note(inside: Inside) -> str:
    """Which units are shown, and why these."""
    units = f"{words.count(len(inside.units))} of its {words.count(inside.units_in_layer)} units"
    reason = "those that vary most from face to face, or those that were asked for"
    if inside.units and math.isfinite(inside.units[0].weight):
        reason = _MOVE_ANSWER if inside.number is None else _MOVE_NUMBER
    return (
        f"Layer “{inside.layer}”, {units}: {reason}. From {words.count(inside.n)} faces, each "
        "unit’s strongest and weakest."
    )


_MOVE_ANSWER = (
    "those that move the answer most: by how much what a unit adds to the answer varies from face "
    "to face"
)
_MOVE_NUMBER = (
    "those that move the number most. How far one does is the standard deviation, from face to "
    "face, of how much larger the mean of the distribution is than with that unit alone at its own "
    "mean"
)


def unit_figures(inside: Inside, unit: Unit) -> str:
    """How a unit varies, and how far it moves the answer, or a number and which way."""
    parts = [
        f"mean {words.significant(unit.mean)}",
        f"standard deviation {words.significant(unit.sd)}",
    ]
    if math.isfinite(unit.weight) and inside.number is None:
        parts.append(f"moves the answer by {words.significant(unit.weight)}")
    elif math.isfinite(unit.weight):
        parts.append(
            f"moves the number by {number.in_digits(unit.weight)}{_direction_clause(unit)}"
        )
    return ", ".join(parts)


def _direction_clause(unit: Unit) -> str:
    """Whether more of a unit raises or lowers the number, and in which share of the faces."""
    if not math.isfinite(unit.raises):
        return ""
    raising = unit.raises >= 0.5
    share = words.percent(unit.raises if raising else 1 - unit.raises)
    return f", and more of it {'raises' if raising else 'lowers'} it in {share} of faces"


def resemblance_note(inside: Inside) -> str:
    """What the worst mistakes are compared with."""
    explained, images = inside.number, words.count(inside.n)
    if not inside.mistakes:
        if explained is None:
            return f"Among {images} images there is no mistake."
        return f"Among {images} images none is {number.near_and_far(explained.tolerance)[1]}."
    return (
        f"{_selection(inside, explained)}, each beside the most similar of "
        f"{words.count(inside.training_n)} training images: by the cosine of the "
        f"{words.count(inside.hidden_size)} numbers in the last hidden layer (1: the same "
        f"direction). {_NEIGHBOURS if explained is None else _NUMBER_NEIGHBOURS}"
    )


_NEIGHBOURS = "Neighbours that bear the predicted label show what the network took the face for."
_NUMBER_NEIGHBOURS = (
    "Neighbours whose numbers lie near the predicted one show what the network took the face for."
)


def _selection(inside: Inside, explained: NumberInside | None) -> str:
    """Which mistakes are shown, of how many."""
    count, mistakes = words.count(len(inside.worst)), words.count(inside.mistakes)
    total = f"among {words.count(inside.n)} images"
    if explained is None:
        return f"The surest {count} of {mistakes} mistakes {total}"
    far_off = number.near_and_far(explained.tolerance)[1]
    return f"The {count} furthest off of {mistakes} that are {far_off} {total}"


@dataclass(frozen=True)
class NeighbourText:
    """The text of a training image that resembles a mistake."""

    id: str
    label: str
    caption: str  # the class alone, but what a number is
    similarity: str


@dataclass(frozen=True)
class MistakeText:
    """The text of a mistake: "labelled 62, predicted 31 (interval 22 to 45)"."""

    id: str
    label: str
    prediction: str
    rest: str  # how sure the prediction is, with what stands before it
    neighbours: tuple[NeighbourText, ...]


def mistake_texts(inside: Inside) -> Iterator[MistakeText]:
    """Every mistake that is shown, and its neighbours, in words."""
    for r in inside.resemblances:
        near = tuple(_neighbour(n, n.label, n.label) for n in r.neighbours)
        certainty = f", {words.percent(r.confidence)}"
        yield MistakeText(r.id, r.label, r.prediction, certainty, near)
    for x in () if inside.number is None else inside.number.resemblances:
        near = tuple(_neighbour(n, f"{n.value:g}", f"labelled {n.value:g}") for n in x.neighbours)
        certainty = f" (interval {number.interval_in_unit(x)})"
        yield MistakeText(x.id, f"{x.value:g}", number.in_digits(x.predicted), certainty, near)


def _neighbour(neighbour: Neighbour | NumberNeighbour, label: str, caption: str) -> NeighbourText:
    return NeighbourText(neighbour.id, label, caption, words.number(neighbour.similarity))
