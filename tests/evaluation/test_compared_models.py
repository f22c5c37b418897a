"""Comparing two models, held to brute force, scipy, statsmodels and what must not change."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from sklearn import metrics as sk

from candid.errors import PredictionsError
from candid.evaluation.comparison import compare_predictions
from candid.predictions import Attribute, Predictions
from candid.records import read_record, write_record
from candid.records.compare import Comparison
from candid.stats.exact import randomisation_p

CLASSES = ("Female", "Male")


def pair(n=300, *, people=120, classes=CLASSES, worse=0.0, seed=0):
    """Two models; B has the share `worse` of those with a hat wrong that A has right."""
    rng = np.random.default_rng(seed)
    count = len(classes)
    label = rng.integers(0, count, n)
    hat = rng.integers(-1, 2, n)
    person = None if people is None else rng.integers(0, people, n)
    attributes = {
        "Hat": Attribute("Hat", "binary", ("no", "yes"), hat.astype(np.int16)),
        "Age": Attribute("Age", "numeric", (), rng.integers(1, 90, n).astype(float)),
    }

    def model(wrong):
        answer = np.where(wrong, (label + 1) % count, label)
        p = np.full((n, count), 0.1 / (count - 1))
        p[np.arange(n), answer] = 0.9
        return Predictions(
            target="Male",
            classes=classes,
            ids=np.array([f"{i}.jpg" for i in range(n)]),
            split=np.full(n, "test"),
            label=label.astype(np.int16),
            probability=p,
            person=person,
            attributes=attributes,
        )

    wrong_a = rng.random(n) < 0.1
    wrong_b = np.where(rng.random(n) < 0.05, ~wrong_a, wrong_a)
    wrong_b |= (hat == 1) & (rng.random(n) < worse)
    return model(wrong_a), model(wrong_b)


def every(comparison):
    return [comparison.overall, *comparison.classes_changed, *comparison.groups]


def rows_of(change, p):
    bears = bearers(change, p)
    return bears if change.label is None else bears & (p.label == p.classes.index(change.label))


def rest_of(change, p):
    """Images whose value is known and differs, within the same label."""
    a = p.attributes[change.attribute]
    known = ~np.isnan(a.data) if a.kind == "numeric" else a.data >= 0
    rest = known & ~bearers(change, p)
    return rest if change.label is None else rest & (p.label == p.classes.index(change.label))


def bearers(change, p):
    if change.attribute == "":
        return np.ones(len(p), bool)
    if change.attribute == "label":
        return p.label == p.classes.index(change.value)
    a = p.attributes[change.attribute]
    if a.kind != "numeric":
        return a.data == a.values.index(change.value)
    word = change.value
    if word.startswith("up to"):
        return a.data <= int(word.split()[-1])
    if word.endswith("and above"):
        return a.data >= int(word.split()[0])
    low, high = word.split(" to ")
    return (a.data >= int(low)) & (a.data <= int(high))


@pytest.mark.parametrize("classes", [CLASSES, ("a", "b", "c")])
@pytest.mark.parametrize("people", [None, 120])
def test_every_figure_by_masks_and_scikit_learn(classes, people):
    a, b = pair(classes=classes, people=people)
    found = compare_predictions(a, b, draws=20)
    assert (found.n, found.people) == (300, None if people is None else len(set(a.person)))
    assert len(found.groups) == (2 + 4) * (1 + len(classes))
    assert len(found.classes_changed) == len(classes)
    for change in every(found):
        rows = rows_of(change, a)
        y, said_a, said_b = a.label[rows], a.prediction[rows], b.prediction[rows]
        assert change.n == rows.sum()
        assert change.people == (None if people is None else len(set(a.person[rows])))
        for name, (score) in {
            "accuracy": sk.accuracy_score,
            "weighted_f1": lambda y, s: sk.f1_score(y, s, average="weighted", zero_division=0),
        }.items():
            got = change.metrics[name]
            assert got.a == pytest.approx(score(y, said_a), abs=1e-12)
            assert got.b == pytest.approx(score(y, said_b), abs=1e-12)
            assert got.difference.value == pytest.approx(got.b - got.a, abs=1e-12)
            assert got.difference.low < got.difference.value < got.difference.high
        for i, c in enumerate(classes):
            if (change.attribute == "label" and change.value != c) or change.label not in (None, c):
                assert f"error:{c}" not in change.metrics
                continue
            got = change.metrics[f"error:{c}"]
            assert got.a == pytest.approx(np.mean(said_a[y == i] != i), abs=1e-12)
            assert got.b == pytest.approx(np.mean(said_b[y == i] != i), abs=1e-12)
            assert got.difference.n == (y == i).sum()
        lost, gained = (said_a == y) & (said_b != y), (said_a != y) & (said_b == y)
        assert (change.lost, change.gained) == (lost.sum(), gained.sum())
        who = np.arange(len(a)) if people is None else a.person
        balance = [gained[who[rows] == i].sum() - lost[who[rows] == i].sum() for i in set(who)]
        assert change.lost_people == sum(x < 0 for x in balance)
        assert change.gained_people == sum(x > 0 for x in balance)
        assert change.p == pytest.approx(randomisation_p(np.array(balance)))
        if change.attribute in ("", "label"):
            assert change.gap is None
            continue
        others = rest_of(change, a)
        for side, p in ((change.gap.a, a), (change.gap.b, b)):
            right = p.prediction == p.label
            assert side == pytest.approx(right[rows].mean() - right[others].mean(), abs=1e-12)
        e = change.gap.difference
        assert e.value == pytest.approx(change.gap.b - change.gap.a, abs=1e-12)
        assert e.low < e.value < e.high and e.n == change.n


def test_the_change_of_a_gap_has_the_spread_of_a_bootstrap_by_hand():
    a, b = pair(600, people=150, worse=0.2)
    found = compare_predictions(a, b, draws=1500)
    hat = next(g for g in found.groups if (g.attribute, g.value, g.label) == ("Hat", "yes", None))
    gained = (b.prediction == b.label).astype(int) - (a.prediction == a.label)
    bears, others = rows_of(hat, a), rest_of(hat, a)
    rng = np.random.default_rng(5)
    images = [np.flatnonzero(a.person == i) for i in np.unique(a.person)]
    drawn = []
    for _ in range(1500):
        rows = np.concatenate([images[k] for k in rng.integers(0, len(images), len(images))])
        drawn.append(gained[rows][bears[rows]].mean() - gained[rows][others[rows]].mean())
    e = hat.gap.difference
    assert e.value == pytest.approx(gained[bears].mean() - gained[others].mean())
    # 1.98 standard errors, and a little for a flip more on either side that might have been.
    assert 0.96 < (e.high - e.low) / 2 / (1.98 * np.std(drawn)) < 1.13
    assert e.high < 0  # planted: B has more wrong of those with a hat


def test_mcnemar():
    """Without known people, the p-values are those of McNemar's exact test."""
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    a, b = pair(people=None, worse=0.2)
    for change in every(compare_predictions(a, b, draws=2)):
        table = [[0, change.lost], [change.gained, 0]]
        expected = contingency.mcnemar(table, exact=True).pvalue
        assert change.p == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "balance", [[1], [1, 1, -1], [2, -1, 1, 0, 3], [2, 2, 2, -2, 5, 1], [1] * 9 + [-4], [0, 0]]
)
def test_randomisation_by_trying_every_sign(balance):
    balance = np.array(balance)
    sums = [
        abs(np.dot(signs, balance)) for signs in itertools.product([-1, 1], repeat=len(balance))
    ]
    assert randomisation_p(balance) == pytest.approx(np.mean(np.array(sums) >= abs(balance.sum())))


