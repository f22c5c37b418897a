from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candid.records import Estimate
from candid.reporting import words

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
    assert words.in_full(e) == ("undefined (undefined; n = 0 images; 95% interval, Wilson)")


def test_half_an_interval_is_no_interval() -> None:
    assert words.interval(Estimate(0.9, 0.8, NAN, 10, "Wilson")) == "undefined"


def test_in_full_says_what_the_figure_stands_on() -> None:
    e = Estimate(0.96, 0.9512, 0.9688, 2900, "bootstrap by person", 1, 1000, 3, 0.9)
    assert words.in_full(e) == (
        "0.960 (0.951 to 0.969; n = 2,900 images of 1 person; 90% interval, bootstrap by person, "
        "1,000 draws, of which 3 left it undefined)"
    )


def test_a_line_becomes_a_sentence() -> None:
    assert words.sentence("look at them; mend the labels") == "Look at them; mend the labels."
    assert words.sentence("Why?") == "Why?" and words.sentence("") == ""
    assert words.sentence("Done. ") == "Done."
