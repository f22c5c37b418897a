"""The whole evaluation against scikit-learn, by hand-made situations, and round a JSON file."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from candid.errors import PredictionsError
from candid.evaluation.performance import METRICS, evaluate_predictions, simplify_curve
from candid.predictions import Predictions, read_predictions, write_predictions
from candid.records import Evaluation, HistoryRow, frames, read_record, write_record
from candid.settings import EvaluateConfig

CONFIG = EvaluateConfig(draws=100)


def predictions(n=400, classes=("Female", "Male"), *, people=100, temperature=1.5, seed=0):
    """Half validation, half test; people do not stand in both."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(classes), n)
    logits = rng.normal(size=(n, len(classes)))
    logits[np.arange(n), label] += 1.5
    p = np.exp(logits)
    split = np.where(np.arange(n) % 2 == 0, "validation", "test")
    person = None if people is None else 2 * rng.integers(0, people, n) + np.arange(n) % 2
    return Predictions(
        target="Male",
        classes=classes,
        ids=np.array([f"{i:06d}.jpg" for i in rng.permutation(n)]),
        split=split,
        label=label.astype(np.int16),
        probability=p / p.sum(axis=1, keepdims=True),
        temperature=temperature,
        person=person,
    )


@pytest.mark.parametrize("classes", [("Female", "Male"), ("a", "b", "c", "d")])
def test_figures_equal_scikit_learn(classes):
    everyone = predictions(classes=classes)
    evaluation = evaluate_predictions(everyone, CONFIG)
    assert [s.split for s in evaluation.splits] == ["validation", "test"]
    for s in evaluation.splits:
        p = everyone[everyone.split == s.split]
        y, said, q = p.label, p.prediction, p.probability
        two = len(classes) == 2
        before = q**1.5 / (q**1.5).sum(axis=1, keepdims=True)
        commonest = np.bincount(y).argmax()
        hot = np.eye(len(classes))[y]
        expected = {
            "weighted_f1": sk.f1_score(y, said, average="weighted"),
            "accuracy": sk.accuracy_score(y, said),
            "balanced_accuracy": sk.balanced_accuracy_score(y, said),
            "roc_auc": sk.roc_auc_score(y, q[:, 1] if two else q, multi_class="ovr"),
            "average_precision": sk.average_precision_score(
                y if two else hot, q[:, 1] if two else q
            ),
            "log_loss": sk.log_loss(y, q),
            "brier_score": sk.brier_score_loss(y, q[:, 1] if two else q),
            "calibration_error": by_masks(y, q),
            "calibration_error_before": by_masks(y, before),
            "majority_f1": sk.f1_score(y, np.full(len(y), commonest), average="weighted"),
        }
        assert tuple(s.metrics) == tuple(expected) == METRICS
        for name, value in expected.items():
            e = s.metrics[name]
            np.testing.assert_allclose(e.value, value, rtol=1e-12, err_msg=name)
            assert e.low < e.value < e.high, name
            assert (e.n, e.people, e.draws) == (200, len(np.unique(p.person)), 100)
            assert e.method == "bootstrap by person"
        assert (s.n, s.people) == (200, len(np.unique(p.person)))
        np.testing.assert_array_equal(s.confusion, sk.confusion_matrix(y, said))
        check_classes(s, y, said, q)


def test_reliability_bins_add_up_to_the_calibration_error_before_and_after():
    s = evaluate_predictions(predictions(), CONFIG).splits[0]
    for bins, key in (
        (s.reliability, "calibration_error"),
        (s.reliability_before, "calibration_error_before"),
    ):
        gaps = sum(b.n * abs(b.confidence - b.accuracy.value) for b in bins) / s.n
        assert gaps == pytest.approx(s.metrics[key].value)
        assert sum(b.n for b in bins) == s.n
        assert all(b.accuracy.people <= min(b.n, s.people) for b in bins)
    assert s.reliability_before != s.reliability
    never = evaluate_predictions(predictions(temperature=1.0, people=None), CONFIG).splits[0]
    assert never.reliability_before == ()
    assert {b.accuracy.method for b in never.reliability} == {"Wilson"}


