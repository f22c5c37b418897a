"""Which findings are one thing: those that rest on the same mistakes are told as one story.

Attributes that stand for each other ("lipstick: no", "make-up: no"), a group within a label and the
cue that it makes, a pair and the groups that it is put together from: each is a finding of its own,
with its own test, and all of them can be the same few images. What is told is who is behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from candid.arrays import Marks
from candid.auditing.rows import Rows
from candid.records.audit import AuditFinding
from candid.records.metrics import worse_when
from candid.records.stories import Story
from candid.stats.agreement import cohen_kappa
from candid.stats.metrics import confusion_matrix

# Two findings are the same where they share half of the mistakes that either has: what the search
# for slices calls the same discovery. A finding that is put together from several stories, at least
# half of each, has to be made of them nearly wholly.
_SAME, _TOGETHER = 0.5, 0.8
# Cohen's kappa between a group and a class, over all images, from which one is the other's name.
_STANDS_FOR = 0.9
# Who tells: a group within a label says most about whom, a combination least.
_TELLS_FIRST = {"group": 1, "shortcut": 2, "intersection": 3, "slice": 4}


@dataclass(frozen=True, eq=False)
class Footing:
    """What a finding rests on."""

    mistakes: Marks  # (m,) which of the m mistakes of the split are among its images
    people: int | None = None  # people in them; None where people are unknown
    stands_for: str | None = None  # the class whose images its images are; None where there is none


def footing(rows: Rows, found: AuditFinding, mask: Marks) -> Footing:
    """What a finding about (n,) images rests on."""
    p = rows.predictions
    wrong = mask & p.wrong
    unit = rows.drawing.unit[wrong]
    plain_group = found.kind == "group" and found.label is None
    return Footing(
        mistakes=mask[p.wrong],
        people=len(np.unique(unit)) if rows.drawing.by_person else None,
        stands_for=_stands_for(rows, mask) if plain_group else None,
    )


def tell(found: Sequence[AuditFinding], footings: Sequence[Footing] = ()) -> tuple[Story, ...]:
    """Put findings together that are one story, the widest sure gap first.

    Groups within a label come up first, then groups and cues, then combinations; of each kind those
    with the widest sure gap. A finding joins the story whose teller shares at least half of the
    mistakes that either has (Jaccard's index), or of whose attribute it is itself the cue or the
    group of all labels; one that at least four fifths of several stories' mistakes make up, the
    story that it shares most with. Every other one begins a story.

    Parameters
    ----------
    found
        The surest first.
    footings
        What each rests on; none where only counts are known, so that attributes alone decide.
    """
    order = sorted(range(len(found)), key=lambda i: (_rank(found[i]), -_sure_gap(found[i]), i))
    members: dict[int, list[int]] = {}  # the teller's place → all places
    for i in order:
        teller = _of_attribute(found, members, i)
        if teller is None and footings:
            teller = _of_mistakes(footings, members, i)
        members.setdefault(i if teller is None else teller, []).append(i)
    stories = [
        Story(
            findings=(first, *sorted(set(places) - {first})),
            mistakes=found[first].finding.count,
            people=footings[first].people if footings else None,
            stands_for=footings[first].stands_for if footings else None,
        )
        for first, places in members.items()
    ]
    return tuple(sorted(stories, key=lambda s: (-_sure_gap(found[s.findings[0]]), s.findings[0])))


def _rank(f: AuditFinding) -> int:
    return 0 if f.label is not None else _TELLS_FIRST[f.kind]


def _sure_gap(f: AuditFinding) -> float:
    """The near end of the interval, turned so that more is worse: what decides the severity."""
    return f.gap.low if worse_when(f.gap.metric) > 0 else -f.gap.high


def _of_attribute(
    found: Sequence[AuditFinding], members: dict[int, list[int]], i: int
) -> int | None:
    """The story that a cue, or a group of all labels, tells in the words of the same attribute."""
    if found[i].label is not None or _rank(found[i]) > _TELLS_FIRST["shortcut"]:
        return None
    mine = set(found[i].conditions)
    for teller, places in members.items():
        told = (found[k].conditions for k in places if _rank(found[k]) <= _TELLS_FIRST["shortcut"])
        if any(mine & set(conditions) for conditions in told):
            return teller
    return None


def _of_mistakes(footings: Sequence[Footing], members: dict[int, list[int]], i: int) -> int | None:
    """The story that a finding shares its mistakes with."""
    mine = footings[i].mistakes
    shared = {teller: _jaccard(mine, footings[teller].mistakes) for teller in members}
    nearest = max(shared, key=lambda teller: shared[teller], default=None)
    if nearest is None or shared[nearest] >= _SAME:
        return nearest
    held = [
        footings[teller].mistakes
        for teller in members
        if 2 * np.sum(mine & footings[teller].mistakes) >= np.sum(footings[teller].mistakes)
    ]
    if held and _jaccard(mine, np.logical_or.reduce(held)) >= _TOGETHER:
        return nearest
    return None


def _jaccard(a: Marks, b: Marks) -> float:
    """What two sets share of all that is in either, 0 to 1; 0 where both are empty."""
    either = int(np.sum(a | b))
    return int(np.sum(a & b)) / either if either else 0.0


def _stands_for(rows: Rows, mask: Marks) -> str | None:
    """The class that a group of (n,) images is, in other words."""
    label = rows.predictions.label
    for k, name in enumerate(rows.predictions.classes):
        counts = confusion_matrix(mask.astype(np.intp), (label == k).astype(np.intp), 2)
        if cohen_kappa(counts.astype(np.float64)) >= _STANDS_FOR:  # never where it is undefined
            return name
    return None
