"""Areas under curves of groups against scikit-learn, DeLong by hand, and the jackknife."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from auditing.audited import crowd
from candid.auditing.auc import Areas
from candid.auditing.rows import KNOWN, Rows
from candid.stats.bootstrap import resample
from candid.stats.metrics import roc_auc_influence


def influence_of(positive, score, inside=True):
    rank = np.unique(score, return_inverse=True)[1].reshape(-1)
    return roc_auc_influence(positive & inside, ~positive & inside, rank)


def scores(n, seed, ties=False):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    score = rng.normal(size=n) + positive
    return positive, np.round(score, 1) if ties else score


@pytest.mark.parametrize("ties", [False, True])
def test_area_equals_scikit_learns(ties):
    positive, score = scores(300, 0, ties)
    area, influence = influence_of(positive, score)
    assert area == pytest.approx(roc_auc_score(positive, score), abs=1e-12)
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    inside = np.arange(300) % 3 > 0
    part, outside = influence_of(positive, score, inside)
    assert part == pytest.approx(roc_auc_score(positive[inside], score[inside]), abs=1e-12)
    assert (outside[~inside] == 0).all()


def test_variance_is_delongs():
    """By its definition: the variances of the placements, over each class's size."""
    positive, score = scores(120, 1, ties=True)
    above, below = score[positive], score[~positive]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    expected = wins.mean(1).var() / len(above) + wins.mean(0).var() / len(below)
    assert np.sum(influence_of(positive, score)[1] ** 2) == pytest.approx(expected, rel=1e-9)


def test_people_with_several_pictures_as_the_jackknife_by_person():
    p = crowd(80, {"hat": 0.4}, 2, base=0.2)
    rows = Rows(p.with_bins(), resample(len(p), p.person, draws=50))
    group, known = rows.key((0, 1)), rows.key((0, KNOWN))
    c = Areas(rows).contrast([(known, group)])
    mine = p.attributes["hat"].data == 1
    left_out = []
    for person in range(80):
        kept = p.person != person
        left_out.append(
            [roc_auc_score(p.label[m & kept], p.probability[m & kept, 1]) for m in (mine, ~mine)]
        )
    spread = np.sqrt(np.var(left_out, axis=0) * 79)
    np.testing.assert_allclose([c.left.spread[0], c.right.spread[0]], spread, rtol=0.06)
    for side, m in ((c.left, mine), (c.right, ~mine)):
        assert side.value[0] == pytest.approx(roc_auc_score(p.label[m], p.probability[m, 1]))
    assert abs(c.correlation[0]) < 0.1  # a person has one value of hat here: independent sides


def test_many_classes_are_averaged_and_one_class_is_undefined():
    p = crowd(100, {"hat": 0.5}, 3, base=0.2, classes=3)
    rows = Rows(p.with_bins(), resample(len(p), p.person, draws=50))
    side, images = Areas(rows).side(())
    expected = np.mean([roc_auc_score(p.label == k, p.probability[:, k]) for k in range(3)])
    assert side.value[0] == pytest.approx(expected) and images == len(p)
    one = p[p.label == 1]
    rows = Rows(one.with_bins(), resample(len(one), one.person, draws=50))
    side, _ = Areas(rows).side(())
    assert np.isnan(side.value[0]) and side.units[0] == 0
