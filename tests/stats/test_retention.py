"""The share of what can be learned that is lost: against resampling, and where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from candid.stats.retention import loses_more, retention


def losses(n: int, lost: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of not looking, of the whole, and of a part that tells so much less of 0.5 nats."""
    rng = np.random.default_rng(seed)
    base = rng.choice([0.5, 0.9], n)
    whole = base - 0.5 + rng.normal(0, 0.4, n)
    return base, whole, whole + lost * 0.5 + rng.normal(0, 0.3, n)


@pytest.mark.parametrize("lost", [0.0, 0.05, 0.4])
def test_the_limit_is_that_of_resampling(lost):
    given = np.stack(losses(2000, lost))
    found = retention(*given)
    base, whole, part = given.mean(axis=1)
    assert (found.base, found.whole, found.part) == pytest.approx((base, whole, part))
    assert found.n == 2000 and found.lost == pytest.approx((part - whole) / (base - whole))
    rng = np.random.default_rng(1)
    again = [given[:, rng.integers(0, 2000, 2000)].mean(axis=1) for _ in range(4000)]
    shares = [(p - w) / (b - w) for b, w, p in again]
    assert found.high == pytest.approx(np.quantile(shares, 0.95), abs=0.004)


def test_the_limit_holds_as_often_as_it_says():
    limits = [retention(*losses(300, 0.1, seed)).high for seed in range(1000)]
    assert np.mean(np.array(limits) >= 0.1) == pytest.approx(0.95, abs=0.021)  # three errors


def test_nothing_is_known_where_nothing_was_learned():
    base, whole, part = losses(400, 0.0)
    for given in [(base, base, part), (base, whole, base), (base[:1], whole[:1], part[:1])]:
        found = retention(*given)
        assert np.isnan(found.lost) and np.isnan(found.high)
    assert retention(base[:0], whole[:0], part[:0]).n == 0


def test_images_without_the_label_count_for_nothing():
    base, whole, part = losses(400, 0.1)
    gone = np.arange(400) % 3 == 0
    blank = np.where(gone, np.nan, base)
    assert retention(blank, whole, part) == retention(base[~gone], whole[~gone], part[~gone])


def test_people_are_drawn_with_all_their_images():
    """Every image five times over, by the same person, says what it says once."""
    once = np.stack(losses(300, 0.1))
    again, person = np.repeat(once, 5, axis=1), np.repeat(np.arange(300), 5)
    assert retention(*again, person).high == pytest.approx(retention(*once).high)
    assert retention(*again).high < retention(*once).high - 0.01
    assert np.isnan(retention(*again, np.zeros(1500)).high)  # one person tells nothing of others


@pytest.mark.parametrize(("lost", "often"), [(0.25, 0.05), (0.0, 0.0), (0.9, 1.0)])
def test_more_is_lost_surely_as_often_as_it_should_be(lost, often):
    """At the very share, in one of twenty; far below never, far above always."""
    found = [loses_more(0.25, *losses(25, lost, seed)) for seed in range(1000)]
    assert np.mean(found) == pytest.approx(often, abs=0.021)  # three errors
    assert not loses_more(0.25, *losses(1, lost))
    base, whole, part = losses(400, lost)
    assert not loses_more(0.25, whole, base, part)  # the whole tells nothing