def by_masks(y, q, bins=15):
    confidence, correct = q.max(axis=1), q.argmax(axis=1) == y
    which = np.ceil(confidence * bins)
    return sum(
        abs(confidence[which == b].mean() - correct[which == b].mean()) * (which == b).mean()
        for b in np.unique(which)
    )


def check_classes(s, y, said, q):
    for k, c in enumerate(s.classes):
        mine = y == k
        expected = {
            "precision": sk.precision_score(mine, said == k),
            "recall": sk.recall_score(mine, said == k),
            "f1": sk.f1_score(mine, said == k),
            "roc_auc": sk.roc_auc_score(mine, q[:, k]),
            "average_precision": sk.average_precision_score(mine, q[:, k]),
        }
        behind = [(said == k).sum(), mine.sum(), (mine | (said == k)).sum(), len(y), len(y)]
        assert c.support == mine.sum()
        for (name, value), n in zip(expected.items(), behind, strict=True):
            e = getattr(c, name)
            np.testing.assert_allclose(e.value, value, rtol=1e-12)
            assert e.low < e.value < e.high and e.n == n


def test_same_after_a_round_trip(tmp_path):
    p = predictions()
    write_predictions(tmp_path / "predictions.parquet", p)
    evaluation = evaluate_predictions(read_predictions(tmp_path / "predictions.parquet"), CONFIG)
    assert evaluation == evaluate_predictions(p, CONFIG)
    write_record(tmp_path / "evaluation.json", evaluation)
    assert read_record(tmp_path / "evaluation.json", Evaluation) == evaluation


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_as_a_frame_of_what_is_installed(library, monkeypatch):
    pytest.importorskip(library)
    monkeypatch.setattr(frames, "find_spec", lambda name: name == library or None)
    e = evaluate_predictions(predictions(), EvaluateConfig(draws=50))
    frame = e.to_frame()
    assert type(frame).__module__.split(".")[0] == library
    rows = {"pandas": lambda: frame.to_dict("records"), "polars": lambda: frame.to_dicts()}.get(
        library, lambda: frame.to_pylist()
    )()
    assert len(frame) == len(rows) == len(e.splits) * (len(METRICS) + 2 * 5)
    first = e.splits[0]
    of_class = [r for r in rows if r["split"] == first.split and r["class"] == "Male"]
    assert [r["value"] for r in of_class if r["metric"] == "recall"] == [
        first.classes[1].recall.value
    ]


def test_as_a_table_in_a_notebook():
    e = evaluate_predictions(predictions(classes=("<a>", "b")), EvaluateConfig(draws=50))
    html, accuracy = e._repr_html_(), e.splits[0].metrics["accuracy"]
    assert "&lt;a&gt;" in html and "<a>" not in html
    assert f"<td>{accuracy.low:.4g} to {accuracy.high:.4g}</td><td>{accuracy.n}</td>" in html
    assert html.count("<tr>") == 1 + len(e.splits) * len(METRICS)
    silent = dataclasses.replace(accuracy, value=math.nan, low=math.nan, high=math.nan)
    split = dataclasses.replace(e.splits[0], metrics={"accuracy": silent})
    assert "nan" not in dataclasses.replace(e, splits=(split,))._repr_html_()


def test_unlabelled_images_do_not_count():
    p = predictions()
    label = p.label.copy()
    label[:50] = -1
    partial = dataclasses.replace(p, label=label)
    a, b = (
        evaluate_predictions(partial, CONFIG),
        evaluate_predictions(p[np.arange(50, 400)], CONFIG),
    )
    assert a.splits == b.splits and a.splits[0].n == 175
    assert any("50 of 400 images have no label" in note for note in a.notes)
    assert not any("no label" in note for note in b.notes)


def test_a_split_without_predictions_is_left_out():
    p = predictions()
    evaluation = evaluate_predictions(p[p.split == "test"], CONFIG)
    assert [s.split for s in evaluation.splits] == ["test"]
    assert any("predictions in: validation" in note for note in evaluation.notes)


