"""From gaps that held to findings that a person can read: the surest first, each with pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from candid.arrays import BoolArray, IndexArray
from candid.auditing.cross_fit import CrossFit
from candid.auditing.gaps import GapTable
from candid.auditing.intersections import Intersections
from candid.auditing.rows import LABEL, GroupKey, Rows
from candid.auditing.shortcuts import CONTRADICTS, Cues, build_shortcut
from candid.auditing.single_groups import Measurement
from candid.records import Example, Finding, Severity
from candid.records.audit import AuditFinding, Condition, Gap, Kind, Shortcut
from candid.records.metrics import worse_when
from candid.text.findings import (
    GROUP_TODO,
    SHORTCUT_TODO,
    group_detail,
    group_title,
    shortcut_detail,
    shortcut_title,
)

# The near end of the interval decides: 5 percentage points that are nearly sure are serious.
_SERIOUS, _WARNING = 0.05, 0.01


@dataclass(frozen=True, eq=False)
class HarmfulGap:
    """A gap that was found to a group's disadvantage, not yet in words."""

    kind: Kind  # how it came up
    key: GroupKey  # the group; for a shortcut the cue among the cues
    index: int  # the gap in the table
    beyond: int | None = None  # the one to the nearest larger group


@dataclass(frozen=True)
class MistakeSample:
    """The images of a finding: mistakes, of how many, and the surest of them."""

    count: int
    of: int
    mistakes: tuple[Example, ...] = ()


def find_group_gaps(table: GapTable, parts: Sequence[Measurement]) -> Iterator[HarmfulGap]:
    """Single groups, alone or within a label, that are worse off: each by its surest gap."""
    for m in parts:
        if not m.values:
            continue
        names, indices = m.finding_gaps()
        surprise = np.where(table.is_harmful[indices], table.surprise[indices], -np.inf)
        for i in np.flatnonzero(table.is_harmful[indices].any(0)):
            k = int(surprise[:, i].argmax())
            within = ((LABEL, k - 1),) if names[k] != "accuracy" else ()
            yield HarmfulGap("group", (*within, m.values[i]), int(indices[k, i]))


def find_pair_gaps(rows: Rows, table: GapTable, pairs: Intersections) -> Iterator[HarmfulGap]:
    """Pairs that do worse than the rest, and than the rest of both that they are part of."""
    for i in np.flatnonzero(table.is_harmful[pairs.gap] & table.is_harmful[pairs.beyond]):
        gap, beyond = int(pairs.gap[i]), int(pairs.beyond[i])
        yield HarmfulGap("intersection", rows.key(*pairs.pairs[i]), gap, beyond)


def find_slice_gaps(table: GapTable, halves: CrossFit) -> Iterator[HarmfulGap]:
    """Slices that do worse than the rest on the other half, and than all that they are part of."""
    gaps = zip(halves.candidates, halves.gap.tolist(), halves.beyond.tolist(), strict=True)
    for candidate, gap, beyond in gaps:
        if beyond >= 0 and table.is_harmful[gap] and table.is_harmful[beyond]:
            yield HarmfulGap("slice", candidate.key, gap, beyond)


def find_cue_gaps(table: GapTable, cues: Cues) -> Iterator[HarmfulGap]:
    """Cues that the model does worse without, the widest gap first."""
    for i in cues.sort_by_gap(table):
        if table.is_harmful[cues.gap[i]]:
            yield HarmfulGap("shortcut", ((int(i), CONTRADICTS),), int(cues.gap[i]))


def sort_by_surprise(table: GapTable, gaps: Iterable[HarmfulGap]) -> list[HarmfulGap]:
    """The surest first; a gap with a `beyond` counts by the less sure of the two."""

    def surprise(gap: HarmfulGap) -> float:
        first = float(table.surprise[gap.index])
        return first if gap.beyond is None else min(first, float(table.surprise[gap.beyond]))

    return sorted(gaps, key=lambda gap: -surprise(gap))


