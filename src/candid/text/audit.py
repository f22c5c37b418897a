"""What the report says about whom the model fails, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from candid.records import Finding
from candid.records.audit import Audit, Gap, SplitAudit
from candid.records.collecting import MOST_WANTED, GroupCurves, Wanted
from candid.text import words
from candid.text.collecting import curve_sentence
from candid.text.findings import value_name, worse_ends
from candid.text.stories import errors_by_label, label_aliases, stories_of, story_line

_MOST_STORIES = 3  # stories and cues that are told
_MOST_FINDINGS = 10  # findings that the model card lists


@dataclass(frozen=True)
class AuditSummary:
    """The audit in short: findings, how certain they are, and what it could not have seen."""

    findings: tuple[str, ...]
    certainty: tuple[str, ...]
    unseen: tuple[str, ...]


def audit_summary(audit: Audit) -> AuditSummary:
    """The audit's first split in short sentences, for a reader who is no statistician."""
    split = audit.splits[0]
    stories = stories_of(split)
    findings = [story_line(split, s) for s in stories[:_MOST_STORIES]]
    if n_more := len(stories) - len(findings):
        findings.append(f"{words.many(n_more, 'more is', 'more are')} told below.")
    if not split.gaps_looked_at:
        findings.append("No groups could be compared, so for whom it fails is not known.")
    elif not split.findings:
        findings.append(
            "No group that could be judged does worse than the rest by more than chance explains."
        )
    findings += label_aliases(split)
    if by_label := errors_by_label(split):
        findings.insert(0, by_label)
    return AuditSummary(
        tuple(findings), tuple(_certainty_sentences(split)), tuple(_blind_spots(split))
    )


def _certainty_sentences(split: SplitAudit) -> list[str]:
    if not split.gaps_looked_at:
        return [f"There are {words.count(split.n)} {split.split} images, and no gap to look at."]
    sentence = (
        f"On {words.count(split.n)} {split.split} images{words.of_people(split.people)}, the audit "
        f"compared every value of every attribute with the rest: "
        f"{words.gaps(split.gaps_looked_at)} in all, of which "
        f"{words.many(split.gaps_found, 'is', 'are')} too wide to "
        f"be chance (at most {words.percent(split.false_discovery_rate, 0)} of those found are, "
        "on average)."
    )
    if split.people is None:
        return [
            sentence,
            "Nobody knows who is in the pictures, so it may be surer of itself than it should be.",
        ]
    return [sentence]


def _blind_spots(split: SplitAudit) -> list[str]:
    """What the audit could not have seen."""
    sentences = []
    if split.too_few:
        unit = "images" if split.people is None else "people"
        pronoun = "it" if split.too_few == 1 else "them"
        sentences.append(
            f"{words.groups_or_rests(split.too_few)} fewer than {split.smallest_people} {unit}: "
            f"nothing can be said about {pronoun}."
        )
    gaps = [g.gaps["accuracy"] for g in split.singles() if "accuracy" in g.gaps]
    visible = words.upper_median(gap.smallest_visible for gap in gaps)
    if visible is not None:
        sentences.append(
            f"Half of the other groups would have to be at least "
            f"{words.number(100 * visible, 1)} points of accuracy apart from "
            "the rest for the audit to be likely (80%) to see it: “not found” does not mean equal."
        )
    return sentences


_MOST_NAMED = 5  # groups that are named in short
NOT_KNOWN = (
    "How many more pictures would halve a gap that was found is not known: that takes a learning "
    "curve within a group, which candid improve RUN --curve measures where the model is a run's."
)


def collection_sentences(split: SplitAudit, curves: GroupCurves | None = None) -> list[str]:
    """How many more people of which groups would halve a gap, or let one be seen."""
    unit = "images" if split.people is None else "people"
    wanted = split.wanted[:_MOST_NAMED]
    sentences = [_describe_need(w, unit) for w in wanted if w.more_people is not None]
    if unreachable := [w for w in wanted if w.more_people is None]:
        sentences.append(_describe_unreachable(unreachable, unit))
    if (n_more := len(split.wanted) - _MOST_NAMED) > 0:
        least = "at least " if len(split.wanted) >= MOST_WANTED else ""
        size = words.number(100 * split.wanted[0].size, 0)
        rest = words.many(n_more, "more group is", "more groups are")
        sentences.append(f"{least}{rest} too small for a gap of {size} points to be seen.")
    if curves is not None:
        return [*map(curve_sentence, curves.groups), *sentences]
    if split.findings:
        sentences.append(NOT_KNOWN)
    return sentences


