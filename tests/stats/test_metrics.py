"""Metrics against scikit-learn, brute force over pairs, and invariances."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from candid.stats import metrics

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def draw(seed, n=200, classes=2, *, ties=False):
    """Labels, probabilities and weights; with `ties`, probabilities of a few distinct values."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), label] += 1.0
    if ties:
        logits = np.round(logits)
    p = np.exp(logits)
    return label, p / p.sum(axis=1, keepdims=True), rng.integers(0, 4, n).astype(float)


cases = pytest.mark.parametrize(
    ("classes", "ties", "weighted"),
    [(c, t, w) for c in (2, 5) for t in (False, True) for w in (False, True)],
)


@cases
def test_counts_equal_scikit_learn(classes, ties, weighted):
    label, p, weight = draw(1, classes=classes, ties=ties)
    w = weight if weighted else None
    prediction = p.argmax(axis=1)
    confusion = metrics.confusion_matrix(label, prediction, classes, w)
    given_to = {"sample_weight": w}
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(label, prediction, **given_to))
    pairs = [
        (metrics.accuracy_score, sk.accuracy_score(label, prediction, **given_to)),
        (
            metrics.balanced_accuracy_score,
            sk.balanced_accuracy_score(label, prediction, **given_to),
        ),
        (metrics.recall_score, sk.recall_score(label, prediction, average=None, **given_to)),
        (metrics.precision_score, sk.precision_score(label, prediction, average=None, **given_to)),
        (metrics.f1_score, sk.f1_score(label, prediction, average=None, **given_to)),
        (
            metrics.weighted_f1_score,
            sk.f1_score(label, prediction, average="weighted", **given_to),
        ),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours(confusion), theirs, **TIGHT)


@cases
def test_probabilities_equal_scikit_learn(classes, ties, weighted):
    label, p, weight = draw(2, classes=classes, ties=ties)
    w = weight if weighted else None
    ours = metrics.log_loss_error(label, p, w)
    np.testing.assert_allclose(ours, sk.log_loss(label, p, sample_weight=w), **TIGHT)
    theirs = sk.brier_score_loss(label, p[:, 1] if classes == 2 else p, sample_weight=w)
    np.testing.assert_allclose(metrics.brier_error(label, p, w), theirs, **TIGHT)


@cases
def test_ranks_equal_scikit_learn(classes, ties, weighted):
    label, p, weight = draw(3, classes=classes, ties=ties)
    w = weight if weighted else None
    areas = [metrics.rank_scores(label == k, p[:, k], w) for k in range(classes)]
    for k, (auc, ap) in enumerate(areas):
        y = label == k
        np.testing.assert_allclose(auc, sk.roc_auc_score(y, p[:, k], sample_weight=w), **TIGHT)
        theirs = sk.average_precision_score(y, p[:, k], sample_weight=w)
        np.testing.assert_allclose(ap, theirs, **TIGHT)
    if classes > 2:
        theirs = sk.roc_auc_score(label, p, multi_class="ovr", sample_weight=w)
        np.testing.assert_allclose(metrics.macro_average([a for a, _ in areas]), theirs, **TIGHT)


def test_log_loss_of_a_certain_mistake_is_finite_and_scikit_learns():
    label, p = np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]])
    ours = metrics.log_loss_error(label, p)
    np.testing.assert_allclose(ours, sk.log_loss(label, p), rtol=1e-12)
    assert 17 < ours < 19


@pytest.mark.parametrize("ties", [False, True])
def test_auc_is_the_share_of_pairs_in_order(ties):
    label, p, w = draw(4, n=60, ties=ties)
    score = p[:, 1]
    won = total = 0.0
    for i in np.flatnonzero(label == 1):
        for j in np.flatnonzero(label == 0):
            pair = w[i] * w[j]
            won += pair * ((score[i] > score[j]) + 0.5 * (score[i] == score[j]))
            total += pair
    np.testing.assert_allclose(metrics.rank_scores(label == 1, score, w)[0], won / total, **TIGHT)


