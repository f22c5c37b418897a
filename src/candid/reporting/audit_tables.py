"""What the report lists of an audit, and in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from candid.records.abstention import GroupAbstention, TargetAbstention
from candid.records.audit import Audit, Gap, Group, SplitAudit
from candid.records.confounding import AdjustedGap, AdjustedGaps
from candid.records.fairness import FairnessFigure
from candid.text.findings import group_name

_SOURCE_ATTRIBUTE = "source"  # the attribute that tells several data sets apart
_MOST_ADJUSTED = 15  # gaps held constant that the report lists
_FEW_CLASSES = 4  # classes whose fairness figures stand together
_MOST_ABSTENTIONS = 12  # groups of a rule that the report lists
# Groups times labels soon make a page that no browser opens at once; audit.json has them all.
MOST_GROUPS = 2000  # rows of the table of every group
MOST_FAIRNESS = 1000  # sentences


def fairness_by_attribute(split: SplitAudit) -> list[tuple[str, list[FairnessFigure]]]:
    """The fairness figures under what they compare: an attribute, of many classes for each class.

    There are at most `MOST_FAIRNESS` figures.
    """
    figures = split.fairness[:MOST_FAIRNESS]
    classes = {f.about for f in figures if f.about is not None}
    groups: dict[str, list[FairnessFigure]] = {}
    for f in figures:
        is_by_class = f.about is not None and len(classes) > _FEW_CLASSES
        groups.setdefault(f"{f.attribute}, {f.about}" if is_by_class else f.attribute, []).append(f)
    return list(groups.items())


def by_source(audit: Audit | None, sources: Sequence[str]) -> list[tuple[SplitAudit, list[Group]]]:
    """How the model does on each of several data sets, by audited split; nothing for one."""
    splits = () if audit is None or not sources else audit.splits
    tables = [
        (split, [g for g in split.singles() if g.conditions[0].attribute == _SOURCE_ATTRIBUTE])
        for split in splits
    ]
    return [(split, groups) for split, groups in tables if groups]


@dataclass(frozen=True)
class GapRow:
    """One line of the table of gaps."""

    name: str
    group: Group
    gap: Gap


def gap_rows(split: SplitAudit, *, within: bool = False) -> list[GapRow]:
    """Every single group with a gap in accuracy: the worst for the group first, unknown last.

    `within`: also those of each label.
    """
    rows = [
        GapRow(group_name(g.conditions, g.label), g, g.gaps["accuracy"])
        for g in (split.groups if within else split.singles())
        if "accuracy" in g.gaps
    ]
    return sorted(rows, key=lambda r: (not math.isfinite(r.gap.value), r.gap.value))


def number_groups(split: SplitAudit) -> list[Group]:
    """Every group of a number's audit: those that are predicted worst first, unknown last."""
    gaps = [(g, g.gaps["mae"].value) for g in split.groups]
    return [g for g, gap in sorted(gaps, key=lambda pair: (not math.isfinite(pair[1]), -pair[1]))]


def drop_opposites(rows: Sequence[GapRow]) -> list[GapRow]:
    """The rows without the better of two opposite values: its gap is the same, the other way."""
    values: dict[str, list[GapRow]] = {}
    for r in rows:
        values.setdefault(r.group.conditions[0].attribute, []).append(r)
    better = {
        id(pair[1])
        for pair in values.values()
        if len(pair) == 2 and pair[0].gap.value <= 0 <= pair[1].gap.value
    }
    return [r for r in rows if id(r) not in better]


def widest_adjusted(gaps: AdjustedGaps) -> list[AdjustedGap]:
    """The values whose gaps to their disadvantage are widest, those found first."""
    worse = [g for g in gaps.gaps if g.raw.value > 0]
    return sorted(worse, key=lambda g: (g.state != "found", -g.raw.value))[:_MOST_ADJUSTED]


def least_answered(target: TargetAbstention) -> list[GroupAbstention]:
    """The groups that a rule answers least often, after all images together."""
    overall = [g for g in target.groups if g.kind == "all"]
    groups = [g for g in target.groups if g.kind == "group" and math.isfinite(g.coverage.value)]
    return overall + sorted(groups, key=lambda g: g.coverage.value)[:_MOST_ABSTENTIONS]
