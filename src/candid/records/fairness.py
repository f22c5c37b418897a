"""Figures of fairness by their standard names."""

from __future__ import annotations

from dataclasses import dataclass

from candid.records import Estimate


@dataclass(frozen=True, slots=True)
class FairnessFigure:
    """A figure of fairness by its standard name, over all groups of one attribute.

    Attributes
    ----------
    attribute, name
        "Eyeglasses"; demographic_parity, equal_opportunity, equalized_odds and predictive_parity,
        each _difference and _ratio; worst_group_accuracy, accuracy_max_min.
    about
        The class that counts as positive, where one does; else None.
    estimate
        The figure with its interval. A difference is the largest between any two groups (0 is
        equal), a ratio the smallest (1 is equal).
    highest, lowest
        The values of the two groups that it compares; `lowest` is the worst group for
        worst_group_accuracy, where `highest` is empty.
    sentence
        What it means, with its figures and its interval, for a reader who is no statistician.
    """

    attribute: str
    name: str
    about: str | None
    estimate: Estimate
    highest: str
    lowest: str
    sentence: str
