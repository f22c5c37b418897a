"""Probabilities brought to another place, against closed forms and brute force."""

import numpy as np
import pytest

from candid.errors import PredictionsError
from candid.stats.calibration import apply_temperature
from candid.stats.shift import ProbabilityShift, fit_shift


def world(n, prior, seed=0, spread=2.0):
    """Calibrated probabilities of the classes where all are equally common, under this prior."""
    rng = np.random.default_rng(seed)
    k = len(prior)
    label = rng.choice(k, n, p=prior)
    # Of normals with unit variance around the class's corner the posterior has linear logits.
    x = rng.normal(0, 1, (n, k)) + spread * np.eye(k)[label]
    return apply_temperature(spread * x, 1.0), label


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.9, 0.1), (0.2, 0.3, 0.5)])
def test_a_shift_of_the_prior_is_that_of_saerens(prior):
    p, label = world(20_000, prior)
    found = fit_shift(p, label)
    assert found.temperature == pytest.approx(1, abs=0.05)
    expected = np.log(prior) - np.log(prior).mean()
    assert found.bias == pytest.approx(expected, abs=0.1)
    ratio = np.maximum(p, 1e-7) * np.array(prior)
    assert ProbabilityShift(1.0, np.log(prior)).apply(p) == pytest.approx(
        ratio / ratio.sum(axis=1, keepdims=True)
    )
    assert found.apply(p).mean(axis=0) == pytest.approx(np.bincount(label) / len(label), abs=0.002)


def test_too_sure_probabilities_get_a_temperature():
    p, label = world(20_000, (0.7, 0.3), seed=1)
    sharp = apply_temperature(np.log(p), 0.4)
    assert fit_shift(sharp, label).temperature == pytest.approx(2.5, rel=0.05)


def test_no_other_shift_has_less_loss():
    p, label = world(300, (0.8, 0.2), seed=2)
    found = fit_shift(p, label)

    def loss(slope, bias):
        q = ProbabilityShift(1 / slope, np.array([-bias, bias])).apply(p)
        penalty = ((slope - 1) ** 2 + 2 * bias**2) / (2 * 2.0**2)
        return -np.log(q[np.arange(300), label]).sum() + penalty

    slope, bias = 1 / found.temperature, found.bias[1]
    here = loss(slope, bias)
    for ds, db in ((0.02, 0), (-0.02, 0), (0, 0.02), (0, -0.02), (0.01, 0.01)):
        assert loss(slope + ds, bias + db) > here


def test_few_pictures_without_a_mistake_stay_finite():
    p = np.array([[0.9, 0.1], [0.2, 0.8], [1.0, 0.0]])
    found = fit_shift(p, np.array([0, 1, 0]))
    assert 0.05 < found.temperature < 2
    assert np.isfinite(found.apply(p)).all()
    assert found.bias.sum() == pytest.approx(0, abs=1e-9)


def test_worse_than_guessing_becomes_flat():
    p, label = world(2000, (0.5, 0.5), seed=3)
    found = fit_shift(p, 1 - label)
    assert found.temperature > 100
    assert found.apply(p) == pytest.approx(0.5, abs=0.05)


def test_nothing_to_fit_on():
    with pytest.raises(PredictionsError, match="no labelled image"):
        fit_shift(np.zeros((0, 2)), np.zeros(0, np.int64))
