"""What is said of learning curves within groups: how many more people would halve a gap."""

from __future__ import annotations

import math
from collections.abc import Iterator

from candid.records import Estimate
from candid.records.collecting import GroupCurve, GroupCurves
from candid.text import words
from candid.text.findings import value_name

FLAT = "the error does not fall with the people who are learned from"
BEYOND = "no number of people that anybody could collect would do"
NO_GROUPS = (
    "The audit found no gap of a group of values that is behind the others, so there is no curve "
    "to measure."
)


def curve_sentence(curve: GroupCurve) -> str:
    """How many more people would likely halve the gap, or why that is unknown."""
    name = value_name(curve.attribute, curve.value, curve.label)
    parts = f"{len(curve.points)} trainings on parts of the group's people"
    if curve.why:
        return f"{name}: how many more would halve the gap is not known: {curve.why} ({parts})."
    more = curve.more_people
    unit, extra = "images", ""
    if more.people is not None:
        unit = "people"
        extra = f", {words.count(math.ceil(curve.more_images.value))} images like theirs"
    return (
        f"{name}: about {words.count(math.ceil(more.value))} more {unit} in training "
        f"({_format_range(more)}{extra}) would likely halve the gap: the error would fall from "
        f"{words.percent(curve.error)} to {words.percent(curve.target)}, beside "
        f"{words.percent(curve.others)} of the others (a power law through {parts}, tested on "
        f"{words.images(curve.fall.n, curve.fall.people)})."
    )


def _format_range(e: Estimate) -> str:
    low = words.count(math.ceil(e.low))
    if math.isnan(e.high):
        return f"at least {low}; no number is surely enough"
    return f"{low} to {words.count(math.ceil(e.high))}"


def curve_lines(curves: GroupCurves) -> Iterator[str]:
    """Each group with the points of its curve, and the conclusion."""
    if not curves.groups:
        yield NO_GROUPS
    for curve in curves.groups:
        yield value_name(curve.attribute, curve.value, curve.label) + ":"
        for point in curve.points:
            yield (
                f"  learned from {words.count(point.people)} of them "
                f"({words.count(point.images)} images, seed {point.seed}): "
                f"{words.percent_interval(point.error)} wrong"
            )
        yield f"  {curve_sentence(curve)}"
