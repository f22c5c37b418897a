"""Power laws of errors: exact ones are found, predictions hold, flat ones say nothing."""

import math

import numpy as np
import pytest
from scipy.special import ndtri

from candid.stats.learning_curve import fit_power_law

PEOPLE, PER = 120, 3
PERSON = np.repeat(np.arange(PEOPLE), PER)


def wrong_of(error, rng, hard):
    """Which images are wrong: more often of people who are hard for every network."""
    luck = rng.normal(size=len(PERSON))
    return 0.6 * hard + 0.8 * luck < ndtri(error)


def test_an_exact_power_law_is_found_and_followed():
    n = 40_000
    sizes = np.array([100.0, 200.0, 400.0, 800.0])
    wrong = np.arange(n) < (n * 2.0 * sizes**-0.5)[:, None]
    law = fit_power_law(sizes, wrong, draws=100)
    assert law.fall == pytest.approx(0.5, abs=0.01)
    assert law.error_at(1600).value == pytest.approx(0.05, rel=0.01)
    # A quarter of the error takes sixteen times the people.
    assert law.size_for(0.025).value == pytest.approx(6400, rel=0.04)
    assert law.error_at(1600).low < 0.05 < law.error_at(1600).high


@pytest.mark.parametrize("luck", [0.0, 0.08])
def test_the_error_after_more_people_were_added_is_in_its_interval(luck):
    """People held back and then added: in at least 90% of cases, with luck in training."""
    inside, times = 0, 100
    for seed in range(times):
        rng = np.random.default_rng(seed)
        hard = rng.normal(size=PEOPLE)[PERSON]

        def trained(size, rng=rng, hard=hard):
            error = 1.5 * size**-0.35 * math.exp(luck * rng.normal())
            return wrong_of(error, rng, hard)

        sizes = np.array([100.0, 200.0, 400.0, 400.0])
        law = fit_power_law(
            sizes, np.stack([trained(s) for s in sizes]), PERSON, draws=200, seed=seed
        )
        said = law.error_at(800)
        inside += said.low <= trained(800).mean() <= said.high
    assert inside >= 0.9 * times


def test_a_flat_curve_and_too_few_trainings_are_undefined():
    rng = np.random.default_rng(0)
    rising = np.stack([rng.random(len(PERSON)) < e for e in (0.1, 0.2, 0.3)])
    law = fit_power_law(np.array([100.0, 200.0, 400.0]), rising, PERSON, draws=100)
    assert law.fall < 0
    assert math.isnan(law.size_for(0.05).value)
    assert math.isfinite(law.error_at(800).value)
    for sizes in ([100.0, 200.0], [100.0, 100.0, 100.0]):
        none = fit_power_law(np.array(sizes), rising[: len(sizes)], PERSON, draws=100)
        assert math.isnan(none.fall) and math.isnan(none.error_at(800).high)
        assert math.isnan(none.size_for(0.1).value)
