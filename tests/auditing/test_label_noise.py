"""Confident learning against cleanlab; bounds against every set of flips, and against matrices."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candid.auditing.label_noise import (
    calibrated_joint,
    class_thresholds,
    confident_class,
    confident_joint,
    error_bounds,
    find_likely_wrong,
    independent_error_bounds,
    label_noise,
)
from candid.errors import ConfigError, PredictionsError
from candid.predictions import Attribute, Predictions
from candid.records import from_plain, to_plain
from candid.records.noise import LabelNoise
from candid.stats.differences import error_gaps


def draw(seed, n=600, classes=3, flipped=0.1, people=None, sharp=3.0):
    """Labels of which a share was flipped, and what a good model says about the true ones."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, n)
    logits = rng.normal(0, 1, (n, classes))
    logits[np.arange(n), true] += sharp
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flips = rng.random(n) < flipped
    label = np.where(flips, (true + rng.integers(1, classes, n)) % classes, true)
    p = Predictions(
        target="Face",
        classes=tuple("abcdefgh"[:classes]),
        ids=np.array([f"{i}.jpg" for i in range(n)]),
        split=np.array(["validation", "test"])[rng.integers(0, 2, n)],
        label=label.astype(np.int16),
        probability=probability,
        person=None if people is None else rng.integers(0, people, n),
        attributes={
            "Hat": Attribute("Hat", "binary", ("no", "yes"), rng.integers(-1, 2, n)),
            "Age": Attribute("Age", "numeric", (), rng.normal(40, 10, n)),
        },
    )
    return p, flips


@pytest.fixture(scope="module")
def cleanlab():
    pytest.importorskip("cleanlab")
    from cleanlab import count, filter, rank

    return count, filter, rank


# --- confident learning --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("classes", "sharp"), [(2, 3.0), (3, 1.0), (5, 2.0)])
def test_equals_cleanlab(cleanlab, seed, classes, sharp):
    count, filter_, rank = cleanlab
    p, _ = draw(seed, classes=classes, sharp=sharp, n=400)
    label = p.label.astype(int)
    np.testing.assert_allclose(
        class_thresholds(label, p.probability),
        count.get_confident_thresholds(label, p.probability),
        rtol=1e-12,
    )
    ours = confident_joint(
        label, confident_class(p.probability, class_thresholds(label, p.probability)), classes
    )
    theirs = count.compute_confident_joint(label, p.probability, calibrate=False)
    np.testing.assert_array_equal(ours, theirs)
    rounded = count.compute_confident_joint(label, p.probability)
    np.testing.assert_allclose(calibrated_joint(ours, label) * len(label), rounded, atol=1)
    suspects = filter_.find_label_issues(
        label,
        p.probability,
        filter_by="confident_learning",
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    )
    np.testing.assert_array_equal(find_likely_wrong(label, p.probability), suspects)
    quality = rank.get_label_quality_scores(label, p.probability, method="normalized_margin")
    listed = label_noise(p, draws=2).likely_wrong
    by_id = dict(zip(p.ids.tolist(), quality, strict=True))
    np.testing.assert_allclose([s.quality for s in listed], [by_id[s.id] for s in listed])


def test_a_class_without_images_equals_cleanlab(cleanlab):
    count, _, _ = cleanlab
    p, _ = draw(1, classes=3)
    some = p[p.label != 2]
    label = some.label.astype(int)
    sure = confident_class(some.probability, class_thresholds(label, some.probability))
    theirs = count.compute_confident_joint(label, some.probability, calibrate=False)
    np.testing.assert_array_equal(confident_joint(label, sure, 3), theirs)
    noise = label_noise(some, draws=5)
    assert math.isnan(noise.thresholds[2]) and math.isnan(noise.class_rates["c"].value)
    assert any("No image is labelled c" in note for note in noise.notes)
    assert to_plain(noise)["thresholds"][2] is None


def test_weights_are_repetitions():
    p, _ = draw(2, classes=3)
    times = np.random.default_rng(0).integers(0, 4, len(p))
    repeated = np.repeat(np.arange(len(p)), times)
    thresholds = class_thresholds(p.label[repeated], p.probability[repeated])
    sure = confident_class(p.probability, thresholds)
    np.testing.assert_array_equal(
        confident_joint(p.label, sure, 3, times.astype(float)),
        confident_joint(p.label[repeated], sure[repeated], 3),
    )