def _describe_need(w: Wanted, unit: str) -> str:
    name, size = _group_name(w), words.number(100 * w.size, 0)
    extra = "" if unit == "images" else f" ({words.count(w.more_images or 0)} images like theirs)"
    after, before = (words.number(100 * width, 1) for width in (w.width_then, w.width))
    narrower = (
        "" if after == before else f"; its interval would be {after} points wide, not {before}"
    )
    return (
        f"{name}: {words.count(w.more_people or 0)} more {unit}{extra} beside the "
        f"{words.count(w.people)} there are would show a gap of {size} points in 80% of "
        f"cases{narrower}."
    )


def _describe_unreachable(groups: Sequence[Wanted], unit: str) -> str:
    """Groups for which no number would be enough."""
    names = [f"{_group_name(group)} ({words.count(group.people)} {unit})" for group in groups]
    return (
        f"{words.conjoin(names)}: no number would show a gap of "
        f"{words.number(100 * groups[0].size, 0)} points, as the rest is too small as well."
    )


def _group_name(group: Wanted) -> str:
    return value_name(group.attribute, group.value, group.label)


# --- the model card ------------------------------------------------------------------------------

CARD_HEAD = ("Finding", "Severity", "Images", "People", "More mistakes, points", "p, adjusted")


def card_rows(split: SplitAudit) -> list[list[str]]:
    """The surest findings, a line each under `CARD_HEAD`."""
    return [_card_row(f.finding, f.gap) for f in split.findings[:_MOST_FINDINGS]]


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


def shortcut_sentences(split: SplitAudit) -> list[str]:
    """Which cues the model leans on, and how many could be judged."""
    testable = [s for s in split.shortcuts if s.within]
    if not testable:
        return []
    significant = [s for s in testable if s.gap.state == "found" and s.gap.value > 0]
    sentences = [
        f"{s.attribute}: right in {words.share_of(s.agrees)} where it agrees with the label "
        f"and in {words.share_of(s.contradicts)} where it contradicts it "
        f"({words.interval(s.contradicts, share=True)}; {words.support(s.contradicts)})."
        for s in significant[:_MOST_STORIES]
    ]
    return [
        f"{words.many(len(testable), 'attribute goes', 'attributes go')} with the label and could "
        f"be judged as {words.plural(len(testable), 'a cue', 'cues')}; the model leans on "
        f"{words.count(len(significant))} of them, or on what goes with them.",
        *sentences,
    ]


def abstention_sentences(audit: Audit) -> list[str]:
    """How much can be answered at each target error."""
    return [] if audit.abstention is None else [t.sentence for t in audit.abstention.targets]


def noise_sentences(audit: Audit) -> list[str]:
    """How many labels are likely wrong."""
    if audit.noise is None:
        return []
    return [
        f"{words.count(audit.noise.found)} of {words.many(audit.noise.n, 'label', 'labels')} "
        f"{words.plural(audit.noise.found, 'is', 'are')} likely wrong "
        f"by confident learning (estimated share of wrong labels "
        f"{words.share_of(audit.noise.rate)}, "
        f"{words.interval(audit.noise.rate, share=True)}). The model's own mistakes look the same "
        "to this method: it is a list to check, not a verdict."
    ]


def balance_sentences(balance: str, attributes: Sequence[str]) -> list[str]:
    """How training balanced groups."""
    names = words.conjoin(["the label", *attributes])
    if balance == "group":
        return [
            f"Every combination of {names} weighed the same in training (train.balance = group)."
        ]
    if balance == "reweighing":
        names = words.conjoin([*attributes])
        return [
            f"Training weighed images so that the label is as frequent in every group of {names} "
            "as in all (train.balance = reweighing)."
        ]
    if balance == "dro":
        return [
            f"Training followed the combination of {names} with the highest loss "
            "(train.balance = dro)."
        ]
    return ["Training gave groups no weights of their own (train.balance = none)."]


# --- conditions that a user sets -----------------------------------------------------------------


def condition_unchecked(condition: str, split: str, figure: str) -> str:
    """A condition on a figure that is undefined."""
    return f"{condition} cannot be checked on {split}: {figure} is undefined."


def condition_holds(condition: str, split: str, figure: str, value: float, group: str) -> str:
    """A condition that holds, and the group that it is about, "" where there is none."""
    clause = f" ({group})" if group else ""
    return f"{condition} holds on {split}: {figure} is {value:.4g}{clause}."