def test_randomisation_with_many_flips():
    scipy_stats = pytest.importorskip("scipy.stats")
    for lost, gained in ((300, 250), (9_000, 8_700), (40_000, 40_300)):
        balance = np.array([-1] * lost + [1] * gained)
        expected = scipy_stats.binomtest(lost, lost + gained, 0.5).pvalue
        assert randomisation_p(balance) == pytest.approx(expected, rel=0.02)


def test_false_discovery_and_states():
    scipy_stats = pytest.importorskip("scipy.stats")
    a, b = pair(worse=0.5)
    found = compare_predictions(a, b, draws=50, least=20)
    tested = [*found.classes_changed, *found.groups]
    adjusted = scipy_stats.false_discovery_control([c.p for c in tested])
    np.testing.assert_allclose([c.adjusted_p for c in tested], adjusted, atol=1e-12)
    assert found.looked_at == len(tested)
    assert (found.groups[0].attribute, found.groups[0].value) == ("Hat", "yes")  # planted
    for change in tested:
        assert change.state == ("found" if change.adjusted_p <= 0.05 else "not found")
    assert found.overall.adjusted_p == found.overall.p
    few = compare_predictions(a, b, draws=50, least=1000)
    assert {c.state for c in every(few)} == {"too few to say"} and few.looked_at == 0
    assert all(math.isnan(c.adjusted_p) for c in few.groups)


