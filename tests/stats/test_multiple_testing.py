"""Many looks at once, in one family and in several."""

import math

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from candid.stats.multiple_testing import benjamini_hochberg, cutoff, over_families


def test_adjusted_p_values_are_those_of_scipy_and_nan_does_not_count():
    p = np.random.default_rng(0).uniform(size=30) ** 2
    adjusted = benjamini_hochberg(np.append(p, np.nan))
    assert adjusted[:-1] == pytest.approx(false_discovery_control(p), abs=1e-15)
    assert math.isnan(adjusted[-1])
    assert np.array_equal(adjusted[:-1] <= 0.05, p <= cutoff(p, 0.05))


def test_one_family_is_as_by_itself_and_an_empty_one_does_not_count():
    selected, level = over_families(np.array([0.04, np.nan]), 0.05)
    assert selected.tolist() == [True, False] and level == 0.05
    selected, level = over_families(np.array([0.06, np.nan]), 0.05)
    assert not selected.any() and math.isnan(level)
    # Two of four: their level is half of the rate.
    selected, level = over_families(np.array([0.001, 0.02, 0.9, 0.4]), 0.05)
    assert selected.tolist() == [True, True, False, False] and level == 0.025


def test_false_findings_stay_within_the_rate_over_the_families_that_are_selected():
    rng, rate = np.random.default_rng(1), 0.2
    shares, by_itself = [], []
    for _ in range(2000):
        # Ten families of twenty; in two of them five differences are real.
        p = rng.uniform(size=(10, 20))
        p[:2, :5] = rng.beta(0.1, 20, (2, 5))
        adjusted = np.array([benjamini_hochberg(family) for family in p])
        selected, level = over_families(adjusted.min(axis=1), rate)
        for kept, out in ((adjusted <= level, shares), (adjusted <= rate, by_itself)):
            families = selected if out is shares else kept.any(axis=1)
            false = kept.copy()
            false[:2, :5] = False
            each = false.sum(axis=1) / np.maximum(1, kept.sum(axis=1))
            out.append(each[families].mean() if families.any() else 0.0)
    assert np.mean(shares) <= rate
    assert np.mean(by_itself) > 1.5 * rate  # what the correction is for
