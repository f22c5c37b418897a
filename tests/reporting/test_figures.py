from __future__ import annotations

import dataclasses
import math
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candid.records import HistoryRow
from candid.reporting.figures import chart, confusions, data, performance, training

values = st.lists(st.floats(-5, 5) | st.just(math.nan), min_size=1, max_size=40)


@given(values, st.integers(1, 12))
def test_moving_mean_is_the_mean_of_the_window(ys: list[float], window: int) -> None:
    got = training._moving_mean(np.array(ys), window)
    for i in range(len(ys)):
        near = ys[max(0, i - (window - 1) // 2) : i + window // 2 + 1]
        known = [y for y in near if not math.isnan(y)]
        want = sum(known) / len(known) if known else math.nan
        assert got[i] == pytest.approx(want, abs=1e-9, nan_ok=True)


@given(st.integers(1, 5000))
def test_thinning_keeps_the_ends_and_the_pairs(n: int) -> None:
    xs, ys = training._thin(np.arange(float(n)), np.arange(float(n)) * 2)
    assert xs[0] == 0 and xs[-1] == n - 1 and len(xs) <= training._MOST_POINTS
    assert (ys == 2 * xs).all() and (np.diff(xs) > 0).all()


def rows(figure: chart.Figure) -> list[dict[str, object]]:
    """The rows that a figure draws, whichever layer they lie in."""
    return max(figure.spec["datasets"].values(), key=len)


def every(inputs) -> list[chart.Figure]:  # type: ignore[no-untyped-def]
    """The charts of the page, each part of them held to Vega-Lite's schema."""
    from candid.reporting.page import _figures

    return [figure for figure in _figures(inputs) if figure is not None]


def test_the_page_s_charts_are_the_same_unchecked(plain) -> None:  # type: ignore[no-untyped-def]
    from candid.reporting.page import _charts

    assert list(_charts(plain).values()) == every(plain)


def test_the_confusion_matrix_draws_the_counts(plain) -> None:  # type: ignore[no-untyped-def]
    split = plain.split("test")
    figure = confusions.confusion(split)
    names = [c.name for c in split.classes]
    drawn = {(r["label"], r["prediction"]): r["count"] for r in rows(figure)}
    assert drawn == {
        (a, b): split.confusion[i][j] for i, a in enumerate(names) for j, b in enumerate(names)
    }
    off = split.n - sum(split.confusion[i][i] for i in range(len(names)))
    assert f"{off:,} of {split.n:,} images off the diagonal" in figure.caption


def test_of_a_hundred_classes_the_most_confused_pairs_are_drawn(plain) -> None:  # type: ignore[no-untyped-def]
    split, many = plain.split("test"), 100
    counts = np.zeros((many, many), int) + 50 * np.eye(many, dtype=int)
    counts[7, 8], counts[30, 2] = 21, 9
    counts[np.arange(25) + 40, np.arange(25) + 60] = np.arange(1, 26) % 5 + 1
    classes = tuple(dataclasses.replace(split.classes[0], name=f"class {i}") for i in range(many))
    confusion = tuple(tuple(map(int, row)) for row in counts)
    figure = confusions.confusion(
        dataclasses.replace(split, classes=classes, confusion=confusion, n=int(counts.sum()))
    )
    drawn = [(r["label"], r["prediction"], r["count"]) for r in rows(figure)]
    assert drawn[:2] == [("class 7", "class 8", 21), ("class 30", "class 2", 9)]
    off = int(counts.sum() - counts.trace())
    assert len(drawn) == 20 and "20 most frequent of 27 pairs" in figure.caption
    assert f"{off} of 5,105 images off the diagonal" in figure.caption
    assert "Most often labelled class 7, predicted class 8: 21;" in figure.alt
    assert len(figure.svg) < 60_000  # a matrix would be 10,000 cells
    assert len({r["pair"] for r in rows(figure)}) == 20


def test_curves_draw_the_points_of_the_records(plain) -> None:  # type: ignore[no-untyped-def]
    split = plain.split("validation")
    drawn = [[r["x"], r["y"]] for r in rows(performance.roc(split))]
    last = split.roc[-1]
    assert np.array(drawn) == pytest.approx(np.column_stack([last.x, last.y]), rel=1e-4)
    assert f"{split.classes[1].roc_auc.value:.3f}" in performance.roc(split).caption


def test_words_of_charts_tell_figures_with_their_intervals(plain) -> None:  # type: ignore[no-untyped-def]
    said = performance.scores(plain.evaluation.splits).alt
    for split in plain.evaluation.splits:
        e = split.metrics["accuracy"]
        assert f"Accuracy {e.value:.3f} ({e.low:.3f} to {e.high:.3f})" in said
        assert f"n = {split.n:,}" in said
    said = data.balance(plain.exploration).alt
    for split in plain.exploration.splits:
        for name, e in zip(plain.classes, split.shares, strict=True):
            value, low, high = (f"{100 * x:.1f}" for x in (e.value, e.low, e.high))
            assert f"{value}% ({low} to {high}) labelled {name}" in said


def test_scores_never_cut_an_interval(plain) -> None:  # type: ignore[no-untyped-def]
    figure = performance.scores(plain.evaluation.splits)
    floor = figure.spec["layer"][0]["encoding"]["x"]["scale"]["domain"][0]
    assert floor <= min(r["low"] for r in rows(figure))


def test_a_bin_without_images_is_not_drawn(plain) -> None:  # type: ignore[no-untyped-def]
    split = plain.split("test")
    bins = (*split.reliability_before, *split.reliability)
    assert len(rows(performance.reliability(split))) == sum(b.n > 0 for b in bins)
    assert any(b.n == 0 for b in split.reliability)


def test_reliability_is_drawn_before_and_after_the_temperature(plain) -> None:  # type: ignore[no-untyped-def]
    split = plain.split("test")
    figure = performance.reliability(split)
    for when, bins in (
        ("before the temperature", split.reliability_before),
        ("after it", split.reliability),
    ):
        drawn = [[r["confidence"], r["value"]] for r in rows(figure) if r["when"] == when]
        want = [[b.confidence, b.accuracy.value] for b in bins if b.n]
        assert np.array(drawn) == pytest.approx(np.array(want), rel=1e-4)
    marks = [layer["mark"]["type"] for layer in figure.spec["layer"]]
    assert marks.count("point") == 1 and [(k.number, k.is_open) for k in figure.key] == [
        (0, True),
        (1, False),
    ]
    assert "before the temperature was fitted" in figure.caption
    never = performance.reliability(dataclasses.replace(split, reliability_before=()))
    assert "temperature" not in never.caption and never.key == ()
    assert "point" not in [layer["mark"]["type"] for layer in never.spec["layer"]]


def test_the_words_of_a_reliability_diagram_have_the_intervals_of_its_bins(plain) -> None:  # type: ignore[no-untyped-def]
    split = plain.split("test")
    said = performance.reliability(split).alt
    full = [b for b in split.reliability if b.n and math.isfinite(b.accuracy.value)]
    assert full and said.count(" came true (") == len(full)
    for b in full:
        assert b.accuracy.low - 1e-12 <= b.accuracy.value <= b.accuracy.high + 1e-12
        assert f"confidence {b.confidence:.2f}: " in said and f"; n = {b.n:,})" in said
    b = max(full, key=lambda b: b.n)
    digits = max(0, min(2, 1 - math.floor(math.log10((b.accuracy.high - b.accuracy.low) / 2))))
    value, low, high = (
        f"{x:.{digits}f}" for x in (b.accuracy.value, b.accuracy.low, b.accuracy.high)
    )
    assert f"{value} came true ({low} to {high}; n = {b.n:,})" in said


def test_reliability_diagrams_beside_each_other_share_their_axes(plain) -> None:  # type: ignore[no-untyped-def]
    splits = plain.evaluation.splits
    starts = []
    for split in splits:
        figure = performance.reliability(split, splits)
        domains = [layer["encoding"]["y"]["scale"]["domain"] for layer in figure.spec["layer"]]
        assert len({tuple(d) for d in domains}) == 1
        starts.append(domains[0][0])
        assert starts[-1] <= min(min(r["value"], r["confidence"]) for r in rows(figure))
    assert starts[0] == starts[1] > 0


def test_the_training_curve_has_each_batch_and_each_measurement(plain) -> None:  # type: ignore[no-untyped-def]
    drawn = rows(training.loss_curve(plain.history))
    measured = [h for h in plain.history if math.isfinite(h.validation_loss)]
    got = [[r["step"], r["value"]] for r in drawn if r["line"] == "validation"]
    want = np.array([[h.step, h.validation_loss] for h in measured])
    assert np.array(got) == pytest.approx(want, rel=1e-4)
    assert sum(r["line"] == "smoothed" for r in drawn) == training._MOST_POINTS < len(plain.history)


def test_one_batch_without_validation_still_draws() -> None:
    figure = training.loss_curve([HistoryRow(1, 8, 0.1, 1e-3, 0.7, math.nan)])
    assert figure is not None and "No validation" in figure.alt
    assert training.f1_curve([HistoryRow(1, 8, 0.1, 1e-3, 0.7, math.nan)]) is None


def test_what_a_training_curve_shows_is_counted_in_words() -> None:
    measured = [HistoryRow(s, 8, 0.1, 1e-3, 0.7, 0.5, 0.6) for s in range(1, 121)]
    few, many = training.loss_curve(measured[:1], 9), training.loss_curve(measured, 9)
    assert (
        "n = 1 batch. Line: the same. Dots: the whole validation set (n = 9), measured 1 time,"
        in few.caption
    )
    assert "n = 120 batches. Line: their moving mean over 3 batches." in many.caption


def test_what_is_not_there_is_not_drawn(plain) -> None:  # type: ignore[no-untyped-def]
    empty = dataclasses.replace(
        plain.split("test"), roc=(), precision_recall=(), reliability=(), confusion=(), classes=()
    )
    for kind in (
        performance.roc,
        performance.precision_recall,
        performance.reliability,
        confusions.confusion,
    ):
        assert kind(empty) is None
    assert performance.scores([]) is None
    assert data.histograms("light", "Light", (), "luma") is None
    bare = dataclasses.replace(plain.exploration, splits=(), attributes=())
    assert data.balance(bare) is None and data.attributes(bare, "train") is None


def test_attributes_whose_names_begin_alike_stay_apart(plain) -> None:  # type: ignore[no-untyped-def]
    first, second = plain.exploration.attributes[:2]
    long = "an attribute with a very long name, number "
    alike = tuple(
        dataclasses.replace(a, attribute=long + n, split="train")
        for a, n in ((first, "one"), (second, "two"))
    )
    figure = data.attributes(dataclasses.replace(plain.exploration, attributes=alike), "train")
    assert len({r["attribute"] for r in rows(figure)}) == 2


def test_every_drawing_is_well_formed_and_names_no_other_place(hostile) -> None:  # type: ignore[no-untyped-def]
    for figure in every(hostile):
        root = ElementTree.fromstring(figure.svg)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert not tags & {"script", "foreignObject", "image", "a", "use"}, figure.name
        assert root.get("width") in {str(chart.WIDE), str(chart.NARROW)}, figure.name
        assert figure.alt and figure.caption and figure.title
        assert "$schema" not in figure.spec and figure.spec["width"] == "container"


def test_ids_within_drawings_do_not_meet(plain) -> None:  # type: ignore[no-untyped-def]
    seen: set[str] = set()
    for figure in every(plain):
        ids = {e.get("id") for e in ElementTree.fromstring(figure.svg).iter() if e.get("id")}
        assert not ids & seen
        seen |= ids


def test_more_classes_than_colours_are_told_apart_by_dashes() -> None:
    key = chart.colour_key([str(i) for i in range(12)])
    assert len({(k.number, k.dashed) for k in key}) == 12
