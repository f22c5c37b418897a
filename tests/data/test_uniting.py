"""The same words in any case, and nothing else taken for the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from by_hand import dataset
from hypothesis import given
from hypothesis import strategies as st

from candid.data.dataset import Dataset
from candid.data.uniting import unite_attributes, unite_words
from candid.predictions import Attribute

words = st.lists(st.lists(st.text(max_size=4), max_size=6, unique=True), min_size=1, max_size=4)


@given(words)
def test_words_are_one_where_they_are_equal_but_for_their_case(some: list[list[str]]) -> None:
    values, codes = unite_words(some)
    folded = [v.casefold() for v in values]
    assert len(set(folded)) == len(values)
    for mine, code in zip(some, codes, strict=True):
        assert [folded[k] for k in code[:-1]] == [w.casefold() for w in mine]
        assert code[-1] == -1
    first = {}
    for word in (w for mine in some for w in mine):
        first.setdefault(word.casefold(), word)
    assert list(first.values()) == list(values)


def of(**columns: Attribute) -> Dataset:
    n = len(next(iter(columns.values())).data)
    named = {a.name: a for a in columns.values()}
    return replace(dataset([b""] * n), attributes=named)


def grouped(name: str, *words: str | None) -> Attribute:
    values = tuple(dict.fromkeys(w for w in words if w is not None))
    data = np.array([-1 if w is None else values.index(w) for w in words], np.int16)
    return Attribute(name, "categorical", values, data)


def test_categories_are_one_by_their_words() -> None:
    a, b = of(x=grouped("race", "White", None, "Black")), of(x=grouped("race", "black", "Asian"))
    united, own = unite_attributes([a, b], ["a", "b"], "Male")
    race = united["race"]
    assert own == {"race": "race"}
    assert race.words() == ["White", None, "Black", "Black", "Asian"]
    assert race.values == ("White", "Black", "Asian")


def test_one_name_of_two_kinds_stays_two_attributes() -> None:
    number = Attribute("age", "numeric", (), np.array([3.0, np.nan]))
    old = Attribute("age", "numeric", (), np.array([70.0]))
    parts = [of(x=number), of(x=grouped("age", "3-9")), of(x=old)]
    united, own = unite_attributes(parts, ["a", "b", "c"], "Male")
    assert own == {"age (a, c)": "age", "age (b)": "age"}
    assert list(united) == ["source", "age (a, c)", "age (b)"]
    assert united["age (a, c)"].words() == ["3.0", None, None, "70.0"]
    assert united["age (b)"].words() == [None, None, "3-9", None]


def test_an_attribute_that_is_the_target_elsewhere_keeps_apart() -> None:
    parts = [of(x=grouped("Hat", "no", "yes")), of(x=grouped("Male", "no"))]
    united, own = unite_attributes(parts, ["a", "b"], "Male")
    assert list(united) == ["source", "Hat", "Male (b)"]
    assert own == {"Hat": "Hat", "Male (b)": "Male"}


def test_yes_and_no_in_other_words_are_categories() -> None:
    a = Attribute("beard", "binary", ("no", "yes"), np.array([0, 1], np.int16))
    b = Attribute("beard", "binary", ("none", "full"), np.array([0, 1], np.int16))
    united = unite_attributes([of(x=a), of(x=b)], ["a", "b"], "Male")[0]["beard"]
    assert (united.kind, united.values) == ("categorical", ("no", "yes", "none", "full"))
    assert united.words() == ["no", "yes", "none", "full"]
    same = unite_attributes([of(x=a), of(x=a)], ["a", "b"], "Male")[0]["beard"]
    assert (same.kind, same.values) == ("binary", ("no", "yes"))