@pytest.mark.parametrize("flipped", [0.0, 0.05, 0.15])
def test_finds_planted_flips_and_estimates_their_share(flipped):
    p, flips = draw(3, n=5000, classes=3, flipped=flipped, sharp=8.0)
    noise = label_noise(p, most=5000, draws=100)
    assert noise.rate.low - 0.01 <= flipped <= noise.rate.high + 0.01
    wrong = set(p.ids[flips].tolist())
    listed = [s.id for s in noise.likely_wrong]
    assert noise.listed == noise.found == len(listed)
    if flipped:
        assert len(wrong & set(listed)) > 0.9 * len(wrong)
        first = listed[: len(wrong) // 2]
        assert len(wrong & set(first)) >= 0.97 * len(first)  # the surest come first


def test_rates_come_with_intervals_by_person():
    p, _ = draw(4, people=100)
    noise = label_noise(p, draws=50)
    assert noise.people == 100 and noise.rate.people == 100
    for e in (noise.rate, *noise.class_rates.values()):
        assert 0 <= e.low < e.value < e.high <= 1 and e.method == "bootstrap by person"
    joint = np.array(noise.joint)
    np.testing.assert_allclose(joint.sum(), 1)
    np.testing.assert_allclose(noise.rate.value, joint.sum() - np.trace(joint))
    np.testing.assert_allclose(joint.sum(axis=1), np.bincount(p.label, minlength=3) / len(p))


def test_training_images_do_not_count():
    p, _ = draw(5)
    split = p.split.copy()
    split[:300] = "train"
    with_train = dataclasses.replace(p, split=split)
    assert to_plain(label_noise(with_train, draws=5)) == to_plain(
        label_noise(p[300:], draws=5)
    ) or (
        label_noise(with_train, draws=5).n == 300  # the bins of Age are those of all images
    )
    with pytest.raises(PredictionsError, match="outside the training split"):
        label_noise(dataclasses.replace(p, split=np.full(len(p), "train")))


# --- bounds --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.lists(st.booleans(), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=1, max_size=6),
    st.floats(0.01, 0.49),
)
def test_bounds_by_every_set_of_flips(left, right, rate):
    """Two classes: a flip turns a mistake into a right answer and back. All sets are tried."""

    def errors(wrong):
        n = len(wrong)
        most = math.floor(rate * n + 1e-9)
        return [
            sum(w != (i in flipped) for i, w in enumerate(wrong)) / n
            for k in range(most + 1)
            for flipped in itertools.combinations(range(n), k)
        ]

    both = []
    for wrong in (left, right):
        low, high = error_bounds(sum(wrong), len(wrong), rate)
        possible = errors(wrong)
        assert low == min(possible) and high == max(possible)
        both.append((low, high))
    differences = [a - b for a in errors(left) for b in errors(right)]
    assert both[0][0] - both[1][1] == min(differences)
    assert both[0][1] - both[1][0] == max(differences)


@pytest.mark.parametrize("seed", range(6))
def test_independent_bounds_by_inverting_matrices(seed):
    """Every pair of rates on a grid: the true joint by linear algebra, impossible ones left out."""
    rng = np.random.default_rng(seed)
    confusion = rng.integers(1, 100, (2, 2)) + np.diag([400, 300])
    rate = rng.uniform(0.02, 0.3)
    low, high = independent_error_bounds(confusion.astype(float), rate)
    q = confusion / confusion.sum()
    r0, r1 = (r.ravel() for r in np.meshgrid(*[np.linspace(0, rate, 201)] * 2))
    flips = np.stack([1 - r0, r0, r1, 1 - r1], axis=1).reshape(-1, 2, 2)  # truth down, label across
    true = np.linalg.solve(flips.transpose(0, 2, 1), np.broadcast_to(q, flips.shape))
    errors = (true[:, 0, 1] + true[:, 1, 0])[(true >= -1e-12).all(axis=(1, 2))]
    assert low <= min(errors) + 1e-12 and high >= max(errors) - 1e-12  # nothing lies outside
    np.testing.assert_allclose([low, high], [min(errors), max(errors)], atol=0.005)  # and no wider


def test_independent_bounds_hold_the_truth():
    rng = np.random.default_rng(1)
    for rates in ((0.03, 0.01), (0.05, 0.05), (0.0, 0.04)):
        true = rng.random(400_000) < 0.4
        answer = true ^ (rng.random(len(true)) < 0.08)
        label = np.where(rng.random(len(true)) < np.where(true, rates[1], rates[0]), ~true, true)
        confusion = np.histogram2d(label, answer, bins=2)[0]
        low, high = independent_error_bounds(confusion, 0.05)
        truth = (true != answer).mean()
        assert low - 0.002 <= truth <= high + 0.002
        # Independent flips only add mistakes: the bounds know it and are narrower.
        observed = (label != answer).mean()
        widest = error_bounds(int(observed * len(true)), len(true), 0.05)
        assert widest[0] < low and high < widest[1]