def test_the_other_way_round():
    a, b = pair(worse=0.2)
    there, back = compare_predictions(a, b, draws=40), compare_predictions(b, a, draws=40)
    by_name = {(c.attribute, c.value, c.label): c for c in every(back)}
    for change in every(there):
        other = by_name[change.attribute, change.value, change.label]
        assert (change.lost, change.gained) == (other.gained, other.lost)
        assert change.p == pytest.approx(other.p)
        for name, c in change.metrics.items():
            o = other.metrics[name].difference
            np.testing.assert_allclose(
                [c.difference.value, c.difference.low, c.difference.high],
                [-o.value, -o.high, -o.low],
                atol=1e-12,
            )


def test_order_and_names_of_rows_and_classes_do_not_matter():
    a, b = pair()
    order = np.random.default_rng(0).permutation(len(b))
    shuffled = b[order]
    swapped = dataclasses.replace(
        shuffled,
        classes=CLASSES[::-1],
        label=(1 - shuffled.label).astype(np.int16),
        probability=shuffled.probability[:, ::-1],
    )
    assert compare_predictions(a, swapped, draws=20) == compare_predictions(a, b, draws=20)
    assert compare_predictions(a, b, draws=20) != compare_predictions(a, b, draws=20, seed=1)


def test_different_images_and_labels_are_told():
    a, b = pair()
    c = b[np.arange(290)]
    c.label[:7] = 1 - c.label[:7]
    c = dataclasses.replace(c, target="gender")
    unlabelled = dataclasses.replace(a, label=a.label.copy())
    unlabelled.label[20] = -1
    found = compare_predictions(unlabelled[np.arange(5, 300)], c, names=("old", "new"), draws=20)
    assert (found.only_a, found.only_b, found.relabelled) == (10, 6, 2)
    assert found.n == 290 - 5 - 1 - 2
    text = " ".join(found.notes)
    assert "10 labelled images are in old alone" in text and "6 labelled images" in text
    assert "2 images are labelled differently" in text and "'gender' in new" in text


def test_attributes_that_the_two_say_differently_are_unknown():
    a, b = pair()
    hat = a.attributes["Hat"]
    other = dataclasses.replace(hat, values=("yes", "no"), data=np.where(hat.data >= 0, 0, -1))
    extra = Attribute("Z", "binary", ("no", "yes"), np.zeros(300, np.int16))
    b = dataclasses.replace(b, attributes={"Hat": other, "Z": extra})
    groups = compare_predictions(a, b, draws=20).groups
    sizes = {(g.attribute, g.value): g.n for g in groups if g.label is None}
    assert ("Hat", "no") not in sizes
    assert sizes["Hat", "yes"] == (hat.data == 1).sum() and sizes["Z", "no"] == 300
    assert any(attribute == "Age" for attribute, _ in sizes)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[np.zeros(300, bool)],
        lambda b: dataclasses.replace(b, ids=np.char.add("x", b.ids)),
        lambda b: dataclasses.replace(b, split=np.full(300, "validation")),
        lambda b: dataclasses.replace(b, classes=("cat", "dog")),
        lambda b: dataclasses.replace(b, label=np.full(300, -1, np.int16)),
    ],
)
def test_what_cannot_be_compared(change):
    a, b = pair()
    with pytest.raises(PredictionsError) as caught:
        compare_predictions(a, change(b))
    assert caught.value.expected and caught.value.todo


