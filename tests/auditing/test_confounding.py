"""Adjusted gaps against statsmodels, refitted jackknives, and worlds whose truth is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from candid.auditing.confounding import adjusted_gaps
from candid.errors import PredictionsError
from candid.predictions import Attribute, Predictions
from candid.records import from_plain, to_plain
from candid.records.confounding import AdjustedGaps
from candid.stats.regression import average_outcome, logistic


def expit(x):
    return 1 / (1 + np.exp(-x))


def world(rng, n=1500, people=500, hat=0.0, dark=1.8, base=-2.8, link=2.0):
    """Pictures in which hats are worn in the dark. Mistakes depend on both through `hat` and `dark`
    in logits. A person's pictures share half of their luck; marginally each mistake is exactly as
    likely as the formula says."""
    person = rng.integers(0, people, n)
    is_dark = rng.random(n) < 0.3
    has_hat = rng.random(n) < expit(-2.2 + link * is_dark)
    chance = expit(base + hat * has_hat + dark * is_dark)
    luck = np.where(rng.random(n) < 0.5, rng.random(people)[person], rng.random(n))
    wrong = luck < chance
    return person, has_hat, is_dark, wrong


def truth(hat, dark=1.8, base=-2.8):
    """The average over all pictures of the error with a hat less that without."""
    return sum(
        share * (expit(base + hat + dark * d) - expit(base + dark * d))
        for d, share in ((1, 0.3), (0, 0.7))
    )


def predictions(person, wrong, **attributes):
    n = len(wrong)
    label = np.arange(n) % 2
    answer = np.where(wrong, 1 - label, label)
    probability = np.where(answer[:, None] == np.arange(2), 0.9, 0.1)
    return Predictions(
        target="Face",
        classes=("a", "b"),
        ids=np.array([f"{i}.jpg" for i in range(n)]),
        split=np.full(n, "test"),
        label=label.astype(np.int16),
        probability=probability,
        person=person,
        attributes={
            name: value
            if isinstance(value, Attribute)
            else Attribute(name, "binary", ("no", "yes"), np.asarray(value).astype(np.int16))
            for name, value in attributes.items()
        },
    )


def of(result, attribute, value="yes"):
    return next(g for g in result.gaps if (g.attribute, g.value) == (attribute, value))


# --- the regression ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(3)
    person, hat, dark, wrong = world(rng, n=2000, hat=0.7)
    x = np.column_stack([np.ones(2000), hat, dark, rng.random(2000) < 0.5]).astype(float)
    return x, wrong, person


def test_coefficients_and_marginal_effects_equal_statsmodels(drawn):
    sm = pytest.importorskip("statsmodels.api")
    x, wrong, person = drawn
    theirs = sm.Logit(wrong.astype(float), x).fit(
        disp=0, cov_type="cluster", cov_kwds={"groups": person}, tol=1e-12
    )
    ours = logistic(x, wrong, person)
    np.testing.assert_allclose(ours.coefficients, theirs.params, rtol=1e-7)
    effects = theirs.get_margeff(at="overall", dummy=True)
    for k in (1, 2, 3):
        with_, _ = average_outcome(ours, {1: k}, {1: 1.0})
        without, _ = average_outcome(ours, {1: k}, {0: 1.0})
        np.testing.assert_allclose(with_ - without, effects.margeff[k - 1], rtol=1e-7)
    # The sandwich without leverage is a little smaller, with many people hardly.
    spread = np.sqrt((ours.influence**2).sum(axis=0))
    np.testing.assert_allclose(spread, theirs.bse, rtol=0.03)
    assert (spread > theirs.bse * 0.999).all()


def test_ridge_equals_scipys_minimum(drawn):
    from scipy import optimize

    x, wrong, _ = drawn

    def loss(beta):
        eta = x @ beta
        return np.sum(np.logaddexp(0, eta) - wrong * eta) + np.sum(beta[1:] ** 2) / (2 * 0.3**2)

    theirs = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(logistic(x, wrong, prior_sd=0.3).coefficients, theirs.x, atol=1e-5)


def test_influence_is_that_of_leaving_each_person_out():
    """CR3 is the jackknife's variance but for one Newton step instead of a whole fit."""
    rng = np.random.default_rng(4)
    person, hat, dark, wrong = world(rng, n=400, people=120, hat=0.5, base=-1.5)
    x = np.column_stack([np.ones(400), hat, dark]).astype(float)
    whole = logistic(x, wrong, person)
    names = np.unique(person)
    refitted = np.stack(
        [
            whole.coefficients - logistic(x[person != c], wrong[person != c]).coefficients
            for c in names
        ]
    )
    assert np.corrcoef(refitted[:, 1], whole.influence[:, 1])[0, 1] > 0.995
    np.testing.assert_allclose(
        np.sqrt((whole.influence**2).sum(axis=0)), np.sqrt((refitted**2).sum(axis=0)), rtol=0.02
    )


