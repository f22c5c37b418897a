"""Agreement of two people, beside scikit-learn and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from candid.stats.agreement import cohen_kappa, measure_agreement
from candid.stats.intervals import wilson


@pytest.mark.parametrize("k", [2, 3, 7])
def test_kappa_is_that_of_scikit_learn(k: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(k)
    a = rng.integers(0, k, 400)
    b = np.where(rng.random(400) < 0.7, a, rng.integers(0, k, 400))
    agreed, kappa = measure_agreement(
        [f"class {x}" for x in a], [f"class {x}" for x in b], draws=50
    )
    assert kappa.value == pytest.approx(metrics.cohen_kappa_score(a, b), abs=1e-12)
    assert agreed.value == np.mean(a == b)
    assert (agreed.low, agreed.high) == wilson(np.sum(a == b), 400)
    assert kappa.low < kappa.value < kappa.high
    assert (kappa.n, kappa.draws, kappa.method) == (400, 50, "bootstrap by image")


def test_kappa_at_its_ends() -> None:
    assert cohen_kappa(np.array([[5.0, 0], [0, 5]])) == 1
    assert cohen_kappa(np.array([[0.0, 5], [5, 0]])) == -1
    assert cohen_kappa(np.array([[4.0, 4], [4, 4]])) == 0
    assert np.isnan(cohen_kappa(np.array([[7.0, 0], [0, 0]])))
    assert np.isnan(cohen_kappa(np.zeros((2, 2))))
    assert cohen_kappa(np.ones((3, 2, 2))).shape == (3,)


def test_nothing_in_common_is_undefined() -> None:
    agreed, kappa = measure_agreement([], [])
    assert agreed.n == kappa.n == 0
    assert all(math.isnan(x) for x in (agreed.value, kappa.value, kappa.low))


def test_always_the_same_word_is_undefined_and_not_perfect() -> None:
    agreed, kappa = measure_agreement(["x"] * 20, ["x"] * 20)
    assert agreed.value == 1
    assert math.isnan(kappa.value)


def test_the_interval_holds_the_true_kappa() -> None:
    rng, held, times = np.random.default_rng(0), 0, 200
    # Both err independently in 10% from one truth of 70 to 30.
    q = 0.7 * 0.9 + 0.3 * 0.1
    same, chance = 0.9**2 + 0.1**2, q**2 + (1 - q) ** 2
    true = (same - chance) / (1 - chance)
    for seed in range(times):
        truth = rng.random(300) < 0.7
        a, b = (np.where(rng.random(300) < 0.1, ~truth, truth).astype(str) for _ in range(2))
        kappa = measure_agreement(a.tolist(), b.tolist(), draws=200, seed=seed)[1]
        held += kappa.low <= true <= kappa.high
    assert 0.90 <= held / times <= 0.99
