"""The bootstrap against closed forms, brute force, and its own promise: coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from candid.stats import metrics
from candid.stats.bootstrap import (
    FigureSpec,
    bootstrap,
    estimate,
    resample,
)
from candid.stats.intervals import wilson


def mean_of(values, name="mean"):
    return lambda weight: {name: metrics.weighted_mean(values, weight)}


def everyone(n):
    return (np.ones(n, dtype=bool),)


def test_weights_are_how_often_each_person_was_drawn():
    person = np.array([7, 7, -1, 3, -1, 3, 7])
    drawing = resample(7, person, draws=300, seed=1)
    assert drawing.units == 4  # 7, 3 and two unknown ones, each a person of its own
    weights = np.concatenate(list(drawing.weights()))
    assert weights.shape == (300, 7)
    for same in ([0, 1, 6], [3, 5]):
        assert (weights[:, same] == weights[:, same[:1]]).all()
    assert not (weights[:, 2] == weights[:, 4]).all()
    # As many people as there are, drawn with replacement: multinomial counts.
    counts = weights[:, [0, 2, 3, 4]]
    assert (counts.sum(axis=1) == 4).all()
    np.testing.assert_allclose(counts.var(), 4 * (1 / 4) * (3 / 4), rtol=0.15)


@pytest.mark.parametrize("person", [None, np.full(50, -1)])
def test_without_identities_images_are_drawn(person):
    values = np.arange(50) % 3 == 0
    e = bootstrap(
        mean_of(values), {"mean": FigureSpec("score", everyone(50))}, resample(50, person)
    )["mean"]
    assert e.method == "bootstrap by image" and e.people is None and e.n == 50


def test_same_seed_same_result():
    values = np.random.default_rng(0).random(100) < 0.7
    figures = {"mean": FigureSpec("score", everyone(100))}
    run = lambda seed: bootstrap(mean_of(values), figures, resample(100, None, seed=seed))["mean"]  # noqa: E731
    assert run(3) == run(3)
    assert run(3) != run(4)
    assert run(3).value == run(4).value


def test_share_of_independent_images_has_wilsons_interval():
    """Without clusters the effective sample size is n: the bootstrap must land on Wilson."""
    values = np.arange(400) < 380
    figures = {"mean": FigureSpec("score", everyone(400))}
    e = bootstrap(mean_of(values), figures, resample(400, None, draws=20_000))["mean"]
    low, high = wilson(380, 400)
    np.testing.assert_allclose([e.low, e.high], [low, high], atol=6e-4)


def test_spread_equals_the_cluster_formula():
    """The share's linearised variance over people (Cochran 1977, §6.3), not that over images."""
    rng = np.random.default_rng(5)
    person = np.repeat(np.arange(200), rng.integers(1, 8, 200))
    values = (rng.random(200) < 0.8)[person].astype(float)  # a person's pictures agree
    n, mean = len(person), values.mean()
    sums = np.bincount(person, values - mean)
    se = math.sqrt(200 / 199 * np.sum(sums**2)) / n
    drawing = resample(n, person, draws=20_000)
    e = bootstrap(mean_of(values), {"mean": FigureSpec("error", everyone(n))}, drawing)["mean"]
    np.testing.assert_allclose(math.log(e.high / e.low) / 2 / 1.972, se / mean, rtol=0.03)
    assert se > 1.5 * math.sqrt(mean * (1 - mean) / n)


def test_no_mistake_is_not_certainty():
    values, person = np.ones(90), np.repeat(np.arange(30), 3)
    figures = {"mean": FigureSpec("score", everyone(90))}
    e = bootstrap(mean_of(values), figures, resample(90, person))["mean"]
    assert e.value == e.high == 1.0 and e.method == "Wilson by person"
    exact = 0.025 ** (1 / 30)  # Clopper and Pearson's low end for 30 of 30
    assert 0.85 < e.low < 0.93 and abs(e.low - exact) < 0.03


def test_perfect_area_is_limited_by_the_smaller_class():
    score = np.arange(100.0)
    positive = score >= 97
    figures = {"auc": FigureSpec("score", (positive, ~positive))}
    statistic = lambda w: {"auc": metrics.rank_scores(positive, score, w)[0]}  # noqa: E731
    e = bootstrap(statistic, figures, resample(100, None))["auc"]
    assert e.value == 1.0 and e.low < 0.5  # three positives
    assert e.n == 100
    assert e.undefined_draws > 0  # (97/100)^100 = 5% of the draws have no positive


