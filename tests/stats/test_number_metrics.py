import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from candid.stats.bootstrap import resample
from candid.stats.number_metrics import NUMBER_METRICS, NumberOutcomes, number_estimates


def made(n=300, seed=0):
    rng = np.random.default_rng(seed)
    value = rng.uniform(20, 60, n)
    predicted = value + rng.normal(1, 4, n)
    return NumberOutcomes(
        value, predicted, predicted - 6, predicted + 6, baseline=38.0, tolerance=5.0
    )


def test_are_scikit_learn_s_and_those_by_hand():
    judged, mask = made(), np.arange(300) % 3 > 0
    drawing = resample(300, np.arange(300) // 2, draws=200)
    found = number_estimates(judged, [mask], drawing)[0]
    assert tuple(found) == NUMBER_METRICS
    value, predicted = judged.value[mask], judged.predicted[mask]
    guess = np.full(len(value), 38.0)
    expected = {
        "mae": mean_absolute_error(value, predicted),
        "median_mae": mean_absolute_error(value, guess),
        "rmse": root_mean_squared_error(value, predicted),
        "median_rmse": root_mean_squared_error(value, guess),
        "r2": r2_score(value, predicted),
        "within": np.mean(abs(value - predicted) <= 5),
        "median_within": np.mean(abs(value - 38) <= 5),
        "bias": np.mean(predicted - value),
        "coverage": np.mean(abs(value - predicted) <= 6),
        "width": 12.0,
    }
    assert {name: e.value for name, e in found.items()} == pytest.approx(expected, rel=1e-4)
    for name, e in found.items():
        assert e.n == 200 and e.people == 150, name
        assert e.low <= e.value <= e.high, name


def test_intervals_come_from_people_drawn_again():
    judged = made(400, seed=1)
    alone = number_estimates(judged, [np.ones(400, bool)], resample(400, draws=400))[0]["mae"]
    off = np.abs(judged.error)
    half = 1.96 * off.std() / np.sqrt(400)
    assert alone.high - alone.low == pytest.approx(2 * half, rel=0.2)
    one_error = np.repeat(judged.error[:40], 10)  # ten images of each person, all alike
    same = NumberOutcomes(
        judged.value, judged.value + one_error, judged.low, judged.high, baseline=38, tolerance=5
    )
    person = np.repeat(np.arange(40), 10)
    wide = number_estimates(same, [np.ones(400, bool)], resample(400, person, draws=400))[0]["mae"]
    narrow = number_estimates(same, [np.ones(400, bool)], resample(400, draws=400))[0]["mae"]
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_what_nothing_stands_behind_is_undefined():
    found = number_estimates(made(20), [np.zeros(20, bool)], resample(20, draws=50))[0]
    assert all(np.isnan(e.value) for e in found.values())
