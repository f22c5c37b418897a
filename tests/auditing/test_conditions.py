"""Conditions on an audit: every figure that is offered can be asked for, and says whom it is of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from audited import crowd, predictions

import candid
from candid.auditing.audit import audit_groups
from candid.auditing.conditions import FIGURES, failures, parse
from candid.settings import AuditConfig

QUICK = AuditConfig(draws=200)


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_that_is_named_can_be_asked_for(figure):
    (demand,) = parse([f" {figure} >= 0.25 "])
    assert (demand.figure, demand.comparison, demand.limit) == (figure, ">=", 0.25)


@pytest.mark.parametrize("figure", sorted({*FIGURES} - {"mae"}))
def test_of_classes_all_but_the_mean_error_are_defined_and_compared_both_ways(figure):
    found = audit_groups(crowd(900, {"hat": 0.5}, 0, planted={("hat",): 0.25}), QUICK)
    above, below = (failures(found, parse([f"{figure}{end}"])) for end in (">-9", "<-9"))
    assert len(above) == 1 and f"{figure} is " in above[0] and "undefined" not in above[0]
    assert below == []


def test_a_gap_within_a_label_names_the_label():
    """Half of the women with a hat are taken for men, and nobody else is mistaken for anybody."""
    n = 400
    label, hat = np.arange(n) % 2, np.arange(n) // 2 % 2
    answer = np.where((label == 0) & (hat == 1) & (np.arange(n) % 8 < 4), 1, label)
    found = audit_groups(predictions(label, answer, attributes={"hat": hat}), QUICK)
    (said,) = failures(found, parse(["gap>0.3"]))
    errors = (answer != label)[(label == 0) & (hat == 1)].mean()
    assert f"gap is {errors:.4g} (hat: yes, labelled Female)" in said


def test_findings_that_are_not_listed_count():
    planted = {("hat",): 0.25, ("beard",): 0.4}
    some = crowd(900, {"hat": 0.5, "beard": 0.3}, 0, planted=planted)
    every, few = (audit_groups(some, replace(QUICK, findings=most)) for most in (40, 1))
    n = len(every.splits[0].findings)
    assert n > 1 and len(few.splits[0].findings) == 1
    assert failures(few, parse([f"findings>={n}"])) and not failures(few, parse([f"findings>{n}"]))
    serious = sum(f.finding.severity == "serious" for f in every.splits[0].findings)
    assert serious > 1 and failures(few, parse([f"serious>={serious}"]))
    assert not failures(few, parse([f"serious>{serious}"]))
    before = replace(few, splits=(replace(few.splits[0], severities={}),))  # of an older release
    assert not failures(before, parse(["findings>1"])) and failures(before, parse(["findings>0"]))


@pytest.mark.parametrize("figure", ["findings", "serious", "accuracy"])
def test_what_a_number_has_not_is_not_passed(figure):
    rng = np.random.default_rng(0)
    age, hat = rng.integers(1, 90, 600), np.arange(600) % 2
    said = age + rng.normal(0, np.where(hat, 12, 3))
    found = candid.audit(candid.NumberAnswers.from_arrays(age, said, groups={"hat": hat}))
    assert failures(found, parse(["gap>1"]))
    (told,) = failures(found, parse([f"{figure}>0"]))
    assert "cannot be checked" in told
