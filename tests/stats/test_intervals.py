"""Intervals are held to SciPy, to closed forms, to simulation and to invariances."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from candid.stats.intervals import (
    clustered_shares,
    student_quantile,
    sums_by_person,
    wilson,
)
from candid.table import person_numbers


@given(st.integers(1, 5000), st.data(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_is_scipys(n: int, data: st.DataObject, confidence: float) -> None:
    k = data.draw(st.integers(0, n))
    expected = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    low, high = wilson(k, n, confidence)
    np.testing.assert_allclose([low, high], [expected.low, expected.high], atol=1e-9)


def test_wilson_takes_arrays_and_nothing_is_undefined() -> None:
    low, high = wilson(np.asarray([0, 5, 10]), np.asarray([0, 10, 10]))
    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert low[1] + high[1] == pytest.approx(1)
    assert high[2] == 1


def test_students_quantile_is_scipys() -> None:
    freedom = np.asarray([*range(1, 40), 100, 1000, 100_000])
    for confidence in (0.5, 0.8, 0.95, 0.99, 0.999):
        expected = scipy.stats.t.ppf((1 + confidence) / 2, freedom)
        np.testing.assert_allclose(student_quantile(confidence, freedom), expected, rtol=1e-12)
    assert np.isinf(student_quantile(0.95, 0))
    assert student_quantile(0.95, 3).shape == ()


# --- shares --------------------------------------------------------------------------------------


def test_without_clusters_a_share_has_wilsons_interval_per_column() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random((200, 3)) < [0.1, 0.5, 0.9]
    of = rng.random((200, 3)) < 0.8
    got = clustered_shares(hits & of, of)
    for i in range(3):
        n, k = int(of[:, i].sum()), int((hits & of)[:, i].sum())
        assert got.value[i] == k / n
        np.testing.assert_allclose((got.low[i], got.high[i]), wilson(k, n))


def test_people_who_are_wholly_alike_count_once() -> None:
    one = np.random.default_rng(1).random(200) < 0.3
    alike = clustered_shares(np.repeat(one, 5), None, np.repeat(np.arange(200), 5))
    single = clustered_shares(one, None, np.arange(200))
    np.testing.assert_allclose(alike.low, single.low, rtol=1e-9)
    np.testing.assert_allclose(alike.high, single.high, rtol=1e-9)
    assert alike.n[0] == 1000
    assert alike.people[0] == 200
    # And single images are nearly Wilson's (Student's quantile of 199 and n - 1 remain).
    np.testing.assert_allclose((single.low[0], single.high[0]), wilson(one.sum(), 200), atol=1e-3)


def test_the_linearised_variance_is_that_of_the_bootstrap_by_person() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 9, 400)
    cluster = np.repeat(np.arange(400), sizes)
    hits = rng.random(len(cluster)) < rng.beta(1, 2, 400)[cluster]
    got = clustered_shares(hits, None, cluster)
    y, m = np.bincount(cluster, hits), np.bincount(cluster)
    drawn = rng.integers(0, 400, (4000, 400))
    shares = y[drawn].sum(1) / m[drawn].sum(1)
    low, high = np.quantile(shares, [0.025, 0.975])
    assert got.low[0] == pytest.approx(low, abs=0.004)
    assert got.high[0] == pytest.approx(high, abs=0.004)


def test_intervals_by_person_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    worlds, persons = 2000, 150
    cluster = np.repeat(np.arange(persons), rng.integers(1, 8, persons))
    truth = rng.beta(0.6, 1.4, (persons, worlds))[cluster]  # mean 0.3, strongly alike within people
    hits = rng.random(truth.shape) < truth
    got = clustered_shares(hits, None, cluster)
    held = np.mean((got.low <= 0.3) & (got.high >= 0.3))
    naive = clustered_shares(hits)
    # Four standard deviations of a binomial share around 0.95.
    assert abs(held - 0.95) < 4 * np.sqrt(0.95 * 0.05 / worlds)
    assert np.mean((naive.low <= 0.3) & (naive.high >= 0.3)) < 0.85


def test_a_share_of_none_or_all_is_as_unsure_as_the_number_of_people() -> None:
    cluster = np.repeat(np.arange(40), 3)
    got = clustered_shares(np.zeros(120, np.bool_), None, cluster)
    assert got.low[0] == 0
    assert 0.08 < got.high[0] < 0.10  # Wilson's for 0 of 40 is 0.088
    one = clustered_shares(np.ones(5, np.bool_), None, np.zeros(5, np.int64))
    assert (one.low[0], one.high[0]) == (0, 1)
    none = clustered_shares(np.zeros((0, 2), np.bool_), None, np.zeros(0, np.int64))
    assert np.isnan(none.value).all()
    assert np.isnan(none.low).all()


def test_people_who_are_oddly_unlike_narrow_nothing() -> None:
    # One hit and one miss for each of 500 people: no variance between people at all.
    got = clustered_shares(np.arange(1000) % 2 == 0, None, np.repeat(np.arange(500), 2))
    np.testing.assert_allclose((got.low[0], got.high[0]), wilson(500, 1000), atol=1e-4)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_order_of_rows_and_names_of_people_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, 12, 60)
    hits = rng.random((60, 2)) < 0.4
    order, names = rng.permutation(60), rng.permutation(500)
    a = clustered_shares(hits, None, cluster)
    b = clustered_shares(hits[order], None, names[cluster][order])
    np.testing.assert_allclose([a.low, a.high], [b.low, b.high], rtol=1e-9)


def test_sums_by_cluster_are_brute_force() -> None:
    rng = np.random.default_rng(4)
    values, cluster = rng.random((50, 3)), rng.integers(-3, 9, 50) * 7
    expected = [values[cluster == c].sum(0) for c in np.unique(cluster)]
    np.testing.assert_allclose(sums_by_person(values, cluster), expected)


def test_unknown_people_are_each_their_own() -> None:
    got = person_numbers(np.asarray([5, -1, 5, -1, 0]))
    assert got is not None
    assert got[0] == got[2]
    assert len(set(got.tolist())) == 4
    assert person_numbers(None) is None
