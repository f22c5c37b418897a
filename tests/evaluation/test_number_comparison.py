"""Two models of a number on the same images, held to SciPy's paired test and to simulation."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

import candid
from candid.errors import PredictionsError
from candid.evaluation.number_comparison import compare_numbers
from candid.evaluation.several_models import compare_models
from candid.predictions.numbers import NumberAnswers
from candid.reporting.page import render_run_comparison
from candid.text.comparison import change_name, comparison_summary
from candid.text.comparison_runs import run_comparison_lines


def answers(n=400, seed=0, spread=(4.0, 4.0), per_person=1, shift=0.0):
    """Ages; the spread of the errors is that of either kind."""
    rng = np.random.default_rng(seed)
    value = np.random.default_rng(1000).uniform(0, 90, n).round()
    kind = np.random.default_rng(1001).integers(0, 2, n)
    error = np.repeat(rng.normal(0, 1, n // per_person), per_person) * np.array(spread)[kind]
    return NumberAnswers.from_arrays(
        value,
        value + error + shift,
        target="age",
        groups={"kind": np.array(["a", "b"])[kind]},
        person=np.arange(n) // per_person,
        ids=[f"{i}.jpg" for i in range(n)],
    )


def off(p):
    return np.abs(p.predicted - p.value)


def test_it_is_the_paired_t_test_where_everybody_has_one_image():
    a, b = answers(seed=0, spread=(5, 5)), answers(seed=1, spread=(4, 4.5))
    found = compare_numbers(a, b, draws=4000)
    change = found.overall.change
    reference = stats.ttest_rel(off(b), off(a))
    low, high = reference.confidence_interval(0.95)
    assert change.value == pytest.approx((off(b) - off(a)).mean(), abs=1e-5)
    assert (change.low, change.high) == pytest.approx((low, high), abs=0.03)
    assert math.log10(found.overall.p) == pytest.approx(math.log10(reference.pvalue), rel=0.08)
    assert found.overall.lost == (off(b) > off(a)).sum()
    assert found.overall.gained == (off(b) < off(a)).sum()
    rmse = found.overall.metrics["rmse"]
    assert rmse.a == pytest.approx(np.sqrt((off(a) ** 2).mean()), rel=1e-5)


def test_the_order_of_the_rows_is_nothing_and_the_two_mirror_each_other():
    a, b = answers(seed=0), answers(seed=1, spread=(3, 6))
    shuffled = b[np.random.default_rng(0).permutation(len(b))]
    one, again, mirrored = (
        compare_numbers(*pair, draws=200) for pair in ((a, b), (a, shuffled), (b, a))
    )
    assert one == again
    for g, h in zip(one.every(), mirrored.every(), strict=False):
        if g.attribute != "kind":
            assert g.change.value == pytest.approx(-h.change.value)
            assert (g.lost, g.gained, g.p) == (h.gained, h.lost, pytest.approx(h.p))


def test_who_gained_and_who_paid_and_their_gaps():
    a, b = answers(seed=0, spread=(4, 8)), answers(seed=0, spread=(5.5, 4))
    found = compare_numbers(a, b, names=("old", "new"), draws=500)
    kinds = {g.value: g for g in found.groups}
    assert kinds["b"].gain > 0 > kinds["a"].gain
    assert {kinds["a"].state, kinds["b"].state} == {"found"}
    kind = a.attributes["kind"].data
    for p, name in ((a, "a"), (b, "b")):
        gap = off(p)[kind == 1].mean() - off(p)[kind == 0].mean()
        assert getattr(kinds["b"].gap, name) == pytest.approx(gap, abs=1e-4)
    change = kinds["b"].gap.difference
    assert change.value == pytest.approx(kinds["b"].gap.b - kinds["b"].gap.a)
    assert change.high < 0  # the gap is smaller, for sure
    assert [found.changed(1)[0].value, found.changed(-1)[0].value] == ["b", "a"]
    said = comparison_summary(found)
    assert any(s.startswith("Better for kind: b: off by ") for s in said)
    assert any(s.startswith("Worse for kind: a: off by ") for s in said)
    assert not any("right" in s or "points" in s for s in said)
    edges = [g.value for g in found.classes_changed]
    assert edges[0] == "up to 9" and edges[-1] == "80 and above"
    assert sum(g.n for g in found.classes_changed) == len(a)
    assert "mean absolute error of new less that of old" in found._repr_html_()


def test_models_that_are_as_good_are_called_so_nineteen_times_in_twenty():
    """Ten images a person, all off by as much: by image it would be far more often."""
    found = [
        compare_numbers(
            answers(200, seed=2 * i, per_person=10),
            answers(200, seed=2 * i + 1, per_person=10),
            draws=200,
        ).overall
        for i in range(100)
    ]
    wrong = sum(g.p <= 0.05 for g in found)
    assert 0 <= wrong <= stats.binom.ppf(0.999, 100, 0.05)
    held = sum(g.change.low <= 0 <= g.change.high for g in found)
    assert held >= stats.binom.ppf(0.001, 100, 0.95)
    pairs = [
        [off(answers(200, seed=k, per_person=10)) for k in (2 * i, 2 * i + 1)] for i in range(100)
    ]
    by_image = [stats.ttest_rel(*pair).pvalue for pair in pairs]
    assert sum(p <= 0.05 for p in by_image) > 20


def test_what_is_not_in_both_is_counted():
    a, b = answers(), answers(seed=1)
    other = b.value.copy()
    other[10:13] += 1
    b = dataclasses.replace(b, value=other)[5:]
    found = compare_numbers(a[:390], b, draws=50)
    assert (found.n, found.only_a, found.only_b, found.relabelled) == (382, 5, 10, 3)
    assert len(found.notes) == 3
    with pytest.raises(PredictionsError, match="no image of the split 'test'"):
        compare_numbers(a[:5], b, draws=50)


def test_the_same_answers_differ_in_nothing():
    found = compare_numbers(answers(), answers(), draws=50)
    assert found.overall.change.value == 0 and found.overall.p == 1
    assert not [g for g in found.every() if g.state == "found"]


def test_three_models_are_ranked_by_the_least_error():
    three = [answers(seed=i, spread=(s, s)) for i, s in enumerate((6, 3, 6.1))]
    found = compare_models(three, ["six", "three", "more"], draws=300)
    assert found.ranked()[0].name == "three"
    for one, p in zip(found.figures, three, strict=True):
        assert one.metrics["mae"].value == pytest.approx(off(p).mean(), rel=1e-5)
        assert list(one.metrics) == ["mae", "rmse"]
    states = {(pair.a, pair.b): pair.overall.state for pair in found.pairs}
    assert states == {
        ("six", "three"): "found",
        ("six", "more"): "not found",
        ("three", "more"): "found",
    }
    told = "\n".join(run_comparison_lines(found, ""))
    assert "Nearest is" not in told and "“three” is nearer than “six”: by " in told
    assert "mean absolute error" in told and "accuracy" not in told and "points" not in told
    page = render_run_comparison(found, candid.__version__)
    assert "Nearest is “three”" in page and "Error with three" in page
    assert "Left of the line" in page
    kind = three[0].attributes["kind"].data
    group = next(g for g in found.across() if (g.about.attribute, g.about.value) == ("kind", "a"))
    assert found.figures_of(group) == pytest.approx([off(p)[kind == 0].mean() for p in three])


def test_from_python_arrays_and_answers_are_one():
    a, b = answers(), answers(seed=1, spread=(2, 2))
    config = candid.load_config(overrides=["audit.draws=100"])
    one = candid.audit(b, config, before=a).comparison
    groups = {"kind": np.array(["a", "b"])[a.attributes["kind"].data]}
    other = candid.audit(
        a.value,
        b.predicted,
        config,
        number=True,
        before=a.predicted,
        groups=groups,
        person=a.person,
    ).comparison
    assert (one.a, one.b, one.is_number) == ("A", "B", True)
    assert one.overall.metrics == other.overall.metrics
    assert [g.metrics for g in one.groups] == [g.metrics for g in other.groups]
    assert len(one.to_frame()) == len(one.every())
    assert change_name(other.classes_changed[0]) == "label: up to 9"  # no class that is labelled so
