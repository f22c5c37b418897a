"""Associations are held to SciPy, to simulation and to invariances."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from candid.stats.associations import associations, cramers_v


@given(st.integers(2, 4), st.integers(2, 5), st.integers(0, 10_000))
def test_cramers_v_is_scipys(rows: int, columns: int, seed: int) -> None:
    table = np.random.default_rng(seed).integers(1, 40, (rows, columns))
    expected = scipy.stats.contingency.association(table, method="cramer")
    assert cramers_v(table) == pytest.approx(expected, abs=1e-12)
    assert cramers_v(table.T) == pytest.approx(expected, abs=1e-12)
    padded = np.pad(table, ((0, 1), (0, 2)))
    assert cramers_v(padded) == pytest.approx(expected, abs=1e-12)


def test_cramers_v_knows_its_ends() -> None:
    assert cramers_v(np.diag([3, 9])) == 1
    assert cramers_v(np.outer([1, 2], [3, 4])) == pytest.approx(0, abs=1e-12)
    assert np.isnan(cramers_v(np.asarray([[3, 4], [0, 0]])))
    assert np.isnan(cramers_v(np.zeros((2, 2))))


def world(
    persons: int, images: int, probability: np.ndarray, columns: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Marks that go with the class of a person as `probability` says, alike within people."""
    cluster = np.repeat(np.arange(persons), images)
    label = rng.integers(0, len(probability), persons)
    p = probability[label][:, None]
    chance = rng.beta(p, 1 - p, (persons, columns))[cluster]
    return rng.random(chance.shape) < chance, label[cluster], cluster


@pytest.mark.parametrize(
    "probability", [(0.3, 0.3), (0.25, 0.35), (0.1, 0.6), (0.2, 0.3, 0.4), (0.3, 0.3, 0.3, 0.3)]
)
def test_intervals_of_an_association_hold_the_truth(probability: tuple[float, ...]) -> None:
    p = np.asarray(probability)
    truth = float(cramers_v(np.stack([p, 1 - p])))
    rng = np.random.default_rng(5)
    held = []
    for seed in range(10):
        hits, label, cluster = world(300, 3, p, 30, rng)
        got = associations(hits, np.ones_like(hits), label, len(p), cluster, draws=300, seed=seed)
        held += [e.low <= truth + 1e-9 and truth <= e.high for e in got]
    # The 30 columns of one world share its people and labels, so the share is noisier than 300
    # independent ones would be: three of these worlds' standard deviations.
    assert np.mean(held) > 0.95 - 3 * 0.02


def test_association_is_the_tables_and_missing_rows_do_not_count() -> None:
    rng = np.random.default_rng(6)
    hits, label, cluster = world(100, 2, np.asarray([0.2, 0.7]), 2, rng)
    of = rng.random(hits.shape) < 0.7
    label = np.where(rng.random(len(label)) < 0.1, -1, label)
    got = associations(hits, of, label, 2, cluster, draws=50)
    for i in range(2):
        rows = of[:, i] & (label >= 0)
        table = scipy.stats.contingency.crosstab(hits[rows, i], label[rows]).count
        expected = scipy.stats.contingency.association(table, method="cramer")
        assert got[i].value == pytest.approx(expected)
        assert got[i].n == rows.sum()
        assert got[i].people == len(set(cluster[rows].tolist()))


def test_draws_in_which_a_value_vanishes_are_counted() -> None:
    hits = np.zeros((50, 2), np.bool_)
    hits[0, 0] = True  # a draw of 50 rows misses this one with probability (49/50)^50 = 0.364
    label = np.arange(50) % 2
    got = associations(hits, np.ones_like(hits), label, 2, draws=1000)
    assert abs(got[0].undefined_draws / 1000 - (49 / 50) ** 50) < 4 * np.sqrt(0.364 * 0.636 / 1000)
    assert got[1].undefined_draws == 1000
    assert np.isnan([got[1].value, got[1].low, got[1].high]).all()


def test_one_column_has_the_same_interval_alone_and_among_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hits, label, cluster = world(60, 3, np.asarray([0.3, 0.5]), 7, np.random.default_rng(7))
    everything = associations(hits, np.ones_like(hits), label, 2, cluster, draws=100, seed=3)
    monkeypatch.setattr("candid.stats.associations._BLOCK", 2000)
    small_blocks = associations(hits, np.ones_like(hits), label, 2, cluster, draws=100, seed=3)
    for one, other in zip(everything, small_blocks, strict=True):
        assert one == other
    alone = associations(
        hits[:, 2:3], np.ones((180, 1), np.bool_), label, 2, cluster, draws=100, seed=3
    )
    assert alone[0] == small_blocks[2]
