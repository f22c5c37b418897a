import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candid.tables.columns import read_column
from candid.tables.numbers import format_number, parse_number


@pytest.mark.parametrize(
    "word, value, with_comma",
    [
        ("0.25", 0.25, 0.25),
        (" -3 ", -3.0, -3.0),
        ("1e-3", 0.001, 0.001),
        ("0,25", None, 0.25),
        (" -,5 ", None, -0.5),
        ("1,234,567", None, None),  # commas between thousands are none
        ("1_000", None, None),  # which Python takes for a number
        ("", None, None),
        ("young", None, None),
        (None, None, None),
    ],
)
def test_number_in_a_word(word, value, with_comma):
    assert parse_number(word) == value
    assert parse_number(word, comma=True) == with_comma


@given(st.floats(allow_nan=False))
def test_a_number_comes_back_from_its_word(number):
    assert parse_number(format_number(number)) == number


def test_infinities_are_told_as_they_stand_and_unknown_in_a_column():
    assert parse_number("inf") == math.inf
    read = read_column("age", pa.array(["inf", "20.5", "31", "44"]))
    assert read.kind == "numeric"
    assert math.isnan(read.data[0])
    assert read.data[1:].tolist() == [20.5, 31, 44]
