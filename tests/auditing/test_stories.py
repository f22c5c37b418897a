"""Findings of the same mistakes are one story; others are others."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from auditing.audited import predictions
from candid.auditing.audit import audit_groups
from candid.auditing.stories import Evidence, group_stories
from candid.records import Finding
from candid.records.audit import AuditFinding, Condition, Gap, SplitAudit
from candid.settings import AuditConfig

QUICK = AuditConfig(draws=100, more=False, slices=0)
WRONG = 100  # mistakes of the split that the findings made by hand are of


def finding(name, near, *, kind="group", value="yes", label=None, mistakes=10):
    """A finding about one attribute, or several joined by "+", whose gap surely is `near`."""
    gap = Gap(
        *("standardised_error", near + 0.05, near, near + 0.1, 0.001, 0.01, 0.05, "found"),
        *(100, 900, None, None, "by hand"),
    )
    told = Finding("CODE", name, "found", "warning", "", mistakes, 100)
    group = tuple(Condition(part, value) for part in name.split("+"))
    return AuditFinding(kind, told, group, label, gap)


def rests_on(*spans):
    """A footing on mistakes from … to, of 100."""
    mistakes = np.zeros(WRONG, np.bool_)
    for start, stop in spans:
        mistakes[start:stop] = True
    return Evidence(mistakes)


def told(found, footings):
    return [s.findings for s in group_stories(found, footings)]


def test_the_same_mistakes_are_one_story_and_others_another():
    found = [
        finding("make-up", 0.04, label="Female"),
        finding("lipstick", 0.06, label="Female"),
        finding("beard", 0.05, label="Male"),
    ]
    assert told(found, [rests_on((0, 36)), rests_on((5, 35)), rests_on((40, 80))]) == [(1, 0), (2,)]


@pytest.mark.parametrize(("shared", "stories"), [(10, 1), (9, 2)])
def test_half_of_what_either_has_decides(shared, stories):
    found = [finding("a", 0.06, label="Male"), finding("b", 0.05, label="Male")]
    inside = [rests_on((0, 20)), rests_on((0, shared))]
    assert len(group_stories(found, inside)) == stories
    assert len(group_stories(found, inside[::-1])) == stories


def test_what_is_put_together_from_several_stories_is_told_by_them():
    found = [
        finding("lipstick+beard", 0.20, kind="intersection"),
        finding("lipstick", 0.06, label="Female"),
        finding("beard", 0.05, label="Male"),
        finding("young+hat", 0.01, kind="intersection"),
    ]
    footings = [rests_on((0, 70)), rests_on((0, 30)), rests_on((30, 73)), rests_on((15, 45))]
    # Of the fourth a part alone is theirs, so it is a thing of its own.
    assert told(found, footings) == [(1,), (2, 0), (3,)]


def test_a_small_group_inside_a_large_one_is_told_beside_it():
    found = [finding("lipstick", 0.06, label="Female"), finding("glasses", 0.05, label="Female")]
    assert told(found, [rests_on((0, 30)), rests_on((23, 31))]) == [(0,), (1,)]


def test_a_cue_joins_the_group_of_its_own_attribute():
    found = [
        finding("lipstick", 0.09, kind="shortcut"),
        finding("lipstick", 0.02, label="Female"),
        finding("lipstick", 0.01),
        finding("lipstick", 0.01, value="no"),
        finding("lipstick+hat", 0.01, kind="intersection"),
    ]
    apart = [rests_on((20 * i, 20 * i + 15)) for i in range(5)]
    assert told(found, apart) == [(1, 0, 2), (3,), (4,)]
    assert told(found, ()) == [(1, 0, 2), (3,), (4,)]  # where only counts are known


def test_other_labels_of_one_attribute_are_other_people():
    found = [finding("hat", 0.05, label="Female"), finding("hat", 0.04, label="Male")]
    assert told(found, ()) == [(0,), (1,)]


def test_the_order_of_the_findings_decides_only_among_equals():
    found = [finding(name, near, label="Male") for name, near in (("a", 0.01), ("b", 0.03))]
    apart = [rests_on((0, 10)), rests_on((50, 60))]
    assert told(found, apart) == [(1,), (0,)]
    assert told(found[::-1], apart[::-1]) == [(0,), (1,)]
    level = [replace(f, gap=found[0].gap) for f in found]
    assert told(level, apart) == [(0,), (1,)]


def test_without_findings_there_is_no_story():
    assert group_stories((), ()) == ()
    assert SplitAudit.__dataclass_fields__["stories"].default == ()


# --- as an audit tells them ----------------------------------------------------------------------


def planted():
    """Women without lipstick and men with a hat go wrong; make-up goes with lipstick."""
    rng = np.random.default_rng(5)
    n = 3000
    label = rng.integers(0, 2, n)
    female = label == 0
    lipstick = np.where(female, rng.random(n) < 0.8, rng.random(n) < 0.3)
    makeup = np.where(rng.random(n) < 0.95, lipstick, ~lipstick)
    hat = rng.random(n) < 0.15
    chance = np.full(n, 0.01)
    chance[female & ~lipstick] = 0.25
    chance[~female & hat] = 0.3
    answer = np.where(rng.random(n) < chance, 1 - label, label)
    attributes = {
        "lipstick": lipstick,
        "makeup": makeup,
        "hat": hat,
        "smile": rng.random(n) < 0.5,
        "gender": np.where(rng.random(n) < 0.999, label, 1 - label),
    }
    return predictions(label, answer, attributes=attributes, person=np.arange(n) // 2)


@pytest.fixture(scope="module")
def split():
    return audit_groups(planted(), QUICK).splits[0]


def test_the_planted_stories_are_told_and_no_other(split):
    stories = [s for s in split.stories if s.stands_for is None]
    tellers = [split.findings[s.findings[0]] for s in stories[:2]]
    assert {(f.conditions, f.label) for f in tellers} == {
        ((Condition("hat", "yes"),), "Male"),
        ((Condition("lipstick", "no"),), "Female"),
    }
    (about,) = [s for s in stories if s.findings[0] == split.findings.index(tellers[0])]
    lipstick = next(s for s in stories if "lipstick" in split.findings[s.findings[0]].finding.title)
    names = {split.findings[i].finding.title for i in lipstick.findings[1:]}
    assert "Worse for makeup: no, labelled Female" in names
    assert about.mistakes == tellers[0].finding.count and about.people is not None
    assert len(stories) < len(split.findings) / 2
    assert sorted(i for s in split.stories for i in s.findings) == list(range(len(split.findings)))


def test_a_teller_knows_both_shares(split):
    for f in split.findings:
        assert f.errors[0] - f.errors[1] == pytest.approx(abs(f.gap.value), abs=1e-6)
    f = next(f for f in split.findings if f.label == "Female" and f.kind == "group")
    assert f.errors[0] == pytest.approx(f.finding.count / f.finding.of)


def test_an_attribute_that_is_the_label_stands_for_it():
    p = planted()
    wrong = (p.label == 1) & (np.random.default_rng(1).random(len(p)) < 0.2)
    answer = np.where(wrong, 0, p.label)
    kept = {"gender": p.attributes["gender"].data, "smile": p.attributes["smile"].data}
    some = audit_groups(predictions(p.label, answer, attributes=kept, person=p.person), QUICK)
    found = some.splits[0]
    (story,) = [s for s in found.stories if s.stands_for is not None]
    assert story.stands_for == "Male"
    assert found.findings[story.findings[0]].conditions == (Condition("gender", "yes"),)


def test_errors_are_undefined_in_files_from_before():
    assert all(map(math.isnan, finding("a", 0.1).errors))
