"""Gaps beside what is left of them once everything else that was annotated is taken into account.

Undefined figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass

from candid.records import Estimate, State


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A value that was not adjusted for as a column of its own, and why."""

    attribute: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class AdjustedGap:
    """One value's gap in error, raw and adjusted."""

    # attribute, value: "Wearing_Hat", "yes"; the rest are the images whose value is known and
    # differs
    attribute: str
    value: str
    n: int  # images
    people: int | None  # behind them; None where people are unknown
    mistakes: int  # among them
    # rest_n, rest_people, rest_mistakes: the same of the rest
    rest_n: int
    rest_people: int | None
    rest_mistakes: int
    # error of the group less that of the rest, as a share (0.05 is five percentage points)
    raw: Estimate
    # The average marginal effect: how much higher the model's error would be, on average over all
    # images, if an image bore the value and everything else that was annotated stayed the same. NaN
    # where it cannot be told.
    adjusted: Estimate
    # Raw less adjusted: the part of the gap that goes with other annotations. It has no interval
    # where either side has fewer than five mistakes.
    explained: Estimate
    p: float  # two-sided, of "the adjusted gap is 0"
    # after Benjamini and Hochberg over all values that are neither "too few to say" nor "not
    # applicable"
    adjusted_p: float
    # "found" where adjusted_p is at most the false discovery rate; "too few to say" where either
    # side has too few people, or fewer than five mistakes would be expected on it; "not applicable"
    # where the value cannot be told from others
    state: State
    # other values ("Hat: yes") that stand for the same images, or follow from each other: the
    # adjusted gap is that of all of them together
    inseparable_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdjustedGaps:
    """All values' gaps beside their adjusted ones, from one regression."""

    target: str  # of the predictions
    split: str  # that was looked at
    n: int  # images
    people: int | None  # None where people are unknown
    mistakes: int  # of the model
    columns: int  # how many columns the regression has beside its constant
    # what was held constant: the attributes, and the label where it was
    adjusted_for: tuple[str, ...]
    left_out: tuple[LeftOut, ...]  # values that have no column of their own
    # the ridge penalty, as the standard deviation (in logits) of a normal prior of each effect
    prior_sd: float
    # at most this share of the adjusted gaps found is chance, on average
    false_discovery_rate: float
    gaps: tuple[AdjustedGap, ...]  # every value of every attribute, in the data's order
    notes: tuple[str, ...] = ()  # what a reader might not expect
