"""What the report says about whom the model fails, in sentences.

Everything here is plain text: whoever prints it escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from candid.records import Finding
from candid.records.audit import Audit, Gap, SplitAudit
from candid.records.collecting import MOST_WANTED, GroupCurves, Wanted
from candid.text import words
from candid.text.collecting import curve_said
from candid.text.findings import value_name, worse_ends
from candid.text.stories import errors_by_label, names_of_labels, stories_of, story_told

_TOLD = 3  # stories and cues that are told
_LISTED = 10  # findings that the model card lists


@dataclass(frozen=True)
class AuditSummary:
    """The whole audit in a minute: what was found, how sure, and what could not be seen."""

    found: tuple[str, ...]
    sure: tuple[str, ...]
    unseen: tuple[str, ...]


def audit_summary(audit: Audit) -> AuditSummary:
    """The audit's first split in short sentences, for a reader who is no statistician."""
    split = audit.splits[0]
    stories = stories_of(split)
    found = [story_told(split, s) for s in stories[:_TOLD]]
    if more := len(stories) - len(found):
        found.append(f"{words.many(more, 'more is', 'more are')} told below.")
    if not split.gaps_looked_at:
        found.append("No groups could be compared, so for whom it fails is not known.")
    elif not split.findings:
        found.append(
            "No group that could be judged does worse than the rest by more than chance explains."
        )
    found += names_of_labels(split)
    if by_label := errors_by_label(split):
        found.insert(0, by_label)
    return AuditSummary(tuple(found), tuple(_sure(split)), tuple(_unseen(split)))


def _sure(split: SplitAudit) -> list[str]:
    if not split.gaps_looked_at:
        return [f"There are {words.count(split.n)} {split.split} images, and no gap to look at."]
    said = (
        f"On {words.count(split.n)} {split.split} images{words.of_people(split.people)}, the audit "
        f"compared every value of every attribute with the rest: "
        f"{words.gaps(split.gaps_looked_at)} in all, of which "
        f"{words.many(split.gaps_found, 'is', 'are')} too wide to "
        f"be chance (at most {words.percent(split.false_discovery_rate, 0)} of those found are, "
        "on average)."
    )
    if split.people is None:
        return [
            said,
            "Nobody knows who is in the pictures, so it may be surer of itself than it should be.",
        ]
    return [said]


def _unseen(split: SplitAudit) -> list[str]:
    """What the audit could not have seen."""
    said = []
    if split.too_few:
        unit = "images" if split.people is None else "people"
        what = "it" if split.too_few == 1 else "them"
        said.append(
            f"{words.groups_or_rests(split.too_few)} fewer than {split.smallest_people} {unit}: "
            f"nothing can be said about {what}."
        )
    gaps = [g.gaps["accuracy"] for g in split.singles() if "accuracy" in g.gaps]
    visible = words.middle(gap.smallest_visible for gap in gaps)
    if visible is not None:
        said.append(
            f"Half of the other groups would have to be at least "
            f"{words.number(100 * visible, 1)} points of accuracy apart from "
            "the rest for the audit to be likely (80%) to see it: “not found” does not mean equal."
        )
    return said


_SHOPPING = 5  # groups that are named in short
NOT_KNOWN = (
    "How many more pictures would halve a gap that was found is not known: that takes a learning "
    "curve within a group, which candid improve RUN --curve measures where the model is a run's."
)


def to_collect(split: SplitAudit, curves: GroupCurves | None = None) -> list[str]:
    """Of which groups how many more people would halve a gap that was found, or let one be seen."""
    unit = "images" if split.people is None else "people"
    named = split.wanted[:_SHOPPING]
    said = [_needed(one, unit) for one in named if one.more_people is not None]
    if hopeless := [one for one in named if one.more_people is None]:
        said.append(_hopeless(hopeless, unit))
    if (more := len(split.wanted) - _SHOPPING) > 0:
        least = "at least " if len(split.wanted) >= MOST_WANTED else ""
        size = words.number(100 * split.wanted[0].size, 0)
        groups = words.many(more, "more group is", "more groups are")
        said.append(f"{least}{groups} too small for a gap of {size} points to be seen.")
    if curves is not None:
        return [*map(curve_said, curves.groups), *said]
    if split.findings:
        said.append(NOT_KNOWN)
    return said