@pytest.mark.parametrize("ties", [False, True])
def test_rank_counts_are_counts_at_each_distinct_score(ties):
    label, p, w = draw(5, n=80, ties=ties)
    score, positive = p[:, 1], label == 1
    true, false = metrics.rank_counts(positive, score, w)
    thresholds = np.unique(score)[::-1]
    np.testing.assert_allclose(true, [w[positive & (score >= t)].sum() for t in thresholds])
    np.testing.assert_allclose(false, [w[~positive & (score >= t)].sum() for t in thresholds])


def test_calibration_error_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.35, 0.65], [0.3, 0.7]])
    label = np.array([0, 1, 1, 1])
    # Bins (0.6, 0.8] with confidences 0.65, 0.7, both right, and (0.8, 1] with 0.9, half right.
    expected = 0.5 * abs(0.675 - 1) + 0.5 * abs(0.9 - 0.5)
    ours = metrics.calibration_error(label, p, bins=5)
    np.testing.assert_allclose(ours, expected, **TIGHT)


@pytest.mark.parametrize("bins", [4, 15])
def test_calibration_error_equals_masks(bins):
    label, p, w = draw(6, classes=3)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == label
    expected = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if w[inside].sum() > 0:
            gap = np.average(confidence[inside], weights=w[inside])
            gap -= np.average(correct[inside], weights=w[inside])
            expected += abs(gap) * w[inside].sum() / w.sum()
    ours = metrics.calibration_error(label, p, w, bins=bins)
    np.testing.assert_allclose(ours, expected, **TIGHT)


def test_bins_are_open_below_and_closed_above():
    assert metrics.confidence_bins(np.array([0.0, 0.5, 0.5000001, 1.0]), 2).tolist() == [0, 0, 1, 1]


def everything(label, p, weight, classes):
    """All figures for `(..., n)` weights, side by side: (..., figures)."""
    confusion = metrics.confusion_matrix(label, p.argmax(axis=1), classes, weight)
    ranks = [metrics.rank_scores(label == k, p[:, k], weight) for k in range(classes)]
    parts = [
        metrics.accuracy_score(confusion)[..., None],
        metrics.balanced_accuracy_score(confusion)[..., None],
        metrics.weighted_f1_score(confusion)[..., None],
        metrics.recall_score(confusion),
        metrics.precision_score(confusion),
        metrics.f1_score(confusion),
        np.stack([x for pair in ranks for x in pair], axis=-1),
        metrics.macro_average([auc for auc, _ in ranks])[..., None],
        metrics.log_loss_error(label, p, weight)[..., None],
        metrics.brier_error(label, p, weight)[..., None],
        metrics.calibration_error(label, p, weight)[..., None],
    ]
    return np.concatenate(parts, axis=-1)


seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 40)
quick = settings(max_examples=40)


@quick
@given(seeds, sizes, st.sampled_from([2, 3]), st.booleans())
def test_many_draws_equal_one_by_one(seed, n, classes, ties):
    label, p, _ = draw(seed, n, classes, ties=ties)
    weights = np.random.default_rng(seed).integers(0, 3, (7, n)).astype(float)
    together = everything(label, p, weights, classes)
    one_by_one = np.stack([everything(label, p, w, classes) for w in weights])
    np.testing.assert_allclose(together, one_by_one, **TIGHT)


@quick
@given(seeds, sizes, st.sampled_from([2, 3]), st.booleans())
def test_invariances(seed, n, classes, ties):
    label, p, w = draw(seed, n, classes, ties=ties)
    rng = np.random.default_rng(seed)
    expected = everything(label, p, w[None], classes)[0]

    order = rng.permutation(n)
    permuted = everything(label[order], p[order], w[order][None], classes)[0]
    np.testing.assert_allclose(permuted, expected, rtol=1e-9, atol=1e-12)

    scaled = everything(label, p, 3.5 * w[None], classes)[0]
    np.testing.assert_allclose(scaled, expected, rtol=1e-9, atol=1e-12)

    times = np.repeat(np.arange(n), w.astype(int))  # an image of weight 2 is that image twice
    repeated = everything(label[times], p[times], np.ones((1, len(times))), classes)[0]
    np.testing.assert_allclose(repeated, expected, rtol=1e-9, atol=1e-12)


