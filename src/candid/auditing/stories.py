"""Findings that rest on the same mistakes are one story.

Attributes that stand for each other ("lipstick: no", "make-up: no"), a group within a label and the
cue that it makes, a pair and the groups that it is put together from: each is a finding of its own,
with its own test, and all of them can be the same few images. A story names the images behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from candid.arrays import BoolArray
from candid.auditing.findings import near_end
from candid.auditing.rows import Rows
from candid.records.audit import AuditFinding
from candid.records.stories import Story
from candid.stats.agreement import cohen_kappa, jaccard
from candid.stats.metrics import confusion_matrix

# Two findings are the same where they share half of the mistakes that either has: what the search
# for slices calls the same discovery. A finding that is put together from several stories, at least
# half of each, has to be made of them nearly wholly.
_SAME, _COMBINED = 0.5, 0.8
# Cohen's kappa between a group and a class, over all images, from which one is the other's name.
_STANDS_FOR = 0.9
# Which leads a story: a group within a label says most, a combination least.
_KIND_RANK = {"group": 1, "shortcut": 2, "intersection": 3, "slice": 4}


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a finding rests on."""

    mistakes: BoolArray  # (m,) which of the m mistakes of the split are among its images
    people: int | None = None  # people in them; None where people are unknown
    stands_for: str | None = None  # the class whose images its images are; None where there is none


def build_evidence(rows: Rows, finding: AuditFinding, mask: BoolArray) -> Evidence:
    """What a finding about (n,) images rests on."""
    p = rows.predictions
    is_plain_group = finding.kind == "group" and finding.label is None
    return Evidence(
        mistakes=mask[p.wrong],
        people=rows.resampling.count_people(mask & p.wrong),
        stands_for=_find_class(rows, mask) if is_plain_group else None,
    )


def group_stories(
    findings: Sequence[AuditFinding], evidence: Sequence[Evidence] = ()
) -> tuple[Story, ...]:
    """Put findings that rest on the same mistakes into stories, the widest sure gap first.

    Groups within a label come first, then groups and cues, then combinations; of each kind those
    with the widest sure gap. A finding joins the story whose leader shares at least half of the
    mistakes that either has (Jaccard's index), or of whose attribute it is itself the cue or the
    group of all labels; one that at least four fifths of several stories' mistakes make up, the
    story that it shares most with. Every other one begins a story.

    Parameters
    ----------
    findings
        The surest first.
    evidence
        What each rests on; none where only counts are known, so that attributes alone decide.
    """
    ranks = [(_rank(f), -near_end(f.gap), i) for i, f in enumerate(findings)]
    members: dict[int, list[int]] = {}  # leader → all of its story
    for *_, i in sorted(ranks):
        leader = _find_by_attribute(findings, members, i)
        if leader is None and evidence:
            leader = _find_by_mistakes(evidence, members, i)
        members.setdefault(i if leader is None else leader, []).append(i)
    return tuple(
        Story(
            findings=(i, *sorted(set(members[i]) - {i})),
            mistakes=findings[i].finding.count,
            people=evidence[i].people if evidence else None,
            stands_for=evidence[i].stands_for if evidence else None,
        )
        for i in sorted(members, key=lambda i: (-near_end(findings[i].gap), i))
    )


def _rank(f: AuditFinding) -> int:
    return 0 if f.label is not None else _KIND_RANK[f.kind]


def _find_by_attribute(
    findings: Sequence[AuditFinding], members: dict[int, list[int]], i: int
) -> int | None:
    """The leader of a story about the same attribute, for a cue or a group of all labels."""
    if findings[i].label is not None or _rank(findings[i]) > _KIND_RANK["shortcut"]:
        return None
    conditions = set(findings[i].conditions)
    for leader, indices in members.items():
        members_of_story = (findings[k] for k in indices)
        if any(
            conditions & {*f.conditions}
            for f in members_of_story
            if _rank(f) <= _KIND_RANK["shortcut"]
        ):
            return leader
    return None


def _find_by_mistakes(
    evidence: Sequence[Evidence], members: dict[int, list[int]], i: int
) -> int | None:
    """The leader of the story that a finding shares its mistakes with."""
    mistakes = evidence[i].mistakes
    shared = {leader: jaccard(mistakes, evidence[leader].mistakes) for leader in members}
    nearest = max(shared, key=lambda leader: shared[leader], default=None)
    if nearest is None or shared[nearest] >= _SAME:
        return nearest
    contained = [
        evidence[leader].mistakes
        for leader in members
        if 2 * np.sum(mistakes & evidence[leader].mistakes) >= np.sum(evidence[leader].mistakes)
    ]
    if contained and jaccard(mistakes, np.logical_or.reduce(contained)) >= _COMBINED:
        return nearest
    return None


def _find_class(rows: Rows, mask: BoolArray) -> str | None:
    """The class whose images nearly are the group's (n,) images."""
    label = rows.predictions.label
    for k, name in enumerate(rows.predictions.classes):
        counts = confusion_matrix(mask.astype(np.intp), (label == k).astype(np.intp), 2)
        if cohen_kappa(counts.astype(np.float64)) >= _STANDS_FOR:  # never where it is undefined
            return name
    return None
