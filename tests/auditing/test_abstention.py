"""Thresholds against scipy's exact tails and their own promise; curves against sorting by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from candid.auditing.abstention import abstain, abstention
from candid.errors import ConfigError, PredictionsError
from candid.predictions import Attribute, Predictions
from candid.records import from_plain, to_plain
from candid.records.abstention import Abstention
from candid.stats.exact import answering_threshold, conformal_threshold, fewest_answers
from candid.stats.intervals import clustered_shares, share, share_by_person


def population(rng, n, people=None, hard=0.3):
    """Answers whose confidence is honest: wrong with the probability 1 - confidence, for a rare
    group far less sure. With `people`, a person's images share their luck."""
    person = None if people is None else rng.integers(0, people, n)
    group = rng.random(n) < hard
    confidence = 0.5 + 0.5 * rng.beta(np.where(group, 3, 40), 1)
    luck = rng.random(n)
    if person is not None:
        shared = rng.random(people)[person]
        luck = np.where(rng.random(n) < 0.5, shared, luck)
    wrong = luck < 1 - confidence
    return confidence, wrong, group, person


def predictions(seed=0, n=4000, people=None, splits=("validation", "test"), classes=("a", "b")):
    rng = np.random.default_rng(seed)
    confidence, wrong, group, person = population(rng, n, people)
    answer = rng.integers(0, len(classes), n)
    label = np.where(wrong, (answer + 1) % len(classes), answer)
    rest = (1 - confidence) / (len(classes) - 1)
    probability = np.repeat(rest[:, None], len(classes), axis=1)
    probability[np.arange(n), answer] = confidence
    side = rng.integers(0, len(splits), n) if person is None else person % len(splits)
    return Predictions(
        target="Face",
        classes=classes,
        ids=np.array([f"{i}.jpg" for i in range(n)]),
        split=np.array(splits)[side],
        label=label.astype(np.int16),
        probability=probability,
        person=person,
        attributes={"Hat": Attribute("Hat", "binary", ("no", "yes"), group.astype(np.int16))},
    )


# --- the pieces ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mistakes", [0, 1, 2, 7])
@pytest.mark.parametrize("target", [0.01, 0.05, 0.3])
def test_fewest_is_the_first_that_clopper_and_pearson_accept(mistakes, target):
    n = fewest_answers(mistakes, target, 0.95)
    upper = [stats.beta.ppf(0.95, mistakes + 1, m - mistakes) for m in (n - 1, n) if m > mistakes]
    assert upper[-1] <= target
    assert len(upper) == 1 or upper[0] > target


def test_299_answers_without_a_mistake_promise_one_in_a_hundred():
    score = np.linspace(0.5, 1, 299)
    assert answering_threshold(score, np.zeros(299, bool), 0.01) == 0.0
    assert math.isnan(answering_threshold(score[1:], np.zeros(298, bool), 0.01))
    assert math.isnan(answering_threshold(np.array([]), np.array([], bool), 0.01))


def test_the_threshold_separates_the_sure_from_the_wrong():
    score = np.concatenate([np.linspace(0.9, 1, 2000), np.linspace(0.5, 0.6, 500)])
    wrong = score < 0.7
    t = answering_threshold(score, wrong, 0.01)
    assert 0.6 < t <= 0.9 + 0.1 / 50 and not wrong[score >= t].any()  # to one of fifty steps
    assert math.isnan(answering_threshold(score, np.ones(2500, bool), 0.01))


def test_ties_are_answered_together_or_not_at_all():
    score = np.repeat([1.0, 0.9, 0.6], [900, 50, 500])
    wrong = np.arange(1450) >= 945
    t = answering_threshold(score, wrong, 0.02)
    assert 0.6 < t <= 0.9
    # The surest 900 have too many mistakes; those that come after do not make up for it, and a part
    # of the 900 cannot be had alone.
    score, place = np.repeat([1.0, 0.9], [900, 600]), np.arange(1500)
    assert math.isnan(answering_threshold(score, (place >= 880) & (place < 894), 0.02))
    # All equally sure: all or nothing.
    assert answering_threshold(np.ones(500), np.zeros(500, bool), 0.01) == 0.0
    assert math.isnan(answering_threshold(np.ones(500), np.arange(500) < 20, 0.01))


