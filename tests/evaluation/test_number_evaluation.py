import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

import candid
from candid.errors import PredictionsError
from candid.evaluation.numbers import choose_tolerance, evaluate_number, range_edges
from candid.predictions import read_predictions
from candid.predictions.numbers import (
    NumberPredictions,
    read_number_predictions,
    write_number_predictions,
)
from candid.records import read_record, write_record
from candid.records.model import NumberCard
from candid.records.number import NumberEvaluation
from candid.settings import EvaluateConfig
from candid.table import Attribute
from candid.text.number import coverage_verdict, range_names

CARD = NumberCard((10.0, 20.0, 50.0), (25.0, 38.0, 50.0), "mean", 0.9, 0.4)
BRIEF = EvaluateConfig(draws=100)


def made(n=400, seed=0, worse=0.0):
    """Ages from 1 to 90; the second group is off by `worse` more, of either sign."""
    rng = np.random.default_rng(seed)
    value = rng.integers(1, 91, n).astype(float)
    group = rng.integers(0, 2, n).astype(np.int16)
    error = rng.normal(0, 4, n)
    predicted = value + error + np.sign(error) * worse * (group == 1)
    return NumberPredictions(
        target="age",
        card=CARD,
        ids=np.array([f"{i}.jpg" for i in range(n)]),
        split=np.where(np.arange(n) < n // 4, "validation", "test"),
        value=value,
        predicted=predicted,
        low=predicted - 7,
        high=predicted + 7,
        person=np.arange(n) // 2,
        attributes={
            "kind": Attribute("kind", "categorical", ("a", "b"), group),
            "value": Attribute("value", "numeric", (), np.where(value > 80, np.nan, value / 3)),
        },
        provenance={"data": "faces"},
    )


def test_a_file_gives_back_what_was_written(tmp_path):
    file, one = tmp_path / "predictions.parquet", made()
    write_number_predictions(file, one)
    two = read_number_predictions(file)
    assert (two.target, two.card, two.provenance) == ("age", CARD, {"data": "faces"})
    for name in ("ids", "split", "value", "predicted", "low", "high", "person"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    for name, a in one.attributes.items():
        b = two.attributes[name]
        assert (a.name, a.kind, a.values) == (b.name, b.kind, b.values)
        assert np.array_equal(a.data, b.data, equal_nan=a.kind == "numeric")
    with pytest.raises(PredictionsError, match="predictions of 'age', which is a number"):
        read_predictions(file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PredictionsError, match="Cannot read"):
        read_number_predictions(file)


def test_figures_of_splits_ranges_and_groups_are_those_of_their_images(tmp_path):
    predictions = made()
    found = evaluate_number(predictions, BRIEF)
    assert [s.split for s in found.splits] == ["validation", "test"]
    assert (found.answer, found.median, found.tolerance) == ("mean", 38, 5)
    test = found.headline
    mine = predictions[predictions.split == "test"]
    off = np.abs(mine.predicted - mine.value)
    assert test.metrics["mae"].value == pytest.approx(off.mean(), rel=1e-5)
    assert test.metrics["mae"].n == test.n == 300 and test.people == 150
    names = [g.value for g in test.ranges]
    assert names == ["up to 9", *(f"{i}0 to {i}9" for i in range(1, 8)), "80 and above"]
    assert sum(g.n for g in test.ranges) == 300
    decade = test.ranges[3]
    inside = (mine.value >= 30) & (mine.value < 40)
    assert decade.metrics["mae"].value == pytest.approx(off[inside].mean(), rel=1e-5)
    assert decade.metrics["coverage"].value == pytest.approx((off[inside] <= 7).mean(), rel=1e-5)
    kind = next(g for g in test.groups if (g.attribute, g.value) == ("kind", "b"))
    inside = mine.attributes["kind"].data == 1
    assert kind.metrics["coverage"].value == pytest.approx((off[inside] <= 7).mean(), rel=1e-5)
    assert [e.id for e in test.furthest] == mine.ids[np.argsort(-off, kind="stable")[:24]].tolist()
    write_record(tmp_path / "evaluation.json", found)
    assert read_record(tmp_path / "evaluation.json", NumberEvaluation) == found
    assert {row["metric"] for row in found.rows()} >= {"mae", "coverage"}


def test_what_intervals_hold_is_said_as_it_is():
    honest = evaluate_number(made(), BRIEF).headline  # 7 / 4 standard deviations: 92%
    assert "agrees with the 90.0%" in coverage_verdict(honest, 0.9)
    assert "hold too few" in coverage_verdict(honest, 0.99)
    assert "wider than they need to be" in coverage_verdict(honest, 0.8)


def test_near_is_five_years_of_ages_and_a_third_of_the_middle_half_of_others():
    assert choose_tolerance((23, 30, 45), EvaluateConfig()) == 5
    assert choose_tolerance((0.2, 0.5, 0.8), EvaluateConfig()) == pytest.approx(0.2)
    assert choose_tolerance((23, 30, 45), EvaluateConfig(tolerance=3)) == 3


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (np.linspace(0, 1, 500), ["below 0.1", "0.1 to 0.2"]),
        (np.arange(1000.0), ["up to 99", "100 to 199"]),
        (np.repeat([3.0, 4.0, 5.0], 50), ["up to 3", "4 and above"]),
        (np.full(10, 7.0), ["all"]),
    ],
)
def test_ranges_begin_at_round_numbers(value, names):
    edges = range_edges(value)
    whole = bool(np.all(value == np.rint(value)))
    assert range_names(edges.tolist(), whole=whole)[: len(names)] == names
    assert len(edges) < 14