@quick
@given(seeds, sizes)
def test_swapping_two_classes_swaps_their_figures(seed, n):
    label, p, w = draw(seed, n)
    a = metrics.confusion_matrix(label, p.argmax(axis=1), 2, w)
    b = metrics.confusion_matrix(1 - label, 1 - p.argmax(axis=1), 2, w)
    for figure in (metrics.recall_score, metrics.precision_score, metrics.f1_score):
        np.testing.assert_allclose(figure(a), figure(b)[::-1], **TIGHT)
    for figure in (metrics.accuracy_score, metrics.weighted_f1_score):
        np.testing.assert_allclose(figure(a), figure(b), **TIGHT)
    # Scores upside down: the area is the other one's complement.
    up = metrics.rank_scores(label == 1, p[:, 1], w)[0]
    down = metrics.rank_scores(label == 1, -p[:, 1], w)[0]
    np.testing.assert_allclose(up, 1 - down, **TIGHT)


def test_undefined_is_nan():
    never_predicted = np.array([[5.0, 0.0], [3.0, 0.0]])
    np.testing.assert_array_equal(metrics.precision_score(never_predicted), [5 / 8, np.nan])
    np.testing.assert_array_equal(metrics.f1_score(never_predicted), [10 / 13, 0.0])
    absent = np.array([[5.0, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(metrics.recall_score(absent), [5 / 6, np.nan])
    assert metrics.balanced_accuracy_score(absent) == 5 / 6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns about the class without labels
        theirs = sk.f1_score([0] * 6, [0] * 5 + [1], average="weighted")
    np.testing.assert_allclose(metrics.weighted_f1_score(absent), theirs, **TIGHT)
    unseen = np.diag([4.0, 0.0, 2.0])  # neither labelled nor predicted
    assert np.isnan(metrics.f1_score(unseen)[1])
    assert metrics.weighted_f1_score(unseen) == 1.0


def test_no_positive_no_negative_no_image():
    score = np.array([0.1, 0.2])
    auc, ap = metrics.rank_scores(np.array([False, False]), score)
    assert np.isnan(auc) and np.isnan(ap)
    auc, ap = metrics.rank_scores(np.array([True, True]), score)
    assert np.isnan(auc) and ap == 1.0
    empty = np.zeros(0)
    auc, ap = metrics.rank_scores(empty > 0, empty, np.zeros((3, 0)))
    assert np.isnan(auc).tolist() == [True] * 3 and np.isnan(ap).tolist() == [True] * 3
    assert np.isnan(metrics.weighted_f1_score(np.zeros((2, 2))))
    assert np.isnan(metrics.log_loss_error(empty.astype(int), np.zeros((0, 2))))
    assert np.isnan(metrics.calibration_error(empty.astype(int), np.full((0, 2), 0.5)))


def test_always_is_the_confusion_of_a_constant_answer():
    label, p, w = draw(7, classes=3)
    confusion = metrics.confusion_matrix(label, p.argmax(axis=1), 3, w)
    constant = metrics.confusion_matrix(label, np.full(len(label), 2), 3, w)
    np.testing.assert_array_equal(metrics.constant_confusion(confusion, 2), constant)


def test_weighted_f1_of_answers_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    for classes in (2, 3, 7):
        label, prediction = rng.integers(0, classes, (2, 50))
        expected = sk.f1_score(label, prediction, average="weighted")
        assert metrics.weighted_f1_of_answers(label, prediction) == pytest.approx(
            expected, abs=1e-12
        )


def test_a_weighted_matrix_of_many_classes_is_the_sum_over_cells():
    rng = np.random.default_rng(0)
    label, answer = rng.integers(-1, 40, 300), rng.integers(0, 40, 300)
    weight = rng.integers(0, 4, (7, 300)).astype(np.float64)
    found = metrics.confusion_matrix(label, answer, 40, weight)
    expected = np.zeros((7, 40, 40))
    for i in np.flatnonzero(label >= 0):
        expected[:, label[i], answer[i]] += weight[:, i]
    assert np.array_equal(found, expected)
    nothing = metrics.confusion_matrix(label[:0], answer[:0], 40, weight[:, :0])
    assert nothing.shape == (7, 40, 40) and not nothing.any()
