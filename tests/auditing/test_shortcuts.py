"""Cues that agree with the label or contradict it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from auditing.audited import predictions
from candid.auditing.audit import audit_groups
from candid.settings import AuditConfig

QUICK = AuditConfig(pairs=False, slices=0, more=False, draws=100)


def people(n, seed, *, leaning, hard=0.0, goes=0.8):
    """Lipstick on most of those labelled Female; a model that partly looks at it.

    `leaning` is the share of pictures in which the cue decides, `hard` the mistakes on Male.
    """
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    cue = np.where(rng.random(n) < goes, 1 - label, label)
    answer = np.where(rng.random(n) < leaning, 1 - cue, label)
    answer = np.where((label == 1) & (rng.random(n) < hard), 0, answer)
    return label, answer, cue


def test_a_model_that_leans_on_the_cue():
    label, answer, cue = people(2500, 0, leaning=0.2)
    p = predictions(label, answer, attributes={"Lipstick": cue, "other": cue * 0 + label})
    s = audit_groups(p, QUICK).splits[0]
    shortcut = next(x for x in s.shortcuts if x.attribute == "Lipstick")
    assert shortcut.cue == {"no": "Male", "yes": "Female"}
    assert shortcut.agrees.value == 1.0
    against = (cue == 1) == (label == 1)
    assert shortcut.contradicts.value == pytest.approx((answer == label)[against].mean())
    assert shortcut.contradicts.n == against.sum()
    assert shortcut.association.value == pytest.approx(abs(np.corrcoef(label, cue)[0, 1]), abs=1e-9)
    assert shortcut.within == ("Female", "Male")
    errors = [(answer != label)[against & (label == k)].mean() for k in (0, 1)]
    expected = np.average(errors, weights=np.bincount(label))
    assert shortcut.gap.value == pytest.approx(expected)
    assert shortcut.gap.low < 0.2 < shortcut.gap.high and shortcut.gap.state == "found"
    found = next(f for f in s.findings if f.kind == "shortcut")
    assert found.finding.code == "SHORTCUT" and "Lipstick" in found.finding.title
    assert all(m.label != m.prediction for m in found.mistakes)
    # What is the label itself contradicts nowhere.
    assert [x.attribute for x in s.shortcuts] == ["Lipstick"]


def test_a_class_that_is_hard_for_another_reason_is_no_shortcut():
    """Most pictures that contradict are of the hard class; within classes nothing differs."""
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 3000)
    cue = np.where(label == 0, rng.random(3000) < 0.97, rng.random(3000) < 0.4).astype(int)
    answer = np.where((label == 1) & (rng.random(3000) < 0.25), 0, label)
    s = audit_groups(predictions(label, answer, attributes={"cue": cue}), QUICK).splits[0]
    assert s.shortcuts[0].contradicts.value < s.shortcuts[0].agrees.value - 0.1
    assert s.shortcuts[0].gap.state == "not found"
    assert abs(s.shortcuts[0].gap.value) < 0.06
    assert not [f for f in s.findings if f.kind == "shortcut"]


def test_classes_with_too_few_contradictions_do_not_count():
    label, answer, cue = people(1200, 2, leaning=0.3)
    cue = np.where((label == 1) & (cue == 1), 0, cue)
    cue[np.flatnonzero(label == 1)[:3]] = 1  # three pictures labelled Male bear the cue
    s = audit_groups(predictions(label, answer, attributes={"cue": cue}), QUICK).splits[0]
    assert s.shortcuts[0].within == ("Female",)
    errors = answer != label
    expected = errors[(label == 0) & (cue == 0)].mean() - errors[(label == 0) & (cue == 1)].mean()
    assert s.shortcuts[0].gap.value == pytest.approx(expected)


def test_no_association_no_cue():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 400)
    p = predictions(label, label, attributes={"a": rng.integers(0, 2, 400)})
    assert audit_groups(p, QUICK).splits[0].shortcuts == ()


def test_three_classes_and_a_cue_with_three_values():
    rng = np.random.default_rng(4)
    label = rng.integers(0, 3, 1500)
    cue = np.where(rng.random(1500) < 0.7, label, rng.integers(0, 3, 1500))
    answer = np.where(rng.random(1500) < 0.3, cue, label)
    p = predictions(
        label, answer, classes=("a", "b", "c"), attributes={"cue": (("x", "y", "z"), cue)}
    )
    shortcut = audit_groups(p, QUICK).splits[0].shortcuts[0]
    assert shortcut.cue == {"x": "a", "y": "b", "z": "c"}
    assert shortcut.agrees.value == 1 and shortcut.gap.state == "found"
    assert not math.isnan(shortcut.gap.p)


def test_numbers_of_which_none_is_known_are_no_cue():
    label, answer, cue = people(600, 0, leaning=0.2)
    nothing = np.full(600, np.nan)
    alone = audit_groups(predictions(label, answer, attributes={"age": nothing}), QUICK).splits[0]
    assert not alone.shortcuts and not alone.groups
    both = predictions(label, answer, attributes={"age": nothing, "Lipstick": cue})
    only = predictions(label, answer, attributes={"Lipstick": cue})
    found, expected = (audit_groups(p, QUICK).splits[0].shortcuts for p in (both, only))
    assert found == expected
