"""Ranges that became dates: repaired where the column says so, flagged where it may be so."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from candid.tables.columns import read_column
from candid.tables.delimited import read_delimited
from candid.tables.spreadsheet import repair

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def mended(words, missing=("NA",)):
    table, found = repair(pa.table({"a": words, "b": list(range(len(words)))}), ["a", "b"], missing)
    return table["a"].to_pylist(), found


def as_spreadsheet(low, high):
    """What a spreadsheet shows for a range: a day and a month, or a month and a year; else it."""
    if high <= 12:
        return [f"{low:02d}-{MONTHS[high - 1]}", f"{high}-{MONTHS[low - 1]}"]
    return [f"{MONTHS[low - 1]}-{high}"] if low <= 12 and high < 100 else [f"{low}-{high}"]


@pytest.mark.parametrize("seed", range(20))
def test_what_a_spreadsheet_did_is_undone(seed):
    """Any column of ranges that do not overlap, whichever of its dates the spreadsheet chose."""
    rng = np.random.default_rng(seed)
    edges = [0, *sorted(rng.choice(np.arange(1, 13), 3, replace=False).tolist()), 20, 40, 60]
    ranges = [(low + 1, high) for low, high in itertools.pairwise(edges)]
    words = [rng.choice(as_spreadsheet(low, high)) for low, high in ranges] + ["61+"]
    rows = rng.integers(0, len(words), 50).tolist() + list(range(len(words)))
    truth = [f"{low}-{high}" for low, high in ranges] + ["61+"]
    got, found = mended([str(words[i]) for i in rows])
    assert got == [truth[i] for i in rows]
    assert len(found) == 1
    assert found[0].certain
    spoilt = {w for w, t in zip(words, truth, strict=True) if w != t}
    assert set(found[0].ranges) == spoilt
    assert found[0].rows == sum(words[i] in spoilt for i in rows)


@pytest.mark.parametrize(
    "words",
    [
        ["03-Sep", "Oct-19", "20-29", "3-5"],  # overlaps
        ["03-Sep", "Oct-19"],  # nothing beside them
        ["03-Sep", "young", "old"],
        ["1-2", "03-Sep", "young", "old"],
    ],
)
def test_what_is_not_certain_is_left_and_flagged(words):
    got, found = mended(words)
    assert got == words
    assert [f.certain for f in found] == [False]
    assert found[0].ranges["03-Sep"] == "3-9"


@pytest.mark.parametrize(
    "words",
    [
        ["03-Sep", "04-Oct", "25-Dec", "Jan-20"],  # a column of dates
        ["20-29", "30-39", "40+"],
        ["March", "Sep-tember", "3-Sepia"],
        [None, "", "NA"],
        [str(i) for i in range(2000)] + ["03-Sep"],  # no groups
    ],
)
def test_where_nothing_is_amiss(words):
    assert mended(words) == (words, [])


def test_missing_words_and_the_column_s_own_dash():
    words = ["0 – 2", "3-SEP", None, "NA", " ", "more than 70"]
    got, found = mended(words)
    assert got == ["0 – 2", "3 – 9", None, "NA", " ", "more than 70"]
    assert str(found[0]) == "a: 3-SEP (3 – 9)"


def test_fairface_as_it_is_passed_around(real_data):
    file = real_data / "fairface" / "fairface_label_train.csv"
    table = read_delimited(file)
    got, found = repair(table, table.column_names, ())
    assert [(f.column, dict(f.ranges), f.certain) for f in found] == [
        ("age", {"03-Sep": "3-9", "Oct-19": "10-19"}, True)
    ]
    assert set(got["age"].unique().to_pylist()) == {
        *("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
    }
    assert got.drop_columns(["age"]).equals(table.drop_columns(["age"]))


def read_back(tmp_path, separator, columns):
    rows = zip(*columns.values(), strict=True)
    lines = [separator.join(columns), *(separator.join(row) for row in rows)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    return read_delimited(tmp_path / "a.csv").to_pydict()


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_decimal_commas_become_points(tmp_path, separator):
    numbers = ["20,5", "-3", "0,125", "NA", "", "1,5E-05", "99,50%"]
    got = read_back(tmp_path, separator, {"id": [*"abcdefg"], "x": numbers})
    assert got["x"] == [n.replace(",", ".") or None for n in numbers]


@pytest.mark.parametrize(
    "words",
    [
        ["12,500", "1,000", "7"],  # thousands, or three decimals: nobody knows
        ["20,5", "unknown"],
        ["1,2,3", "4,5,6"],
        ["a,b", "c,d"],
    ],
)
def test_other_commas_stay(tmp_path, words):
    assert read_back(tmp_path, ";", {"id": [*"abc"][: len(words)], "x": words})["x"] == words


def test_a_table_with_commas_between_its_cells_has_none_in_its_numbers(tmp_path):
    (tmp_path / "a.csv").write_text('id,x\na,"20,5"\nb,"21,5"\n')
    assert read_delimited(tmp_path / "a.csv")["x"].to_pylist() == ["20,5", "21,5"]


def test_ages_with_a_comma_are_numbers(tmp_path):
    got = read_back(tmp_path, ";", {"id": [*"abcd"], "age": ["20,5", "31,0", "18,25", "44"]})
    read = read_column("age", pa.array(got["age"]))
    assert read.kind == "numeric" and read.data.tolist() == [20.5, 31, 18.25, 44]