def test_gap_bounds_by_hand():
    p, _ = draw(6, n=3000, classes=2, people=400)
    noise = label_noise(p, flip_rates=(0.01, 0.03), draws=10)
    assert noise.gap_split == "test" and set(noise.flip_rates) == {0.01, 0.03, noise.rate.value}
    test = p[p.split == "test"]
    hat, wrong = test.attributes["Hat"].data, test.prediction != test.label
    yes = next(g for g in noise.gaps if (g.attribute, g.value) == ("Hat", "yes"))
    assert (yes.n, yes.rest_n) == ((hat == 1).sum(), (hat == 0).sum())  # unknown ones are neither
    np.testing.assert_allclose(yes.error, wrong[hat == 1].mean())
    np.testing.assert_allclose(yes.gap.value, wrong[hat == 1].mean() - wrong[hat == 0].mean())
    assert yes.people == len(np.unique(test.person[hat == 1]))
    at = noise.flip_rates.index(0.03)
    np.testing.assert_allclose(yes.gap.value - yes.low[at], 0.06, atol=2 / yes.n + 2 / yes.rest_n)
    assert yes.low_sure[at] < yes.low[at] < yes.independent_low[at] <= yes.independent_high[at]
    assert yes.vanishing_rate == abs(yes.gap.value) / 2
    ages = [g for g in noise.gaps if g.attribute == "Age"]
    assert len(ages) == 4 and sum(g.n for g in ages) == len(test)


def test_the_vanishing_rate_is_where_the_bounds_reach_0():
    p, _ = draw(7, n=4000, classes=2, flipped=0.02)
    hat = np.where(
        (p.prediction != p.label) & (np.arange(4000) % 2 == 0), 1, np.arange(4000) % 3 == 0
    )
    p = dataclasses.replace(
        p, attributes={"Hat": Attribute("Hat", "binary", ("no", "yes"), hat.astype(np.int16))}
    )
    yes = label_noise(p, draws=2).gaps[1]
    assert yes.gap.low > 0 and 0 < yes.vanishing_rate_sure < yes.vanishing_rate
    around = (yes.vanishing_rate * 0.9, yes.vanishing_rate * 1.1)
    below, above = (label_noise(p, flip_rates=(r,), draws=2).gaps[1] for r in around)
    at = label_noise(p, flip_rates=(around[0],), draws=2).flip_rates.index(around[0])
    assert below.low[at] > 0
    at = label_noise(p, flip_rates=(around[1],), draws=2).flip_rates.index(around[1])
    assert above.low[at] < 0


def test_gaps_by_person_hold_the_truth():
    """Half of a person's images share their luck; coverage over simulated data sets."""
    rng = np.random.default_rng(8)
    trials, held, without = 400, 0, 0
    for _ in range(trials):
        person = rng.integers(0, 150, 900)
        inside = rng.random(900) < 0.3
        base = np.where(inside, 0.12, 0.05)
        luck = np.where(rng.random(900) < 0.7, rng.random(150)[person], rng.random(900))
        wrong = luck < base
        for cluster in (person, None):
            g = error_gaps(wrong, inside[:, None], ~inside[:, None], cluster)
            inside_it = g.low[0] <= 0.07 <= g.high[0]
            if cluster is None:
                without += inside_it
            else:
                held += inside_it
    assert 0.92 <= held / trials <= 0.98
    assert without < held  # as if each were another person's: too narrow


def test_record_to_json_and_back_and_the_same_again():
    p, _ = draw(9, people=50)
    noise = label_noise(p, draws=20)
    assert to_plain(from_plain(LabelNoise, to_plain(noise))) == to_plain(noise)
    assert to_plain(label_noise(p, draws=20)) == to_plain(noise)


def test_small_and_odd_inputs():
    p, _ = draw(10, n=1)
    noise = label_noise(dataclasses.replace(p, split=np.array(["test"])), draws=5)
    assert noise.n == 1 and noise.found == 0
    p, _ = draw(10, n=40, classes=2)
    empty = Attribute("Hat", "binary", ("no", "yes"), np.zeros(40, np.int16))
    none, yes = label_noise(dataclasses.replace(p, attributes={"Hat": empty}), draws=5).gaps
    assert yes.n == 0 and none.rest_n == 0
    for g in (none, yes):
        assert math.isnan(g.gap.value) and math.isnan(g.low[0]) and math.isnan(g.vanishing_rate)
        assert math.isnan(g.independent_low[0]) and math.isnan(g.vanishing_rate_sure)
    with pytest.raises(ConfigError, match=r"wrong labels of 0\.5"):
        label_noise(p, flip_rates=(0.5,))
    with pytest.raises(PredictionsError, match="without probabilities"):
        label_noise(dataclasses.replace(p, hard=True))
