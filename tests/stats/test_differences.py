"""Intervals, p-values and power against published figures, scipy, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from candid.stats.differences import (
    Side,
    approximate_student,
    difference_interval,
    difference_p,
    mean_interval,
    ratio_interval,
    score_interval,
    smallest_visible,
)
from candid.stats.intervals import wilson
from candid.stats.multiple_testing import benjamini_hochberg, cutoff

MANY = 10**9  # so many units that Student's quantile is the normal one


def shares(successes, n, units=MANY):
    p, n = np.asarray(successes, float) / n, np.asarray(n, float)
    return Side(p, np.sqrt(p * (1 - p) / n), np.full(np.shape(p), units, np.int64))


def one(successes, n, units=MANY):
    return shares([successes], n, units)


ZERO = np.zeros(1)


def test_students_quantile_is_near():
    for freedom in (5, 12, 40, 300):
        for z in (1, 1.96, 3):
            exact = stats.t.ppf(stats.norm.cdf(z), freedom)
            assert approximate_student(z, freedom) == pytest.approx(exact, rel=0.015)


def test_score_interval_is_wilsons():
    low, high = score_interval(shares([3, 95], 100), 0.95)
    np.testing.assert_allclose([low, high], wilson([3, 95], 100), rtol=1e-7)
    few = score_interval(one(95, 100, units=10), 0.95)
    assert few[0][0] < low[1] and few[1][0] > high[1]


@pytest.mark.parametrize(
    ("a", "m", "b", "n", "low", "high"),
    [  # Newcombe (1998), table II, method 10
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (5, 56, 0, 29, -0.0381, 0.1926),
    ],
)
def test_differences_of_proportions_as_newcombe_published(a, m, b, n, low, high):
    left, right = one(a, m), one(b, n)
    # Without a mistake there is no spread, and every unit is a trial.
    left = Side(left.value, left.spread, np.asarray([m if a in (0, m) else MANY]))
    right = Side(right.value, right.spread, np.asarray([n if b in (0, n) else MANY]))
    ends = difference_interval(left, right, ZERO, 0.95, score=True)
    slack = 5e-5 if 0 < a < m and 0 < b < n else 0.04  # Student's quantile where units are trials
    np.testing.assert_allclose(np.ravel(ends), [low, high], atol=slack)


def test_correlated_sides_have_a_narrower_difference():
    left, right = one(80, 100), one(70, 100)
    width = [
        float(np.ptp(difference_interval(left, right, np.asarray([r]), 0.95, score=True)))
        for r in (-0.5, 0, 0.5)
    ]
    assert width[0] > width[1] > width[2]


def test_p_and_interval_agree():
    """p is at most 0.05 exactly where the 95% interval leaves out 0."""
    rng = np.random.default_rng(1)
    left = shares(rng.integers(20, 80, 300), 100)
    right = shares(rng.integers(200, 400, 300), 600)
    r = rng.uniform(-0.3, 0.6, 300)
    low, high = difference_interval(left, right, r, 0.95, score=False)
    p = difference_p(left, right, r, score=False)
    assert (((low > 0) | (high < 0)) == (p <= 0.05)).all()
    z = (left.value - right.value) / np.sqrt(
        left.spread**2 + right.spread**2 - 2 * r * left.spread * right.spread
    )
    np.testing.assert_allclose(p, 2 * stats.norm.sf(np.abs(z)), rtol=1e-4, atol=1e-12)


def test_p_of_few_mistakes_is_not_smaller_than_the_exact_tail():
    left, right = one(4, 20), one(300, 10_000)
    p = difference_p(left, right, ZERO, score=True)[0]
    exact = stats.binomtest(4, 20, 304 / 10_020, alternative="greater").pvalue
    assert p == pytest.approx(2 * exact, rel=0.15)
    # The score interval alone would have promised far more.
    assert difference_p(left, right, ZERO, score=False)[0] > 0.05
    mirrored = difference_p(one(16, 20), one(9700, 10_000), ZERO, score=True)[0]
    assert mirrored == pytest.approx(p, rel=1e-9)


def test_p_is_seldom_below_its_level_without_a_difference():
    """5% of p-values at 0.05, 0.1% at 0.001, for rates and sizes as groups have them."""
    rng = np.random.default_rng(2)
    n, m, rate = 25, 2000, 0.04
    left, right = (shares(rng.binomial(k, rate, 20_000), k, units=k) for k in (n, m))
    p = difference_p(left, right, np.zeros(20_000), score=True)
    assert (p <= 0.05).mean() < 0.055 and (p <= 0.001).mean() < 0.0015
    assert (p <= 0.05).mean() > 0.005


@pytest.mark.parametrize(
    ("a", "m", "b", "n"),
    [(12, 60, 3, 60), (30, 100, 160, 900), (9, 40, 200, 4000), (45, 90, 25, 90)],
)
def test_p_is_nearly_fishers(a, m, b, n):
    """Sides of equal and of unequal size: neither bolder than the exact test nor much shyer."""
    p = difference_p(one(a, m), one(b, n), ZERO, score=True)[0]
    exact = stats.fisher_exact([[a, m - a], [b, n - b]]).pvalue
    assert 0.6 * exact < p < 2.2 * exact


def test_undefined_stays_undefined():
    nothing = Side(np.asarray([np.nan]), np.asarray([np.nan]), np.asarray([0]))
    good = one(5, 10, units=10)
    assert np.isnan(difference_interval(nothing, good, ZERO, 0.95, score=True)).all()
    assert np.isnan(difference_p(nothing, good, ZERO, score=True)).all()
    single = one(5, 10, units=1)
    assert score_interval(single, 0.95)[0][0] == 0 and score_interval(single, 0.95)[1][0] == 1
    assert np.isinf(mean_interval(single, 0.95)[1][0])
    assert np.isnan(difference_p(single, good, ZERO, score=True)).all()
    assert np.isnan(smallest_visible(nothing, good, ZERO, 0.01, 1)).all()


def test_a_moved_share_is_as_skewed_as_the_share():
    """Confidence less accuracy at 5% mistakes, where a normal interval is too low."""
    rng = np.random.default_rng(0)
    sides = []
    for n in (60, 900):
        wrong = rng.random((4000, n)) < 0.05
        excess = rng.uniform(0.9, 1.0, (4000, n)) - ~wrong
        spread = excess.std(axis=1, ddof=1) / np.sqrt(n)
        sides.append(Side(excess.mean(axis=1), spread, np.full(4000, n), wrong.mean(axis=1)))
    plain = [Side(s.value, s.spread, s.units) for s in sides]

    def held(ends, truth):
        return np.mean((ends[0] <= truth) & (truth <= ends[1]))

    of_one = [held(mean_interval(s, 0.95), 0.0) for s in (sides[0], plain[0])]
    both = [
        held(difference_interval(*pair, np.zeros(4000), 0.95, score=False), 0.0)
        for pair in (sides, plain)
    ]
    assert 0.935 < of_one[0] < 0.985 and 0.935 < both[0] < 0.985
    assert of_one[1] < 0.93 and both[1] < 0.935
    # Moved by nothing, it is the share's own interval; without a mistake as well.
    share = shares([0, 3, 20], 20, units=20)
    moved = Side(share.value + 0.2, share.spread, share.units, share.value)
    ends = zip(mean_interval(moved, 0.9), score_interval(share, 0.9), strict=True)
    for ours, theirs in ends:
        np.testing.assert_allclose(ours - 0.2, theirs, atol=1e-12)
    assert [len(x) for x in (moved[np.array([1])].share, moved[np.array([0, 2])].share)] == [1, 2]


def test_ratio_interval_holds_the_truth():
    rng = np.random.default_rng(3)
    left, right = (
        shares(rng.binomial(300, 0.6, 4000), 300),
        shares(rng.binomial(500, 0.8, 4000), 500),
    )
    low, high = ratio_interval(left, right, 0.95)
    held = ((low <= 0.75) & (high >= 0.75)).mean()
    assert 0.935 < held < 0.965
    low, high = ratio_interval(one(0, 50, units=50), one(40, 50), 0.95)
    assert low[0] == 0 and 0 < high[0] < 0.2
    assert np.isnan(ratio_interval(one(5, 50), one(0, 50), 0.95)).all()


def test_adjusted_p_is_benjamini_and_hochbergs():
    p = np.random.default_rng(4).random(200) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    holes = p.copy()
    holes[::3] = np.nan
    known = ~np.isnan(holes)
    np.testing.assert_allclose(
        benjamini_hochberg(holes)[known], stats.false_discovery_control(p[known])
    )
    assert np.isnan(benjamini_hochberg(holes)[~known]).all()
    for rate in (0.01, 0.05, 0.2):
        np.testing.assert_array_equal(p <= cutoff(p, rate), benjamini_hochberg(p) <= rate)
    assert cutoff(np.full(50, 0.9), 0.05) == 0.001
    assert np.isnan(cutoff(np.full(3, np.nan), 0.05)) and len(benjamini_hochberg(np.empty(0))) == 0


def test_the_smallest_visible_difference_is_seen_in_80_percent():
    rng, n, m, base, level = np.random.default_rng(5), 150, 3000, 0.05, 0.001
    expected = [one(base * n, n, units=n), one(base * m, m, units=m)]
    size = smallest_visible(*expected, ZERO, level, 1)[0]
    assert 0.05 < size < 0.3
    left = shares(rng.binomial(n, base + size, 4000), n, units=n)
    right = shares(rng.binomial(m, base, 4000), m, units=m)
    seen = difference_p(left, right, np.zeros(4000), score=True)
    assert 0.72 < (seen <= level).mean() < 0.9
    # The same for accuracy, the other way round; and in 5 people nothing can be seen at all.
    flipped = [Side(1 - s.value, s.spread, s.units) for s in expected]
    assert smallest_visible(*flipped, ZERO, level, -1)[0] == pytest.approx(size)
    assert np.isnan(smallest_visible(one(1, 5, units=5), expected[1], ZERO, 1e-9, 1)[0])
    every = one(90, 90, units=90), one(500, 500, units=500)  # none can be mistaken more often
    assert np.isnan(smallest_visible(*every, ZERO, level, 1)[0])
