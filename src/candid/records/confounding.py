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
    """One value's gap in error, raw and adjusted.

    Attributes
    ----------
    attribute, value
        "Wearing_Hat", "yes"; the rest are the images whose value is known and differs.
    n, people, mistakes
        Images, people behind them (None where people are unknown), mistakes among them.
    rest_n, rest_people, rest_mistakes
        The same of the rest.
    raw
        Error of the group less that of the rest, as a share (0.05 is five percentage points).
    adjusted
        The average marginal effect: how much higher the model's error would be, on average over all
        images, if an image bore the value and everything else that was annotated stayed the same.
        NaN where it cannot be told.
    explained
        Raw less adjusted: the part of the gap that goes with other annotations. It has no interval
        where either side has fewer than five mistakes.
    p, adjusted_p
        Of "the adjusted gap is 0", two-sided; and after Benjamini and Hochberg over all values that
        are neither "too few to say" nor "not applicable".
    state
        "found" where adjusted_p is at most the false discovery rate; "too few to say" where
        either side has too few people, or fewer than five mistakes would be expected on it; "not
        applicable" where the value cannot be told from others.
    inseparable_from
        Other values ("Hat: yes") that stand for the same images, or follow from each other: the
        adjusted gap is that of all of them together.
    """

    attribute: str
    value: str
    n: int
    people: int | None
    mistakes: int
    rest_n: int
    rest_people: int | None
    rest_mistakes: int
    raw: Estimate
    adjusted: Estimate
    explained: Estimate
    p: float
    adjusted_p: float
    state: State
    inseparable_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdjustedGaps:
    """All values' gaps beside their adjusted ones, from one regression.

    Attributes
    ----------
    target, split
        Of the predictions; the split that was looked at.
    n, people, mistakes
        Images, people (None where people are unknown), mistakes of the model.
    columns
        How many columns the regression has beside its constant.
    adjusted_for
        What was held constant: the attributes, and the label where it was.
    left_out
        Values that have no column of their own.
    prior_sd
        The ridge penalty, as the standard deviation (in logits) of a normal prior of each effect.
    false_discovery_rate
        At most this share of the adjusted gaps found is chance, on average.
    gaps
        Every value of every attribute, in the data's order.
    notes
        What a reader might not expect.
    """

    target: str
    split: str
    n: int
    people: int | None
    mistakes: int
    columns: int
    adjusted_for: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    prior_sd: float
    false_discovery_rate: float
    gaps: tuple[AdjustedGap, ...]
    notes: tuple[str, ...] = ()