def test_notes_on_what_was_chosen_on_validation():
    history = [HistoryRow(i, i, i, 1e-3, 0.5, 0.5, 0.5, 0.9, 0.9) for i in range(1, 21)]

    def notes(p, history):
        return " ".join(evaluate_predictions(p, CONFIG, history=history).notes)

    assert "temperature (1.5) was fitted on validation" in notes(predictions(), ())
    assert "temperature" not in notes(predictions(temperature=1.0), ())
    assert "best evaluation" in notes(predictions(), history)
    assert "best evaluation" not in notes(predictions(), ())
    last = dataclasses.replace(predictions(), provenance={"kept": "last"})
    assert "best evaluation" not in notes(last, history)
    assert "Nobody knows who" in notes(predictions(people=None), ())
    assert "Nobody knows who" not in notes(predictions(), ())
    known = predictions()
    some = np.where(np.arange(len(known)) % 5 == 0, -1, known.person)
    unknown = np.count_nonzero((some < 0) & (known.split == "test") & (known.label >= 0))
    assert f"Nobody knows who is in {unknown:,} of " in notes(
        dataclasses.replace(known, person=some), ()
    )
    assert (
        evaluate_predictions(predictions(), CONFIG, history=history).convergence.code == "settled"
    )
    assert evaluate_predictions(predictions(), CONFIG).convergence is None


def test_without_identities():
    s = evaluate_predictions(predictions(people=None), CONFIG).splits[0]
    assert s.people is None and s.metrics["accuracy"].method == "bootstrap by image"


def test_a_class_without_images():
    p = predictions(classes=("a", "b", "c"))
    evaluation = evaluate_predictions(p[(p.label != 2) | (p.split != "test")], CONFIG)
    test = evaluation.splits[1]
    c = test.classes[2]
    assert c.support == 0 and math.isnan(c.recall.value) and math.isnan(c.roc_auc.value)
    assert c.precision.value == 0.0 and c.recall.undefined_draws == 100
    assert math.isnan(test.metrics["roc_auc"].value)
    assert not math.isnan(test.metrics["weighted_f1"].low)
    assert any("No image in test is labelled c" in note for note in evaluation.notes)
    assert not any("left a figure undefined" in note for note in evaluation.notes)  # no interval
    assert [curve.name for curve in test.precision_recall] == ["a", "b"]


def test_one_image_and_perfect_predictions():
    p = predictions()
    one = evaluate_predictions(p[np.array([0])], CONFIG).splits[0]
    assert one.n == 1 and (one.metrics["accuracy"].low, one.metrics["accuracy"].high) == (0, 1)
    perfect = dataclasses.replace(p, probability=np.eye(2)[p.label])
    s = evaluate_predictions(perfect, CONFIG).splits[0]
    assert s.metrics["weighted_f1"].value == 1.0 and 0.9 < s.metrics["weighted_f1"].low < 1
    assert s.surest_mistakes == ()


def test_surest_mistakes_and_least_sure():
    p = predictions()
    s = evaluate_predictions(p, EvaluateConfig(draws=50, examples=5)).splits[0]
    rows = [i for i in range(400) if p.split[i] == "validation"]
    top = {str(p.ids[i]): p.probability[i].max() for i in rows}
    row = {str(p.ids[i]): i for i in rows}
    wrong = [name for name, i in row.items() if p.prediction[i] != p.label[i]]
    assert [e.id for e in s.surest_mistakes] == sorted(wrong, key=lambda x: -top[x])[:5]
    assert [e.id for e in s.least_sure] == sorted(top, key=top.__getitem__)[:5]
    for e in s.surest_mistakes:
        i = row[e.id]
        assert e.label == p.classes[p.label[i]] and e.prediction == p.classes[p.prediction[i]]
        assert e.label != e.prediction and e.confidence > 0.5 > e.label_probability
        assert e.label_probability == p.probability[i, p.label[i]]