@pytest.mark.parametrize("target", [0.02, 0.1])
def test_a_promise_is_broken_no_more_often_than_it_says(target):
    """The true error above each threshold is known in closed form, so the promise can be held."""
    rng = np.random.default_rng(5)
    big_score, _, _, _ = population(rng, 400_000)
    ordered = np.sort(big_score)
    # Errors are 1 - score, so the true error from a score upwards is a mean over the population.
    above = np.cumsum((1 - ordered)[::-1])[::-1] / np.arange(len(ordered), 0, -1)
    trials, broken, answered = 600, 0, []
    for _ in range(trials):
        score, wrong, _, _ = population(rng, 800)
        t = answering_threshold(score, wrong, target, 0.9)
        if not math.isnan(t):
            at = min(np.searchsorted(ordered, t), len(ordered) - 1)
            broken += above[at] > target
            answered.append((score >= t).mean())
    limit = stats.binom.ppf(0.999, trials, 0.1) / trials
    assert broken / trials <= limit
    assert len(answered) > 0.5 * trials and np.mean(answered) > 0.2  # it is not kept by silence


def test_the_worst_case_uses_up_the_allowed_error_and_no_more():
    """Every answer as wrong as the target: each threshold is a broken promise. The sequence of
    tests must not add up; one test is exact but for the steps of the binomial."""
    rng = np.random.default_rng(6)
    trials, n, target = 1500, 200, 0.1
    hits = 0
    for _ in range(trials):
        t = answering_threshold(rng.random(n), rng.random(n) < target, target, 0.9)
        hits += not math.isnan(t)
    start = fewest_answers(2, target, 0.9)  # a quarter of n is less
    exact = stats.binom.cdf(2, start, target)
    np.testing.assert_allclose(hits / trials, exact, atol=4 * math.sqrt(exact / trials))
    assert hits / trials < 0.1


def test_abstain():
    p = np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1], [math.nan, math.nan]])
    assert abstain(p, 0.8).tolist() == [True, False, False, True]
    assert abstain(p, 0.0).tolist() == [False, False, False, True]


@pytest.mark.parametrize(("n", "miss"), [(19, 0.05), (99, 0.1), (57, 0.13)])
def test_conformal_quantile_by_brute_force(n, miss):
    score = np.random.default_rng(n).random(n)
    rank = math.ceil((n + 1) * (1 - miss))
    assert conformal_threshold(score, miss) == 1 - sorted(1 - score)[rank - 1] or np.isclose(
        conformal_threshold(score, miss), 1 - sorted(1 - score)[rank - 1]
    )
    assert conformal_threshold(score[:5], 0.05) == 0.0


def test_conformal_sets_hold_the_label_exactly_as_often_as_the_theorem_says():
    """For continuous scores the coverage is Beta(r, n + 1 - r) (Vovk 2012), r the rank."""
    rng = np.random.default_rng(7)
    n, miss = 50, 0.1
    covered = [1 - conformal_threshold(rng.random(n), miss) for _ in range(4000)]
    rank = math.ceil((n + 1) * (1 - miss))
    assert stats.kstest(covered, stats.beta(rank, n + 1 - rank).cdf).pvalue > 1e-3


# --- shares --------------------------------------------------------------------------------------


def test_share_equals_clustered_shares():
    rng = np.random.default_rng(1)
    hits, of, cluster = rng.random(300) < 0.1, rng.random(300) < 0.7, rng.integers(0, 90, 300)
    e = share(hits, of, cluster)
    theirs = clustered_shares(hits & of, of, cluster)
    assert (e.value, e.low, e.high) == (theirs.value[0], theirs.low[0], theirs.high[0])
    assert e.n == of.sum() and e.people == len(np.unique(cluster[of]))


def test_one_vote_per_person():
    cluster = np.array([0, 0, 0, 0, 1, 2, 2])
    hits = np.array([1, 1, 1, 1, 0, 0, 1], bool)
    of = np.array([1, 1, 1, 1, 1, 0, 1], bool)
    e = share_by_person(hits, of, np.ones(7, bool), cluster)
    assert e.value == pytest.approx((1 + 0 + 0.5) / (1 + 1 + 0.5))
    assert e.people == 3 and e.n == 6
    nothing = share_by_person(hits, np.zeros(7, bool), np.ones(7, bool), cluster)
    assert math.isnan(nothing.value) and nothing.n == 0


def test_one_image_each_has_students_interval_of_a_share():
    rng = np.random.default_rng(2)
    hits, all_ = rng.random(400) < 0.2, np.ones(400, bool)
    ours = share_by_person(hits, all_, all_, np.arange(400))
    theirs = share(hits, all_, np.arange(400))
    assert ours.value == theirs.value
    np.testing.assert_allclose([ours.low, ours.high], [theirs.low, theirs.high], atol=2e-4)


