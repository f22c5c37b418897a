from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candid.records import Estimate
from candid.text import notes, other_models, words
from candid.text.promise import flagged_clause

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


@pytest.mark.parametrize(
    ("said", "of_one", "of_two"),
    [
        (notes.no_label, "1 of 9 images has no label and does not count.",
         "2 of 9 images have no label and do not count."),
        (notes.no_prediction, "1 of 9 rows has no prediction and was left out.",
         "2 of 9 rows have no prediction and were left out."),
        (notes.rows_unlabelled, "1 of 9 rows has no label and does not count.",
         "2 of 9 rows have no label and do not count."),
        (lambda n, _: notes.no_prediction(n, 1, ["p"]),
         "1 of 1 row has no prediction in p and was left out.",
         "2 of 1 row have no prediction in p and were left out."),
        (lambda n, _: notes.rows_repeated(n),
         "1 row repeats another one word for word and was left out.",
         "2 rows repeat another one word for word and were left out."),
        (lambda n, _: notes.rows_unnamed(n, "id"), "1 row has no 'id'; it goes by its number.",
         "2 rows have no 'id'; they go by their number."),
        (lambda n, _: notes.only_in("A", n), "1 labelled image is in A alone and does not count.",
         "2 labelled images are in A alone and do not count."),
        (lambda n, _: notes.relabelled(n),
         "1 image is labelled differently in the two and does not count.",
         "2 images are labelled differently in the two and do not count."),
        (other_models.unread, "1 of 9 pictures could not be read and was not shown to the model.",
         "2 of 9 pictures could not be read and were not shown to the model."),
        (lambda n, _: other_models.unmatched_outputs(n),
         "1 output is of a picture that is not in the data or has no label.",
         "2 outputs are of pictures that are not in the data or have no label."),
        (flagged_clause, "1 of these 9 is unlike the training data",
         "2 of these 9 are unlike the training data"),
    ],
)  # fmt: skip
def test_verbs_agree_with_their_numbers(said, of_one: str, of_two: str) -> None:
    assert (said(1, 9), said(2, 9)) == (of_one, of_two)
