"""What the report says about whom the model fails, in sentences.

Everything here is plain text: whoever prints it escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from candid.records.abstention import GroupAbstention, TargetAbstention
from candid.records.audit import Audit, Condition, Gap, Group, SplitAudit
from candid.report import words

_TOLD = 3  # findings that the summary names


def named(conditions: Sequence[Condition], label: str | None = None) -> str:
    """The group in the data's words: "Eyeglasses: yes and Young: no, labelled Male"."""
    text = " and ".join(f"{c.attribute}: {c.value}" for c in conditions)
    return text if label is None else f"{text}, labelled {label}"


def points(value: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign."""
    if not math.isfinite(value):
        return words.UNDEFINED
    sign = "+" if value > 0 else ""
    return f"{sign}{words.number(100 * value, digits)}"


def points_interval(gap: Gap) -> str:
    """The ends of a gap's interval in percentage points."""
    return f"{points(gap.low)} to {points(gap.high)}"


def lead(audit: Audit) -> list[str]:
    """The whole audit in a minute: what was found, how sure, and what could not be seen."""
    split = audit.splits[0]
    who = "" if split.people is None else f" of {words.people(split.people)}"
    said = [
        f"On {words.count(split.n)} {split.split} images{who}, the audit compared every value of "
        f"every attribute with the rest: {words.count(split.gaps_looked_at)} gaps in all, of which "
        f"{words.count(split.gaps_found)} are too wide to be chance (at most "
        f"{words.percent(split.false_discovery_rate, 0)} of those found are, on average)."
    ]
    if split.findings:
        told = [f"{f.finding.detail.rstrip('.')}." for f in split.findings[:_TOLD]]
        said += told
        if len(split.findings) > _TOLD:
            said.append(f"{words.count(len(split.findings) - _TOLD)} more are listed below.")
    else:
        said.append(
            "No group that could be judged does worse than the rest by more than chance explains."
        )
    return [*said, *unseen(split)]


def unseen(split: SplitAudit) -> list[str]:
    """What the audit could not have seen."""
    said = []
    if split.too_few:
        unit = "images" if split.people is None else "people"
        groups = "group has" if split.too_few == 1 else "groups have"
        said.append(
            f"{words.count(split.too_few)} {groups} fewer than {split.smallest_people} {unit}: "
            "nothing can be said about them."
        )
    visible = sorted(
        g.gaps["accuracy"].smallest_visible
        for g in singles(split)
        if "accuracy" in g.gaps and math.isfinite(g.gaps["accuracy"].smallest_visible)
    )
    if visible:
        said.append(
            f"Half of the other groups would have to be at least "
            f"{words.number(100 * visible[len(visible) // 2], 1)} points of accuracy apart from "
            "the rest for the audit to be likely (80%) to see it: “not found” does not mean equal."
        )
    return said


def singles(split: SplitAudit) -> list[Group]:
    """The groups of one value, among all images."""
    return [g for g in split.groups if len(g.conditions) == 1 and g.label is None]


@dataclass(frozen=True)
class Row:
    """One line of the table of gaps."""

    name: str
    group: Group
    gap: Gap


def rows(split: SplitAudit) -> list[Row]:
    """Every single group with a gap in accuracy: the worst for the group first, unknown last."""
    found = [
        Row(named(g.conditions), g, g.gaps["accuracy"])
        for g in singles(split)
        if "accuracy" in g.gaps
    ]
    return sorted(found, key=lambda r: (not math.isfinite(r.gap.value), r.gap.value))


def answered(target: TargetAbstention) -> list[GroupAbstention]:
    """The groups that a rule answers least often, after all images together."""
    everyone = [g for g in target.groups if g.kind == "all"]
    others = [g for g in target.groups if g.kind == "group" and math.isfinite(g.coverage.value)]
    return everyone + sorted(others, key=lambda g: g.coverage.value)[:12]
