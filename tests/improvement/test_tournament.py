"""Made features with a planted cue: the right remedy wins; without one, none does."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from candid.errors import ConfigError, PredictionsError
from candid.improvement.arena import Arena, attributes_found, build_arena
from candid.improvement.last_layer import (
    PENALTIES,
    FitImages,
    balanced_weights,
    fit_layers,
    refit,
)
from candid.improvement.remedies import (
    LastFeatures,
    Training,
    abstention_remedy,
    calibrated_logits,
    group_calibration,
    last_layers,
    prior_shift,
)
from candid.improvement.tournament import Rules, hold_tournament, look_at_test, select_aimed
from candid.predictions import Predictions
from candid.text.improvement import improvement_lead

RULES = Rules(draws=100)


def made(n, rng, *, planted):
    """Label, cue, features: two that tell the label a little, two that tell the cue well, noise."""
    label = rng.random(n) < 0.5
    cue = np.where(rng.random(n) < (0.9 if planted else 0.5), label, ~label)
    sign, cue_sign = 2.0 * label - 1, 2.0 * cue - 1
    x = rng.normal(0, 1, (n, 8))
    x[:, :2] += 0.7 * sign[:, None]
    x[:, 2:4] += 1.0 * cue_sign[:, None]
    return label.astype(int), cue, x


def learned(x, label):
    """A classifier as training would find it: logistic regression of everything."""

    def loss(w):
        z = (2 * label - 1) * (x @ w[1:] + w[0])
        return np.logaddexp(0, -z).mean()

    return minimize(loss, np.zeros(x.shape[1] + 1), method="BFGS").x


def world(seed, *, planted, n=1200):
    """The run as it is on validation images and on test images, and the features of either."""
    rng = np.random.default_rng(seed)
    label, _, x = made(3000, rng, planted=planted)
    w = learned(x, label)
    parts = []
    for split in ("validation", "test"):
        label, cue, x = made(n, rng, planted=planted)
        p = expit(x @ w[1:] + w[0])
        said = Predictions.from_arrays(
            np.where(label, "yes", "no"),
            np.stack([1 - p, p], axis=1),
            groups={"Cue": np.where(cue, "with", "without")},
            person=np.arange(n) // 2 if seed % 2 else np.arange(n),
            classes=("no", "yes"),
            split=np.full(n, split),
        )
        parts.append((said, x))
    return parts


def arena_of(said, attributes=("Cue",), folds=3) -> Arena:
    return build_arena(said, attributes, folds=folds, seed=0, confidence=0.95, smallest=10)


def contest(said, x, attributes=("Cue",)):
    arena = arena_of(said, attributes)
    remedies = [*last_layers(arena, LastFeatures(x)), prior_shift(arena)]
    remedies += [group_calibration(arena, name) for name in attributes]
    return arena, remedies, *hold_tournament(arena, remedies, RULES)


def test_the_layer_balanced_by_label_and_cue_wins_and_says_what_it_costs():
    (said, x), (test, test_x) = world(1, planted=True)
    arena, remedies, outcomes, winner = contest(said, x)
    assert winner == outcomes[0].name == "last-layer-Cue"
    best = outcomes[0]
    assert best.helps == "found"
    assert best.worst_after.accuracy.value > best.worst_before.accuracy.value + 0.15
    # Whom the cue served loses; with half of the people each way that must be seen.
    assert best.changed(1)
    assert best.changed(-1)
    assert best.overall.change.value < 0
    assert {o.name: o.helps for o in outcomes}["calibration-Cue"] == "not applicable"
    # Out of fold it promises what new people get.
    layer = next(r.layer for r in remedies if r.name == winner)
    z = layer.logits(test_x, calibrated_logits(test))
    after = replace(test, probability=np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))
    seen = look_at_test(arena, test, after, winner, RULES)
    promised, true = best.worst_after.accuracy, seen.worst_after.accuracy
    assert abs(promised.value - true.value) < 0.1
    assert seen.aim.change.low > 0


def test_without_a_cue_none_helps():
    # At 5% for each of five worlds more than two would be a sign (0.1% by chance).
    won = [contest(*world(seed, planted=False, n=300)[0])[3] for seed in range(5)]
    assert sum(map(bool, won)) <= 2, won


def test_a_group_that_is_last_by_chance_gains_nothing_by_another_model():
    """As good a model with other mistakes: the group is chosen on others than it is judged on."""
    gains, naive = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n = 400
        label, group = rng.integers(2, size=n), rng.integers(4, size=n)
        right = rng.random((2, n)) < 0.8
        answers = [np.where(r, label, 1 - label) for r in right]
        before = Predictions.from_arrays(
            label, np.eye(2)[answers[0]] * 0.8 + 0.1, groups={"g": group.astype(str)}
        )
        arena = arena_of(before, ("g",))
        aimed = select_aimed(arena, "worst group")
        gains.append(right[1][aimed].mean() - right[0][aimed].mean())
        cells = [c.mask for c in arena.large()]
        last = min(cells, key=lambda mask: right[0][mask].mean())
        naive.append(right[1][last].mean() - right[0][last].mean())
    error = np.std(gains) / np.sqrt(len(gains))
    assert abs(np.mean(gains)) < 3 * error
    assert np.mean(naive) > 0.05


def test_the_fit_is_that_of_an_independent_one():
    """Two classes and no penalty to speak of: weighted logistic regression with an offset."""
    rng = np.random.default_rng(0)
    label, cue, x = made(400, rng, planted=True)
    start = np.stack([np.zeros(400), x @ rng.normal(0, 0.3, 8)], axis=1)
    weight = balanced_weights(2 * label + cue)
    *_, layer = fit_layers(FitImages(x, start, label, weight))
    mean = np.average(x, axis=0, weights=weight)
    std = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weight))

    def loss(w):
        z = start[:, 1] + (x - mean) / std @ w[1:] + w[0]
        fit = np.average(np.logaddexp(0, -(2 * label - 1) * z), weights=weight)
        return fit + PENALTIES[-1] * np.sum(w[1:] ** 2) / 4  # each class has half of it

    w = minimize(loss, np.zeros(9), method="BFGS", options={"gtol": 1e-7}).x
    z = layer.logits(x, start)
    expected = start[:, 1] + (x - mean) / std @ w[1:] + w[0]
    assert z[:, 1] - z[:, 0] == pytest.approx(expected, abs=0.01)


def test_weights_make_every_cell_weigh_the_same():
    cell = np.array([0, 0, 0, 1, -1, 3, 3])
    weight = balanced_weights(cell)
    assert [weight[cell == c].sum() for c in (0, 1, 3)] == pytest.approx([2, 2, 2])
    assert weight[4] == 0
    assert weight.sum() == 6


def test_no_person_is_in_two_folds_and_rare_combinations_are_spread():
    (said, _), _ = world(1, planted=True)
    arena = arena_of(said)
    folds = [set(np.unique(said.person[arena.fold == k]).tolist()) for k in range(3)]
    assert sum(map(len, folds)) == len(set().union(*folds))
    counts = np.bincount(arena.cell_codes("Cue"))
    rare = arena.cell_codes("Cue") == counts.argmin()
    assert counts.min() < 80
    assert np.bincount(arena.fold[rare], minlength=3).min() >= rare.sum() / 3 - 3
    with pytest.raises(PredictionsError, match="too few"):
        arena_of(said[np.arange(10)])
    with pytest.raises(ConfigError, match="Que"):
        arena_of(said, ("Que",))


def test_an_answer_knows_nothing_of_its_own_person():
    """Another label of one fold's people changes the layers of all folds but their own."""
    (said, x), _ = world(1, planted=True, n=300)
    arena = arena_of(said)
    images = FitImages(x, calibrated_logits(said), said.label.astype(int), np.ones(len(said)))
    turned = replace(images, label=np.where(arena.fold == 0, 1 - images.label, images.label))
    one, other = (refit(i, arena.fold).logits for i in (images, turned))
    same = np.abs(one - other).max(axis=1) == 0
    assert same[arena.fold == 0].all()
    assert not same[arena.fold != 0].any()


