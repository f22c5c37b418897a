"""Figures of another place, against brute force."""

import numpy as np
import pytest

from candid.errors import PredictionsError
from candid.evaluation.external import (
    GivenAnswers,
    check_promise,
    differences_to_home,
    external_figures,
    paired_differences,
    require_answers,
    same_images,
)
from candid.predictions import Predictions
from candid.settings import EvaluateConfig

QUICK = EvaluateConfig(draws=100)


def place(n=600, people=None, right=0.8, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    sure = rng.uniform(0.5, 1, n)
    answer = np.where(rng.random(n) < right, label, 1 - label)
    p = np.where(answer == 1, sure, 1 - sure)
    person = None if people is None else rng.integers(0, people, n)
    return Predictions.from_arrays(label, p, person=person)


def test_figures_are_those_of_the_masks():
    p = place(people=150)
    rng = np.random.default_rng(1)
    unlike, sure = rng.random(len(p)) < 0.3, rng.random(len(p)) < 0.7
    found = external_figures(p, GivenAnswers(sure, unlike), QUICK)
    right, given = p.prediction == p.label, sure & ~unlike
    top = p.probability.max(axis=1)
    assert found.evaluation.metrics["accuracy"].value == pytest.approx(right.mean())
    for figure, value in (
        (found.confidence, top.mean()),
        (found.overconfidence, top.mean() - right.mean()),
        (found.flagged, unlike.mean()),
        (found.flagged_accuracy, right[unlike].mean()),
        (found.unflagged_accuracy, right[~unlike].mean()),
        (found.coverage, given.mean()),
        (found.wrong, 1 - right[given].mean()),
    ):
        assert figure.value == pytest.approx(value)
        assert figure.low < value < figure.high
        assert figure.people is not None
    assert found.promise is None


def test_nobody_looked_for_the_unlike():
    found = external_figures(place(), GivenAnswers(np.ones(600, np.bool_)), QUICK)
    assert np.isnan(found.flagged.value) and found.flagged.n == 0
    assert found.coverage.value == 1


@pytest.mark.parametrize(
    ("n", "mistakes", "state"),
    [(300, 0, "kept"), (298, 0, "too few to say"), (300, 8, "broken"), (300, 5, "too few to say")],
)
def test_a_promise_is_kept_broken_or_open(n, mistakes, state):
    wrong = np.arange(n + 50) < mistakes
    answers = GivenAnswers(np.arange(n + 50) < n, target_error=0.01)
    found = check_promise(answers, wrong, None)
    assert (found.n, found.mistakes, found.state) == (n, mistakes, state)
    assert not found.by_person


def test_a_person_counts_once():
    """500 pictures of two people are two trials, whatever is wrong with them."""
    person = np.arange(500) % 2
    answers = GivenAnswers(np.ones(500, np.bool_), target_error=0.01)
    found = check_promise(answers, person == 0, person)
    assert (found.n, found.mistakes) == (2, 1)
    assert found.state == "broken"  # one of two: at least 2.5% with 95% confidence
    assert found.low == pytest.approx(1 - 0.95**0.5)
    none = check_promise(GivenAnswers(person == 5, target_error=0.01), person == 0, person)
    assert (none.n, none.low, none.high, none.state) == (0, 0, 1, "too few to say")


def test_a_broken_promise_is_seen_and_a_kept_one_seldom_called_so():
    rng = np.random.default_rng(3)
    answers = GivenAnswers(np.ones(400, np.bool_), target_error=0.02)
    broken = [check_promise(answers, rng.random(400) < 0.02, None).state for _ in range(400)]
    assert broken.count("broken") <= 0.05 * 400 + 12
    seen = [check_promise(answers, rng.random(400) < 0.08, None).state for _ in range(50)]
    assert seen.count("broken") >= 45


def test_differences_to_home_are_those_of_the_figures():
    here = external_figures(place(right=0.6, seed=4), GivenAnswers(np.ones(600, np.bool_)), QUICK)
    home = external_figures(place(right=0.9, seed=5), GivenAnswers(np.ones(600, np.bool_)), QUICK)
    found = differences_to_home(here.evaluation, home.evaluation)
    for name, e in found.items():
        one, other = here.evaluation.metrics[name], home.evaluation.metrics[name]
        assert e.value == pytest.approx(one.value - other.value)
    assert found["accuracy"].high < 0 < found["log_loss"].low


def test_the_same_images_are_compared_in_pairs():
    home = place(seed=6)
    assert same_images(home, home)
    assert not same_images(place(seed=7), home)  # the same names, other labels
    worse = np.array(home.probability)
    worse[:30] = worse[:30, ::-1]
    here = Predictions.from_arrays(home.label, worse[:, 1])
    found = paired_differences(here, home, QUICK)["accuracy"]
    right = (here.prediction == here.label).mean() - (home.prediction == home.label).mean()
    assert found.value == pytest.approx(right)
    alone = differences_to_home(
        *(external_figures(p, GivenAnswers(np.ones(600, np.bool_)), QUICK).evaluation for p in
          (here, home))
    )["accuracy"]  # fmt: skip
    assert found.high - found.low < 0.7 * (alone.high - alone.low)


def test_nothing_to_judge_is_said():
    with pytest.raises(PredictionsError, match="Not one labelled picture of lfw"):
        require_answers(place()[np.zeros(0, np.intp)], "lfw")
