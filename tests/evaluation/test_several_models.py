"""Several models at once, held to the comparison of two, to statsmodels and to what is planted."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from test_compared_models import pair

from candid.errors import PredictionsError
from candid.evaluation.comparison import compare_predictions
from candid.evaluation.several_models import compare_models
from candid.records import to_plain
from candid.stats.multiple_testing import holm

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def three():
    """The third is worse for those with a hat."""
    a, b = pair(400, people=200)
    _, c = pair(400, people=200, worse=0.6)
    return a, b, c


@pytest.fixture(scope="module")
def found(three):
    return compare_models(three, NAMES, draws=200)


def test_every_pair_is_what_the_comparison_of_two_says(three, found):
    assert [(p.a, p.b) for p in found.pairs] == [*itertools.combinations(NAMES, 2)]
    for (i, j), both in zip(itertools.combinations(range(3), 2), found.pairs, strict=True):
        alone = compare_predictions(three[i], three[j], names=(NAMES[i], NAMES[j]), draws=200)
        assert both.overall.metrics == alone.overall.metrics
        assert both.overall.p == alone.overall.p
        plain = {(g.attribute, g.value, g.label, g.gap is None): g for g in alone.every()[1:]}
        for g in both.every()[1:]:
            same = plain[g.attribute, g.value, g.label, g.gap is None]
            assert to_plain(g.metrics) == to_plain(same.metrics) and g.p == same.p


def test_the_looks_of_all_pairs_are_adjusted_together(found):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = [pair.overall.p for pair in found.pairs]
    expected = multitest.multipletests(p, method="holm")[1]
    np.testing.assert_allclose([pair.overall.adjusted_p for pair in found.pairs], expected)
    groups = [g for pair in found.pairs for g in pair.every()[1:] if g.state != "too few to say"]
    expected = multitest.multipletests([g.p for g in groups], method="fdr_bh")[1]
    np.testing.assert_allclose([g.adjusted_p for g in groups], expected)
    assert found.looked_at == len(groups) > 3
    assert all((g.state == "found") == (g.adjusted_p <= 0.05) for g in groups)


def test_holm_by_hand():
    np.testing.assert_allclose(
        holm(np.array([0.04, np.nan, 0.01, 0.03])), [0.06, np.nan, 0.03, 0.06]
    )
    assert len(holm(np.array([]))) == 0


def test_the_planted_group_is_found_and_each_model_s_share_is_counted(three, found):
    hat = next(g for g in found.across() if (g.about.value, g.about.label) == ("yes", None))
    assert hat.found >= 1 and found.pairs[hat.widest].b == "c"
    mask = three[0].attributes["Hat"].data == 1
    shares = [(p.prediction == p.label)[mask].mean() for p in three]
    np.testing.assert_allclose(found.figures_of(hat), shares)
    accuracy = [one.metrics["accuracy"].value for one in found.figures]
    np.testing.assert_allclose(accuracy, [(p.prediction == p.label).mean() for p in three])
    assert found.ranked()[-1].name == "c"
    one = found.figures[2].metrics["accuracy"]
    assert one.low < one.value < one.high and one.n == 400 and one.people == found.people


def test_only_images_that_all_label_the_same_count(three):
    a, b, c = three
    label = c.label.copy()
    label[10:15] = 1 - label[10:15]
    c = dataclasses.replace(c, label=label)[5:]
    rng = np.random.default_rng(0)
    found = compare_models((a[:390], b[rng.permutation(400)], c), NAMES, draws=50)
    assert (found.n, found.left_out, found.relabelled) == (380, 15, 5)
    assert [pair.n for pair in found.pairs] == [380] * 3
    assert any("15 labelled images" in note for note in found.notes)
    assert math.isclose(
        found.figures[0].metrics["accuracy"].value, found.pairs[0].overall.metrics["accuracy"].a
    )


def test_validation_where_not_all_have_a_test(three):
    a, b, c = (
        dataclasses.replace(p, split=np.where(np.arange(400) < 300, "validation", "test"))
        for p in three
    )
    assert compare_models((a, b, c), NAMES, draws=50).split == "test"
    assert compare_models((a, b, c[:300]), NAMES, draws=50).split == "validation"


def test_what_cannot_be_compared_is_said(three):
    a, b, _ = three
    with pytest.raises(PredictionsError, match="takes two"):
        compare_models((a,), ("a",))
    other = dataclasses.replace(b, ids=np.array([f"x{i}" for i in range(400)]))
    with pytest.raises(PredictionsError, match="same id"):
        compare_models((a, b, other), NAMES)
    with pytest.raises(PredictionsError, match="classes"):
        compare_models((a, b, dataclasses.replace(b, classes=("x", "y"))), NAMES)