def test_training_images_fit_and_held_out_ones_choose_how_strongly():
    (said, x), _ = world(3, planted=True)
    arena = arena_of(said)
    training = Training(replace(said, attributes=arena.before.attributes), x + 0.01)
    names = [r.name for r in last_layers(arena, LastFeatures(x, training))]
    assert names == ["last-layer-Cue", "last-layer-Cue-training", "last-layer-label"]


def test_where_classes_are_rarer_than_learned_the_shift_wins_overall():
    rng = np.random.default_rng(5)
    label = (rng.random(1500) < 0.08).astype(int)
    z = (2 * label - 1) * 1.2 + rng.normal(0, 1, 1500)  # of classes that were equally common
    p = expit(2.4 * z)
    said = Predictions.from_arrays(label, np.stack([1 - p, p], axis=1))
    arena = arena_of(said, ())
    outcomes, winner = hold_tournament(arena, [prior_shift(arena)], Rules("overall", draws=100))
    assert winner == "prior-shift"
    assert outcomes[0].overall.change.value > 0.03
    assert outcomes[0].log_loss.difference.high < 0
    # And the layer form says the same of new images.
    remedy = prior_shift(arena)
    z = remedy.layer.logits(np.zeros((1500, 0)), calibrated_logits(said))
    assert np.mean(z.argmax(axis=1) == label) > 0.9


def test_abstaining_costs_the_weak_group_its_answers():
    (said, _), _ = world(1, planted=True)
    arena = arena_of(said)
    remedy = abstention_remedy(arena, 0.1, 0)
    outcomes, winner = hold_tournament(arena, [remedy], RULES)
    assert winner == ""
    covered = {(c.label, c.value): c.coverage.value for c in outcomes[0].coverage}
    mine = (said.label == 1) & (arena.before.attributes["Cue"].data == 1)
    assert arena.before.attributes["Cue"].values[1] == "without"
    assert covered["yes", "without"] == pytest.approx(remedy.answered[mine].mean())
    assert covered["yes", "without"] < covered["yes", "with"]
    assert abstention_remedy(arena, 0.0001, 0) is None


def test_without_an_audit_no_attribute_is_named():
    assert attributes_found(None) == ()


def test_folds_are_of_images_where_nobody_knows_the_people():
    known = SimpleNamespace(attributes=(), named=(), n=40, people=12, folds=5)
    assert "40 images of 12 people of validation in 5 folds of people" in improvement_lead(known)
    assert improvement_lead(known).endswith("fitted and chosen without its person.")
    said = improvement_lead(SimpleNamespace(**vars(known) | {"people": None}))
    assert "in 5 folds of images" in said and said.endswith("fitted and chosen without it.")
    assert "person" not in said and "people" not in said
