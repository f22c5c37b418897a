"""What people decided about images: how far two agree, and what a review amounts to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from candid.records import Estimate


@dataclass(frozen=True, slots=True)
class Disagreement:
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
    apart: tuple[Disagreement, ...] = ()


# --- what is looked at ---------------------------------------------------------------------------

Why = Literal["likely wrong", "person", "slice", "strange", "copy", "unreadable", "decoy"]


@dataclass(frozen=True, slots=True)
class Showing:
    """One picture, or two that look like copies, that a reviewer is to decide about.

    Attributes
    ----------
    image
        Its id.
    why
        What made it a suspect: a model that is sure of another class, the other pictures of the
        same person, a group in which the model errs, being unlike other pictures; a copy; a file
        that cannot be read; a decoy is none.
    other
        Of a copy, the other picture.
    time
        The how manieth time that this image is shown, from 1.
    page
        The page of several on which it is shown, from 1; 0: it is shown alone.
    """

    image: str
    why: Why
    other: str = ""
    time: int = 1
    page: int = 0


@dataclass(frozen=True, slots=True)
class ReasonCounts:
    """Of the suspects of one kind, how many were judged, and how many were labelled otherwise."""

    why: Why
    judged: int
    otherwise: int


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """What the decisions of one reviewer amount to.

    "Otherwise" is a label that this reviewer, who did not see it, would not have written. A
    reviewer errs, too: `consistency` says how far to trust the other figures.

    Attributes
    ----------
    who
        The reviewer.
    decided, shown
        Showings that are decided, and all.
    suspects, suspected
        The share of the suspects judged that are labelled otherwise; how many suspects there are.
    decoys, unsuspected
        The same of the decoys, drawn at random from so many images that nobody suspected.
    labels
        The share of all labels that are otherwise. Suspects that were judged count as they were
        found, images that nobody suspected at the rate of the decoys; suspects that were not judged
        at a rate from that of the decoys (low end) to that of the suspects that were (high end).
    consistency
        The share of the images shown twice of which the same was said.
    reasons
        The suspects by what made them so.
    cannot_say, left_out, not_blind
        Showings without a class, and with one but not counted, as the label could be seen.
    copies, not_copies
        Pairs that are the same image, and that are not.
    files_out, files_kept
        Files that cannot be read and that were left out, and that were left where they are.
    """

    who: str
    decided: int
    shown: int
    suspects: Estimate
    suspected: int
    decoys: Estimate
    unsuspected: int
    labels: Estimate
    consistency: Estimate
    reasons: tuple[ReasonCounts, ...] = ()
    cannot_say: int = 0
    left_out: int = 0
    not_blind: int = 0
    copies: int = 0
    not_copies: int = 0
    files_out: int = 0
    files_kept: int = 0
