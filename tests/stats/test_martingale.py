"""Bets against a fixed reference set: what they are worth, at home and after a change."""

import math

import numpy as np
import pytest

from candid.stats.martingale import (
    FALSE_ALARMS,
    LEVELS,
    ROUND,
    DriftMartingale,
    ReferenceSet,
    conformal_p,
    reference_set,
)

STAKES = (0.02, 0.06, 0.2, 0.5)


def normal(n, k=2, *, seed=0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1.0, (n, k))


def of_people(people, each, rng):
    """(people · each, 2) scores that one person's images share by half."""
    shared = np.repeat(rng.normal(size=(people, 2)), each, axis=0)
    own = rng.normal(size=shared.shape)
    return (shared + own) / math.sqrt(2), np.repeat(np.arange(people), each)


def watched(reference, scores, seed=0):
    found = DriftMartingale(reference)
    found.add(reference.codes(scores, np.random.default_rng(seed)))
    return found


def test_a_p_value_is_the_smoothed_rank():
    reference = np.array([0.0, 1.0, 1.0, 2.0])
    drawn = np.random.default_rng(0)
    for score in (-1.0, 0.0, 1.0, 1.5, 9.0):
        p = conformal_p(np.full(4000, score), reference, drawn)
        below, equal = (reference < score).sum(), (reference == score).sum()
        assert p.min() > below / 5 and p.max() <= (below + equal + 1) / 5
        assert p.mean() == pytest.approx((below + (equal + 1) / 2) / 5, abs=0.01)


def test_p_values_of_exchangeable_scores_are_uniform():
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 4, (20_000, 8)).astype(float)  # with many ties
    p = [conformal_p(row[:1], np.sort(row[1:]), rng)[0] for row in drawn]
    assert np.quantile(p, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.015)


def by_hand(reference, codes):
    """The logarithm of the capital after every round: all bets one by one, each begun each round.

    What a bet that began in some round is worth is the product of its factors since then.
    """
    rounds = len(codes) // ROUND
    bets = []
    for score in range(codes.shape[1]):
        for level in range(len(LEVELS)):
            low, high = reference.low[score, level], reference.high[score, level]
            for stake in STAKES:
                above, under = [], []
                for code in codes[:, score]:
                    below = code <= level  # the p-value is at most the level
                    above.append(1 + stake * (1 - high) / high if below else 1 - stake)
                    under.append(1 - stake if below else 1 + stake * low / (1 - low))
                bets += [above, under]
    factors = np.array(bets).reshape(len(bets), rounds, ROUND).prod(axis=2)
    kept = [1 / (1 + math.log(1 + j)) for j in range(rounds + 1)]
    values = []
    for now in range(rounds):
        value = kept[now + 1]
        for begun in range(now + 1):
            weight = (kept[begun] - kept[begun + 1]) / len(bets)
            value += weight * factors[:, begun : now + 1].prod(axis=1).sum()
        values.append(math.log(value))
    return values


def test_the_capital_is_that_of_all_bets_added_up_by_hand():
    reference = reference_set(normal(3000, seed=1))
    codes = reference.codes(normal(12 * ROUND, seed=2, mean=0.4), np.random.default_rng(0))
    found, values = DriftMartingale(reference), []
    for start in range(0, len(codes), ROUND):
        found.add(codes[start : start + ROUND])
        values.append(found.log_value)
    expected = by_hand(reference, codes)
    assert values == pytest.approx(expected)
    assert max(expected) > found.log_limit > min(expected)
    first = next(i for i, value in enumerate(expected) if value >= found.log_limit)
    assert found.alarm.after == (first + 1) * ROUND