def build_findings(
    rows: Rows,
    table: GapTable,
    parts: Sequence[Measurement],
    pairs: Intersections,
    halves: CrossFit,
    cues: Cues,
    n_examples: int,
) -> Iterator[tuple[AuditFinding, BoolArray]]:
    """All findings, the surest first, with at most `n_examples` mistakes each, and (n,) its images.

    A slice that is a group or a pair as well comes once.
    """
    gaps = [*find_group_gaps(table, parts), *find_pair_gaps(rows, table, pairs)]
    groups = {frozenset(rows.conditions(gap.key)) for gap in gaps}
    for gap in find_slice_gaps(table, halves):
        if frozenset(rows.conditions(gap.key)) not in groups:
            gaps.append(gap)
    for gap in sort_by_surprise(table, [*gaps, *find_cue_gaps(table, cues)]):
        if gap.kind == "shortcut":
            mask, cue = cues.rows.mask(gap.key), build_shortcut(cues, table, gap.key[0][0])
            yield _shortcut_finding(table, gap, cue, sample_mistakes(rows, mask, n_examples)), mask
        else:
            mask = rows.mask(gap.key)
            yield group_finding(rows, table, gap, sample_mistakes(rows, mask, n_examples)), mask


# --- in words ------------------------------------------------------------------------------------


def group_finding(
    rows: Rows, table: GapTable, h: HarmfulGap, sample: MistakeSample
) -> AuditFinding:
    """A group that does worse, in words."""
    group = rows.conditions(h.key)
    label = next((rows.predictions.classes[v] for a, v in h.key if a == LABEL), None)
    gap = table.gap(h.index)
    beyond = None if h.beyond is None else table.gap(h.beyond)
    left, right = float(table.left[h.index]), float(table.right[h.index])
    errors = (left, right) if worse_when(gap.metric) > 0 else (1 - left, 1 - right)
    code = {"group": "GROUP-GAP", "intersection": "INTERSECTION-GAP", "slice": "SLICE"}[h.kind]
    detail = group_detail(h.kind, group, label, gap, beyond, errors, table.looked_at)
    words = (code, group_title(group, label), detail, GROUP_TODO)
    return _build_finding(h.kind, words, group, label, gap, errors, sample)


def _shortcut_finding(
    table: GapTable, h: HarmfulGap, record: Shortcut, sample: MistakeSample
) -> AuditFinding:
    errors = float(table.left[h.index]), float(table.right[h.index])
    detail = shortcut_detail(record, errors, table.looked_at)
    cue = tuple(Condition(record.attribute, value) for value in record.cue)
    words = ("SHORTCUT", shortcut_title(record), detail, SHORTCUT_TODO)
    return _build_finding("shortcut", words, cue, None, record.gap, errors, sample)


def _build_finding(
    kind: Kind,
    words: tuple[str, str, str, str],
    group: tuple[Condition, ...],
    label: str | None,
    gap: Gap,
    errors: tuple[float, float],
    sample: MistakeSample,
) -> AuditFinding:
    code, title, detail, todo = words
    finding = Finding(
        code=code,
        title=title,
        state="found",
        severity=_grade(gap),
        detail=detail,
        count=sample.count,
        of=sample.of,
        examples=tuple(e.id for e in sample.mistakes),
        todo=todo,
    )
    return AuditFinding(kind, finding, group, label, gap, sample.mistakes, errors)


def near_end(gap: Gap) -> float:
    """The end of the interval nearer to 0, signed so that more is worse."""
    return gap.low if worse_when(gap.metric) > 0 else -gap.high


def _grade(gap: Gap) -> Severity:
    near = near_end(gap)
    if near >= _SERIOUS:
        return "serious"
    return "warning" if near >= _WARNING else "note"


def sample_mistakes(rows: Rows, mask: BoolArray, n_examples: int) -> MistakeSample:
    """Some images' mistakes: those that the model was surest of, equals in order of their ids."""
    p = rows.predictions
    mistaken: IndexArray = np.flatnonzero(mask & rows.predictions.wrong)
    surest = mistaken[np.lexsort((p.ids[mistaken], -p.confidence[mistaken]))][:n_examples]
    mistakes = tuple(p.example(i) for i in surest)
    return MistakeSample(len(mistaken), int(np.count_nonzero(mask)), mistakes)
