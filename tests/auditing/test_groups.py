"""Figures of groups against Fairlearn, and the matrix product against a loop over draws."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from auditing.audited import crowd, predictions
from candid.auditing.groups import SidePlan, measure
from candid.auditing.rows import KNOWN, LABEL, Rows
from candid.stats import metrics
from candid.stats.bootstrap import resample
from candid.stats.moments import Figures

SHARES = {"hat": 0.3, "glasses": 0.1, "young": 0.7}


def measured(p, keys, *, rich=True, draws=60, seed=0, standard=None, per_class=True):
    """Sides for keys, or (larger, group) pairs of keys for what is left; each next to the first."""
    rows = Rows(p.with_bins(), resample(len(p), p.person, draws=draws, seed=seed))
    plan = SidePlan()
    for key in keys:
        pair = key if isinstance(key, list) else [key, None]
        side = plan.add_side(*(k if k is None else rows.key(*k) for k in pair))
        if len(plan.sides) > 1:
            plan.add_pair(0, side)
    figures = Figures(p.classes, rich=rich, standard=standard, per_class=per_class)
    return rows, measure(rows, plan, figures)


@pytest.mark.parametrize("classes", [2, 3])
def test_figures_equal_fairlearns_metric_frame(classes):
    fairlearn = pytest.importorskip("fairlearn.metrics")
    p = crowd(80, SHARES, 1, base=0.2, classes=classes)
    names = list(p.attributes)
    _, m = measured(p, [((a, v),) for a in range(3) for v in (0, 1)], draws=50)
    rates = {
        "accuracy": sk.accuracy_score,
        "weighted_f1": lambda y, a: sk.f1_score(y, a, average="weighted", zero_division=0),
    }
    for c, name in enumerate(p.classes):
        rates[f"error:{name}"] = lambda y, a, c=c: fairlearn.false_negative_rate(
            y == c, a == c, pos_label=True
        )
        rates[f"predicted:{name}"] = lambda y, a, c=c: fairlearn.selection_rate(y, a, pos_label=c)
        rates[f"precision:{name}"] = lambda y, a, c=c: sk.precision_score(
            y == c, a == c, zero_division=np.nan
        )
        if classes > 2:
            rates[f"false:{name}"] = lambda y, a, c=c: fairlearn.false_positive_rate(
                y == c, a == c, pos_label=True
            )
    assert set(rates) < set(m.figures)
    for a, name in enumerate(names):
        frame = fairlearn.MetricFrame(
            metrics=rates,
            y_true=p.label,
            y_pred=p.prediction,
            sensitive_features=p.attributes[name].data,
        )
        for metric in rates:
            ours = m.value[m.row(metric)][[2 * a, 2 * a + 1]]
            np.testing.assert_allclose(ours, frame.by_group[metric][[0, 1]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rich", [True, False])
def test_figures_of_no_class_are_those_of_the_whole(rich):
    """Summed without a sum per class, they are the same numbers, with their n and their spread."""
    p = crowd(60, SHARES, 5, base=0.2, classes=3)
    sides = [((0, 1),), [((0, KNOWN),), ((0, 1),)], ((1, 1), (LABEL, 2))]
    _, whole = measured(p, sides, rich=rich)
    _, lean = measured(p, sides, rich=rich, per_class=False)
    sure = {"confidence", "overconfidence", "calibration_error", "calibration_noise"}
    assert set(lean.figures) == {"accuracy", *(sure if rich else ())}
    for name in lean.figures:
        i, k = lean.row(name), whole.row(name)
        for column in ("value", "spread", "mean", "correlation"):
            mine, other = getattr(lean, column)[i], getattr(whole, column)[k]
            np.testing.assert_allclose(mine, other, rtol=0, atol=2e-6, err_msg=name + column)
        for column in ("units", "images", "undefined", "undefined_pairs"):
            assert (getattr(lean, column)[i] == getattr(whole, column)[k]).all()


def test_how_draws_are_cut_into_blocks_does_not_matter(monkeypatch):
    p = crowd(50, SHARES, 4, base=0.2, classes=3)
    found = []
    for most in (1_000_000, 5_000):
        monkeypatch.setattr("candid.stats.moments._BLOCK_DRAWN", most)
        found.append(measured(p, [((0, 1),), [((0, KNOWN),), ((0, 1),)]], rich=False, draws=400)[1])
    for column in ("spread", "mean", "correlation"):
        one, other = (getattr(m, column) for m in found)
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_confidence_and_calibration_equal_those_of_the_group_alone():
    p = crowd(60, SHARES, 2, base=0.1)
    mine = p.attributes["hat"].data == 1
    _, m = measured(p, [((0, 1),)])
    some = p[mine]
    sure = some.probability.max(1)
    right = some.prediction == some.label
    for name, expected in (
        ("confidence", sure.mean()),
        ("overconfidence", sure.mean() - right.mean()),
        ("calibration_error", metrics.calibration_error(some.label, some.probability)),
    ):
        assert m.value[m.row(name), 0] == pytest.approx(float(expected), abs=1e-12)


def test_one_matrix_product_equals_a_loop_over_draws():
    """Standard errors, correlation and undefined draws, draw by draw with plain masks."""
    p = crowd(40, SHARES, 3, base=0.25)
    group, rest = ((0, 1),), [((0, KNOWN),), ((0, 1),)]
    rows, m = measured(p, [group, rest, ((0, 1), (LABEL, 0))], draws=300)
    counts = np.concatenate(list(rows.counts()))
    unit, mine = rows.resampling.unit, p.attributes["hat"].data == 1
    confusion = {}
    for name, mask in (("group", mine), ("rest", ~mine)):
        confusion[name] = np.stack(
            [
                metrics.confusion_matrix(p.label, p.prediction, 2, weight[unit] * mask)
                for weight in counts.astype(float)
            ]
        )
    for metric, of in (
        ("accuracy", metrics.accuracy_score),
        ("weighted_f1", metrics.weighted_f1_score),
        ("error:c1", lambda c: 1 - metrics.recall_score(c)[..., 1]),
        ("precision:c0", lambda c: metrics.precision_score(c)[..., 0]),
    ):
        i = m.row(metric)
        left, right = of(confusion["group"]), of(confusion["rest"])
        grown = np.sqrt(m.units[i] / (m.units[i] - 1))  # as the cluster formula for a ratio has it
        assert m.undefined[i, 0] == np.isnan(left).sum()
        assert m.spread[i, 0] == pytest.approx(np.nanstd(left, ddof=1) * grown[0], rel=1e-4)
        assert m.spread[i, 1] == pytest.approx(np.nanstd(right, ddof=1) * grown[1], rel=1e-4)
        both = ~np.isnan(left) & ~np.isnan(right)
        assert m.undefined_pairs[i, 0] == (~both).sum()
        expected = np.corrcoef(left[both], right[both])[0, 1]
        assert m.correlation[i, 0] == pytest.approx(expected, abs=0.02)


def test_people_and_images_behind_each_figure():
    p = predictions(
        [0, 0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0, 0],
        attributes={"a": [1, 1, 1, 1, 0, 0], "b": [1, -1, 1, 0, 0, -1]},
        person=[1, 1, 1, 2, 2, -1],
    )
    rows, m = measured(
        p, [((0, 1),), [((0, KNOWN),), ((0, 1),)], ((1, 1),), [((1, KNOWN),), ((1, 1),)]]
    )

    def behind(metric, side):
        i = m.row(metric)
        return int(m.images[i, side]), int(m.units[i, side])

    assert rows.resampling.units == 3
    assert behind("accuracy", 0) == (4, 2) and behind("accuracy", 1) == (2, 2)
    assert behind("error:Female", 0) == (2, 1) and behind("error:Male", 0) == (2, 2)
    assert behind("precision:Male", 0) == (3, 2) and behind("precision:Female", 1) == (2, 2)
    # The rest of b are the images whose value is known and differs.
    assert behind("accuracy", 2) == (2, 1) and behind("accuracy", 3) == (2, 1)
    assert m.value[m.row("accuracy"), 3] == 0.5


def test_the_order_of_images_changes_nothing():
    p = crowd(50, SHARES, 4, base=0.2)
    keys = [((0, 1),), ((1, 1), (2, 0)), ((2, 0), (LABEL, 1))]
    _, one = measured(p, keys)
    _, two = measured(p[np.random.default_rng(0).permutation(len(p))], keys)
    np.testing.assert_allclose(one.value, two.value, atol=1e-12)
    np.testing.assert_allclose(one.spread, two.spread, rtol=1e-3, atol=1e-6)


def test_random_groups_of_people_keep_the_standard_error(monkeypatch):
    p = crowd(3000, SHARES, 5, base=0.1)
    keys = [((0, 1),), [((0, KNOWN),), ((0, 1),)], ((0, 1), (1, 1))]
    _, whole = measured(p, keys, draws=600)
    monkeypatch.setattr("candid.auditing.rows.MOST_STRATA", 700)
    rows, grouped = measured(p, keys, draws=600)
    assert rows.strata == 700 and len(next(rows.counts())[0]) == 700
    np.testing.assert_array_equal(whole.units, grouped.units)
    np.testing.assert_allclose(whole.value, grouped.value, atol=1e-12)
    i = [whole.row(f) for f in ("accuracy", "weighted_f1", "confidence")]
    np.testing.assert_allclose(grouped.spread[i], whole.spread[i], rtol=0.2)


def test_blocks_of_draws_change_nothing(monkeypatch):
    p = crowd(50, SHARES, 6, base=0.2)
    _, one = measured(p, [((0, 1),), ((1, 1),)], draws=100)
    blocks = (
        "stats.bootstrap._COUNTS",
        "stats.bootstrap._MOST_CACHED",
        "stats.moments._BLOCK_DRAWN",
    )
    for name in (*blocks, "auditing.groups._ROWS"):
        monkeypatch.setattr(f"candid.{name}", 700)
    rows, two = measured(p, [((0, 1),), ((1, 1),)], draws=100)
    np.testing.assert_allclose(one.spread, two.spread, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate(list(rows.counts())), np.concatenate(list(rows.counts()))
    )


def test_empty_groups_and_one_person_are_undefined():
    p = predictions([0, 1, 1], [0, 1, 0], attributes={"a": [0, 0, 0]}, person=[4, 4, 4])
    _, m = measured(p, [((0, 1),), ((0, 0),), [((0, KNOWN),), ((0, 0),)]])
    assert np.isnan(m.value[m.row("accuracy"), [0, 2]]).all()
    assert m.images[m.row("accuracy")].tolist() == [0, 3, 0]
    assert m.value[m.row("accuracy"), 1] == pytest.approx(2 / 3)
    assert np.isnan(m.spread[m.row("accuracy"), 1])


def test_answers_without_probabilities_have_no_confidence():
    p = predictions(
        [0, 1, 1, 0], [0, 1, 0, 0], attributes={"a": [0, 0, 1, 1]}, sure=np.ones(4), hard=True
    )
    _, m = measured(p, [((0, 1),), ((0, 0),)])
    for name in ("confidence", "overconfidence", "calibration_error"):
        assert np.isnan(m.value[m.row(name)]).all()
    assert not np.isnan(m.value[m.row("accuracy")]).any()


def test_a_rounding_among_no_images_is_no_figure():
    figures = Figures(("no", "yes"), rich=True, bins=3)
    sums = np.zeros((4 + 1 + 3, 1, 2), np.float32)
    sums[4:, 0, 0] = 1e-7  # what is left of a larger group's confidence where no image is left
    drawn = figures.evaluate(sums, sample=np.ones((8, 1, 2), np.float32))
    assert np.isnan(drawn[:, 0, 0]).all()
