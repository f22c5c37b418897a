"""Findings, figures of fairness and conditions in words, held to their values."""

from __future__ import annotations

import math

import pytest

from candid.records import Estimate
from candid.records.audit import Condition, Gap
from candid.records.fairness import FairnessFigure
from candid.text import audit, findings
from candid.text.fairness import fairness_sentence

HAT = (Condition("Hat", "yes"), Condition("Young", "no"))


def gap(metric: str, value: float, low: float, high: float, p: float = 0.001) -> Gap:
    return Gap(metric, value, low, high, p, 0.02, 0.05, "found", 1200, 9000, 1, 900, "score")


def figure(name: str, value: float, low: float, high: float, about: str | None) -> FairnessFigure:
    estimate = Estimate(value, low, high, 500, "joint score intervals")
    return FairnessFigure("Hat", name, about, estimate, "no", "yes", "")


def test_a_group_is_named_by_its_values_and_its_label() -> None:
    assert findings.group_name(HAT) == "Hat: yes and Young: no"
    assert findings.group_title(HAT, "Male") == "Worse for Hat: yes and Young: no, labelled Male"


@pytest.mark.parametrize(
    "found", [gap("accuracy", -0.1, -0.15, -0.05), gap("error:Male", 0.1, 0.05, 0.15)]
)
def test_worse_is_more_whichever_way_the_figure_goes(found: Gap) -> None:
    said = findings.group_detail("group", HAT, None, found, None, (0.3, 0.2), 77)
    assert "annotated Hat: yes and Young: no, 30.0% are classified otherwise" in said
    assert "10.0 percentage points more mistakes (95% interval 5.0 to 15.0;" in said
    assert "1,200 pictures of 1 person; p = 0.001, = 0.02 after" in said
    assert "over 77 gaps)." in said


def test_an_interval_that_holds_no_difference_is_turned_as_well() -> None:
    beyond = gap("accuracy", -0.04, -0.09, 0.01)
    first = gap("accuracy", -0.1, -0.15, -0.05, p=1e-6)
    said = findings.group_detail("slice", HAT, None, first, beyond, (0.3, 0.2), 77)
    assert "by 4.0 percentage points (95% interval −1.0 to 9.0)." in said
    assert "p below 0.0001" in said and said.endswith("these figures are of the other half.")


def test_figures_of_fairness_say_what_is_compared() -> None:
    said = fairness_sentence(figure("demographic_parity_difference", 0.1, 0.02, 0.18, "Male"))
    assert said == (
        "Demographic parity difference: the share of images that are classified Male is up to 10.0 "
        "percentage points higher for Hat: no than for Hat: yes (95% interval 2.0 to 18.0); 0 "
        "would be equal."
    )
    said = fairness_sentence(figure("equal_opportunity_ratio", 0.8, 0.7, 0.91, "Male"))
    assert "labelled Male that are classified Male is, for Hat: yes, 0.80 of what it is" in said
    assert "(95% interval 0.70 to 0.91); 1 would be equal." in said
    worst = fairness_sentence(figure("worst_group_accuracy", 0.9, 0.85, 0.95, None))
    assert (
        "does worst on yes: 90.0% are classified as labelled (95% interval 85.0 to 95.0)" in worst
    )
    nothing = figure("accuracy_max_min", math.nan, math.nan, math.nan, None)
    assert fairness_sentence(nothing) == (
        "Largest difference in accuracy (max - min): undefined, because the share of images that "
        "are classified as labelled cannot be computed in any two groups."
    )


def test_a_condition_says_of_whom_it_holds() -> None:
    holds = audit.condition_holds
    assert holds("gap>0.05", "test", "gap", 0.1, "Hat: yes") == (
        "gap>0.05 holds on test: gap is 0.1 (Hat: yes)."
    )
    assert holds("accuracy<0.9", "test", "accuracy", 0.85, "").endswith("accuracy is 0.85.")
