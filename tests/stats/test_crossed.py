"""Intervals over seeds and people, against simulations in which both are known."""

import math

import numpy as np
import pytest
from scipy.special import ndtr

from candid.stats.bootstrap import resample_persons
from candid.stats.crossed import over_seeds_and_people, spread_over_seeds

SEEDS, PEOPLE, EACH = 5, 50, 4


def simulated(kind, spreads, repetition):
    """The interval of one simulated experiment; seeds, people and both together have a spread."""
    of_seeds, of_people, of_both = spreads
    rng = np.random.default_rng(repetition)
    latent = 1.5 + rng.normal(0, 1, (SEEDS, PEOPLE, EACH))
    latent += rng.normal(0, of_seeds, (SEEDS, 1, 1)) + rng.normal(0, of_people, (1, PEOPLE, 1))
    latent += rng.normal(0, of_both, (SEEDS, PEOPLE, 1))
    y = (latent if kind == "mean" else latent > 0).reshape(SEEDS, -1).astype(float)
    person = np.repeat(np.arange(PEOPLE), EACH)
    drawing = resample_persons(len(person), person, draws=100, seed=repetition, confidence=0.95)
    sums = np.bincount(person, y.mean(axis=0))
    draws = np.concatenate([*drawing.counts()]) @ sums / len(person)
    return over_seeds_and_people(y.mean(axis=1).tolist(), draws, kind, drawing)


@pytest.mark.parametrize("kind", ["mean", "score"])
@pytest.mark.parametrize("spreads", [(0.02, 0.8, 0.1), (0.1, 0.5, 0.3), (0.3, 0.3, 0.3)])
def test_intervals_hold_the_truth_as_often_as_they_say(kind, spreads):
    truth = 1.5 if kind == "mean" else ndtr(1.5 / math.sqrt(1 + sum(s**2 for s in spreads)))
    found = [simulated(kind, spreads, r) for r in range(120)]
    held = np.mean([e.low <= truth <= e.high for e in found])
    assert held >= 0.9


def test_people_alone_or_seeds_alone_would_be_too_narrow():
    """Where both matter, an interval of the people of one training misses the truth too often."""
    found = [simulated("mean", (0.3, 0.3, 0.1), r) for r in range(40)]
    one_seed = [np.sqrt(0.3**2 / PEOPLE + 1 / (PEOPLE * EACH)) * 1.96 * 2] * len(found)
    assert np.mean([e.high - e.low for e in found]) > 2 * np.mean(one_seed)


def test_values_and_what_stands_behind():
    person = np.repeat(np.arange(4), 3)
    drawing = resample_persons(12, person, draws=50, seed=0, confidence=0.9)
    e = over_seeds_and_people([0.5, 0.7, 0.6], np.full(50, 0.6), "score", drawing)
    assert e.value == pytest.approx(0.6) and e.low < 0.6 < e.high
    assert (e.n, e.people, e.draws, e.confidence) == (12, 4, 50, 0.9)
    assert e.method == "3 seeds crossed with bootstrap by person"
    sure = over_seeds_and_people([1.0, 1.0], np.ones(50), "score", drawing)
    assert sure.high == 1 and sure.low < 0.9  # no mistake is not no doubt
    loss = over_seeds_and_people([0.1, 0.2, 0.3], np.full(50, 0.2), "error", drawing)
    assert 0 < loss.low < 0.2 < loss.high
    one = over_seeds_and_people([0.5], np.full(50, 0.5), "score", drawing)
    assert one.value == 0.5 and math.isnan(one.low)


def test_spread_has_its_chi_square_interval():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        e = spread_over_seeds(rng.normal(0, 2, 4).tolist(), 10, 0.9)
        held += e.low <= 2 <= e.high
    assert 0.86 <= held / 400 <= 0.94
    assert math.isnan(spread_over_seeds([1.0], 10, 0.9).value)
