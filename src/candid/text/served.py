"""What the page of a served model says of it, beside what its report says."""

from __future__ import annotations

from candid.records import Exploration
from candid.records.audit import SplitAudit
from candid.text import words

NOT_MEASURED = "Nobody has measured how well this model does. To measure: candid evaluate RUN"
NOT_AUDITED = (
    "Nobody has looked for whom this model fails. That is not the same as working equally "
    "well for everyone. To look: candid audit RUN"
)
NOTHING_AUDITED = "The audit had no pictures to look at."
SEE_EACH_LABEL = "For whom it fails stands in the report of each label."
ALL_RIGHT = "Answers as the label says, of all pictures"


def class_right(name: str) -> str:
    """The heading of a class's recall."""
    return f"Answers {name}, of those labelled {name}"


def label_right(name: str) -> str:
    """The heading of the accuracy of one of several labels."""
    return f"Answers {name} as the label says"


def trained_on(exploration: Exploration) -> list[str]:
    """What it was trained on, and what is seriously wrong with that."""
    sentences = []
    for split in exploration.splits:
        if split.split != "train":
            continue
        people = words.of_people(split.people)
        sentences.append(f"{split.n:,} pictures{people}, from “{exploration.name}”.")
        shares = zip(exploration.classes, split.counts, strict=True)
        sentences.append("; ".join(f"{n:,} labelled {name}" for name, n in shares) + ".")
    serious = [f for f in exploration.findings if f.state == "found" and f.severity == "serious"]
    return sentences + [f"{f.title}: {f.detail}" for f in serious]


def weakness_note(split: SplitAudit, total: int, shown: int) -> str:
    """How much an audit looked at; it found so many weaknesses, of which the first are shown."""
    note = (
        f"The audit of {split.n:,} {split.split} pictures{words.of_people(split.people)} compared "
        f"{split.gaps_looked_at:,} figures of groups with the rest and found "
        f"{words.gaps(split.gaps_found)}."
    )
    if total > shown:
        note += f" Of {total} weaknesses these are the widest; the report has all."
    if split.too_few:
        note += (
            f" Of {words.many(split.too_few, 'group', 'groups')} there are too "
            "few to say anything: that is not the same as no difference."
        )
    return note
