"""Gaps and figures with their intervals: against the evaluation's bootstrap, and their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from auditing.audited import crowd, predictions
from candid.auditing.contrasts import contrast
from candid.auditing.gaps import Ledger
from candid.auditing.groups import SidePlan, measure
from candid.auditing.rows import KNOWN, Rows
from candid.auditing.side_figures import estimates
from candid.stats import metrics
from candid.stats.bootstrap import FigureSpec, bootstrap, resample
from candid.stats.moments import Figures


def compared(p, *, draws=200, by_person=True):
    """Rows, moments and the contrast of each attribute's "yes" with the rest, by metric."""
    rows = Rows(p.with_bins(), resample(len(p), p.person if by_person else None, draws=draws))
    plan = SidePlan()
    for a in range(len(rows.attributes)):
        group = rows.key((a, 1))
        plan.add_pair(plan.add_side(group), plan.add_side(rows.key((a, KNOWN)), group))
    moments = measure(rows, plan, Figures(p.classes, rich=True))
    here = np.arange(len(plan.pairs))
    return rows, moments, {m: contrast(moments, m, here, rows) for m in moments.figures}


def test_figures_of_everyone_have_the_evaluations_intervals():
    """The same bootstrap by other means: one matrix product, or weights image by image."""
    p = crowd(200, {"all": 1.0}, 0, base=0.1)
    rows, moments, _ = compared(p, draws=2000)
    ours = estimates(moments, [0], rows)[0]

    def statistic(weight):
        confusion = metrics.confusion_matrix(p.label, p.prediction, 2, weight)
        return {
            "accuracy": metrics.accuracy_score(confusion),
            "weighted_f1": metrics.weighted_f1_score(confusion),
            "error:c1": 1 - metrics.recall_score(confusion)[..., 1],
            "calibration_error": metrics.bin_excess(p.label, p.probability, weight),
        }

    everyone = (np.ones(len(p), bool),)
    figures = dict.fromkeys(("accuracy", "weighted_f1"), FigureSpec("score", everyone))
    figures["error:c1"] = FigureSpec("score", (p.label == 1,))
    figures["calibration_error"] = FigureSpec("deviation", everyone)
    theirs = bootstrap(statistic, figures, resample(len(p), p.person, draws=2000, seed=1))
    for name, e in theirs.items():
        mine = ours[name]
        assert (mine.value, mine.n, mine.people) == (pytest.approx(e.value), e.n, e.people)
        slack = 0.1 * (e.high - e.low)
        assert mine.low == pytest.approx(e.low, abs=slack), name
        assert mine.high == pytest.approx(e.high, abs=slack), name
        assert mine.method == "bootstrap by person"


def test_more_pictures_of_the_same_people_tell_nothing_new():
    """Every picture four times, of the same person: the same figures, the same intervals."""
    p = crowd(150, {"hat": 0.4}, 1, base=0.2)
    four = p[np.repeat(np.arange(len(p)), 4)]
    for metric in ("accuracy", "weighted_f1", "error:c0", "overconfidence"):
        one, more = (compared(q)[2][metric] for q in (p, four))
        np.testing.assert_allclose(
            one.interval(0.95), more.interval(0.95), rtol=0, atol=3e-4, err_msg=metric
        )
        np.testing.assert_allclose(one.left.spread, more.left.spread, rtol=1e-3)


def test_no_mistake_is_not_certainty():
    label = np.tile([0, 1], 60)
    p = predictions(label, label, attributes={"a": np.arange(120) < 20})
    rows, moments, found = compared(p)
    e = estimates(moments, [0], rows)[0]["accuracy"]
    assert e.value == e.high == 1 and 0.75 < e.low < 0.9 and e.method == "Wilson"
    low, high = found["accuracy"].interval(0.95)
    assert low[0] < -0.1 and 0 < high[0] < 0.1 and found["accuracy"].p()[0] == 1


def test_lucky_confidence_in_a_few_pictures_is_no_gap():
    """Twelve pictures with nearly the same high confidence: that is luck, not certainty."""
    rng = np.random.default_rng(2)
    sure = 0.5 + 0.5 * rng.beta(5, 1, 600)
    few = np.zeros(600, bool)
    few[:12] = True
    sure[:12] = 0.93 + 0.001 * rng.random(12)
    label = rng.integers(0, 2, 600)
    found = compared(predictions(label, label, attributes={"a": few}, sure=sure))[2]["confidence"]
    assert 0 < found.left.spread[0] < 2e-4 and found.p()[0] > 0.05
    low, high = found.interval(0.95)
    assert low[0] < 0 < high[0]


