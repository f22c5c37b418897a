"""Columns that follow from what a model said are no groups, and columns that do not are."""

from __future__ import annotations

import numpy as np
import pytest

import candid
from candid.predictions import Predictions
from candid.predictions.choosing import Columns
from candid.predictions.from_table import number_answers_from

RNG = np.random.default_rng(0)
N = 400
MALE = RNG.random(N) < 0.5
P = np.clip(RNG.normal(np.where(MALE, 0.65, 0.35), 0.2), 0.001, 0.999)
RIGHT = (P > 0.5) == MALE
WORDS = np.where(MALE, "Male", "Female")

FOLLOWS = {
    "answer": np.where(P > 0.5, "man", "woman"),
    "right": RIGHT,
    "wrong": np.where(RIGHT, 0, 1),
    "score": P.round(2),
    "falling": (100 * (1 - P)).round(1),
    "raw": np.log(P / (1 - P)),
    "surety": np.maximum(P, 1 - P),
}
DOES_NOT = {
    "written": WORDS,
    "nearly": np.where(np.arange(N) == 7, ~RIGHT, RIGHT),
    "years": RNG.integers(1, 90, N),
    "town": RNG.choice([*"abc"], N),
    "one": np.full(N, "x"),
    "noisy": P + RNG.normal(0, 0.05, N),
}


def table(n=N, **columns):
    return {"gender": WORDS[:n], "p_Male": P[:n]} | {k: v[:n] for k, v in columns.items()}


def read(data, **how):
    return Predictions.from_table(data, label="gender", prediction="p_Male", **how)


@pytest.mark.parametrize("name", FOLLOWS)
def test_what_follows_is_no_group_unless_named(name):
    data = table(town=DOES_NOT["town"], **{name: FOLLOWS[name]})
    found = read(data)
    assert [*found.attributes] == ["town"]
    notes = found.provenance["notes"]
    assert f"{name} follows from what the model said" in notes
    assert "every column that can be one is: town." in notes
    assert [*read(data, groups=[name]).attributes] == [name]


@pytest.mark.parametrize("name", DOES_NOT)
def test_what_does_not_follow_is_one(name):
    found = read(table(**{name: DOES_NOT[name]}))
    assert [*found.attributes] == [name] and "follow" not in found.provenance["notes"]


def test_of_a_few_rows_nothing_is_said():
    assert [*read(table(n=20, right=RIGHT)).attributes] == ["right"]


def test_unlabelled_rows_are_neither_right_nor_wrong():
    data = table(right=RIGHT)
    data["gender"] = np.where(np.arange(N) % 3, WORDS, "")
    assert not read(data).attributes


def test_answers_alone_are_compared_by_words():
    data = {"gender": WORDS, "said": np.where(P > 0.5, "Male", "Female"), "score": P.round(2)}
    data |= {"again": FOLLOWS["answer"]}
    found = Predictions.from_table(data, label="gender", prediction="said")
    assert [*found.attributes] == ["score"]  # nothing says what the answers came from


@pytest.mark.parametrize("name", ["copy", "off", "far"])
def test_of_a_number(name, tmp_path):
    age = RNG.integers(1, 90, N)
    said = age + RNG.normal(0, 4, N)
    follows = {"copy": said.round(0), "off": said - age, "far": abs(said - age)}
    data = {"age": age, "said": said, "town": DOES_NOT["town"], name: follows[name]}
    found = number_answers_from(data, Columns("age", "said", number=True))
    assert [*found.attributes] == ["town"]
    assert f"{name} follows" in found.provenance["notes"]
    named = number_answers_from(data, Columns("age", "said", name, number=True))
    assert [*named.attributes] == [name]


def test_an_audit_does_not_tell_that_the_wrong_are_wrong():
    data = table(town=DOES_NOT["town"], right=RIGHT, score=FOLLOWS["score"])
    found = candid.audit(read(data)).splits[0]
    assert {g.conditions[0].attribute for g in found.groups} == {"town"}
    assert all(abs(g.gaps["accuracy"].value) < 0.5 for g in found.groups)
