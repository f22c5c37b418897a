import numpy as np
import pytest
from scipy.stats import norm

from candid.stats.distribution import (
    MOST_BINS,
    bin_edges,
    conformal_reach,
    cumulative_at,
    fit_scale,
    interval_by_range,
    interval_of,
    mean_of,
    quantile_of,
    reaches_by_range,
)


def random_rows(n, bins, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(bins), n)


def test_a_few_values_have_a_bin_each_and_many_have_their_quantiles():
    ages = np.repeat([20.0, 21.0, 30.0, 80.0], [5, 1, 3, 1])
    assert fit_scale(np.unique(ages), ages).centres.tolist() == [20, 21, 30, 80]
    skewed = np.exp(np.random.default_rng(0).normal(0, 3, 5000))
    skewed[0] = 1e9
    scale = fit_scale(np.unique(skewed), skewed)
    assert scale.bins == MOST_BINS
    filled = np.histogram(skewed, bin_edges(scale.centres)[1:-1])[0]
    assert filled.min() > 10 and filled.max() < 80  # no outlier takes the bins of the others
    assert scale.median == pytest.approx(np.median(skewed))


def test_soft_labels_are_a_normal_distribution_cut_into_bins():
    ages = np.arange(0.0, 101.0)
    scale = fit_scale(ages, ages)
    assert scale.width == pytest.approx(0.1 * 50 / 1.349)
    soft = scale.soft_labels
    assert soft.sum(axis=1) == pytest.approx(1)
    for k, b in [(50, 50), (50, 53), (3, 1)]:
        part = norm.cdf(b + 0.5, k, scale.width) - norm.cdf(b - 0.5, k, scale.width)
        assert soft[k, b] == pytest.approx(part)
    assert soft[0, 0] == pytest.approx(norm.cdf(0.5, 0, scale.width))  # and all below
    assert mean_of(soft[20:80], scale.centres) == pytest.approx(ages[20:80])


def test_a_scale_needs_two_values():
    with pytest.raises(ValueError, match="no two different values"):
        fit_scale(np.array([3.0]), np.array([3.0, 3.0]))


def test_cumulative_and_quantile_are_inverse_and_as_by_hand():
    centres = np.array([1.0, 2.0, 4.0])
    assert bin_edges(centres).tolist() == [0.5, 1.5, 3.0, 5.0]
    p = np.array([[0.2, 0.3, 0.5]])
    for value, below in [(0.0, 0), (0.5, 0), (1.0, 0.1), (2.25, 0.35), (4.0, 0.75), (9.0, 1)]:
        assert cumulative_at(p, centres, np.array([value])) == pytest.approx(below)
    assert quantile_of(p, centres, 0.35) == pytest.approx(2.25)
    assert (quantile_of(p, centres, 0.0), quantile_of(p, centres, 1.0)) == (0.5, 5.0)
    many = random_rows(50, 30)
    centres = np.cumsum(np.random.default_rng(1).uniform(0.1, 3, 30))
    levels = np.random.default_rng(2).uniform(0, 1, 50)
    found = quantile_of(many, centres, levels)
    assert cumulative_at(many, centres, found) == pytest.approx(levels)


def test_all_in_one_bin_has_its_quantiles_there():
    centres, p = np.array([1.0, 2.0, 3.0]), np.array([[0.0, 1.0, 0.0]])
    low, high = interval_of(p, centres, 0.5)
    assert low[0] <= 1.5 and high[0] == 2.5
    assert quantile_of(p, centres, 0.5)[0] == 2.0


def test_intervals_hold_what_they_promise_whatever_the_network_believes():
    rng = np.random.default_rng(3)
    centres = np.arange(0.0, 60.0)
    middle = rng.uniform(15, 45, 6000)
    value = middle + rng.normal(0, 4, 6000)
    wrong = norm.pdf(centres, middle[:, None] + 2, 1.0)  # four times too sure, and 2 too high
    wrong /= wrong.sum(axis=1, keepdims=True)
    reach = conformal_reach(wrong[:3000], centres, value[:3000], 0.9)
    low, high = interval_of(wrong[3000:], centres, reach)
    held = np.mean((low <= value[3000:]) & (value[3000:] <= high))
    assert abs(held - 0.9) < 0.02
    naive = interval_of(wrong[3000:], centres, 0.45)
    assert np.mean((naive[0] <= value[3000:]) & (value[3000:] <= naive[1])) < 0.4


def test_every_range_of_the_truth_is_held_as_often_as_promised():
    """A network that shrinks what is rare: half way to the middle beyond 50, and no less sure."""
    rng = np.random.default_rng(4)
    centres = np.arange(0.0, 100.0)
    n = 24_000
    value = np.where(rng.random(n) < 0.9, rng.uniform(10, 50, n), rng.uniform(70, 95, n))
    middle = np.where(value > 50, (value + 40) / 2, value) + rng.normal(0, 4, n)
    p = norm.pdf(centres, middle[:, None], 8.0)
    p /= p.sum(axis=1, keepdims=True)
    fitted, new = slice(n // 2), slice(n // 2, None)
    edges, reaches = reaches_by_range(p[fitted], centres, value[fitted], 0.9)
    assert len(reaches) == len(edges) + 1 == 8
    low, high = interval_by_range(p[new], centres, edges, reaches)
    held = (low <= value[new]) & (value[new] <= high)
    place = np.searchsorted(edges, value[new], side="right")
    assert min(held[place == k].mean() for k in range(8)) > 0.86
    old = value[new] > 70
    assert held[old].mean() == pytest.approx(0.9, abs=0.04)
    reach = conformal_reach(p[fitted], centres, value[fitted], 0.9)
    plain = interval_of(p[new], centres, reach)
    assert ((plain[0] <= value[new]) & (value[new] <= plain[1]))[old].mean() < 0.6


def test_few_images_have_one_range_and_so_what_all_have_together():
    rng = np.random.default_rng(5)
    centres, value = np.arange(30.0), rng.uniform(0, 29, 30)
    p = norm.pdf(centres, value[:, None] + rng.normal(0, 3, (30, 1)), 3.0)
    p /= p.sum(axis=1, keepdims=True)
    edges, reaches = reaches_by_range(p, centres, value, 0.9)
    reach = conformal_reach(p, centres, value, 0.9)
    assert (len(edges), reaches.tolist()) == (0, [reach])
    for ours, theirs in zip(
        interval_by_range(p, centres, edges, reaches), interval_of(p, centres, reach), strict=True
    ):
        assert ours.tolist() == theirs.tolist()


def test_reach_is_the_conformal_quantile_and_all_where_there_are_too_few():
    centres, p = np.arange(10.0), np.full((19, 10), 0.1)
    value = np.linspace(-0.5, 9.5, 19)
    score = np.sort(np.abs((value + 0.5) / 10 - 0.5))
    assert conformal_reach(p, centres, value, 0.9) == pytest.approx(score[17])  # ⌈20 · 0.9⌉ = 18
    assert conformal_reach(p[:8], centres, value[:8], 0.9) == 0.5
