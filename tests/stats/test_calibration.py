"""Temperature against scipy's optimiser and a planted truth; reliability against masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from candid.errors import PredictionsError
from candid.stats import metrics
from candid.stats.calibration import (
    apply_temperature,
    fit_temperature,
    reliability_bins,
    undo_temperature,
)


def draw(seed, n=400, classes=3, temperature=2.0):
    """Logits that are too large by `temperature`, and labels drawn from the true probabilities."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, (n, classes))
    label = (special.softmax(true, axis=1).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return true * temperature, np.minimum(label, classes - 1)


def loss(temperature, logits, label, weight=None):
    given_to = special.log_softmax(logits / temperature, axis=1)[np.arange(len(label)), label]
    return -np.average(given_to, weights=weight)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scipys_minimum(classes, weighted):
    logits, label = draw(classes, classes=classes)
    weight = np.random.default_rng(0).random(len(label)) if weighted else None
    theirs = optimize.minimize_scalar(
        lambda log: loss(np.exp(log), logits, label, weight),
        bounds=(-5, 5),
        method="bounded",
        options={"xatol": 1e-9},
    )
    ours = fit_temperature(logits, label, weight)
    np.testing.assert_allclose(ours, np.exp(theirs.x), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_finds_the_planted_temperature(temperature):
    logits, label = draw(1, n=20_000, temperature=temperature)
    np.testing.assert_allclose(fit_temperature(logits, label), temperature, rtol=0.05)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6), st.integers(1, 50), st.integers(2, 4))
def test_scale_and_shift_of_the_logits(seed, scale, n, classes):
    logits, label = draw(seed, n, classes)
    one = fit_temperature(logits, label)
    np.testing.assert_allclose(fit_temperature(scale * logits, label), scale * one, rtol=1e-6)
    shift = np.random.default_rng(seed).normal(size=(n, 1))
    np.testing.assert_allclose(fit_temperature(logits + shift, label), one, rtol=1e-6)


def test_log_probabilities_serve_as_logits():
    logits, label = draw(2)
    log_p = special.log_softmax(logits, axis=1)
    np.testing.assert_allclose(
        fit_temperature(log_p, label), fit_temperature(logits, label), rtol=1e-9
    )


def test_separated_images_get_a_finite_temperature():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 50)
    logits = np.zeros((50, 2))
    logits[np.arange(50), label] = rng.uniform(1, 3, 50)
    t = fit_temperature(logits, label)

    def smoothed(log):  # Platt's targets: 51 of 52 for the label
        log_p = special.log_softmax(logits / np.exp(log), axis=1)
        return -np.mean((51 * log_p[range(50), label] + log_p[range(50), 1 - label]) / 52)

    theirs = optimize.minimize_scalar(
        smoothed, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9}
    )
    np.testing.assert_allclose(t, np.exp(theirs.x), rtol=1e-6)
    np.testing.assert_allclose(fit_temperature(9 * logits, label), 9 * t, rtol=1e-6)


def test_worse_than_guessing_becomes_flat():
    logits, label = draw(4, classes=2)
    flat = apply_temperature(logits, fit_temperature(-logits, label))
    np.testing.assert_allclose(flat, 0.5, atol=1e-3)


def test_logits_that_say_nothing():
    assert fit_temperature(np.full((5, 2), 3.0), np.array([0, 1, 0, 1, 1])) == 1.0


@pytest.mark.parametrize("logits", [np.zeros((0, 2)), np.array([[np.nan, 0.0]]), np.zeros(3)])
def test_bad_logits(logits):
    with pytest.raises(PredictionsError) as caught:
        fit_temperature(logits, np.zeros(len(logits), dtype=int))
    assert caught.value.expected and caught.value.todo


def test_temperature_changes_no_answer_and_can_be_taken_back():
    logits, _ = draw(5)
    before = special.softmax(logits, axis=1)
    after = apply_temperature(logits, 2.5)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))
    np.testing.assert_allclose(undo_temperature(after, 2.5), before, rtol=1e-9)
    assert undo_temperature(before, 1.0) is before


def test_probability_zero_stays_zero():
    certain = np.array([[1.0, 0.0], [0.25, 0.75]])
    np.testing.assert_allclose(undo_temperature(certain, 2.0), [[1, 0], [0.1, 0.9]], atol=1e-12)


def test_fitted_temperature_lowers_log_loss_and_calibration_error():
    logits, label = draw(6, n=5000)
    before, after = (
        special.softmax(logits, axis=1),
        apply_temperature(logits, fit_temperature(logits, label)),
    )
    assert metrics.log_loss_error(label, after) < metrics.log_loss_error(label, before)
    assert metrics.calibration_error(label, after) < 0.5 * metrics.calibration_error(label, before)


def test_reliability_equals_masks():
    logits, label = draw(7)
    p = special.softmax(logits, axis=1)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == label
    rows = reliability_bins(label, p, bins=10, confidence=0.9)
    assert sum(row.n for row in rows) == len(label)
    assert [row.low for row in rows] == sorted(row.low for row in rows)
    for row in rows:
        inside = (confidence > row.low) & (confidence <= row.high)
        assert row.n == inside.sum() > 0
        assert row.high - row.low == pytest.approx(0.1)
        assert row.confidence == pytest.approx(confidence[inside].mean())
        k = int(correct[inside].sum())
        assert row.accuracy.value == pytest.approx(k / row.n)
        theirs = stats.binomtest(k, row.n).proportion_ci(0.9, method="wilson")
        assert row.accuracy.low == pytest.approx(theirs.low)
        assert row.accuracy.high == pytest.approx(theirs.high)
    gaps = sum(row.n * abs(row.confidence - row.accuracy.value) for row in rows) / len(label)
    assert gaps == pytest.approx(float(metrics.calibration_error(label, p, bins=10)))


def test_reliability_counts_people_and_not_their_pictures():
    logits, label = draw(8, n=300)
    p = special.softmax(logits, axis=1)
    alone = reliability_bins(label, p, person=np.arange(300))
    five = reliability_bins(label.repeat(5), p.repeat(5, axis=0), person=np.arange(300).repeat(5))
    for one, many in zip(alone, five, strict=True):
        assert many.n == many.accuracy.n == 5 * one.n and many.accuracy.people == one.n
        assert many.accuracy.method == "Wilson, effective size by person"
        np.testing.assert_allclose(
            [many.accuracy.low, many.accuracy.high], [one.accuracy.low, one.accuracy.high]
        )
    blind = reliability_bins(label.repeat(5), p.repeat(5, axis=0))
    assert blind[-1].accuracy.low > five[-1].accuracy.low
    assert blind[-1].accuracy.people is None and blind[-1].accuracy.method == "Wilson"
