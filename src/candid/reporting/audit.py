"""What the report says about whom the model fails, in sentences.

Everything here is plain text: whoever prints it escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from candid.records.abstention import GroupAbstention, TargetAbstention
from candid.records.audit import Audit, AuditFinding, Condition, Gap, Group, SplitAudit
from candid.records.confounding import AdjustedGap, AdjustedGaps
from candid.records.metrics import worse_when
from candid.reporting import words
from candid.reporting.inputs import ReportInput
from candid.settings import TrainConfig

SOURCE = "source"  # the attribute that tells several data sets apart
_TOLD = 3  # findings that the summary names
_ADJUSTED = 15  # gaps held constant that the report lists
_LISTED = 10  # findings that the model card lists


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


@dataclass(frozen=True)
class Minute:
    """The whole audit in a minute: what was found, how sure, and what could not be seen."""

    found: tuple[str, ...]
    sure: tuple[str, ...]
    unseen: tuple[str, ...]


def minute(audit: Audit) -> Minute:
    """The audit's first split in short sentences, for a reader who is no statistician."""
    split = audit.splits[0]
    if split.findings:
        told = [brief(f) for f in _distinct(split.findings)[:_TOLD]]
        more = len(split.findings) - len(told)
        rest = f"{words.count(more)} more {'is' if more == 1 else 'are'} in the list of findings."
        found = [*told, rest] if more else told
    else:
        found = [
            "No group that could be judged does worse than the rest by more than chance explains."
        ]
    return Minute(tuple(found), tuple(_sure(split)), tuple(unseen(split)))


def lead(audit: Audit) -> list[str]:
    """The sentences of `minute`, how sure it is first."""
    said = minute(audit)
    return [*said.sure, *said.found, *said.unseen]


def _sure(split: SplitAudit) -> list[str]:
    who = "" if split.people is None else f" of {words.people(split.people)}"
    said = (
        f"On {words.count(split.n)} {split.split} images{who}, the audit compared every value of "
        f"every attribute with the rest: {words.count(split.gaps_looked_at)} gaps in all, of which "
        f"{words.count(split.gaps_found)} are too wide to be chance (at most "
        f"{words.percent(split.false_discovery_rate, 0)} of those found are, on average)."
    )
    if split.people is None:
        return [
            said,
            "Nobody knows who is in the pictures, so it may be surer of itself than it should be.",
        ]
    return [said]


def brief(found: AuditFinding) -> str:
    """A finding in one short sentence: how many more mistakes in 100 pictures, and how sure."""
    gap = found.gap
    low, high = ends(gap)
    people = "" if gap.people is None else f" of {words.people(gap.people)}"
    return (
        f"{found.finding.title}: {words.number(100 * abs(gap.value), 1)} more mistakes in 100 "
        f"pictures ({words.number(100 * low, 1)} to {words.number(100 * high, 1)} with "
        f"{100 * gap.confidence:g}% confidence; {words.count(gap.n)} pictures{people})."
    )


def ends(gap: Gap) -> tuple[float, float]:
    """The interval of a gap, turned so that more is worse for the group."""
    return (gap.low, gap.high) if worse_when(gap.metric) > 0 else (-gap.high, -gap.low)


def _distinct(findings: Sequence[AuditFinding]) -> list[AuditFinding]:
    """The findings without those about attributes that one before them was about already."""
    kept: list[AuditFinding] = []
    told: list[frozenset[str]] = []
    for f in findings:
        about = frozenset(c.attribute for c in f.conditions)
        if not any(about >= other for other in told):
            kept.append(f)
            told.append(about)
    return kept


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


# --- the model card ------------------------------------------------------------------------------

CARD_HEAD = ("Finding", "Severity", "Images", "People", "More mistakes, points", "p, adjusted")


def card_rows(split: SplitAudit) -> list[list[str]]:
    """The surest findings, a line each under `CARD_HEAD`."""
    return [
        [
            f.finding.title,
            f.finding.severity,
            words.count(f.gap.n),
            "unknown" if f.gap.people is None else words.count(f.gap.people),
            f"{points(abs(f.gap.value))} ({' to '.join(points(e) for e in ends(f.gap))})",
            "<0.0001" if f.gap.adjusted_p < 0.0001 else words.significant(f.gap.adjusted_p, 2),
        ]
        for f in split.findings[:_LISTED]
    ]


