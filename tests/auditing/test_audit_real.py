"""The audit of predictions on CelebA's own annotations, held to Fairlearn's figures.

The answers are those of a rule (who wears lipstick is called Female, some at random otherwise), or
those of a model: the predictions.parquet that CANDID_TEST_PREDICTIONS names.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as sk

from candid.auditing.audit import audit_groups
from candid.data.layouts import load_dataset
from candid.predictions import Predictions, read_predictions
from candid.settings import AuditConfig

CONFIG = AuditConfig(draws=50, pairs=False, slices=0, more=False)


def by_a_rule(folder: Path) -> Predictions:
    dataset = load_dataset(folder / "celeba64", target="Male")
    rows = np.flatnonzero(dataset.split == "test")
    lipstick = dataset.attributes["Wearing_Lipstick"].data[rows] == 1
    rng = np.random.default_rng(0)
    score = np.clip(rng.normal(np.where(lipstick, 0.25, 0.75), 0.2), 0.01, 0.99)
    return Predictions(
        target="Male",
        classes=dataset.classes,
        ids=dataset.ids[rows],
        split=dataset.split[rows],
        label=dataset.label[rows],
        probability=np.column_stack([1 - score, score]),
        person=None if dataset.person is None else dataset.person[rows],
        attributes={name: a[rows] for name, a in dataset.attributes.items()},
    )


@pytest.fixture(scope="module")
def p(real_data: Path) -> Predictions:
    named = os.environ.get("CANDID_TEST_PREDICTIONS")
    found = by_a_rule(real_data) if named is None else read_predictions(Path(named))
    return found[found.split == "test"]


def test_every_groups_figures_equal_metric_frame(p: Predictions) -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics")
    split = audit_groups(p, CONFIG).splits[0]
    groups = {
        (g.conditions[0].attribute, g.conditions[0].value): g
        for g in split.groups
        if g.label is None
    }
    metrics = {
        "accuracy": sk.accuracy_score,
        "weighted_f1": lambda y, a: sk.f1_score(y, a, average="weighted", zero_division=0),
        f"error:{p.classes[0]}": lambda y, a: fairlearn.false_positive_rate(y, a, pos_label=1),
        f"error:{p.classes[1]}": lambda y, a: fairlearn.false_negative_rate(y, a, pos_label=1),
        f"predicted:{p.classes[1]}": lambda y, a: fairlearn.selection_rate(y, a, pos_label=1),
    }
    compared = 0
    for name, attribute in p.attributes.items():
        frame = fairlearn.MetricFrame(
            metrics=metrics,
            y_true=p.label,
            y_pred=p.prediction,
            sensitive_features=np.array(attribute.words(), dtype=object),
        )
        for value in frame.by_group.index:
            for metric in metrics:
                ours = groups[name, value].metrics[metric].value
                mine = p.label[attribute.data == attribute.values.index(value)]
                if metric.startswith("error:") and not (mine == p.classes.index(metric[6:])).any():
                    # Fairlearn says 0 of a rate over no image at all; it is undefined.
                    assert math.isnan(ours) and frame.by_group[metric][value] == 0
                    continue
                assert ours == pytest.approx(frame.by_group[metric][value], abs=1e-12)
                compared += 1
    assert len(p.attributes) >= 39 and compared > 370


def test_the_table_has_every_attribute_with_people_and_an_interval(p: Predictions) -> None:
    split = audit_groups(p, CONFIG).splits[0]
    alone = [g for g in split.groups if g.label is None]
    assert {g.conditions[0].attribute for g in alone} == set(p.attributes)
    assert p.person is not None
    for group in alone:
        condition = group.conditions[0]
        attribute = p.attributes[condition.attribute]
        mine = attribute.data == attribute.values.index(condition.value)
        assert (group.n, group.people) == (mine.sum(), len(np.unique(p.person[mine])))
        e = group.metrics["accuracy"]
        assert e.low <= e.value <= e.high
