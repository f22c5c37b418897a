"""The shopping list of an audit."""

import numpy as np

from candid.auditing.audit import audit_groups
from candid.auditing.collecting import SIZE
from candid.predictions import Predictions
from candid.settings import AuditConfig
from candid.text.console import audit_lines

FAST = AuditConfig(draws=60, pairs=False, slices=0, more=False)


def made(people, seed=0, share=0.05):
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), 3)
    rare = (np.arange(people) < share * people)[person]
    label = rng.integers(2, size=len(person))
    right = rng.random(len(person)) > 0.08
    p = np.where(right, label, 1 - label) * 0.8 + 0.1
    groups = {
        "Hat": np.where(rare, "yes", "no"),
        "Even": np.where(person % 2, "yes", "no"),
    }
    return Predictions.from_arrays(label, p, groups=groups, person=person)


def split_of(p, **settings):
    return audit_groups(p, FAST, **settings).splits[0]


def test_the_small_group_is_listed_and_not_what_is_left_of_it():
    split = split_of(made(800))
    listed = {(w.attribute, w.value, w.label) for w in split.wanted}
    assert ("Hat", "yes", None) in listed
    assert not any(w.attribute == "Hat" and w.value == "no" for w in split.wanted)
    hat = next(w for w in split.wanted if (w.value, w.label) == ("yes", None))
    assert hat.people == 40 and hat.n == 120
    assert hat.more_images == 3 * hat.more_people
    assert hat.width_then < hat.width
    counts = [w.more_people for w in split.wanted if w.more_people is not None]
    assert counts == sorted(counts)


def test_with_so_many_more_it_is_no_longer_listed():
    split = split_of(made(800))
    hat = next(w for w in split.wanted if (w.value, w.label) == ("yes", None))
    assert hat.more_people is not None
    people = 800 + hat.more_people
    later = split_of(made(people, share=(40 + 1.15 * hat.more_people) / people))
    gap = next(g for g in later.singles() if g.conditions[0].value == "yes").gaps["accuracy"]
    assert gap.smallest_visible < 1.1 * SIZE


def test_the_terminal_tells_it():
    audit = audit_groups(made(800), FAST)
    said = "\n".join(audit_lines(audit, "", ""))
    assert "to collect next" in said
    assert "Hat: yes" in said
    assert "more people" in said