def test_no_image_is_an_error():
    with pytest.raises(PredictionsError, match="No image has both"):
        evaluate_number(made()[np.zeros(400, bool)])


def arrays(n=300):
    p = made(n)
    return p.value, p.predicted, {"kind": np.array(["a", "b"])[p.attributes["kind"].data]}


def test_arrays_of_anybody_have_the_figures_of_scikit_learn():
    value, predicted, groups = arrays()
    found = candid.evaluate(
        value, predicted, number=True, groups=groups, person=np.arange(300) // 2
    )
    (split,) = found.splits
    assert (split.split, split.n, split.people) == ("test", 300, 150)
    kind = groups["kind"]
    of_groups = {g.value: g.metrics for g in split.groups}
    for some, metrics in (
        (np.ones(300, bool), split.metrics),
        (kind == "a", of_groups["a"]),
        (kind == "b", of_groups["b"]),
    ):
        truth, said = value[some], predicted[some]
        for name, theirs in (
            ("mae", mean_absolute_error),
            ("rmse", root_mean_squared_error),
            ("r2", r2_score),
        ):
            e = metrics[name]
            assert e.value == pytest.approx(theirs(truth, said), rel=1e-5), name
            assert e.low < e.value < e.high and e.n == some.sum()
        assert metrics["bias"].value == pytest.approx((said - truth).mean(), abs=1e-5)
    # What only a distribution has, or a training set, is not there.
    assert list(split.metrics) == ["mae", "rmse", "r2", "within", "bias"]
    assert np.isnan([found.median, found.coverage]).all() and found.answer == ""
    frame = found.to_frame()
    assert len(frame) == 5 + 4 * (len(split.ranges) + len(split.groups))
    assert "mae" in found._repr_html_() and "<table>" in found._repr_html_()


def test_lists_answers_and_columns_are_one():
    value, predicted, groups = arrays()
    quick = candid.load_config(overrides=["evaluate.draws=50"])
    whole = candid.NumberAnswers.from_arrays(value, predicted, groups=groups)
    found = [
        candid.evaluate(whole, quick),
        candid.evaluate(value.tolist(), list(predicted), quick, number=True, groups=groups),
        candid.evaluate(value[:, None], predicted, quick, number=True, groups=groups),
    ]
    first, *others = (one.splits[0] for one in found)
    for other in others:
        assert (first.metrics, first.groups, first.ranges) == (
            *(other.metrics, other.groups, other.ranges),
        )


def test_with_rows_of_train_there_is_a_blind_guess():
    value, predicted, _ = arrays()
    split = np.where(np.arange(300) < 100, "train", "test")
    found = candid.evaluate(value, predicted, number=True, split=split)
    test = found.splits[-1]
    assert (found.median, test.split) == (np.median(value[:100]), "test")
    blind = np.abs(value[100:] - found.median).mean()
    assert test.metrics["median_mae"].value == pytest.approx(blind, rel=1e-5)


def test_a_file_of_a_number_is_evaluated_as_its_run_is(tmp_path):
    file = tmp_path / "predictions.parquet"
    write_number_predictions(file, made())
    quick = candid.load_config(overrides=["evaluate.draws=50"])
    found = candid.evaluate(file, quick)
    assert found.splits == evaluate_number(made(), quick.evaluate).splits
    assert "coverage" in found.headline.metrics


@pytest.mark.parametrize(
    ("given", "beside", "says"),
    [
        (([1.0, 2.0], [1.0]), {}, "2 labels and 1 predictions"),
        (([1.0, np.nan], [1.0, 2.0]), {}, "1 of 2 labels are not finite"),
        (([1.0, 2.0], None), {}, "no predictions"),
        (([1.0, 2.0], ["x", "y"]), {}, "The predictions are no numbers"),
        (([1.0, 2.0], [1.0, 2.0]), {"classes": ["a", "b"]}, "classes beside them"),
        ((candid.NumberAnswers.from_arrays([1], [2]), [1.0]), {}, "beside them, y_pred"),
        ((candid.NumberAnswers.from_arrays([1], [2]), None), {"person": [1]}, "them, person"),
    ],
)
def test_what_is_no_number_is_refused(given, beside, says):
    with pytest.raises(PredictionsError, match=says):
        candid.evaluate(*given, number=True, **beside)