# --- the whole -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result():
    p = predictions(seed=3, n=6000, people=1500)
    return p, abstention(p, target_errors=(0.02, 0.05), points=20)


def test_counts_coverage_and_error_by_hand(result):
    p, a = result
    test = p[p.split == "test"]
    top, wrong = test.probability.max(axis=1), test.prediction != test.label
    hat = test.attributes["Hat"].data == 1
    for t in a.targets:
        assert t.rule is not None
        answered = top >= t.rule.threshold
        everyone, hats = t.groups[0], t.groups[-1]
        assert (hats.attribute, hats.value, hats.n) == ("Hat", "yes", hat.sum())
        np.testing.assert_allclose(everyone.coverage.value, answered.mean())
        np.testing.assert_allclose(everyone.error.value, wrong[answered].mean())
        np.testing.assert_allclose(hats.coverage.value, answered[hat].mean())
        np.testing.assert_allclose(hats.error.value, wrong[answered & hat].mean())
        assert everyone.people == len(np.unique(test.person)) == a.people
        assert hats.coverage.high < everyone.coverage.low  # hats are hard by construction
        assert "Hat: yes" in t.sentence
        labels = [g for g in t.groups if g.kind == "label"]
        assert sum(g.n for g in labels) == len(test)
        assert np.isclose(sum(g.n * g.coverage.value for g in labels), answered.sum())
        # Fifty independent people more or less: the promise is kept on the other half.
        assert everyone.error_by_person.low <= t.target_error
    assert a.targets[0].rule.threshold > a.targets[1].rule.threshold


def test_one_image_of_each_person_calibrates(result):
    p, a = result
    validation = p[p.split == "validation"]
    assert a.calibration_n == len(validation)
    for c in a.conformal:
        assert c.by_person and c.n == a.calibration_people == len(np.unique(validation.person))
    assert a.targets[0].groups[0].calibration_n == a.calibration_people
    assert a.targets[0].rule.n <= a.calibration_people


def test_groups_of_their_own_keep_their_promise(result):
    p, a = result
    test = p[p.split == "test"]
    for t in a.targets:
        hats = t.groups[-1]
        if hats.own is not None:
            assert hats.own.threshold >= t.rule.threshold
            assert "Hat: yes" in hats.own.guarantee
            mine = (test.attributes["Hat"].data == 1) & ~abstain(
                test.probability, hats.own.threshold
            )
            np.testing.assert_allclose(
                hats.own_error.value, (test.prediction != test.label)[mine].mean()
            )
    conformal = a.conformal[1].groups
    assert {g.kind for g in conformal} == {"all", "label", "group"}
    hats = conformal[-1]
    # Calibrated on everyone, the sets of the hard group hold the label too seldom; on its own, not.
    assert hats.held.high < 0.95
    assert abs(hats.own_held.value - 0.95) < 4 * math.sqrt(2 * 0.95 * 0.05 / hats.calibration_n)


def test_curve_by_hand(result):
    p, a = result
    test = p[p.split == "test"]
    curve = a.curves[0]
    order = np.argsort(-test.probability.max(axis=1), kind="stable")
    wrong = (test.prediction != test.label)[order]
    for coverage, error in zip(curve.coverage, curve.error, strict=True):
        k = round(coverage * len(test))
        np.testing.assert_allclose(error, wrong[:k].mean(), atol=1e-6)
    assert len(curve.coverage) == 20 and curve.coverage[-1] == 1
    assert all(lo <= e <= hi for lo, e, hi in zip(curve.low, curve.error, curve.high, strict=True))
    assert [c.kind for c in a.curves] == ["all", "label", "label", "group", "group"]


def test_record_to_json_and_back(result):
    _, a = result
    assert from_plain(Abstention, to_plain(a)) == a


def test_same_seed_same_result():
    p = predictions(seed=4, n=800, people=300)
    one, two, other = (abstention(p, seed=s) for s in (1, 1, 2))
    assert to_plain(one) == to_plain(two) != to_plain(other)


def test_many_classes_and_images_without_people():
    a = abstention(predictions(seed=8, n=3000, classes=("x", "y", "z")), target_errors=(0.05,))
    rule = a.targets[0].rule
    assert rule is not None and not rule.by_person and a.people is None
    assert "images are independent" in rule.guarantee
    assert a.targets[0].groups[0].error == a.targets[0].groups[0].error_by_person
    assert any("Nobody knows" in note for note in a.notes)


