"""Figures of fairness by their standard names."""

from __future__ import annotations

from dataclasses import dataclass

from candid.records import Estimate


@dataclass(frozen=True, slots=True)
class FairnessFigure:
    """A figure of fairness by its standard name, over all groups of one attribute."""

    attribute: str  # "Eyeglasses"
    # demographic_parity, equal_opportunity, equalized_odds, predictive_parity, each _difference and
    # _ratio; worst_group_accuracy, accuracy_max_min
    name: str
    about: str | None  # the class that counts as positive, where one does; else None
    # The figure with its interval. A difference is the largest between any two groups (0 is equal),
    # a ratio the smallest (1 is equal).
    estimate: Estimate
    # highest, lowest: the values of the two groups that it compares; `lowest` is the worst group
    # for worst_group_accuracy, where `highest` is empty
    highest: str
    lowest: str
    # what it means, with its figures and its interval, for a reader who is no statistician
    sentence: str