def test_an_average_is_moved_by_a_person_as_refitting_moves_it():
    rng = np.random.default_rng(5)
    person, hat, dark, wrong = world(rng, n=600, people=150, hat=0.5, base=-1.5)
    x = np.column_stack([np.ones(600), hat, dark]).astype(float)
    average, moved = average_outcome(logistic(x, wrong, person), {1: 1}, {1: 0.7, 0: 0.3})
    left_out = [
        average_outcome(logistic(x[person != c], wrong[person != c]), {1: 1}, {1: 0.7, 0: 0.3})[0]
        for c in np.unique(person)
    ]
    differences = average - np.array(left_out)
    np.testing.assert_allclose(np.std(moved), np.std(differences), rtol=0.05)
    assert np.corrcoef(moved, differences)[0, 1] > 0.99


@pytest.mark.parametrize("prior_sd", [2.5, math.inf])
def test_separation_stays_finite(prior_sd):
    x = np.column_stack([np.ones(200), np.arange(200) < 40]).astype(float)
    wrong = (np.arange(200) >= 40) & (np.arange(200) % 5 == 0)
    fitted = logistic(x, wrong, prior_sd=prior_sd)
    assert np.isfinite(fitted.coefficients).all() and fitted.coefficients[1] < -1
    average, moved = average_outcome(fitted, {1: 1}, {1: 1.0})
    assert 0 <= average < 0.03 and np.isfinite(moved).all()


# --- worlds in which the truth is known ----------------------------------------------------------


def test_a_gap_that_is_all_confounding_vanishes_and_a_true_one_stays():
    rng = np.random.default_rng(6)
    for hat in (0.0, 1.2):
        person, has_hat, is_dark, wrong = world(rng, n=20_000, people=6000, hat=hat)
        result = adjusted_gaps(predictions(person, wrong, Hat=has_hat, Dark=is_dark))
        g = of(result, "Hat")
        assert g.raw.low > 0.03  # the raw gap is there in both worlds
        assert g.adjusted.low <= truth(hat) <= g.adjusted.high
        np.testing.assert_allclose(g.adjusted.value, truth(hat), atol=0.02)
        np.testing.assert_allclose(g.explained.value, g.raw.value - g.adjusted.value)
        assert g.explained.low > 0.02
        assert g.state == ("found" if hat else "not found")
        assert of(result, "Dark").state == "found"


@pytest.mark.parametrize("hat", [0.0, 0.8])
def test_intervals_hold_the_truth(hat):
    rng = np.random.default_rng(7)
    trials, held, raw_held, chance = 150, 0, 0, []
    for _ in range(trials):
        person, has_hat, is_dark, wrong = world(rng, n=900, people=300, hat=hat)
        g = of(adjusted_gaps(predictions(person, wrong, Hat=has_hat, Dark=is_dark)), "Hat")
        held += g.adjusted.low <= truth(hat) <= g.adjusted.high
        raw_held += g.raw.low <= truth(hat) <= g.raw.high
        chance.append(g.p)
    assert 0.91 <= held / trials <= 0.99
    assert raw_held / trials < 0.8  # what adjustment is for
    if not hat:
        assert np.mean(np.array(chance) <= 0.05) <= 0.085