def test_a_ledger_counts_each_gap_once():
    p = crowd(400, {"hat": 0.3, "b": 0.5}, 3, base=0.05, planted={("hat",): 0.25})
    rows, _, found = compared(p)
    ledger = Ledger(rows, smallest=10, rate=0.05)
    first = ledger.add(found["accuracy"])
    mirror = ledger.add(found["weighted_f1"], np.zeros(2, bool))
    table = ledger.settle()
    assert table.looked_at == 2
    p_values = found["accuracy"].p()
    expected = stats.false_discovery_control(p_values)
    told = [table.gap(i) for i in first]
    assert [g.adjusted_p for g in told] == pytest.approx(list(expected))
    assert [g.state for g in told] == ["found" if q <= 0.05 else "not found" for q in expected]
    assert told[0].state == "found" and table.is_harmful[first[0]]
    # What does not count has the adjusted p of the counted gap that is as surprising.
    assert table.gap(mirror[0]).adjusted_p in [pytest.approx(q) for q in expected]
    few = Ledger(rows, smallest=10_000, rate=0.05)
    place = few.add(found["accuracy"])[0]
    settled = few.settle()
    assert settled.looked_at == 0 and math.isnan(settled.gap(place).p)
    assert settled.gap(place).state == "too few to say"


def test_gaps_that_are_settled_together_are_those_of_each_metric_alone():
    """Of one kind or another, and however many: what a contrast says of itself."""
    p = crowd(200, {"hat": 0.3, "b": 0.5}, 6, base=0.2, classes=3, planted={("hat",): 0.2})
    rows, moments, found = compared(p)
    names = [m for m in moments.figures if not m.startswith("calibration")]
    ledger = Ledger(rows, smallest=10, rate=0.05)
    given = np.array([0.5, 0.01])
    places = {
        m: ledger.add(found[m], p=given if m == "weighted_f1" else None) for m in reversed(names)
    }
    table = ledger.settle()
    for metric, at in places.items():
        alone = found[metric]
        low, high = alone.interval(0.95)
        expected = given if metric == "weighted_f1" else alone.p()
        assert set(table.metric[at]) == {metric} and set(table.method[at]) == {alone.method}
        for ours, theirs in (
            (table.left[at], alone.left.value),
            (table.right[at], alone.right.value),
            (table.low[at], low),
            (table.high[at], high),
            (table.p[at], expected),
            (table.n[at], alone.images),
            (table.units[at], alone.left.units),
            (table.visible[at], alone.columns(0.95, table.threshold)["visible"]),
        ):
            np.testing.assert_array_equal(ours, theirs, err_msg=metric)
    assert len({found[m].kind for m in names}) >= 4  # errors, accuracies, confidence, the rest


# --- coverage ------------------------------------------------------------------------------------

REPETITIONS = 150


def held(by_person):
    """How many of 150 intervals hold the true gap in accuracy and in errors, which is 0."""
    counts = np.zeros(3)
    for seed in range(REPETITIONS):
        rng = np.random.default_rng(seed)
        person = np.repeat(np.arange(200), 1 + rng.poisson(3, 200))
        label = rng.integers(0, 2, 200)[person]
        chance = rng.beta(0.15, 1.35, 200)[person]  # 10%, correlated by 0.4 within people
        wrong = rng.random(len(person)) < chance
        hat = (rng.random(200) < 0.3)[person]
        p = predictions(
            label, np.where(wrong, 1 - label, label), attributes={"hat": hat}, person=person
        )
        found = compared(p, by_person=by_person)[2]
        for k, metric in enumerate(("accuracy", "error:Female", "error:Male")):
            low, high = found[metric].interval(0.95)
            counts[k] += low[0] <= 0 <= high[0]
    return counts


@pytest.mark.slow
def test_95_percent_intervals_by_person_hold_the_true_gap():
    # If 93% to 97% hold it, 150 fall outside these bounds once in 10,000 tests.
    low = stats.binom.ppf(5e-5, REPETITIONS, 0.93)
    counts = held(by_person=True)
    assert (counts >= low).all(), counts
    assert held(by_person=False)[0] < low  # and by image they would not