def shortcuts_said(split: SplitAudit) -> list[str]:
    """Which cues the model leans on, and how many could be judged."""
    judged = [s for s in split.shortcuts if s.within]
    if not judged:
        return []
    leaned = [s for s in judged if s.gap.state == "found" and s.gap.value > 0]
    told = [
        f"{s.attribute}: right in {words.percent(s.agrees.value)} where it agrees with the label "
        f"and in {words.percent(s.contradicts.value)} where it contradicts it "
        f"({words.interval(s.contradicts, share=True)}; {words.support(s.contradicts)})."
        for s in leaned[:_TOLD]
    ]
    return [
        f"{words.count(len(judged))} attributes go with the label and could be judged as cues; the "
        f"model leans on {words.count(len(leaned))} of them, or on what goes with them.",
        *told,
    ]


def abstention_said(audit: Audit) -> list[str]:
    """What may be answered for how little error."""
    return [] if audit.abstention is None else [t.sentence for t in audit.abstention.targets]


def noise_said(audit: Audit) -> list[str]:
    """How many labels are likely wrong."""
    if audit.noise is None:
        return []
    return [
        f"{words.count(audit.noise.found)} of {words.count(audit.noise.n)} labels are likely wrong "
        f"by confident learning (estimated share of wrong labels "
        f"{words.percent(audit.noise.rate.value)}, "
        f"{words.interval(audit.noise.rate, share=True)}). The model's own mistakes look the same "
        "to this method: it is a list to check, not a verdict."
    ]


def balance_said(train: TrainConfig) -> list[str]:
    """What the training did for groups that are few."""
    among = words.listed(["the label", *train.balance_attributes])
    if train.balance == "group":
        return [
            f"Every combination of {among} weighed the same in training (train.balance = group)."
        ]
    if train.balance == "dro":
        return [
            f"Training followed the combination of {among} with the highest loss "
            "(train.balance = dro)."
        ]
    return ["Training gave groups no weights of their own (train.balance = none)."]


# --- tables --------------------------------------------------------------------------------------


def singles(split: SplitAudit) -> list[Group]:
    """The groups of one value, among all images."""
    return [g for g in split.groups if len(g.conditions) == 1 and g.label is None]


def by_source(inputs: ReportInput) -> list[tuple[SplitAudit, list[Group]]]:
    """How the model does on each of several data sets, by audited split; nothing for one."""
    splits = () if inputs.audit is None or not inputs.sources else inputs.audit.splits
    found = [
        (split, [g for g in singles(split) if g.conditions[0].attribute == SOURCE])
        for split in splits
    ]
    return [(split, groups) for split, groups in found if groups]


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


def worse_sides(known: Sequence[Row]) -> list[Row]:
    """The rows without the better of two opposite values: its gap is the same, the other way."""
    values: dict[str, list[Row]] = {}
    for r in known:
        values.setdefault(r.group.conditions[0].attribute, []).append(r)
    better = {
        id(pair[1])
        for pair in values.values()
        if len(pair) == 2 and pair[0].gap.value <= 0 <= pair[1].gap.value
    }
    return [r for r in known if id(r) not in better]


def adjusted(gaps: AdjustedGaps) -> list[AdjustedGap]:
    """The values whose gaps to their disadvantage are widest, those found first."""
    worse = [g for g in gaps.gaps if g.raw.value > 0]
    return sorted(worse, key=lambda g: (g.state != "found", -g.raw.value))[:_ADJUSTED]


def answered(target: TargetAbstention) -> list[GroupAbstention]:
    """The groups that a rule answers least often, after all images together."""
    everyone = [g for g in target.groups if g.kind == "all"]
    others = [g for g in target.groups if g.kind == "group" and math.isfinite(g.coverage.value)]
    return everyone + sorted(others, key=lambda g: g.coverage.value)[:12]
