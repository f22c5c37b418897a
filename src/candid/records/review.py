"""What people decided about images: how far two agree, and what a review amounts to."""

from __future__ import annotations

from dataclasses import dataclass

from candid.records import Estimate


@dataclass(frozen=True, slots=True)
class Apart:
    """How often one said one thing and the other another."""

    first: str
    second: str
    count: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two files of decisions agree.

    Attributes
    ----------
    lines, images
        Of both files together, each decision once.
    both
        Images that each file decides: a class, to leave it out, or that it cannot be said.
    agreement, kappa
        The share of these with the same decision, and how far that is above chance (Cohen's).
    apart
        What else was said, the commonest first.
    """

    lines: int
    images: int
    both: int
    agreement: Estimate
    kappa: Estimate
    apart: tuple[Apart, ...] = ()
