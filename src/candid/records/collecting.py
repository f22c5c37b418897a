"""What to collect next: so that a gap can be seen (a part of `audit.json`), or is halved.

Undefined figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from candid.records import Estimate
from candid.records.frames import Tabular, with_figure

MOST_WANTED = 40  # groups that an audit lists; where there are so many, there may be more


@dataclass(frozen=True, slots=True)
class Wanted:
    """A group that is too small for its gap to be seen, and how many people would do.

    Attributes
    ----------
    attribute, value, label
        The group; with a label, only images that are labelled so count. None: all of them.
    n, people
        Images in it now, and the people behind them (images, where people are unknown).
    size
        The gap in error that is to be seen, in 80% of cases, at the audit's threshold of p: 0.05
        is 5 points.
    more_people, more_images
        How many more of the group would do, each with as many images as those who are there; None
        where no number would, since the rest is too small as well.
    width, width_then
        How wide the interval of the gap is, and would be with them, should the errors stay as they
        are; NaN where undefined.
    """

    attribute: str
    value: str
    label: str | None
    n: int
    people: int
    size: float
    more_people: int | None
    more_images: int | None
    width: float
    width_then: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The error in a group of a network that learned from so many of its people.

    `seed` decided the training; `images` of the group were learned from.
    """

    people: int
    images: int
    seed: int
    error: Estimate


@dataclass(frozen=True, slots=True)
class GroupCurve:
    """How a group's error falls with its people in training, and how many more would halve its gap.

    Attributes
    ----------
    attribute, value, label
        The group; with a label, only images that are labelled so. None: all of them.
    points
        What was trained, the fewest people first.
    fall
        The exponent b of the power law error = a · people⁻ᵇ that goes through them.
    error, others, target
        The group's error with all its people, as the law has it; that of the rest, as the run is;
        the error that would leave half of their difference.
    more_people, more_images
        How many more of the group to learn from would likely lead there. NaN where `why` says that
        nothing can be told; a high end of NaN: no number is surely enough.
    why
        Why nothing can be told; "" where it can.
    """

    attribute: str
    value: str
    label: str | None
    points: tuple[CurvePoint, ...]
    fall: Estimate
    error: float
    others: float
    target: float
    more_people: Estimate
    more_images: Estimate
    why: str = ""


@dataclass(frozen=True, slots=True)
class GroupCurves(Tabular):
    """Learning curves within the groups whose gaps an audit found (`curve.json`).

    `model` is a digest of the run's weights; `split` has the images whose errors these are.
    """

    target: str
    model: str
    split: str
    groups: tuple[GroupCurve, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row per group and training."""
        return [
            with_figure(
                {
                    "group": f"{g.attribute}: {g.value}",
                    "label": g.label,
                    "people learned from": point.people,
                    "images learned from": point.images,
                    "seed": point.seed,
                },
                point.error,
            )
            for g in self.groups
            for point in g.points
        ]
