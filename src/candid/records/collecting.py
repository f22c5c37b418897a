"""What to collect next, so that a gap that could not be seen can be (a part of `audit.json`)."""

from __future__ import annotations

from dataclasses import dataclass


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