def test_order_of_images_does_not_matter():
    p = predictions(people=None)
    order = np.random.default_rng(1).permutation(len(p))
    a, b = (
        evaluate_predictions(p, CONFIG).splits[0],
        evaluate_predictions(p[order], CONFIG).splits[0],
    )
    assert a.confusion == b.confusion and a.surest_mistakes == b.surest_mistakes
    assert a.roc == b.roc and a.reliability[0].n == b.reliability[0].n
    for name in METRICS:
        assert a.metrics[name].value == pytest.approx(b.metrics[name].value, rel=1e-12)


@pytest.mark.parametrize("classes", [("Female", "Male"), ("a", "b", "c")])
def test_curves_are_scikit_learns_thinned(classes):
    p = predictions(2000, classes)
    s = evaluate_predictions(p, CONFIG).splits[0]
    p = p[p.split == "validation"]
    assert [c.name for c in s.roc] == list(classes[1:] if len(classes) == 2 else classes)
    for c in s.roc:
        k = classes.index(c.name)
        false, true, _ = sk.roc_curve(p.label == k, p.probability[:, k])
        assert len(c.x) <= 200 and (c.x[0], c.y[0]) == (0, 0) and (c.x[-1], c.y[-1]) == (1, 1)
        np.testing.assert_allclose(sk.auc(c.x, c.y), sk.auc(false, true), atol=1e-3)
        false, true, _ = sk.roc_curve(p.label == k, p.probability[:, k], drop_intermediate=False)
        assert set(zip(c.x, c.y, strict=True)) <= set(zip(false, true, strict=True))
    for k, c in enumerate(s.precision_recall):
        assert c.name == classes[k] and len(c.x) <= 200
        precision, recall, _ = sk.precision_recall_curve(p.label == k, p.probability[:, k])
        points = set(zip(recall.round(12), precision.round(12), strict=True))
        assert {(round(x, 12), round(y, 12)) for x, y in zip(c.x, c.y, strict=True)} <= points
        assert list(c.x) == sorted(c.x) and c.x[-1] == 1
        # Without the point (0, 1) that scikit-learn adds, which no threshold reaches.
        full = sk.auc(recall[-2::-1], precision[-2::-1])
        assert sk.auc(c.x, c.y) == pytest.approx(full, abs=1e-3)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(2, 60))
def test_thinning_keeps_ends_and_stays_close(seed, n, most):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.random(n)), np.sort(rng.random(n))
    kept = simplify_curve(x, y, most)
    assert kept[0] == 0 and kept[-1] == n - 1 and len(kept) <= max(most, 2)
    assert (np.diff(kept) > 0).all()
    everything = simplify_curve(x, y, n + 1)
    np.testing.assert_allclose(np.interp(x, x[everything], y[everything]), y, atol=1e-9)


def test_thinning_a_straight_line_leaves_its_ends():
    x = np.linspace(0, 1, 1000)
    assert simplify_curve(x, 2 * x, 200).tolist() == [0, 999]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: {"probability": p.probability * 2},
        lambda p: {"probability": np.where(np.arange(400)[:, None] == 3, np.nan, p.probability)},
        lambda p: {"probability": p.probability[:, :1]},
        lambda p: {"label": p.label + 1},
        lambda p: {"label": np.full_like(p.label, -1)},
        lambda p: {"split": np.full(400, "holdout")},
        lambda p: {"classes": ("Male",), "probability": np.ones((400, 1))},
    ],
)
def test_impossible_predictions(change):
    p = predictions()
    with pytest.raises(PredictionsError) as caught:
        evaluate_predictions(dataclasses.replace(p, **change(p)), CONFIG)
    assert caught.value.what and caught.value.expected and caught.value.todo


def test_twenty_thousand_images_in_seconds():
    """Processor time, not wall time, as other programs may run beside; the promise is 10 s."""
    p = predictions(40_000, people=6000)
    start = time.process_time()
    evaluate_predictions(p, EvaluateConfig(draws=250))
    assert time.process_time() - start < 10 / 4 + 1