def _needed(one: Wanted, unit: str) -> str:
    name, size = _name_of(one), words.number(100 * one.size, 0)
    extra = "" if unit == "images" else f" ({words.count(one.more_images or 0)} images like theirs)"
    then, now = (words.number(100 * width, 1) for width in (one.width_then, one.width))
    narrower = "" if then == now else f"; its interval would be {then} points wide, not {now}"
    return (
        f"{name}: {words.count(one.more_people or 0)} more {unit}{extra} beside the "
        f"{words.count(one.people)} there are would show a gap of {size} points in 80% of "
        f"cases{narrower}."
    )


def _hopeless(some: Sequence[Wanted], unit: str) -> str:
    """Groups of which no number would do."""
    names = [f"{_name_of(one)} ({words.count(one.people)} {unit})" for one in some]
    return (
        f"{words.listed(names)}: no number would show a gap of "
        f"{words.number(100 * some[0].size, 0)} points, as the rest is too small as well."
    )


def _name_of(one: Wanted) -> str:
    return value_name(one.attribute, one.value, one.label)


# --- the model card ------------------------------------------------------------------------------

CARD_HEAD = ("Finding", "Severity", "Images", "People", "More mistakes, points", "p, adjusted")


def card_rows(split: SplitAudit) -> list[list[str]]:
    """The surest findings, a line each under `CARD_HEAD`."""
    return [_card_row(f.finding, f.gap) for f in split.findings[:_LISTED]]


def _card_row(finding: Finding, gap: Gap) -> list[str]:
    digits = words.decimals(gap, 1, 100)
    ends = " to ".join(words.points(end, digits) for end in worse_ends(gap))
    return [
        finding.title,
        finding.severity,
        words.count(gap.n),
        "unknown" if gap.people is None else words.count(gap.people),
        f"{words.points(abs(gap.value), digits)} ({ends})",
        words.p_value(gap.adjusted_p),
    ]


def shortcuts_said(split: SplitAudit) -> list[str]:
    """Which cues the model leans on, and how many could be judged."""
    judged = [s for s in split.shortcuts if s.within]
    if not judged:
        return []
    leaned = [s for s in judged if s.gap.state == "found" and s.gap.value > 0]
    told = [
        f"{s.attribute}: right in {words.share_of(s.agrees)} where it agrees with the label "
        f"and in {words.share_of(s.contradicts)} where it contradicts it "
        f"({words.interval(s.contradicts, share=True)}; {words.support(s.contradicts)})."
        for s in leaned[:_TOLD]
    ]
    return [
        f"{words.many(len(judged), 'attribute goes', 'attributes go')} with the label and could be "
        f"judged as {words.agreeing(len(judged), 'a cue', 'cues')}; the "
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
        f"{words.count(audit.noise.found)} of {words.many(audit.noise.n, 'label', 'labels')} "
        f"{words.agreeing(audit.noise.found, 'is', 'are')} likely wrong "
        f"by confident learning (estimated share of wrong labels "
        f"{words.share_of(audit.noise.rate)}, "
        f"{words.interval(audit.noise.rate, share=True)}). The model's own mistakes look the same "
        "to this method: it is a list to check, not a verdict."
    ]


def balance_said(balance: str, attributes: Sequence[str]) -> list[str]:
    """What the training did for groups that are few."""
    among = words.listed(["the label", *attributes])
    if balance == "group":
        return [
            f"Every combination of {among} weighed the same in training (train.balance = group)."
        ]
    if balance == "reweighing":
        among = words.listed([*attributes])
        return [
            f"Training weighed images so that the label is as frequent in every group of {among} "
            "as in all (train.balance = reweighing)."
        ]
    if balance == "dro":
        return [
            f"Training followed the combination of {among} with the highest loss "
            "(train.balance = dro)."
        ]
    return ["Training gave groups no weights of their own (train.balance = none)."]


# --- conditions that a user sets -----------------------------------------------------------------


def condition_unchecked(condition: str, split: str, figure: str) -> str:
    """A condition on a figure that is undefined."""
    return f"{condition} cannot be checked on {split}: {figure} is undefined."


def condition_holds(condition: str, split: str, figure: str, value: float, about: str) -> str:
    """A condition that holds, and the group that it is about, "" where there is none."""
    whom = f" ({about})" if about else ""
    return f"{condition} holds on {split}: {figure} is {value:.4g}{whom}."