def test_no_bet_wins_on_average_where_the_shares_lie_at_the_ends_of_the_intervals():
    reference = reference_set(normal(3000, 1, seed=1))
    for shares in (reference.low[0], reference.high[0]):
        chances = np.diff(shares, prepend=0.0, append=1.0)  # of each code
        for level in range(len(LEVELS)):
            low, high = reference.low[0, level], reference.high[0, level]
            below = np.arange(len(LEVELS) + 1) <= level
            for stake in STAKES:
                above = np.where(below, 1 + stake * (1 - high) / high, 1 - stake)
                under = np.where(below, 1 - stake, 1 + stake * low / (1 - low))
                assert above @ chances <= 1 + 1e-12 and under @ chances <= 1 + 1e-12
    # And it is by these factors that the capital grows: see the sum by hand.
    assert DriftMartingale.log_limit > -math.log(FALSE_ALARMS)


@pytest.mark.parametrize(("people", "each"), [(3000, 1), (300, 10), (40, 10)])
def test_few_streams_from_home_raise_an_alarm(people, each):
    rng = np.random.default_rng(people)
    alarms = 0
    for _ in range(20):
        scores, person = of_people(people, each, rng)
        reference = reference_set(scores, person)
        home, _ = of_people(people, each, rng)  # others, of whom the stream is drawn
        stream = home[rng.integers(len(home), size=50_000)]
        alarms += watched(reference, stream).alarm is not None
    assert alarms <= 2


def test_bets_against_the_levels_themselves_win_from_the_error_of_the_reference_set():
    alarms = 0
    for seed in range(5):
        scores = normal(3000, seed=2 * seed)
        levels = np.tile(LEVELS, (2, 1))
        alarms += (
            watched(ReferenceSet(np.sort(scores, axis=0), levels, levels),
                    normal(50_000, seed=2 * seed + 1)).alarm is not None
        )  # fmt: skip
    assert alarms >= 4


def test_images_of_one_person_count_as_what_they_are_worth_together():
    scores, person = of_people(300, 10, np.random.default_rng(0))
    alone, together = reference_set(scores), reference_set(scores, person)
    assert np.all(together.high - together.low >= alone.high - alone.low)
    middle = LEVELS.index(0.5)
    ratio = (together.high - together.low)[:, middle] / (alone.high - alone.low)[:, middle]
    assert np.all((ratio > 1.5) & (ratio < 2.6))  # √(1 + 9 · ⅓) = 2 of a share's own correlation
    unknown = reference_set(scores, np.full(len(scores), -1))
    assert np.array_equal(unknown.high, alone.high)


@pytest.mark.parametrize("home", [0, 40_000])
@pytest.mark.parametrize("mean", [-0.8, 0.8])
def test_a_change_is_found_whenever_it_comes(home, mean):
    reference = reference_set(normal(3000, 3, seed=1))
    found = watched(reference, normal(home, 3, seed=2))
    assert found.alarm is None and found.log_value <= 0
    changed = normal(2000, 3, seed=3)
    changed[:, 1] += mean
    found.add(reference.codes(changed, np.random.default_rng(4)))
    assert home < found.alarm.after <= home + 300
    assert found.alarm.score == 1 and found.alarm.lower == (mean < 0)
    assert found.seen == home + 2000 and math.isfinite(found.log_value)


def test_how_the_stream_is_cut_does_not_matter():
    reference = reference_set(normal(2000, seed=1))
    codes = reference.codes(normal(1003, seed=2, mean=0.3), np.random.default_rng(0))
    whole, cut = DriftMartingale(reference), DriftMartingale(reference)
    whole.add(codes)
    start = 0
    for step in (1, 24, 25, 26, 0, 200, 727):
        cut.add(codes[start : start + step])
        start += step
    assert start == 1003 == cut.seen
    assert cut.log_value == whole.log_value and cut.alarm == whole.alarm


def test_of_a_few_images_nothing_is_known():
    reference = reference_set(normal(12, seed=1))
    assert (reference.low.max(), reference.high.min()) == (0.0, 1.0)
    assert reference.limits == 0 < reference_set(normal(60, seed=1)).limits
    assert watched(reference, normal(500, seed=2, mean=9.0)).alarm is None


def test_equal_scores_say_nothing():
    reference = reference_set(np.zeros((3000, 1)))
    assert watched(reference, np.zeros((20_000, 1))).alarm is None
    assert watched(reference, np.ones((200, 1))).alarm.lower is False
