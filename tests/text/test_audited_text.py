"""What the page of an audit says first, from values."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from auditing.audited import crowd, predictions, undefined
from candid.auditing.audit import audit_groups
from candid.evaluation.performance import evaluate_predictions
from candid.pipeline.provenance import collect_provenance
from candid.predictions import Predictions
from candid.records import Estimate
from candid.settings import AuditConfig, Config, EvaluateConfig
from candid.text.audited import (
    audit_answers,
    audit_facts,
    audit_unchecked,
    audit_verdict,
    performance_notes,
    subject,
)
from candid.text.inputs import AuditedSource, AuditInput
from candid.text.verdict import UNKNOWN_ACCURACY

QUICK = AuditConfig(draws=60, slices=0, more=False)


def inputs(p: Predictions, **source: object) -> AuditInput:
    about = collect_provenance(seed=0, data="t.csv", data_fingerprint="")
    given = {"kind": "file", "name": "t.csv", "n": len(p), **source}
    audit = audit_groups(p, QUICK)
    return AuditInput(audit, about, AuditedSource(**given), Config(), has_degrees=not p.hard)


def planted() -> Predictions:
    return crowd(300, {"hat": 0.3}, 0, planted={("hat",): 0.4})


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.03, "; surer than it is right."),
        (-0.03, -0.01, "; less sure than it is right."),
        (-0.01, 0.01, "; about as sure as it is right."),
        (math.nan, math.nan, " for some people."),
    ],
)
def test_the_verdict_ends_in_how_sure_it_is(low: float, high: float, said: str) -> None:
    split = inputs(planted()).audit.splits[0]
    excess = Estimate((low + high) / 2, low, high, 100, "made up")
    told = audit_verdict(
        dataclasses.replace(split, metrics={**split.metrics, "overconfidence": excess})
    )
    assert told.startswith("Right in ") and told.endswith(said)
    assert "surely wrong more often for some people" in told


def test_an_accuracy_that_is_undefined_is_said_to_be() -> None:
    split = inputs(planted()).audit.splits[0]
    metrics = {**split.metrics, "accuracy": undefined()}
    assert audit_verdict(dataclasses.replace(split, metrics=metrics)) == UNKNOWN_ACCURACY


def test_each_answer_has_its_figure_with_n_and_leads_to_its_section() -> None:
    p = planted()
    given = inputs(p)
    evaluation = evaluate_predictions(p, EvaluateConfig(draws=60))
    good, whom, sure, unseen = audit_answers(given, evaluation)
    sections = [one.section for one in (good, whom, sure, unseen)]
    assert sections == ["performance", "audit", "every-metric", "unchecked"]
    for one in (good, sure):
        assert one.figure and f"{len(p):,} images of 300 people" in one.interval
    assert unseen.notes == ("What it looks at, what it learned from, other data, the annotators.",)
    # Of sums there is no calibration error: then it is how far confidence exceeds accuracy.
    of_sums = dataclasses.replace(evaluation, splits=())
    _, _, sure, _ = audit_answers(given, of_sums)
    assert "points surer than it is right" in sure.unit
    silent = dataclasses.replace(given, has_degrees=False)
    _, _, sure, unseen = audit_answers(silent, evaluation)
    assert (sure.section, sure.figure) == ("unchecked", "")
    assert unseen.notes[0].startswith("How sure it is, ")


def test_what_the_rows_do_not_tell_comes_first() -> None:
    p = predictions([0, 1] * 20, [0, 1] * 15 + [1, 0] * 5)
    named = {"columns": {"label": ("gender",)}}
    told = {u.title: u.reason for u in audit_unchecked(inputs(p, **named))}
    assert [*told][:2] == ["Who is in the pictures", "Groups"]
    assert told["Groups"].endswith("--group names a column that does.")
    told = {u.title: u.reason for u in audit_unchecked(inputs(p, kind="memory", name=""))}
    assert "--" not in told["Groups"] + told["Who is in the pictures"]
    asked = inputs(p, kind="pictures", model="a:b", asked=50)
    assert audit_unchecked(asked)[0].reason.startswith("10 of 50 images have none.")
    assert "as “a:b” answers" in subject(asked)
    facts = {f.title: f.text for f in audit_facts(asked)}
    assert facts["Model that was asked"] == "a:b" and facts["Rows with an answer"] == "40"


def test_that_a_table_has_no_validation_is_no_note() -> None:
    p = planted()
    evaluation = evaluate_predictions(p, EvaluateConfig(draws=60))
    assert "No labelled images with predictions in: validation." in evaluation.notes
    assert performance_notes(evaluation) == []
    alone = dataclasses.replace(p, person=None, split=np.full(len(p), "validation"))
    (note,) = performance_notes(evaluate_predictions(alone, EvaluateConfig(draws=60)))
    assert note.startswith("Nobody knows who is in the pictures of validation")
