"""Figures against labels as they were read and as they were corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from candid.evaluation.performance import evaluate_predictions
from candid.predictions import Predictions, read_predictions, write_predictions
from candid.settings import EvaluateConfig
from candid.text.console import f1_lines

CONFIG = EvaluateConfig(draws=50)


@pytest.fixture
def corrected() -> Predictions:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 300)
    p = np.clip(0.5 + 0.3 * (2 * label - 1) + rng.normal(0, 0.2, 300), 0.01, 0.99)
    split = ["validation"] * 150 + ["test"] * 150
    found = Predictions.from_arrays(label, p, split=split, person=rng.integers(0, 60, 300))
    before = found.label.copy()
    before[200:212] = 1 - before[200:212]
    before[212] = -1  # had no label
    return replace(found, label_as_read=before)


def test_both_are_told_where_some_were_corrected(corrected: Predictions) -> None:
    found = {s.split: s for s in evaluate_predictions(corrected, CONFIG).splits}
    assert found["validation"].metrics_as_read == {} and found["validation"].corrected == 0
    assert found["test"].corrected == 13
    assert corrected.label_as_read is not None
    known = corrected.label_as_read >= 0
    alone = replace(corrected, label=corrected.label_as_read, label_as_read=None)[known]
    wanted = {s.split: s for s in evaluate_predictions(alone, CONFIG).splits}["test"].metrics
    assert found["test"].metrics_as_read == wanted
    after = replace(corrected, label_as_read=None)
    plain = {s.split: s for s in evaluate_predictions(after, CONFIG).splits}["test"]
    assert found["test"].metrics == plain.metrics


def test_a_reader_is_told(corrected: Predictions) -> None:
    found = evaluate_predictions(corrected, CONFIG)
    (note,) = [n for n in found.notes if "corrected" in n]
    assert note.startswith("13 of 150 test labels were corrected. Weighted F1 against the labels")
    lines = list(f1_lines(found))
    assert len(lines) == 3 and lines[2].startswith("  before 13 labels were corrected: ")
    plain = evaluate_predictions(replace(corrected, label_as_read=None), CONFIG)
    assert not [n for n in plain.notes if "corrected" in n] and len(list(f1_lines(plain))) == 2


def test_the_file_holds_both(corrected: Predictions, tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", corrected)
    again = read_predictions(tmp_path / "p.parquet")
    assert again.label_as_read is not None and corrected.label_as_read is not None
    assert (again.label_as_read == corrected.label_as_read).all()
    assert (again.label == corrected.label).all()
    write_predictions(tmp_path / "q.parquet", replace(corrected, label_as_read=None))
    assert read_predictions(tmp_path / "q.parquet").label_as_read is None
