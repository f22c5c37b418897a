"""What the page of a served model says of its audit."""

from __future__ import annotations

import dataclasses

from candid.records import Estimate
from candid.records.audit import Audit, SplitAudit
from candid.text.abstention import no_promise
from candid.text.audit import audit_summary
from candid.text.console import audit_lines
from candid.text.notes import looked_at
from candid.text.served import weakness_note

SPLIT = SplitAudit(
    *("test", 1200, 1, {}, (), (), 0, (), (), (), ()), 77, 3, 0.05, 0.001, 0, 20
)  # fmt: skip


def test_the_note_counts_what_was_looked_at_and_what_is_left_out() -> None:
    said = weakness_note(SPLIT, total=3, shown=5)
    assert said == (
        "The audit of 1,200 test pictures of 1 person compared 77 figures of groups with the rest "
        "and found 3 gaps."
    )
    more = weakness_note(dataclasses.replace(SPLIT, people=None, too_few=4), total=9, shown=5)
    assert more.startswith("The audit of 1,200 test pictures compared")
    assert (
        "Of 9 weaknesses these are the widest" in more and "Of 4 groups there are too few" in more
    )


def told(split: SplitAudit) -> str:
    return "\n".join(audit_lines(Audit("t", ("a", "b"), "", (split,)), "", ""))


def test_one_is_not_told_as_several() -> None:
    accuracy = {"accuracy": Estimate(0.5, 0.4, 0.6, 1200, "Wilson", 1, 0, 0, 0.95)}
    one = dataclasses.replace(
        SPLIT, metrics=accuracy, gaps_looked_at=1, gaps_found=1, too_few=1, findings=()
    )
    assert "found 1 gap." in weakness_note(one, 1, 1)
    assert "Of 1 group there" in weakness_note(one, 1, 1)
    assert "nothing found among 1 gap\n" in told(dataclasses.replace(one, gaps_found=0))
    assert "no finding among 1 gap; 1 is too wide to be chance" in told(one)
    assert "1 group or its rest has too few people" in told(one)
    said = audit_summary(Audit("t", ("a", "b"), "", (one,)))
    assert "1 gap in all, of which 1 is too wide" in said.certainty[0]
    assert said.unseen[0].startswith("1 group or its rest has fewer than 20 people")
    assert "cannot be promised from 1 person: " in no_promise(0.01, 1, 299, 0, by_person=True)
    assert next(looked_at(1, 0.05, 0.05)).startswith("1 gap was looked at")


def test_where_nothing_could_be_compared_nothing_is_said_to_be_absent() -> None:
    accuracy = {"accuracy": Estimate(0.5, 0.4, 0.6, 1200, "Wilson", 1, 0, 0, 0.95)}
    none = dataclasses.replace(SPLIT, metrics=accuracy, gaps_looked_at=0, gaps_found=0)
    assert "no groups could be compared" in told(none) and "nothing found" not in told(none)