def test_randomised_values_are_left_as_they_are():
    """Where nothing goes with hats, holding things constant changes nothing but noise."""
    rng = np.random.default_rng(8)
    person, has_hat, is_dark, wrong = world(rng, n=20_000, people=20_000, hat=0.6, link=0.0)
    g = of(adjusted_gaps(predictions(person, wrong, Hat=has_hat, Dark=is_dark)), "Hat")
    np.testing.assert_allclose(g.adjusted.value, g.raw.value, atol=0.01)
    assert g.explained.low <= 0.003 and g.explained.high >= -0.003


def test_one_attribute_alone_gives_the_raw_gap():
    """A saturated model has nothing to adjust for: the raw difference, to the prior's shrinkage."""
    rng = np.random.default_rng(9)
    person, has_hat, _, wrong = world(rng, n=3000, people=1000, hat=0.8)
    p = predictions(person, wrong, Hat=has_hat)
    g = of(adjusted_gaps(p, hold_label=False, prior_sd=math.inf), "Hat")
    np.testing.assert_allclose(g.adjusted.value, g.raw.value, atol=1e-9)
    np.testing.assert_allclose(
        [g.adjusted.low, g.adjusted.high], [g.raw.low, g.raw.high], atol=0.002
    )
    np.testing.assert_allclose(g.explained.high - g.explained.low, 0, atol=1e-3)
    hair = Attribute("Hair", "categorical", ("red", "fair", "dark"), rng.integers(0, 3, 3000))
    p = dataclasses.replace(p, attributes={"Hair": hair})
    for g in adjusted_gaps(p, hold_label=False, prior_sd=math.inf).gaps:
        mine = hair.data == hair.values.index(g.value)
        np.testing.assert_allclose(
            g.adjusted.value, wrong[mine].mean() - wrong[~mine].mean(), atol=1e-9
        )


def test_yes_and_no_mirror_each_other():
    rng = np.random.default_rng(10)
    person, has_hat, is_dark, wrong = world(rng, hat=0.5)
    result = adjusted_gaps(predictions(person, wrong, Hat=has_hat, Dark=is_dark))
    yes, no = of(result, "Hat"), of(result, "Hat", "no")
    np.testing.assert_allclose(yes.adjusted.value, -no.adjusted.value)
    np.testing.assert_allclose(
        [yes.adjusted.low, yes.adjusted.high], [-no.adjusted.high, -no.adjusted.low]
    )
    np.testing.assert_allclose(yes.p, no.p)
    assert (yes.n, yes.mistakes) == (no.rest_n, no.rest_mistakes)
    assert (yes.mistakes, yes.n) == (int((wrong & has_hat).sum()), int(has_hat.sum()))


# --- what goes wrong in practice -----------------------------------------------------------------


def test_collinear_values_are_left_out_and_named():
    rng = np.random.default_rng(11)
    person, has_hat, _, wrong = world(rng, hat=0.5)
    size = Attribute("Size", "categorical", ("small", "large", "huge"), rng.integers(0, 3, 1500))
    result = adjusted_gaps(
        predictions(person, wrong, Hat=has_hat, Cap=~has_hat, Size=size, Huge=size.data == 2)
    )
    left = {(x.attribute, x.value): x.why for x in result.left_out}
    assert "follows from Hat: " in left["Cap", "no"] or "follows from Hat: " in left["Cap", "yes"]
    assert len(left) == 2
    assert of(result, "Hat").inseparable_from and of(result, "Huge").inseparable_from
    for value in ("no", "yes"):
        g = of(result, "Cap", value)
        assert g.state == "not applicable" and math.isnan(g.adjusted.value) and math.isnan(g.p)
        assert math.isnan(g.adjusted_p) and not math.isnan(g.raw.value)
    # What is left is as if the others had never been there.
    alone = adjusted_gaps(predictions(person, wrong, Hat=has_hat, Size=size))
    np.testing.assert_allclose(of(result, "Hat").adjusted.value, of(alone, "Hat").adjusted.value)


