"""Stories in sentences, and the table of groups of the terminal."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from auditing.audited import crowd
from candid.auditing.audit import audit_groups
from candid.records.audit import Condition, SplitAudit
from candid.records.stories import Story
from candid.settings import AuditConfig
from candid.text.console import audit_lines
from candid.text.group_table import group_table, worst_groups
from candid.text.stories import (
    errors_by_label,
    label_aliases,
    other_names,
    stories_of,
    story_figures,
    story_sentence,
    telling_finding,
)

SHARES = {"hat": 0.15, "glasses": 0.3, "young": 0.7}


@pytest.fixture(scope="module")
def audited():
    p = crowd(700, SHARES, 1, planted={("hat",): 0.3})
    return audit_groups(p, AuditConfig(draws=60, more=False, slices=0))


@pytest.fixture(scope="module")
def split(audited) -> SplitAudit:
    return audited.splits[0]


def worded(split, mine, others, **changes):
    """The sentence of the first story with other shares."""
    story = split.stories[0]
    place = story.findings[0]
    told = replace(split.findings[place], errors=(mine, others), **changes)
    found = (*split.findings[:place], told, *split.findings[place + 1 :])
    return story_sentence(replace(split, findings=found), story)


def test_a_story_says_for_whom_and_how_often(split):
    hat = (Condition("hat", "yes"),)
    among = {"conditions": hat, "label": "c0", "kind": "group"}
    assert (
        worded(split, 0.117, 0.012, **among)
        == "Of those labelled c0 with hat: yes, 12 in 100 are taken for c1, of the others labelled "
        "c0, 1."
    )
    assert (
        worded(split, 0.117, 0.012, conditions=hat, label=None, kind="group")
        == "Of the pictures with hat: yes, 12 in 100 are classified otherwise than labelled, of "
        "the others, 1."
    )
    cue = {"conditions": hat, "label": None, "kind": "shortcut"}
    assert "whose hat contradicts the label, 12 in 100" in worded(split, 0.117, 0.012, **cue)


def test_figures_that_would_look_alike_get_a_decimal(split):
    assert "3.8 in 100" in worded(split, 0.038, 0.035) and "others" in worded(split, 0.038, 0.035)
    assert worded(split, 0.11, 0.002).endswith("fewer than 1.")
    assert worded(split, 0.11, 0.0).endswith(" 0.")


def test_of_more_than_two_classes_nobody_is_taken_for_one_of_them(split):
    more = dict(split.metrics) | {"error:c2": split.metrics["error:c0"]}
    three = replace(split, metrics=more)
    assert "taken for" not in story_sentence(three, split.stories[0])


def test_the_figures_are_those_of_the_gap(split):
    gap = telling_finding(split, split.stories[0]).gap
    said = story_figures(split, split.stories[0])
    assert said.startswith(f"{100 * abs(gap.value):.1f} more in 100 (95% interval ")
    assert f"{gap.n:,} images of {gap.people:,} people" in said


def test_an_audit_from_before_tells_each_attribute_once(split):
    first = split.findings[0]
    gone = replace(first, errors=(math.nan, math.nan))
    both = replace(gone, conditions=(*first.conditions, Condition("young", "no")))
    other = replace(gone, conditions=(Condition("young", "no"),))
    old = replace(split, findings=(gone, both, other), stories=())
    stories = stories_of(old)
    assert [s.findings for s in stories] == [(0,), (2,)]
    assert story_sentence(old, stories[0]) == f"{first.finding.title}."
    assert stories_of(replace(split, findings=(), stories=())) == ()


def test_what_stands_for_the_label_is_named_and_no_story(split):
    story = replace(split.stories[0], stands_for="c1")
    told = replace(split, stories=(story,))
    assert stories_of(told) == ()
    (said,) = label_aliases(told)
    assert "is nearly the label c1 itself" in said


def test_errors_of_each_label_stand_in_one_line_the_worst_first(split):
    line = errors_by_label(split)
    worst, best = sorted(("c0", "c1"), key=lambda c: -split.metrics[f"error:{c}"].value)
    assert line.index(f": {worst}: ") < line.index(f"; {best}: ")
    many = {f"error:k{i}": replace(split.metrics["error:c0"], value=i / 100) for i in range(9)}
    line = errors_by_label(replace(split, metrics=many))
    assert "k8: 8.0" in line and "k5" not in line and "6 others less often" in line
    assert errors_by_label(replace(split, metrics={})) == ""


def test_the_table_lists_the_groups_that_do_worse(split):
    groups = worst_groups(split, 5)
    assert groups[0].conditions == (Condition("hat", "yes"),) and groups[0].state == "found"
    assert all(g.gaps["accuracy"].value < 0 for g in groups)
    head, first, *_ = group_table(split, 5)
    assert [head.index(word) for word in ("images", "people", "wrong, %", "state")]
    right = groups[0].metrics["accuracy"].value
    assert f"{100 * (1 - right):.1f}" in first and first.endswith("found")
    assert len(group_table(split, 5)) == 1 + min(5, len(worst_groups(split, 99)))
    assert group_table(replace(split, groups=()), 5) == []


def test_the_terminal_leads_with_the_labels_then_the_stories(audited, split):
    lines = list(audit_lines(audited, "", ""))
    told = story_sentence(split, split.stories[0]).removesuffix(".")
    places = [
        next(i for i, line in enumerate(lines) if part in line)
        for part in ("Wrong, in 100 pictures", told, "gap, points", "gaps were looked at")
    ]
    assert places == sorted(places)
    several = replace(split, findings=split.findings[:1] * 2, stories=(Story((0, 1), 3),))
    (name,) = other_names(several, several.stories[0])
    lines = list(audit_lines(replace(audited, splits=(several,)), "", ""))
    assert f"    the same mistakes: {name}" in lines
