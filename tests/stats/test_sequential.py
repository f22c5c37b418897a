"""Looks at growing data: their levels, what they hold together, and when it is time to stop."""

import numpy as np
import pytest

from candid.records import Estimate
from candid.stats.intervals import mean
from candid.stats.sequential import excludes, is_hopeless, is_settled, looks_at


def test_the_errors_of_all_looks_add_up_to_that_of_one():
    looks = looks_at(300, 0.95, fewest=50)
    assert looks.sizes == (100, 200, 300)
    levels = [looks.level(i) for i in range(3)]
    assert levels == pytest.approx([0.999, 0.999, 0.952])
    assert sum(1 - level for level in levels) == pytest.approx(0.05)


def test_where_a_third_is_too_few_there_is_one_look_of_the_usual_kind():
    looks = looks_at(149, 0.9, fewest=50)
    assert looks.sizes == (149,)
    assert looks.level(0) == pytest.approx(0.9)


def stopped_means(rng, truth, n=60):
    """The interval at which a rule that stops as soon as 0 is left out stops."""
    looks, values = looks_at(n, 0.95, fewest=8), rng.normal(truth, 1.0, n)
    for look, size in enumerate(looks.sizes):
        found = mean(values[:size], confidence=looks.level(look))
        if excludes(found, 0.0):
            break
    return found, look


def test_intervals_hold_although_the_data_say_when_to_stop():
    rng = np.random.default_rng(0)
    found = [stopped_means(rng, 0.0)[0] for _ in range(2000)]
    wrong = np.mean([e.low > 0 or e.high < 0 for e in found])
    assert 0.03 < wrong < 0.06  # 5%, within three standard errors; three looks at 95% give 11%
    early = [stopped_means(rng, 1.5) for _ in range(100)]
    assert np.mean([look for _, look in early]) < 0.5
    assert np.mean([e.low <= 1.5 <= e.high for e, _ in early]) > 0.94


def estimate(value, half, confidence=0.999):
    return Estimate(value, value - half, value + half, 20, "made up", confidence=confidence)


def test_what_will_hardly_pass_is_given_up_and_nothing_else():
    looks = looks_at(60, 0.95, fewest=8)
    assert is_hopeless(estimate(-0.5, 0.6), looks, 1)
    assert not is_hopeless(estimate(0.4, 0.6), looks, 1)
    assert not is_hopeless(estimate(-0.5, 0.6), looks, 2)  # the last look decides by itself
    assert not is_hopeless(estimate(-0.5, np.inf), looks, 0)


def test_giving_up_seldom_loses_what_would_have_passed():
    """By hand: of data that pass in the end, those that were given up at the second look."""
    rng, looks, lost, passed = np.random.default_rng(1), looks_at(60, 0.95, fewest=8), 0, 0
    for _ in range(1000):
        values = rng.normal(0.3, 1.0, 60)
        at_last = mean(values, confidence=looks.level(2))
        second = mean(values[:40], confidence=looks.level(1))
        passed += at_last.low > 0
        lost += at_last.low > 0 and is_hopeless(second, looks, 1)
    assert passed > 300
    assert lost / passed < 0.02


def test_all_must_lie_above_and_one_that_does_not_settles_it():
    looks = looks_at(60, 0.95, fewest=8)
    good, open_, bad = estimate(1, 0.5), estimate(0.4, 0.6), estimate(-1, 0.5)
    assert is_settled([good, good], looks, 0)
    assert is_settled([good, open_, bad], looks, 0)
    assert not is_settled([good, open_], looks, 0)