def test_few_rare_absent_and_unknown_values():
    rng = np.random.default_rng(12)
    person, has_hat, _, wrong = world(rng, hat=0.5)
    codes = np.where(np.arange(1500) < 5, 1, 0)
    rare = Attribute("Rare", "categorical", ("common", "rare", "absent"), codes)
    hat = np.where(rng.random(1500) < 0.2, -1, has_hat)
    few = np.arange(1500) < 60
    result = adjusted_gaps(
        predictions(
            person,
            wrong,
            Hat=hat,
            Rare=rare,
            Few=few,
            Age=Attribute("Age", "numeric", (), rng.normal(size=1500)),
        )
    )
    g = of(result, "Hat")
    assert g.n + g.rest_n == (hat >= 0).sum() and np.isfinite(g.adjusted.value)
    assert any("Hat" in note for note in result.notes)
    for value in ("rare", "absent"):
        assert of(result, "Rare", value).state == "too few to say"
        assert math.isnan(of(result, "Rare", value).adjusted.value)
    assert {(x.attribute, x.value) for x in result.left_out} == {
        ("Rare", "rare"),
        ("Rare", "absent"),
    }
    assert np.isfinite(of(result, "Few").adjusted.value)
    assert len([g for g in result.gaps if g.attribute == "Age"]) == 4
    assert result.adjusted_for == ("Face", "Hat", "Few", "Age")


def test_a_group_without_mistakes_is_not_a_group_without_doubt():
    rng = np.random.default_rng(13)
    person, _, is_dark, wrong = world(rng)
    hat = ~wrong & (rng.random(1500) < 0.04)
    g = of(adjusted_gaps(predictions(person, wrong, Hat=hat, Dark=is_dark)), "Hat")
    assert g.mistakes == 0 and g.adjusted.value < 0
    # About as much doubt as the raw interval has, and none of the false certainty of residuals
    # that are all 0.
    assert g.adjusted.high - g.adjusted.low > 0.7 * (g.raw.high - g.raw.low)
    assert math.isnan(g.explained.low) and not math.isnan(g.explained.value)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_mistake_or_nothing_else(share):
    rng = np.random.default_rng(14)
    person, has_hat, is_dark, _ = world(rng, n=300)
    result = adjusted_gaps(
        predictions(person, np.full(300, bool(share)), Hat=has_hat, Dark=is_dark)
    )
    g = of(result, "Hat")
    assert g.raw.value == 0 and abs(g.adjusted.value) < 1e-6
    assert g.adjusted.low < 0 < g.adjusted.high
    assert not any(x.state == "found" for x in result.gaps)


def test_without_people_attributes_or_the_split():
    rng = np.random.default_rng(15)
    person, has_hat, is_dark, wrong = world(rng, n=500)
    p = predictions(person, wrong, Hat=has_hat, Dark=is_dark)
    alone = adjusted_gaps(dataclasses.replace(p, person=None))
    each = adjusted_gaps(dataclasses.replace(p, person=np.arange(500)))
    assert alone.people is None and of(alone, "Hat").people is None
    np.testing.assert_allclose(
        [of(alone, "Hat").adjusted.low, of(alone, "Hat").adjusted.high],
        [of(each, "Hat").adjusted.low, of(each, "Hat").adjusted.high],
    )
    unknown = adjusted_gaps(dataclasses.replace(p, person=np.full(500, -1)))
    assert to_plain(unknown) == to_plain(alone)
    assert adjusted_gaps(dataclasses.replace(p, attributes={})).gaps == ()
    other = adjusted_gaps(p, split="validation")
    assert other.n == 500 and any("No labelled image is in validation" in n for n in other.notes)
    with pytest.raises(PredictionsError, match="None of the 500"):
        adjusted_gaps(dataclasses.replace(p, label=np.full(500, -1, np.int16)))
    tiny = adjusted_gaps(p[np.array([0])])
    assert all(g.state == "too few to say" for g in tiny.gaps)


def test_record_to_json_and_back():
    rng = np.random.default_rng(16)
    person, has_hat, is_dark, wrong = world(rng, n=400)
    result = adjusted_gaps(predictions(person, wrong, Hat=has_hat, Dark=is_dark, Cap=has_hat))
    assert to_plain(from_plain(AdjustedGaps, to_plain(result))) == to_plain(result)
