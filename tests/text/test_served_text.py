"""What the page of a served model says of its audit."""

from __future__ import annotations

import dataclasses

from candid.records.audit import SplitAudit
from candid.text.served import weakness_note

SPLIT = SplitAudit(
    *("test", 1200, 1, {}, (), (), 0, (), (), (), ()), 77, 3, 0.05, 0.001, 0, 20
)  # fmt: skip


def test_the_note_counts_what_was_looked_at_and_what_is_left_out() -> None:
    said = weakness_note(SPLIT, found=3, shown=5)
    assert said == (
        "The audit of 1,200 test pictures of 1 person compared 77 figures of groups with the rest "
        "and found 3 gaps."
    )
    more = weakness_note(dataclasses.replace(SPLIT, people=None, too_few=4), found=9, shown=5)
    assert more.startswith("The audit of 1,200 test pictures compared")
    assert (
        "Of 9 weaknesses these are the widest" in more and "Of 4 groups there are too few" in more
    )
