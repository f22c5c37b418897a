"""What is worth a look, beside brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from candid.predictions import Predictions
from candid.records import Finding
from candid.records.audit import AuditFinding, Condition, Gap, SplitAudit
from candid.reviewing.suspects import (
    PictureFindings,
    find_suspects,
    find_worst_group,
    list_copies,
    list_likely_wrong,
)
from candid.table import Table


def table(label, person=None, split=None) -> Table:  # type: ignore[no-untyped-def]
    return Table.from_arrays(
        ["cat" if k == 0 else "dog" for k in label],
        target="pet",
        classes=["cat", "dog"],
        person=person,
        ids=[f"i{n}" for n in range(len(label))],
        split=split,
    )


def predicted(label, answer, groups=None, split=None, sure=0.95) -> Predictions:  # type: ignore[no-untyped-def]
    p = np.where(np.asarray(answer) == 1, sure, 1 - sure)
    return Predictions.from_arrays(
        np.where(np.asarray(label) == 1, "dog", "cat"),
        p,
        classes=["cat", "dog"],
        ids=[f"i{n}" for n in range(len(label))],
        groups=groups,
        split=split,
        target="pet",
    )


def test_likely_wrong_are_the_sure_mistakes_outside_training() -> None:
    label = [0, 1] * 20
    answer = [1, 1, *label[2:]]
    answer[39] = 0
    split = ["test"] * 39 + ["train"]
    assert list_likely_wrong(predicted(label, answer, split=split)) == ["i0"]
    assert list_likely_wrong(predicted(label, answer, split=["train"] * 40)) == []
    out_of_fold = replace(predicted(label, answer, split=["train"] * 40), out_of_fold=True)
    assert list_likely_wrong(out_of_fold) == ["i0", "i39"]


def gap_split(*conditions: Condition, kind: str = "group", state: str = "found") -> SplitAudit:
    gap = Gap(**dict.fromkeys(Gap.__slots__, 0.0))  # type: ignore[arg-type]
    finding = Finding("GROUP-GAP", "worse", state, "serious", "")  # type: ignore[arg-type]
    found = AuditFinding(kind, finding, conditions, None, gap)  # type: ignore[arg-type]
    return SplitAudit("test", 0, None, {}, (), (), 0, (), (), (), (found,), 0, 0, 0.05, 0.05, 0, 0)


def test_the_worst_group_is_its_mistakes_the_surest_first() -> None:
    label, hat = [0, 1] * 10, ["yes", "no", "no", "yes"] * 5
    answer = list(label)
    for row in (0, 3, 5, 7):
        answer[row] = 1 - answer[row]
    p = predicted(label, answer, {"hat": hat}, split=["test"] * 7 + ["validation"] * 13)
    group, ids = find_worst_group(p, gap_split(Condition("hat", "yes")))
    assert group == (Condition("hat", "yes"),)
    assert ids == ["i0", "i3"]  # 5 has no hat, 7 is not of the split
    for other in (gap_split(Condition("hat", "blue")), gap_split(Condition("age", "1")),
                  gap_split(Condition("hat", "yes"), kind="shortcut"),
                  gap_split(Condition("hat", "yes"), state="not found")):  # fmt: skip
        assert find_worst_group(p, other) == ((), [])


def test_pairs_stand_once_and_the_gravest_first() -> None:
    rows = [
        ("NEAR-DUPLICATES-WITHIN-SPLITS", "a", "b"),
        ("CONTRADICTORY-LABELS", "c", "d"),
        ("DUPLICATES-ACROSS-SPLITS", "b", "a"),
        ("CONTRADICTORY-LABELS", "d", "c"),
        ("DUPLICATES-ACROSS-SPLITS", "a", "gone"),
        ("PEOPLE-ACROSS-SPLITS", "a", "c"),
    ]
    assert list_copies(rows, "abcd") == (("c", "d"), ("b", "a"))


def test_an_image_counts_for_the_first_reason_and_only_what_is_wanted_comes() -> None:
    label = [0, 1] * 20
    answer = [1, 1, *label[2:]]
    t = table(label, ["p", "q", "p", "q", "p", "q", *map(str, range(34))])
    t.label[2] = t.label[4] = 1  # so that 0 stands against 2 and 4
    p = predicted(label, answer)
    every = find_suspects(
        t, p, None, PictureFindings(), ["likely wrong", "person", "slice", "copy"]
    )
    assert every.images == {"i0": "likely wrong"}
    assert find_suspects(t, p, None, PictureFindings(), ["person"]).images == {"i0": "person"}
    linked = PictureFindings(linked=[("CONTRADICTORY-LABELS", "i1", "i2")])
    assert find_suspects(t, p, None, linked, ["copy"]).pairs == (("i1", "i2"),)
    assert find_suspects(t, None, None, PictureFindings(), ["likely wrong"]).images == {}


def test_strange_pictures_come_last_and_what_cannot_be_read_is_no_suspect() -> None:
    label = [0, 1] * 20
    t, p = table(label), predicted(label, [1, 1, *label[2:]])
    assert find_suspects(t, p, None, PictureFindings(), ["likely wrong"]).images == {
        "i0": "likely wrong"
    }
    pixels = PictureFindings(
        unreadable={"i0": "empty", "i9": "empty", "gone": "empty"},
        strange={"i7": "another shape", "i3": "too small", "i9": "too small"},
    )
    found = find_suspects(t, p, None, pixels, ["likely wrong", "strange", "unreadable"])
    assert list(found.images.items()) == [("i7", "strange"), ("i3", "strange")]
    assert found.files == ("i0", "i9")
    assert find_suspects(t, p, None, pixels, ["strange"]).files == ()