def test_undefined_draws_are_counted():
    mine = np.zeros(60, dtype=bool)
    mine[:2] = True
    right = np.zeros(60)
    right[0] = 1
    statistic = lambda w: {  # noqa: E731
        "recall": metrics.recall_score(
            metrics.confusion_matrix(1 - mine, 1 - right.astype(int), 2, w)
        )[..., 0]
    }
    drawing = resample(60, None, draws=4000)
    e = bootstrap(statistic, {"recall": FigureSpec("score", (mine,))}, drawing)["recall"]
    gone = (58 / 60) ** 60
    assert abs(e.undefined_draws / 4000 - gone) < 4 * math.sqrt(gone * (1 - gone) / 4000)
    assert e.value == 0.5 and e.n == 2


def test_undefined_figure_and_nobody_and_one_person():
    nobody = np.zeros(5, dtype=bool)
    nothing = lambda w: {"x": np.full(len(w), np.nan)}  # noqa: E731
    e = bootstrap(nothing, {"x": FigureSpec("score", (nobody,))}, resample(5, None, draws=60))["x"]
    assert math.isnan(e.value) and math.isnan(e.low) and math.isnan(e.high)
    assert e.undefined_draws == 60 and e.n == 0
    one = resample(5, np.zeros(5, dtype=np.int64))
    values = np.array([1, 1, 0, 1, 1])
    e = bootstrap(mean_of(values), {"mean": FigureSpec("score", everyone(5))}, one)["mean"]
    assert (e.low, e.value, e.high, e.people) == (0.0, 0.8, 1.0, 1)
    e = bootstrap(mean_of(values), {"mean": FigureSpec("error", everyone(5))}, one)["mean"]
    assert math.isnan(e.low) and math.isnan(e.high)


def test_wider_confidence_wider_interval():
    values = np.arange(100) % 10 > 0
    figures = {"mean": FigureSpec("score", everyone(100))}
    ends = [
        bootstrap(mean_of(values), figures, resample(100, None, confidence=c))["mean"]
        for c in (0.8, 0.95, 0.99)
    ]
    assert ends[0].low > ends[1].low > ends[2].low and ends[0].high < ends[1].high < ends[2].high
    assert [e.confidence for e in ends] == [0.8, 0.95, 0.99]


def test_deviation_reaches_zero_when_draws_are_only_noise():
    rng = np.random.default_rng(0)
    drawing = resample(100, None)
    figure = FigureSpec("deviation", everyone(100))
    parts = np.array([0.01, -0.01])
    e = estimate(parts, parts + rng.normal(0, 0.02, (1000, 2)), figure, drawing)
    assert e.value == 0.02 and e.low == 0.0 and e.high > 0.04
    e = estimate(parts, parts + rng.normal(0, 0.001, (1000, 2)), figure, drawing)
    assert 0.015 < e.low < 0.019


# --- coverage ------------------------------------------------------------------------------------

REPETITIONS = 400


def faces(people, rng):
    """Identity, label and prediction: 4 pictures on average, 5% mistakes that go together."""
    person = np.repeat(np.arange(people), 1 + rng.poisson(3, people))
    label = (rng.random(people) < 0.42).astype(int)[person]
    wrong = rng.random(len(person)) < rng.beta(0.075, 1.425, people)[person]  # 0.4 correlated
    return person, label, np.where(wrong, 1 - label, label)


def covered(by_person):
    """How many of 400 intervals hold the true accuracy, and the true weighted F1."""
    _, label, prediction = faces(300_000, np.random.default_rng(10**6))
    true = metrics.confusion_matrix(label, prediction, 2)
    truth = {"accuracy": 0.95, "f1": metrics.weighted_f1_score(true)}
    held = dict.fromkeys(truth, 0)
    for seed in range(REPETITIONS):
        person, label, prediction = faces(300, np.random.default_rng(seed))
        # Cells per image once, as the matrix product is all that differs between draws.
        cells = np.zeros((len(label), 4))
        cells[np.arange(len(label)), 2 * label + prediction] = 1

        def statistic(weight, cells=cells):
            confusion = (weight @ cells).reshape(-1, 2, 2)
            return {
                "accuracy": metrics.accuracy_score(confusion),
                "f1": metrics.weighted_f1_score(confusion),
            }

        figures = dict.fromkeys(truth, FigureSpec("score", everyone(len(label))))
        drawing = resample(len(label), person if by_person else None, draws=200, seed=seed)
        for name, e in bootstrap(statistic, figures, drawing).items():
            held[name] += e.low <= truth[name] <= e.high
    return held


def test_95_percent_intervals_by_person_hold_the_truth():
    # If 93% to 97% of all intervals hold it, 400 fall outside these bounds once in 10,000 tests.
    low = stats.binom.ppf(5e-5, REPETITIONS, 0.93)
    high = stats.binom.ppf(1 - 5e-5, REPETITIONS, 0.97)
    for held in covered(by_person=True).values():
        assert low <= held <= high


def test_intervals_by_image_would_promise_too_much():
    """The reason why people are drawn; and the test above would notice if they were not."""
    for held in covered(by_person=False).values():
        assert held < stats.binom.ppf(5e-5, REPETITIONS, 0.93)
