"""The audit of a folder of tables, held to the audit in memory of the same rows."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auditing.audited import crowd
from candid.auditing.audit import audit_groups
from candid.auditing.tally import (
    CELLS,
    MOST_PEOPLE,
    SUMS,
    Batch,
    Tally,
    estimate_people,
    hash_people,
)
from candid.errors import PredictionsError
from candid.pipeline.summing import audit_folder
from candid.predictions import write_predictions
from candid.predictions.choosing import Columns
from candid.predictions.opening import open_folder, tables_in
from candid.settings import AuditConfig
from commands import call

SHARES = {"hat": 0.2, "smile": 0.5, "rare": 0.03}
CONFIG = AuditConfig(draws=400, more=False, slices=0)


def planted(people=900, classes=2, **how):
    p = crowd(people, SHARES, 0, planted={("hat",): 0.25}, classes=classes, **how)
    p.attributes["smile"].data[::17] = -1  # some are unknown
    sure = np.random.default_rng(3).uniform(0.55, 0.99, len(p))
    rows, best = np.arange(len(p)), p.prediction
    probability = np.repeat(((1 - sure) / (classes - 1))[:, None], classes, axis=1)
    probability[rows, best] = sure
    return replace(p, probability=probability)


def shard(p, folder, count, seed=0):
    """The rows in any order, in so many files, some of them further below."""
    order = np.random.default_rng(seed).permutation(len(p))
    for k in range(count):
        path = folder / ("" if k % 2 else "below") / f"{k}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_predictions(path, p[order[k::count]])
    return folder


def by_group(split):
    return {(g.conditions, g.label): g for g in split.groups}


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_point_figures_are_those_in_memory_and_intervals_nearly(tmp_path, classes):
    p = planted(classes=classes)
    mine = audit_folder(shard(p, tmp_path / "labels", 4), Columns(), CONFIG).audit.splits[0]
    theirs = audit_groups(p, CONFIG).splits[0]
    assert (mine.n, mine.split) == (theirs.n, "test")
    here, there = by_group(mine), by_group(theirs)
    assert here.keys() == there.keys()
    ratios = []
    for key, group in here.items():
        other = there[key]
        assert group.n == other.n and group.state == other.state
        assert group.people == pytest.approx(other.people, rel=0.02, abs=1)
        assert group.share.value == pytest.approx(other.share.value, abs=1e-12)
        assert group.share.low == pytest.approx(other.share.low, abs=0.1 * other.share.value)
        for c, share in group.prevalence.items():
            assert share.value == pytest.approx(other.prevalence[c].value, abs=1e-12)
            assert share.high == pytest.approx(other.prevalence[c].high, abs=0.04)
        assert group.metrics.keys() == other.metrics.keys() - {"roc_auc", "calibration_error"}
        for name, figure in group.metrics.items():
            want = other.metrics[name]
            assert figure.value == pytest.approx(want.value, abs=1e-12, nan_ok=True), name
            assert (figure.n, figure.confidence) == (want.n, want.confidence)
        for name, gap in group.gaps.items():
            want = other.gaps[name]
            assert gap.value == pytest.approx(want.value, abs=1e-12, nan_ok=True)
            assert (gap.n, gap.rest_n) == (want.n, want.rest_n)
            if gap.people is not None and gap.people > 50 and not math.isnan(gap.value):
                ratios.append((gap.high - gap.low) / (want.high - want.low))
    # A standard error from 400 draws is known to 3.5%, the ratio of two to 5%.
    assert np.all(np.abs(np.array(ratios) - 1) < 0.2) and abs(np.mean(ratios) - 1) < 0.03
    assert mine.metrics["accuracy"].value == pytest.approx(theirs.metrics["accuracy"].value)
    assert mine.findings[0].conditions == theirs.findings[0].conditions
    first, other = mine.findings[0].finding, theirs.findings[0].finding
    assert (first.count, first.of, first.title) == (other.count, other.of, other.title)
    figures = {(f.attribute, f.name, f.about): f.estimate.value for f in theirs.fairness}
    for f in mine.fairness:
        want = figures.pop((f.attribute, f.name, f.about))
        assert f.estimate.value == pytest.approx(want, nan_ok=True)
    assert not figures
    assert "areas under curves" in mine.notes[0]


def test_pairs_are_counted_exactly(tmp_path):
    p = planted()
    grid = audit_folder(shard(p, tmp_path, 3), Columns(), CONFIG).audit.splits[0].grid
    right = p.prediction == p.label
    for i, one in enumerate(grid.conditions):
        for j, two in enumerate(grid.conditions):
            a, b = p.attributes[one.attribute], p.attributes[two.attribute]
            both = (a.data == a.values.index(one.value)) & (b.data == b.values.index(two.value))
            rest = (a.data >= 0) & (b.data >= 0) & ~both
            assert grid.n[i][j] == both.sum()
            if both.any():
                assert grid.accuracy[i][j] == pytest.approx(right[both].mean(), abs=1e-5)
                gap = right[both].mean() - right[rest].mean()
                assert grid.gap[i][j] == pytest.approx(gap, abs=1.1e-5)
            else:
                assert math.isnan(grid.accuracy[i][j])
    assert not np.any(grid.found)


def test_without_an_attribute_there_are_the_figures_of_everyone(tmp_path):
    p = replace(planted(people=60), attributes={})
    ours = audit_folder(shard(p, tmp_path, 2), Columns(), CONFIG).audit.splits[0]
    assert ours.groups == () and ours.grid is None and ours.gaps_looked_at == 0
    assert ours.metrics["accuracy"].value == pytest.approx((p.prediction == p.label).mean())


def test_how_rows_lie_in_files_does_not_matter(tmp_path):
    p = planted()
    one = audit_folder(shard(p, tmp_path / "one", 1), Columns(), CONFIG).audit
    many = audit_folder(shard(p, tmp_path / "many", 7, seed=5), Columns(), CONFIG).audit
    for a, b in zip(one.splits[0].groups, many.splits[0].groups, strict=True):
        assert (a.conditions, a.label, a.n, a.people) == (b.conditions, b.label, b.n, b.people)
        for name, gap in a.gaps.items():
            # Who is in the picture decides the draws, not where the picture lies.
            np.testing.assert_allclose(
                [gap.low, gap.high], [b.gaps[name].low, b.gaps[name].high], rtol=1e-6
            )
    other = audit_folder(tmp_path / "one", Columns(), replace(CONFIG, seed=1)).audit
    assert other.splits[0].groups[0].gaps["accuracy"] != one.splits[0].groups[0].gaps["accuracy"]


def test_a_person_in_many_pictures_widens_the_interval(tmp_path):
    """Against the closed form: with m copies of each picture the standard error is that of one."""
    rng = np.random.default_rng(0)
    n, copies = 4000, 5
    right = rng.random(n) < 0.9
    tables = {}
    for name, times in (("once", 1), ("copied", copies)):
        rows = np.tile(np.arange(n), times)
        table = pa.table(
            {
                "person": rows,
                "label": np.where(rows % 2, "x", "y"),
                "said": np.where((rows % 2 == 1) == right[rows], "x", "y"),
                "group": np.where(rows % 3, "a", "b"),
            }
        )
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "t.parquet")
        columns = Columns(label="label", prediction=("said",), groups=("group",), person="person")
        tables[name] = audit_folder(tmp_path / name, columns, replace(CONFIG, draws=1000)).audit
    p = right.mean()
    for found in tables.values():
        e = found.splits[0].metrics["accuracy"]
        assert e.value == pytest.approx(p) and e.people == pytest.approx(n, rel=0.01)
        assert (e.high - e.low) / 2 == pytest.approx(1.96 * math.sqrt(p * (1 - p) / n), rel=0.1)
        assert math.isnan(found.splits[0].metrics["confidence"].value)  # answers alone


def strangers(folder, count=3, n=900, **changes):
    """Tables with odd names, words, empty cells; the last holds a word that the others lack."""
    rng = np.random.default_rng(1)
    male = rng.random(n) < 0.5
    score = np.clip(rng.normal(np.where(male, 0.7, 0.3), 0.2), 0.01, 0.99)
    columns = {
        "Who?": [None if i % 50 == 0 else f"p{i % 200}" for i in range(n)],
        "gender ": np.where(male, "Male", "Female").tolist(),
        "p(Male)": score.tolist(),
        "race": rng.choice(["a", "b"], n).tolist(),
        "hat": rng.integers(0, 2, n).tolist(),
        "age": rng.uniform(1, 90, n).tolist(),
    }
    columns["race"][-5:] = ["new"] * 5
    columns["race"][:7] = [None] * 7
    columns["p(Male)"][10] = None
    columns["gender "][11] = None
    columns |= changes
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        rows = slice(k * n // count, (k + 1) * n // count)
        pq.write_table(
            pa.table({name: list(values)[rows] for name, values in columns.items()}),
            folder / f"{k}.parquet",
        )
    return folder


NAMED = ["--label", "gender ", "--prediction", "p(Male)", "--person", "Who?"]


def test_a_strangers_tables_say_what_one_table_says(tmp_path, capsys):
    folder = strangers(tmp_path / "labels")
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(f) for f in tables_in(folder)]), whole)
    quick = ["--set", "audit.draws=100", "--set", "audit.more=false", "--json"]
    groups = ["--group", "race", "--group", "hat"]
    assert call("audit", folder, *NAMED, *groups, *quick) == 0
    mine = json.loads(capsys.readouterr().out)
    assert call("audit", whole, *NAMED, *groups, *quick) == 0
    theirs = json.loads(capsys.readouterr().out)
    assert mine["classes"] == theirs["classes"] == ["Female", "Male"]

    def figures(found):
        return {
            (g["conditions"][0]["attribute"], g["conditions"][0]["value"], g["label"]): (
                g["n"],
                g["metrics"]["accuracy"]["value"],
                g["metrics"]["confidence"]["value"],
            )
            for g in found["splits"][0]["groups"]
        }

    assert figures(mine).keys() == figures(theirs).keys()
    assert ("race", "new", None) in figures(mine) and ("hat", "yes", None) in figures(mine)
    for key, values in figures(mine).items():
        assert values == pytest.approx(figures(theirs)[key], abs=1e-12, nan_ok=True), key
    notes = " ".join(mine["notes"])
    assert "1 of 900 rows has no prediction" in notes and "1 of 900 images has no label" in notes


def test_groups_that_are_numbers_are_left_out_and_said(tmp_path, capsys):
    folder = strangers(tmp_path / "labels")
    assert call("audit", folder, *NAMED, "--set", "audit.draws=50") == 0
    said = capsys.readouterr().out
    assert "audited by words alone" in said and "age" in said
    assert "a folder of tables is summed up" in said.lower()


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({}, [], "columns must be named"),
        ({}, ["--label", "sex", "--prediction", "p(Male)"], "no column called 'sex'"),
        ({"p(Male)": [1.5] * 900}, NAMED, "p(Male)"),
        ({"gender ": [None] * 900}, NAMED, "is empty in every row"),
        ({"split": ["test"] * 899 + ["later"]}, [*NAMED, "--split", "split"], "'later'"),
        ({"race": [f"w{i}" for i in range(900)]}, [*NAMED, "--group", "race"], "race"),
        ({}, [*NAMED, "--id", "race"], "--id"),
    ],
)
def test_bad_tables_are_clear_errors(tmp_path, capsys, changes, arguments, said):
    folder = strangers(tmp_path / "labels", **changes)
    assert call("audit", folder, *arguments, "--set", "audit.draws=50") == 2
    err = capsys.readouterr().err
    assert said in err and "expected" in err and "to do" in err and "Traceback" not in err


def test_tables_that_do_not_belong_together(tmp_path, capsys):
    folder = strangers(tmp_path / "labels")
    pq.write_table(pa.table({"other": [1]}), folder / "z.parquet")
    assert call("audit", folder, *NAMED) == 2
    assert "z.parquet has other columns" in capsys.readouterr().err
    (folder / "z.parquet").write_bytes(b"no table")
    assert call("audit", folder, *NAMED) == 2
    assert "z.parquet" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), empty / "a.parquet")
    assert call("audit", empty, "--label", "a", "--prediction", "b") == 2
    assert "no rows" in capsys.readouterr().err
    p = planted()
    ours = shard(p, tmp_path / "ours", 2)
    write_predictions(ours / "9.parquet", replace(p, target="other"))
    assert call("audit", ours) == 2
    assert "other classes or attributes" in capsys.readouterr().err


def test_nobody_is_known_and_one_image(tmp_path):
    p = replace(planted(), person=None)
    found = audit_folder(shard(p, tmp_path / "a", 2), Columns(), CONFIG).audit.splits[0]
    assert found.people is None and found.groups[0].people is None
    assert "Nobody knows" in " ".join(found.notes)
    one = audit_folder(shard(p[np.array([0])], tmp_path / "b", 1), Columns(), CONFIG).audit.splits[
        0
    ]
    assert one.n == 1 and not one.findings
    e = one.metrics["accuracy"]
    assert (e.low, e.high) == (0, 1)
    assert all(g.state == "too few to say" for g in one.groups)


def test_splits_are_those_that_were_asked_for(tmp_path):
    p = planted()
    p = replace(p, split=np.where(np.arange(len(p)) % 3, "validation", "train"))
    folder = shard(p, tmp_path, 2)
    found = audit_folder(folder, Columns(), CONFIG).audit
    assert [s.split for s in found.splits] == ["validation"]
    assert "So validation was audited instead." in found.notes
    both = audit_folder(folder, Columns(), replace(CONFIG, splits=("train", "validation"))).audit
    assert [(s.split, s.n) for s in both.splits] == [
        (s, (p.split == s).sum()) for s in ("train", "validation")
    ]


def test_a_word_may_stand_in_one_split_alone(tmp_path):
    p = planted()
    train = np.arange(len(p)) % 2 == 0
    p = replace(p, split=np.where(train, "train", "test"))
    p.attributes["rare"].data[train] = 0
    split = audit_folder(shard(p[train], tmp_path, 1), Columns(), CONFIG).audit.splits[0]
    assert split.split == "train"
    shard(p, tmp_path, 3)
    mine = audit_folder(tmp_path, Columns(), replace(CONFIG, splits=("train", "test"))).audit.splits
    for found in mine:
        theirs = {
            (g.conditions, g.label): g.n
            for g in audit_groups(p, replace(CONFIG, splits=(found.split,))).splits[0].groups
        }
        assert {key: g.n for key, g in by_group(found).items()} == theirs


# --- the sums ------------------------------------------------------------------------------------


def batch(rng, n, people, values=2):
    return Batch(
        label=rng.integers(0, 2, n),
        answer=rng.integers(0, 2, n),
        confidence=rng.random(n),
        key=rng.integers(0, people, n),
        attributes={"a": rng.integers(-1, values, n)},
    )


def size(tally):
    tables = [tally.everyone, *tally.tables.values()]
    return sum(v.nbytes for t in tables for v in vars(t).values() if isinstance(v, np.ndarray))


def test_memory_does_not_grow_with_rows_and_words_may_come_late():
    rng, tally = np.random.default_rng(0), Tally(("a",), 2)
    first = batch(rng, 1000, 100)
    tally.add(first)
    before = size(tally)
    parts = [batch(rng, 1000, 10_000) for _ in range(5)]
    for part in parts:
        tally.add(part)
    assert size(tally) == before and tally.n == 6000
    late = batch(rng, 500, 100, values=5)
    tally.add(late)
    assert tally.everyone.outcomes.sum() == tally.everyone.labelled.sum() == tally.n
    counted = tally.tables["a"].outcomes.sum((1, 2))
    own = [np.bincount(b.attributes["a"] + 1, minlength=6)[1:] for b in (first, *parts, late)]
    assert counted.tolist() == np.sum(own, axis=0).tolist()
    images, wrong = tally.count_common("a", "a")
    assert np.trace(images) == images.sum() == counted.sum()
    mistakes = (tally.tables["a"].outcomes * (1 - np.eye(2, dtype=int))).sum((1, 2))
    assert (np.diag(wrong) == mistakes).all()


def test_sums_do_not_depend_on_how_they_are_added():
    """Few rows are added one by one, many as a whole."""
    rng, some, whole = np.random.default_rng(0), Tally(("a",), 2), Tally(("a",), 2)
    many = batch(rng, 40_000, 9_000)
    whole.add(many)
    for rows in np.array_split(np.arange(40_000), 400):
        part = many.take(rows)
        some.add(replace(part, attributes={"a": many.attributes["a"][rows]}))
    for name in SUMS:
        one, two = (getattr(t.tables["a"], name) for t in (some, whole))
        np.testing.assert_allclose(one, two, atol=1e-12)


def test_memory_grows_with_the_classes_and_not_with_their_square():
    few, many = (size(Tally(("a",), classes)) for classes in (10, 100))
    assert many / few == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize("n", [0, 1, 50, 5_000, 200_000])
def test_people_are_counted_within_a_few_per_cent(n):
    cells = np.unique(hash_people(np.arange(n), 3) & np.uint64(CELLS - 1))
    assert estimate_people(len(cells)) == pytest.approx(n, rel=0.015, abs=1)
    assert estimate_people(CELLS) == MOST_PEOPLE


def test_hashes_spread_and_depend_on_the_seed():
    a, b = hash_people(np.arange(80_000), 0), hash_people(np.arange(80_000), 1)
    for mixed in (a, b):
        strata = np.bincount((mixed >> np.uint64(51)).astype(int), minlength=8192)
        # A Poisson distribution's variance is its mean, 9.77.
        assert strata.var() == pytest.approx(80_000 / 8192, rel=0.1)
    assert abs(np.corrcoef(a.astype(float), b.astype(float))[0, 1]) < 0.02
    assert hash_people(np.array([-1, 5]), 0)[1] == hash_people(np.array([5]), 0)[0]


def test_a_run_folder_is_no_folder_of_tables(tmp_path):
    (tmp_path / "predictions.parquet").write_bytes(b"")
    assert tables_in(tmp_path)
    (tmp_path / "config.toml").write_text("")
    assert tables_in(tmp_path) == ()
    with pytest.raises(Exception, match="no Parquet file"):
        open_folder(tmp_path, Columns(label="a", prediction=("b",)))


def test_labels_that_are_the_models_own_answers_are_refused(tmp_path):
    """Of strangers' tables; a model of one's own may be right about each picture."""
    p = planted(200)
    p = replace(p, label=p.prediction.astype(p.label.dtype))
    assert audit_folder(shard(p, tmp_path / "ours", 2), Columns(), CONFIG).audit.splits
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for i, part in enumerate(np.array_split(np.arange(len(p)), 3)):
        words = [p.classes[k] for k in p.label[part]]
        columns = {"label": words, "p_c1": p.probability[part, 1], "hat": ["a", "b"] * len(part)}
        columns["hat"] = columns["hat"][: len(part)]
        pq.write_table(pa.table(columns), theirs / f"{i}.parquet")
    with pytest.raises(PredictionsError, match="own answer"):
        audit_folder(theirs, Columns(label="label", prediction=("p_c1",)), CONFIG)


def test_columns_that_follow_from_the_answers_are_no_groups_of_a_folder(tmp_path):
    """As in one table: of all columns that nobody named."""
    p = planted(300)
    right = ~p.wrong
    table = pa.table(
        {
            "label": [p.classes[i] for i in p.label],
            "p_c1": p.probability[:, 1],
            "hat": p.attributes["hat"].words(),
            "correct": right,
            "said": [("a", "b")[i] for i in p.prediction],
        }
    )
    for k in range(2):
        pq.write_table(table.slice(k * 300, 300), tmp_path / f"{k}.parquet")
    named = Columns("label", "p_c1", positive=p.classes[1])
    found = audit_folder(tmp_path, named, CONFIG, quiet=True).audit
    assert {g.conditions[0].attribute for g in found.splits[0].groups} == {"hat"}
    assert any("correct, said follow from what the model said" in note for note in found.notes)
    asked = replace(named, groups=("correct",))
    found = audit_folder(tmp_path, asked, CONFIG, quiet=True).audit
    assert {g.conditions[0].attribute for g in found.splits[0].groups} == {"correct"}
