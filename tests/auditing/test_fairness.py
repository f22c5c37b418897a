"""Fairness figures against Fairlearn, and what their intervals promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from auditing.audited import crowd, predictions
from candid.auditing.audit import audit_groups
from candid.settings import AuditConfig

QUICK = AuditConfig(pairs=False, slices=0, more=False, draws=100)


def figures(p, config=QUICK):
    return {(f.attribute, f.name, f.about): f for f in audit_groups(p, config).splits[0].fairness}


def three(seed):
    """Predictions with an attribute of three values, and different rates in each."""
    p = crowd(250, {"hat": 0.4}, seed, base=0.1, planted={("hat",): 0.3})
    codes = np.random.default_rng(seed).integers(0, 3, 250)[p.person]
    return predictions(
        p.label,
        p.prediction,
        attributes={"hat": p.attributes["hat"].data, "age": (("young", "middle", "old"), codes)},
        person=p.person,
    )


def test_figures_equal_fairlearns():
    fairlearn = pytest.importorskip("fairlearn.metrics")
    p = three(0)
    ours = figures(p)
    for name, attribute in p.attributes.items():
        given = {
            "y_true": p.label,
            "y_pred": p.prediction,
            "sensitive_features": attribute.data,
        }
        for figure in (
            "demographic_parity_difference",
            "demographic_parity_ratio",
            "equal_opportunity_difference",
            "equal_opportunity_ratio",
            "equalized_odds_difference",
            "equalized_odds_ratio",
        ):
            expected = getattr(fairlearn, figure)(**given)
            assert ours[name, figure, "Male"].estimate.value == pytest.approx(expected, abs=1e-12)


def test_worst_group_max_min_and_predictive_parity_by_hand():
    p = three(1)
    ours = figures(p)
    right, answer = p.prediction == p.label, p.prediction == 1
    codes, values = p.attributes["age"].data, p.attributes["age"].values
    accuracy = [right[codes == k].mean() for k in range(3)]
    worst = ours["age", "worst_group_accuracy", None]
    assert worst.estimate.value == pytest.approx(min(accuracy))
    assert worst.lowest == values[int(np.argmin(accuracy))]
    spread = ours["age", "accuracy_max_min", None]
    assert spread.estimate.value == pytest.approx(np.ptp(accuracy))
    assert (spread.highest, spread.lowest) == (values[np.argmax(accuracy)], worst.lowest)
    precision = [right[(codes == k) & answer].mean() for k in range(3)]
    parity = ours["age", "predictive_parity_ratio", "Male"]
    assert parity.estimate.value == pytest.approx(min(precision) / max(precision))


def test_every_figure_is_told_with_its_interval():
    for figure in figures(three(2)).values():
        e = figure.estimate
        assert e.low <= e.value <= e.high, figure
        assert "95% interval" in figure.sentence and "bias" not in figure.sentence
        assert f"{figure.attribute}" in figure.sentence and figure.lowest in figure.sentence
        assert e.n > 0 and e.people is not None


def test_no_difference_is_within_most_intervals():
    """The largest of three differences is never 0; its interval has to reach 0 all the same."""
    reached = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        person = np.repeat(np.arange(150), 2)
        label = rng.integers(0, 2, 150)[person]
        wrong = rng.random(300) < 0.15
        codes = rng.integers(0, 3, 150)[person]
        p = predictions(
            label,
            np.where(wrong, 1 - label, label),
            attributes={"age": (("a", "b", "c"), codes)},
            person=person,
        )
        f = figures(p)["age", "accuracy_max_min", None].estimate
        assert f.value > 0
        reached.append(f.low == 0)
    assert np.mean(reached) >= 0.9


def test_small_groups_are_left_out_and_undefined_ones_said_to_be():
    label = np.tile([0, 1], 30)
    codes = np.zeros(60, int)
    codes[:20], codes[20:23] = 1, 2
    p = predictions(label, label, attributes={"age": (("a", "b", "c"), codes)})
    f = figures(p)
    assert {f["age", "accuracy_max_min", None].highest} < {"a", "b"}
    assert all("age: c" not in figure.sentence for figure in f.values())
    # One group alone, or none with a label: nothing to compare.
    alone = predictions(label, label, attributes={"x": np.zeros(60, int)})
    assert figures(alone) == {}
    no_men = predictions(np.zeros(60, int), np.zeros(60, int), attributes={"x": codes > 0})
    figure = figures(no_men)["x", "equal_opportunity_difference", "Male"]
    assert math.isnan(figure.estimate.value) and "undefined" in figure.sentence


def test_each_of_three_classes_is_positive_once():
    p = crowd(200, {"hat": 0.5}, 3, base=0.2, classes=3)
    names = [key for key in figures(p) if key[1] == "equal_opportunity_difference"]
    assert [about for _, _, about in names] == ["c0", "c1", "c2"]
    codes, answer = p.attributes["hat"].data, p.prediction
    rates = [[(answer[(codes == g) & (p.label == 2)] == 2).mean() for g in (0, 1)]]
    value = figures(p)["hat", "equal_opportunity_difference", "c2"].estimate.value
    assert value == pytest.approx(abs(rates[0][0] - rates[0][1]))