def test_a_class_that_only_one_knows():
    a, b = pair()
    wide = dataclasses.replace(
        b,
        classes=(*CLASSES, "Other"),
        probability=np.column_stack([b.probability, np.zeros(len(b))]),
    )
    found = compare_predictions(a, wide, draws=20)
    assert found.classes == (*CLASSES, "Other")
    assert (
        found.overall.metrics["accuracy"]
        == compare_predictions(a, b, draws=20).overall.metrics["accuracy"]
    )
    nothing = found.classes_changed[2]
    assert (nothing.n, nothing.state) == (0, "too few to say")
    assert math.isnan(nothing.metrics["accuracy"].difference.value) and math.isnan(nothing.p)
    assert "Other" in " ".join(found.notes)


@pytest.mark.parametrize("n", [1, 2])
def test_hardly_an_image(n):
    a, b = pair()
    found = compare_predictions(a[np.arange(n)], b[np.arange(n)], draws=20)
    e = found.overall.metrics["accuracy"].difference
    assert (e.low, e.high) == (-1, 1) if n == 1 else e.low <= e.value <= e.high
    assert found.overall.state == "too few to say"


def test_no_flip_is_not_certainty():
    a, _ = pair(people=None)
    e = compare_predictions(a, a, draws=20).overall.metrics["accuracy"].difference
    # Where 0 of 300 flipped, Bonett and Price's interval of a paired difference.
    reach = 1.968 * math.sqrt(2 / 302 * 300 / 302 / 300)
    assert e.value == 0 and -e.low == e.high == pytest.approx(reach, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("people", "flips"), [(60, 0.04), (200, 0.02)])
def test_intervals_hold_the_truth(people, flips):
    """People with 1 + Poisson(2) images whose flips go together.

    400 such simulations gave 96.0% to 97.0%; the width must also be that of the differences' own
    spread, so that the intervals do not hold the truth by being wide.
    """
    rng = np.random.default_rng(0)
    held, runs, differences, reaches = 0, 150, [], []
    for seed in range(runs):
        person = np.repeat(np.arange(people), 1 + rng.poisson(2, people))
        n = len(person)
        prone = (rng.beta(0.5, 0.5, people) * 2 * flips)[person]
        label = rng.integers(0, 2, n)
        lost = rng.random(n) < prone
        gained = ~lost & (rng.random(n) < flips / 2)
        wrong_a = gained | (~lost & (rng.random(n) < 0.1))
        base = pair(n, people=None)[0]
        wrong_b = (wrong_a & ~gained) | lost

        def model(wrong, label=label, person=person, base=base):
            p = np.where((label ^ wrong)[:, None] == np.arange(2), 0.9, 0.1)
            return dataclasses.replace(
                base, label=label.astype(np.int16), probability=p, person=person, attributes={}
            )

        e = compare_predictions(model(wrong_a), model(wrong_b), draws=100, seed=seed)
        e = e.overall.metrics["accuracy"].difference
        truth = -flips + (1 - flips) * flips / 2
        held += e.low <= truth <= e.high
        differences.append(e.value)
        reaches.append((e.high - e.low) / 2)
    assert held / runs >= 0.92, held / runs
    assert 1 < np.mean(reaches) / 1.98 / np.std(differences) < 1.25


def test_round_a_json_file(tmp_path):
    found = compare_predictions(*pair(), draws=20)
    write_record(tmp_path / "c.json", found)
    assert read_record(tmp_path / "c.json", Comparison) == found


def test_memory_stays_flat_in_groups(monkeypatch):
    """Groups and draws are taken in blocks: small ones give the same answer."""
    a, b = pair()
    expected = compare_predictions(a, b, draws=30)
    monkeypatch.setattr("candid.evaluation.comparison._BLOCK", 9_000)
    for name in ("_COUNTS", "_SUMS"):
        monkeypatch.setattr(f"candid.stats.bootstrap.{name}", 9_000)
    assert compare_predictions(a, b, draws=30) == expected
