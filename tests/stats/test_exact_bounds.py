"""Bounds of a chance, and differences of independent samples."""

import math

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from candid.records import Estimate
from candid.stats.differences import Side, difference_interval, independent_difference
from candid.stats.exact import binomial_bounds, exceedance_p, fewest_answers
from candid.stats.intervals import wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 7), (7, 7), (12, 400)])
def test_bounds_are_where_the_tails_are(hits, n):
    low, high = binomial_bounds(hits, n, 0.9)
    if hits:
        assert binom.sf(hits - 1, n, low) == pytest.approx(0.1)
    else:
        assert low == 0
    if hits < n:
        assert binom.cdf(hits, n, high) == pytest.approx(0.1)
    else:
        assert high == 1


def test_bounds_agree_with_the_fewest_answers_of_a_promise():
    assert binomial_bounds(0, fewest_answers(0, 0.01))[1] <= 0.01 < binomial_bounds(0, 298)[1]
    assert binomial_bounds(0, 0) == (0, 1)


def test_bounds_hold_as_often_as_they_say():
    chance = 0.03
    hits = np.arange(301)
    low, high = np.array([binomial_bounds(int(k), 300) for k in hits]).T
    weight = binom.pmf(hits, 300, chance)
    assert weight[low <= chance].sum() >= 0.95
    assert weight[high >= chance].sum() >= 0.95


def estimate(hits, n):
    low, high = wilson(hits, n)
    return Estimate(hits / n, float(low), float(high), n, "Wilson")


def test_difference_is_newcombe_s():
    """Example (a) of Newcombe (1998): 56 of 70 less 48 of 80 is 0.2000, 0.0524 to 0.3339."""
    found = independent_difference(estimate(56, 70), estimate(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    back = independent_difference(estimate(48, 80), estimate(56, 70))
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_difference_is_that_of_the_gaps_for_large_samples():
    sides = [
        Side(np.array([k / n]), np.array([math.sqrt(k / n * (1 - k / n) / n)]), np.array([n]))
        for k, n in ((5600, 7000), (4800, 8000))
    ]
    low, high = difference_interval(*sides, np.zeros(1), 0.95, score=True)
    found = independent_difference(estimate(5600, 7000), estimate(4800, 8000))
    assert (found.low, found.high) == pytest.approx((low[0], high[0]), abs=1e-5)


def test_undefined_stays_undefined():
    nothing = Estimate(math.nan, math.nan, math.nan, 0, "none")
    assert math.isnan(independent_difference(nothing, estimate(3, 9)).low)


@pytest.mark.parametrize(("flagged", "n"), [(1, 10), (30, 2000), (500, 10_000)])
def test_what_lies_above_a_conformal_limit_is_beta_binomial(flagged, n):
    rank = math.ceil(1001 * 0.99)
    expected = betabinom.sf(flagged - 1, n, 1000 - rank + 1, rank)
    assert exceedance_p(flagged, n, 1000, 0.01) == pytest.approx(expected, abs=1e-9)


def test_pictures_from_home_are_seldom_called_others():
    rng = np.random.default_rng(0)
    surprised = 0
    for _ in range(400):
        limit = np.sort(rng.random(300))[math.ceil(301 * 0.95) - 1]
        surprised += exceedance_p(int((rng.random(1000) > limit).sum()), 1000, 300, 0.05) < 0.05
    assert surprised <= 0.05 * 400 + 13


def test_without_a_limit_nothing_is_surprising():
    assert exceedance_p(5, 5, 50, 0.01) == 1
    assert exceedance_p(0, 5, 500, 0.01) == 1
