"""From gaps that held to findings that a person can read: the surest first, each with pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from candid.arrays import Indices, Marks
from candid.auditing.cross_fit import CrossFit, confirmed
from candid.auditing.gaps import GapTable
from candid.auditing.intersections import Intersections
from candid.auditing.rows import LABEL, GroupKey, Rows
from candid.auditing.shortcuts import CONTRADICTS, Cues, shortcut
from candid.auditing.single_groups import Measured
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
class HeldGap:
    """A gap that held to a group's disadvantage, not yet in words."""

    kind: Kind  # how it came up
    key: GroupKey  # the group; for a shortcut the cue among the cues
    place: int  # the gap in the table
    beyond: int | None = None  # the one to the nearest larger group


@dataclass(frozen=True)
class MistakesSeen:
    """The images of a finding: mistakes, of how many, and the surest of them."""

    count: int
    of: int
    mistakes: tuple[Example, ...] = ()


def held_singles(table: GapTable, parts: Sequence[Measured]) -> Iterator[HeldGap]:
    """Single groups, alone or within a label, that are worse off: each by its surest gap."""
    for m in parts:
        if not m.values:
            continue
        names, places = m.told()
        surprise = np.where(table.harm[places], table.surprise[places], -np.inf)
        for i in np.flatnonzero(table.harm[places].any(0)):
            k = int(surprise[:, i].argmax())
            within = ((LABEL, k - 1),) if names[k] != "accuracy" else ()
            yield HeldGap("group", (*within, m.values[i]), int(places[k, i]))


def held_pairs(rows: Rows, table: GapTable, pairs: Intersections) -> Iterator[HeldGap]:
    """Pairs that do worse than the rest, and than the rest of both that they are part of."""
    for i in np.flatnonzero(table.harm[pairs.gap] & table.harm[pairs.beyond]):
        gap, beyond = int(pairs.gap[i]), int(pairs.beyond[i])
        yield HeldGap("intersection", rows.key(*pairs.pairs[i]), gap, beyond)


def held_slices(table: GapTable, halves: CrossFit) -> Iterator[HeldGap]:
    """Slices that were confirmed on the other half."""
    for k in confirmed(halves, table):
        yield HeldGap("slice", halves.found[k].key, int(halves.gap[k]), int(halves.beyond[k]))


def held_cues(table: GapTable, cues: Cues) -> Iterator[HeldGap]:
    """Cues that the model does worse without, the widest gap first."""
    for i in cues.ordered(table):
        if table.harm[cues.gap[i]]:
            yield HeldGap("shortcut", ((int(i), CONTRADICTS),), int(cues.gap[i]))


def surest_first(table: GapTable, held: Iterable[HeldGap]) -> list[HeldGap]:
    """As sure as the less sure of the two things that each claims."""

    def surprise(h: HeldGap) -> float:
        first = float(table.surprise[h.place])
        return first if h.beyond is None else min(first, float(table.surprise[h.beyond]))

    return sorted(held, key=lambda h: -surprise(h))


def findings(
    rows: Rows,
    table: GapTable,
    parts: Sequence[Measured],
    pairs: Intersections,
    halves: CrossFit,
    cues: Cues,
    most: int,
) -> Iterator[tuple[AuditFinding, Marks]]:
    """All that held, the surest first, with at most so many mistakes each, and (n,) its images.

    A slice that is a group or a pair as well is told of once.
    """
    held = [*held_singles(table, parts), *held_pairs(rows, table, pairs)]
    known = {frozenset(rows.conditions(h.key)) for h in held}
    new = [h for h in held_slices(table, halves) if frozenset(rows.conditions(h.key)) not in known]
    for h in surest_first(table, [*held, *new, *held_cues(table, cues)]):
        if h.kind == "shortcut":
            mask, record = cues.rows.mask(h.key), shortcut(cues, table, h.key[0][0])
            yield _shortcut_finding(table, h, record, look_at(rows, mask, most)), mask
        else:
            mask = rows.mask(h.key)
            yield group_finding(rows, table, h, look_at(rows, mask, most)), mask


# --- in words ------------------------------------------------------------------------------------


def group_finding(rows: Rows, table: GapTable, held: HeldGap, seen: MistakesSeen) -> AuditFinding:
    """A group that does worse, in words."""
    group = rows.conditions(held.key)
    label = next((rows.predictions.classes[v] for a, v in held.key if a == LABEL), None)
    gap = table.gap(held.place)
    beyond = None if held.beyond is None else table.gap(held.beyond)
    left, right = float(table.left[held.place]), float(table.right[held.place])
    errors = (left, right) if worse_when(gap.metric) > 0 else (1 - left, 1 - right)
    code = {"group": "GROUP-GAP", "intersection": "INTERSECTION-GAP", "slice": "SLICE"}[held.kind]
    detail = group_detail(held.kind, group, label, gap, beyond, errors, table.looked_at)
    words = (code, group_title(group, label), detail, GROUP_TODO)
    return _finding(held.kind, words, group, label, gap, errors, seen)


def _shortcut_finding(
    table: GapTable, held: HeldGap, record: Shortcut, seen: MistakesSeen
) -> AuditFinding:
    errors = float(table.left[held.place]), float(table.right[held.place])
    detail = shortcut_detail(record, errors, table.looked_at)
    cue = tuple(Condition(record.attribute, value) for value in record.cue)
    words = ("SHORTCUT", shortcut_title(record), detail, SHORTCUT_TODO)
    return _finding("shortcut", words, cue, None, record.gap, errors, seen)


def _finding(
    kind: Kind,
    words: tuple[str, str, str, str],
    group: tuple[Condition, ...],
    label: str | None,
    gap: Gap,
    errors: tuple[float, float],
    seen: MistakesSeen,
) -> AuditFinding:
    code, title, detail, todo = words
    finding = Finding(
        code=code,
        title=title,
        state="found",
        severity=_severity(gap),
        detail=detail,
        count=seen.count,
        of=seen.of,
        examples=tuple(e.id for e in seen.mistakes),
        todo=todo,
    )
    return AuditFinding(kind, finding, group, label, gap, seen.mistakes, errors)


def _severity(gap: Gap) -> Severity:
    near = gap.low if worse_when(gap.metric) > 0 else -gap.high
    if near >= _SERIOUS:
        return "serious"
    return "warning" if near >= _WARNING else "note"


def look_at(rows: Rows, mask: Marks, most: int) -> MistakesSeen:
    """Some images' mistakes: those that the model was surest of, equals in order of their ids."""
    p = rows.predictions
    here: Indices = np.flatnonzero(mask & rows.predictions.wrong)
    surest = here[np.lexsort((p.ids[here], -p.confidence[here]))][:most]
    mistakes = tuple(p.example(i) for i in surest)
    return MistakesSeen(len(here), int(np.count_nonzero(mask)), mistakes)