def test_unknown_identities_are_as_good_as_none():
    p = predictions(seed=8, n=500)
    unknown = dataclasses.replace(p, person=np.full(500, -1))
    assert to_plain(abstention(p)) == to_plain(abstention(unknown))


@pytest.mark.parametrize("splits", [("test",), ("test", "train")])
def test_test_alone_is_halved_by_person(splits):
    p = predictions(seed=9, n=1000, people=200, splits=splits)
    a = abstention(p, target_errors=(0.1,))
    test = p[p.split == "test"]
    assert a.calibration_n + a.n == len(test)
    assert a.calibration_people + a.people == len(np.unique(test.person))
    assert a.calibrated_on == "half of the people in test"
    assert any("no labelled images in validation" in note for note in a.notes)


def figures(plain):
    """Every value of every estimate in plain data."""
    if isinstance(plain, dict):
        if "method" in plain:
            yield plain["value"]
        plain = list(plain.values())
    for part in plain if isinstance(plain, list) else ():
        yield from figures(part)


@pytest.mark.parametrize("splits", [("validation",), ("validation", "train")])
@pytest.mark.parametrize("people", [None, 1500])
def test_without_test_images_nothing_is_measured(splits, people):
    """What was chosen on the images of validation proves nothing about them."""
    p = predictions(seed=3, n=6000, people=people, splits=splits)
    a = abstention(p, target_errors=(0.02, 0.1))
    with_test = dataclasses.replace(p, split=np.where(p.split == "train", "test", p.split))
    for target, other in zip(a.targets, abstention(with_test, target_errors=(0.02, 0.1)).targets,
                             strict=True):  # fmt: skip
        assert target.rule is not None
        assert "not measured" in target.sentence
        assert "% are wrong" not in target.sentence
        assert {g.state for g in target.groups} == {"not applicable"}
        if len(splits) > 1:  # the rule is that of validation, whatever test holds
            assert target.rule == other.rule
    assert (a.calibrated_on, a.verified_on, a.n, a.curves) == ("validation", "", 0, ())
    plain = to_plain(a)
    known = list(figures(plain))
    assert len(known) > 50 and set(known) == {None}
    assert from_plain(Abstention, plain).notes == a.notes
    assert "no promise was measured" in a.notes[0]


def test_images_of_training_promise_nothing():
    with pytest.raises(PredictionsError, match="learned from"):
        abstention(predictions(seed=9, n=1000, splits=("train",)))


def test_too_few_to_promise_anything():
    a = abstention(predictions(seed=1, n=60), target_errors=(0.01,))
    target = a.targets[0]
    assert target.rule is None and "299" in target.sentence
    assert target.groups[0].needed == 299 and target.groups[0].state == "not applicable"
    assert math.isnan(target.groups[0].coverage.value)
    assert to_plain(a)["targets"][0]["groups"][0]["coverage"]["value"] is None
    assert a.conformal[0].least_probability == 0.0
    assert a.conformal[0].groups[0].held.value == 1.0


def test_bad_input():
    p = predictions(n=50)
    with pytest.raises(ConfigError, match="target error of 0"):
        abstention(p, target_errors=(0,))
    with pytest.raises(PredictionsError, match="no labelled images"):
        abstention(dataclasses.replace(p, label=np.full(50, -1, np.int16)))
    with pytest.raises(PredictionsError, match="two halves"):
        abstention(p[np.array([1])])
    with pytest.raises(PredictionsError, match="without probabilities"):
        abstention(dataclasses.replace(p, hard=True))


def test_missing_and_unused_values_and_numbers():
    p = predictions(seed=2, n=900)
    colour = Attribute("Hair", "categorical", ("red", "none"), np.where(np.arange(900) % 3, 0, -1))
    age = Attribute("Age", "numeric", (), np.arange(900.0))
    p = dataclasses.replace(p, attributes={"Hair": colour, "Age": age})
    a = abstention(p, target_errors=(0.1,))
    red, none, *ages = a.targets[0].groups[-6:]
    assert [g.attribute for g in ages] == ["Age"] * 4 and sum(g.n for g in ages) == a.n
    assert red.value == "red" and 0 < red.n < a.n
    assert none.n == 0 and math.isnan(none.coverage.value) and none.state == "too few to say"
