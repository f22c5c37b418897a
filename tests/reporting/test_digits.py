"""No figure of a page is told with more digits than its interval deserves."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import test_explanation
from test_audit_section import predictions
from test_axe import search
from test_comparison import mended

from candid.auditing.audit import audit_groups
from candid.evaluation.comparison import compare_predictions
from candid.records import Estimate
from candid.reporting.page import render, render_comparison
from candid.settings import AuditConfig
from candid.text import number, words
from reporting.digits import figures_of, too_long


def whole(make: Any) -> str:
    """A report with every section, of so few images that many an interval is wide."""
    p = predictions(n=240)
    audited = audit_groups(p, AuditConfig(draws=60, slices=0))
    explained = test_explanation.input_for("plain", make)
    few = make(n=150, people=100)
    return render(
        dataclasses.replace(
            few,
            audit=audited,
            explanation=explained.explanation,
            maps=explained.maps,
        )
    )


def compared(make: Any) -> str:
    p = predictions(n=300)
    return render_comparison(compare_predictions(p, mended(p), names=("a", "b"), draws=60), "1")


@pytest.mark.parametrize(
    ("page", "least"), [(whole, 400), (compared, 30), (lambda make: search(), 2)]
)
def test_a_page_tells_no_digit_too_many(make: Any, page: Any, least: int) -> None:
    found = figures_of(page(make))
    assert len(found) >= least
    assert [f for f in found if too_long(f)] == []


def test_the_check_finds_what_is_too_long() -> None:
    said = "0.957 (0.951 to 0.963); 12.3% (3.1 to 35.2); <td>12% <small>3% to 35%</small></td>"
    assert [too_long(f) for f in figures_of(said)] == [False, True, False]
    assert figures_of("Skin: below 11.1 (95% interval 0.45 to 0.74)")
    assert not too_long(("11.1", "0.45", "0.74")) and too_long(("11.1", "0.449", "0.744"))


@pytest.mark.parametrize("half", [0.0004, 0.0012, 0.0098, 0.011, 0.049, 0.094, 0.15, 0.4, 3, 47])
def test_half_the_interval_keeps_two_digits(half: float) -> None:
    e = Estimate(0.5, 0.5 - half, 0.5 + half, 9, "")
    told = words.decimals(e, 9)
    digits = f"{half:.1e}"  # its first two digits, and where they stand
    assert told == max(0, 1 - int(digits.partition("e")[2]))
    assert words.decimals(e, 2) == min(told, 2)


def test_figures_and_their_ends_have_the_same_decimals() -> None:
    wide, narrow = (Estimate(0.8571, 0.8571 - h, 0.8571 + h, 9, "") for h in (0.13, 0.004))
    assert f"{words.figure_of(wide)} ({words.interval(wide)})" == "0.86 (0.73 to 0.99)"
    assert f"{words.figure_of(narrow)} ({words.interval(narrow)})" == "0.857 (0.853 to 0.861)"
    assert words.percent_interval(wide) == "86% (73 to 99)"
    assert words.percent_interval(narrow) == "85.7% (85.3 to 86.1)"
    assert f"{words.points_of(wide)}, {words.points_interval(wide)}" == "+86, +73 to +99"
    unknown = Estimate(0.8571, math.nan, math.nan, 9, "")
    assert words.figure_of(unknown) == "0.857" and words.share_of(unknown) == "85.7%"
    age = Estimate(7.316, 6.2, 8.5, 9, "")
    assert f"{number.figure_in_unit(age)} ({number.interval_in_unit(age)})" == "7.3 (6.2 to 8.5)"
