"""What is planned, beside what comes when the people are there."""

import numpy as np
import pytest

from candid.stats.differences import Side, error_gaps, smallest_visible
from candid.stats.planning import people_needed, predicted_width

RATES = (0.12, 0.06)


def world(group_people, rest_people, rng):
    """Mistakes, who is in the group, who it is: people with 1 to 5 images whose mistakes go
    together."""
    people = group_people + rest_people
    inside = np.arange(people) < group_people
    images = rng.integers(1, 6, people)
    rate = np.where(inside, *RATES)
    own = rng.beta(3 * rate, 3 * (1 - rate))  # each person's chance of a mistake
    person = np.repeat(np.arange(people), images)
    return rng.random(len(person)) < own[person], inside[person], person


def gaps_of(hits, inside, person):
    return error_gaps(hits, inside[:, None], ~inside[:, None], person)


def test_the_width_is_what_held_back_people_bring():
    """Planned from 60 people of a group, for the 240 who were held back beside them."""
    rng = np.random.default_rng(0)
    planned, came = [], []
    for _ in range(60):
        hits, inside, person = world(240, 800, rng)
        shown = ~inside | (person < 60)
        now = gaps_of(hits[shown], inside[shown], person[shown])
        sides = now.left, now.right, now.correlation
        planned.append(predicted_width(*sides, np.array([240.0]), 0.95)[0])
        full = gaps_of(hits, inside, person)
        came.append((full.high - full.low)[0])
    assert np.mean(planned) == pytest.approx(np.mean(came), rel=0.1)
    # Of one plan alone the error rate of 60 people is not sure; half are within a fifth.
    assert np.median(np.abs(np.divide(planned, came) - 1)) < 0.2


def test_so_many_people_see_the_gap_and_fewer_do_not():
    left = Side(np.array([0.1, 0.0, 0.1]), np.array([0.03, 0.0, 0.03]), np.array([50, 20, 50]))
    right = Side(
        np.array([0.05, 0.02, 0.05]), np.array([0.005, 0.004, 0.03]), np.array([900, 800, 60])
    )
    none = np.zeros(3)
    needed = people_needed(left, right, none, 0.01, 0.08)
    for i in range(2):
        one = slice(i, i + 1)
        n = needed[i]
        # The same number of people, the standard error by the square root's law.
        for people, sees in ((n, True), (0.97 * n, False)):
            spread = left.spread[one] * np.sqrt(left.units[one] / people)
            grown = Side(left.value[one], spread, np.array([round(people)]))
            visible = smallest_visible(grown, right[one], none[:1], 0.01, 1.0)
            assert (visible[0] <= 0.08) == sees
    # However many there were: the rest is too few.
    assert np.isnan(needed[2])


def test_the_planned_people_find_a_gap_of_that_size_in_about_four_of_five():
    from candid.stats.differences import difference_p

    rng = np.random.default_rng(1)
    hits, inside, person = world(60, 1500, rng)
    now = gaps_of(hits, inside, person)
    now_left = Side(np.array([RATES[0]]), now.left.spread, now.left.units)
    needed = int(people_needed(now_left, now.right, now.correlation, 0.05, RATES[0] - RATES[1])[0])
    found = []
    for _ in range(200):
        one = gaps_of(*world(needed, 1500, rng))
        found.append(difference_p(one.left, one.right, one.correlation, score=True)[0] <= 0.05)
    assert 0.65 < np.mean(found) < 0.95
