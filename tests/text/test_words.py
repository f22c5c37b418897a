from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candid.records import Estimate
from candid.text import words

NAN = math.nan


@given(st.floats(0, 1))
def test_percent_is_within_its_rounding_and_never_claims_certainty(share: float) -> None:
    text = words.percent(share)
    assert (text == "100.0%") == (share == 1)
    assert (text == "0.0%") == (share == 0)
    shown = float(text.strip("<>%"))
    assert abs(shown - 100 * share) <= 0.1 + 1e-9


@given(st.floats(-10, 10))
def test_number_reads_back_to_what_it_shows(value: float) -> None:
    text = words.number(value)
    assert text not in ("-0.000", "−0.000")
    assert float(text.replace("−", "-")) == pytest.approx(value, abs=0.0005 + 1e-12)


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_undefined_is_a_word_and_not_a_zero(value: float) -> None:
    e = Estimate(value, NAN, NAN, 0, "Wilson")
    assert words.number(value) == words.percent(value) == words.interval(e) == "undefined"


def test_half_an_interval_is_no_interval() -> None:
    assert words.interval(Estimate(0.9, 0.8, NAN, 10, "Wilson")) == "undefined"


def test_a_figure_says_what_it_stands_on_and_how_it_was_made() -> None:
    e = Estimate(0.96, 0.9512, 0.9688, 2900, "bootstrap by person", 1, 1000, 3, 0.9)
    assert words.number(e.value) == "0.960" and words.interval(e) == "0.951 to 0.969"
    assert words.support(e) == "n = 2,900 images of 1 person"
    assert words.support(Estimate(0.5, 0, 1, 1, "Wilson")) == "n = 1 image"
    assert words.method(e) == (
        "90% interval, bootstrap by person, 1,000 draws, of which 3 left it undefined"
    )


def test_a_line_becomes_a_sentence() -> None:
    assert words.sentence("look at them; mend the labels") == "Look at them; mend the labels."
    assert words.sentence("Why?") == "Why?" and words.sentence("") == ""
    assert words.sentence("Done. ") == "Done."


def test_points_have_their_sign() -> None:
    assert [words.points(v) for v in (0.0123, -0.0456, 0.0)] == ["+1.2", "−4.6", "0.0"]
    e = Estimate(-0.01, -0.03, 0.01, 9, "Wilson")
    assert words.points_interval(e) == "−3.0 to +1.0"
    assert words.points(NAN) == "undefined"
