"""Means over images with intervals by person: against other libraries, loops and simulation."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import t as student
from sklearn import metrics
from sklearn.metrics import f1_score

from candid.explanation.means import difference, mean, ratios
from candid.explanation.performance import confusion_cells, people_of
from candid.stats.metrics import balanced_accuracy_score as balanced_accuracy
from candid.stats.metrics import weighted_f1_score as weighted_f1


def test_a_mean_has_the_cluster_robust_interval_of_statsmodels():
    rng = np.random.default_rng(0)
    person = rng.integers(0, 25, 120)
    y = rng.normal(size=25)[person] + rng.normal(size=120)
    fit = sm.OLS(y, np.ones(120)).fit(
        cov_type="cluster", cov_kwds={"groups": person, "use_correction": False}
    )
    people = len(np.unique(person))
    reach = fit.bse[0] * np.sqrt(people / (people - 1)) * student.ppf(0.975, people - 1)
    found = mean(y, person)
    assert found.value == pytest.approx(y.mean())
    assert found.high - found.value == pytest.approx(reach, rel=1e-3)
    assert (found.n, found.people, found.method) == (120, people, "linearised by person")
    assert mean(y).people is None
    scalar = y.std(ddof=1) / np.sqrt(120) * student.ppf(0.975, 119)
    assert mean(y).high - mean(y).value == pytest.approx(scalar, rel=1e-3)


def test_a_ratio_leaves_out_what_has_no_part():
    above = np.array([[1.0, np.nan], [3.0, 4.0], [2.0, np.nan]])
    below = np.array([[2.0, 5.0], [2.0, 8.0], [4.0, 1.0]])
    first, second = ratios(above, below)
    assert (first.value, first.n) == (0.75, 3)
    assert (second.value, second.n) == (0.5, 1)
    assert np.isnan([second.low, second.high]).all()  # one image says nothing about others
    (nothing,) = ratios(np.full((3, 1), np.nan))
    assert np.isnan(nothing.value)
    assert nothing.n == 0


def test_a_ratio_s_interval_holds_the_truth():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        person = np.repeat(np.arange(30), 3)
        area = rng.uniform(0.1, 0.3, 30)[person]
        share = area * 2 + rng.normal(0, 0.1, 30)[person] + rng.normal(0, 0.05, 90)
        (found,) = ratios(share[:, None], area[:, None], person)
        held += found.low <= 2 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_a_difference_is_the_regression_on_a_mark():
    """With people in both groups, as with pictures of one person with and without glasses."""
    rng = np.random.default_rng(2)
    person, mark = rng.integers(0, 30, 150), rng.random(150) < 0.4
    y = (rng.normal(size=30)[person] + 0.5 * mark + rng.normal(size=150)).astype(np.float32)
    fit = sm.OLS(y.astype(float), sm.add_constant(mark.astype(float))).fit(
        cov_type="cluster", cov_kwds={"groups": person, "use_correction": False}
    )
    people = len(np.unique(person))
    reach = fit.bse[1] * np.sqrt(people / (people - 1)) * student.ppf(0.975, people - 1)
    gap, half = difference(y[:, None], mark, ~mark, person)
    assert gap[0] == pytest.approx(fit.params[1], abs=1e-6)
    assert half[0] == pytest.approx(reach, rel=1e-3)
    wide = rng.normal(size=(150, 11)).astype(np.float32)
    one = difference(wide, mark, ~mark, person)
    assert np.allclose(one, difference(wide, mark, ~mark, person, block=3))
    empty = difference(wide, mark, np.zeros(150, bool), person)
    assert np.isnan(empty).all()


def test_scores_from_counts_are_scikit_learn_s():
    rng = np.random.default_rng(3)
    for classes in (2, 4):
        label, answer = rng.integers(0, classes, (2, 60))
        counts = confusion_cells(label, answer, classes).sum(0).reshape(classes, classes)
        assert weighted_f1(counts) == pytest.approx(f1_score(label, answer, average="weighted"))
        assert balanced_accuracy(counts) == pytest.approx(
            metrics.balanced_accuracy_score(label, answer)
        )
    label[:10] = -1
    counts = confusion_cells(label, answer, 4).sum(0)
    assert counts.sum() == 50
    assert np.isnan(weighted_f1(np.zeros((2, 2))))


def test_paired_draws_know_that_the_same_images_are_behind_both():
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, 200)
    before = np.where(rng.random(200) < 0.8, label, 1 - label)
    after = np.where(rng.random(200) < 0.05, 1 - before, before)
    people = people_of(200, np.arange(200) // 2, draws=2000, confidence=0.95, seed=0)
    cells = {"a": confusion_cells(label, before, 2), "b": confusion_cells(label, after, 2)}

    def statistic(sums):
        f1 = {k: weighted_f1(v.reshape(*v.shape[:-1], 2, 2)) for k, v in sums.items()}
        return {"loss": f1["a"] - f1["b"], "f1": f1["a"]}

    found = people.estimates(statistic, cells, np.ones(200, bool))
    f1 = f1_score(label, before, average="weighted")
    loss = f1 - f1_score(label, after, average="weighted")
    assert found["f1"].value == pytest.approx(f1)
    assert found["loss"].value == pytest.approx(loss)
    assert found["loss"].high - found["loss"].low < 0.6 * (found["f1"].high - found["f1"].low)
    # The interval is the spread of scikit-learn's figures over draws of people, by hand.
    drawn = []
    for _ in range(600):
        rows = (2 * rng.integers(0, 100, 100)[:, None] + [0, 1]).ravel()
        drawn.append(
            f1_score(label[rows], before[rows], average="weighted")
            - f1_score(label[rows], after[rows], average="weighted")
        )
    reach = np.std(drawn) * student.ppf(0.975, 99)
    assert found["loss"].high - found["loss"].value == pytest.approx(reach, rel=0.12)
    same = people.estimates(statistic, cells | {"b": cells["a"]}, np.ones(200, bool))["loss"]
    assert same.value == 0
    assert 0.01 < same.high == -same.low < 0.06  # no change seen is not: no change at all
