"""Anybody's table of a number and what a model said of it, audited for gaps in mean error."""

import csv
import json
import math
import re

import numpy as np
import pytest

import candid as package
from candid.errors import ConfigError, PredictionsError
from candid.predictions.choosing import Columns
from candid.predictions.from_table import number_answers_from
from commands import candid

NAMED = Columns(label="age", prediction=("said",), number=True)
FEW = ["--set", "audit.draws=200"]
WORDS = ["--label", "age", "--prediction", "said", "--number"]


def write(path, rows, head=("file", "age", "said", "race", "subject")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def faces(n=400, seed=0):
    """Ages from 1 to 9, which look like classes; "c" is off three times as far."""
    rng = np.random.default_rng(seed)
    age, race = rng.integers(1, 10, n), rng.integers(0, 3, n)
    said = (age + rng.normal(0, np.where(race == 2, 3.0, 1.0))).round(3)
    return [
        (f"{i}.jpg", a, s, "abc"[r], i // 2)
        for i, (a, s, r) in enumerate(zip(age.tolist(), said.tolist(), race.tolist(), strict=True))
    ]


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "ages.csv", faces())


def test_gaps_are_differences_of_mean_errors(capsys, table):
    found = json.loads(candid(capsys, "audit", table, *WORDS, *FEW, "--json").out)
    off = np.array([abs(a - s) for _, a, s, *_ in faces()])
    race = np.array([r for *_, r, _ in faces()])
    (split,) = found["splits"]
    assert (found["target"], found["classes"], split["n"], split["people"]) == ("age", [], 400, 200)
    assert split["metrics"]["mae"]["value"] == pytest.approx(off.mean(), abs=1e-4)
    for group in split["groups"]:
        mine = race == group["conditions"][0]["value"]
        gap = group["gaps"]["mae"]
        assert group["n"] == mine.sum()
        assert gap["value"] == pytest.approx(off[mine].mean() - off[~mine].mean(), abs=1e-4)
        # About what two independent samples would have: persons are drawn, not images.
        spread = math.hypot(
            off[mine].std() / math.sqrt(mine.sum()), off[~mine].std() / math.sqrt((~mine).sum())
        )
        assert (gap["high"] - gap["low"]) / 2 == pytest.approx(1.97 * spread, rel=0.25)
    worst = max(split["groups"], key=lambda g: g["gaps"]["mae"]["value"])
    assert (worst["conditions"][0]["value"], worst["state"]) == ("c", "found")
    assert found["notes"] == [
        "People are told apart by 'subject'. There is no split column, so every row counts as "
        "test. No group was named, so every column that can be one is: race."
    ]
    told = candid(capsys, "audit", table, *WORDS, *FEW).out
    assert "mean absolute error" in told and "race: c: " in told


def test_a_condition_on_the_gap_or_the_error_fails(capsys, table):
    off = np.array([abs(a - s) for _, a, s, *_ in faces()])
    race = np.array([r for *_, r, _ in faces()])
    gap = off[race == "c"].mean() - off[race != "c"].mean()
    for condition, code in (
        (f"gap>{gap - 0.01:.3f}", 1),
        (f"gap>{gap + 0.01:.3f}", 0),
        (f"mae>{off.mean() - 0.01:.3f}", 1),
        (f"mae>{off.mean() + 0.01:.3f}", 0),
        ("accuracy<0.5", 1),  # a number has none, and what cannot be checked does not pass
    ):
        said = candid(capsys, "audit", table, *WORDS, *FEW, "--fail-on", condition, code=code).err
        assert ("undefined" in said) == condition.startswith("accuracy")


def test_rows_that_lack_something_are_told_and_left_out(tmp_path):
    rows = [*faces(30), ("a.jpg", "", 3.0, "a", 90), ("b.jpg", 4, "", "a", 91)]
    rows += [("c.jpg", "4", "", "a", 92), rows[0]]
    found = number_answers_from(write(tmp_path / "t.csv", rows), NAMED)
    assert found.ids.tolist() == [f"{i}.jpg" for i in range(30)]
    notes = found.provenance["notes"]
    assert "1 row repeats another one word for word and was left out." in notes
    assert "2 of 33 rows have no prediction in said and were left out." in notes
    assert "1 of 33 rows has no label and does not count." in notes


def test_numbers_as_a_spreadsheet_writes_them(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("age;said;race\n20,5;21,5;a\n30;28,5;b\n")
    found = number_answers_from(file, NAMED)
    assert found.value.tolist() == [20.5, 30.0] and found.predicted.tolist() == [21.5, 28.5]
    assert found.ids.tolist() == ["row 1", "row 2"] and found.person is None


@pytest.mark.parametrize(
    ("rows", "asked", "says"),
    [
        ([("0", 3, "young", "a", 1)], {}, "The prediction 'said' holds 'young' in row 1"),
        ([("0", "old", 3, "a", 1)], {}, "The label 'age' holds 'old' in row 1"),
        ([("0", 3, "inf", "a", 1)], {}, "infinite in 1"),
        ([("0", 3, "", "a", 1), ("1", "", 3, "a", 1)], {}, "No row has both"),
        ([("0", 3, 3, "a", 1), ("0", 4, 3, "a", 1)], {}, "different contents"),
        ([("0", 3, 3, "a", 1)], {"prediction": ("said", "subject")}, "2 columns with predictions"),
        ([("0", 3, 3, "a", 1)], {"positive": "3"}, "--positive"),
        ([("0", 3, 3, "a", 1)], {"label": "said"}, "named as the label and as the prediction"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, rows, asked, says):
    columns = package.Columns(**{"label": "age", "prediction": ("said",), "number": True} | asked)
    with pytest.raises(PredictionsError, match=says):
        package.audit(write(tmp_path / "t.csv", rows), columns=columns)


def test_two_models_are_compared(capsys, table, tmp_path):
    """The second is nearer for "c" alone: found for it, and its gap to the rest shrinks."""
    better = [(i, a, a + (s - a) / (3 if r == "c" else 1), r, p) for i, a, s, r, p in faces()]
    other = write(tmp_path / "better.csv", better)
    words = ["audit", table, other, *WORDS, *FEW, "--page", tmp_path / "page.html"]
    told = candid(capsys, *words).out
    assert "ages.csv → better.csv on 400 images of test: mean absolute error" in told
    assert "race: c: mean absolute error" in told and "0 images further off, " in told
    found = json.loads(candid(capsys, *words, "--json").out)["comparison"]
    changed = {g["value"]: g for g in found["groups"]}
    race = np.array([r for *_, r, _ in faces()])
    old, new = (np.array([abs(a - s) for _, a, s, *_ in rows]) for rows in (faces(), better))
    for value, g in changed.items():
        mine = race == value
        change = g["metrics"]["mae"]["difference"]
        assert change["value"] == pytest.approx((new - old)[mine].mean(), abs=1e-4)
        assert (g["state"] == "found") == (value == "c")
        for name, off in (("a", old), ("b", new)):
            gap = off[mine].mean() - off[~mine].mean()
            assert g["gap"][name] == pytest.approx(gap, abs=1e-4)
    page = (tmp_path / "page.html").read_text()
    assert "What changed for whom from" in page and "Error before" in page
    assert "points" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    package.audit(table, columns=NAMED, before=table)  # one and the same: no change


def test_folders_are_for_classes(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts" / "a.parquet").write_bytes(b"")
        package.audit(tmp_path / "parts", columns=NAMED)


def test_who_forgets_to_say_so_is_told(capsys, tmp_path):
    rows = [(i, a + 20, s, r, p) for i, a, s, r, p in faces(30)]
    for shift in (0, 0.5):
        file = write(tmp_path / "t.csv", [(i, a + shift, s, r, p) for i, a, s, r, p in rows])
        assert "--number" in candid(capsys, "audit", file, *WORDS[:-1], code=2).err


def test_arrays_are_audited_as_the_table_is(table):
    quick = package.load_config(overrides=["audit.draws=200"])
    _, age, said, race, who = map(list, zip(*faces(), strict=True))
    answers = package.NumberAnswers.from_arrays(
        np.array(age), said, target="age", groups={"race": race}, person=who
    )
    one, other = (
        package.audit(answers, quick),
        package.audit(table, quick, columns=NAMED),
    )
    gaps = [
        {g.conditions[0].value: g.gaps["mae"] for g in found.splits[0].groups}
        for found in (one, other)
    ]
    assert gaps[0] == gaps[1] and len(gaps[0]) == 3
    for wrong, says in (
        ([1.0, math.nan], "1 of 2"),
        ([[1.0, 2.0], [2.0, 3.0]], "shape"),
        (["x", 1], "no"),
    ):
        with pytest.raises(PredictionsError, match=says):
            package.NumberAnswers.from_arrays([1, 2], wrong)
    with pytest.raises(PredictionsError, match="3 labels and 2 predictions"):
        package.NumberAnswers.from_arrays([1, 2, 3], [1, 2])


def test_the_terminal_says_on_what_the_error_stands_and_whom_it_leaves_out(capsys, tmp_path):
    rows = [(*row[:3], "" if i % 10 == 0 else row[3], row[4]) for i, row in enumerate(faces())]
    file = write(tmp_path / "t.csv", [*rows, ("x", 3, 4, "rare", 999)])
    told = candid(capsys, "audit", file, *WORDS, *FEW, "--group", "race", "--person", "subject").out
    off = np.mean([abs(a - s) for _, a, s, *_ in rows] + [1])
    assert re.search(rf"mean absolute error {off:.2f} \(95% interval .*; 401 images of 201 p", told)
    assert "bootstrap by person)" in told
    assert "note: Of 401 images, some have no value for race (40): they count" in told
    assert "1 group or its rest has too few people" in told
    assert "gaps were looked at" in told
