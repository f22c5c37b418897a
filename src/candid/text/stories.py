"""For whom a model fails, told once for every story, in a sentence with its number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from candid.records import Estimate
from candid.records.audit import AuditFinding, SplitAudit
from candid.records.stories import Story
from candid.text import words
from candid.text.findings import group_name, worse_interval

_MOST_WORST = 3  # classes whose errors one line names, where there are many
_FEW_CLASSES = 4  # classes that it names all
_MOST_NAMES = 4  # other names of a story


def stories_of(split: SplitAudit) -> tuple[Story, ...]:
    """The stories of a split but those that a label tells itself.

    Of an audit that was written before there were any: the findings without those about attributes
    that one before them was about already.
    """
    if split.stories or not split.findings:
        return tuple(s for s in split.stories if s.stands_for is None)
    attributes_before: list[frozenset[str]] = []
    stories = []
    for i, f in enumerate(split.findings):
        attributes = frozenset(c.attribute for c in f.conditions)
        if not any(attributes >= earlier for earlier in attributes_before):
            attributes_before.append(attributes)
            stories.append(Story((i,), f.finding.count))
    return tuple(stories)


def telling_finding(split: SplitAudit, story: Story) -> AuditFinding:
    """The finding that tells a story."""
    return split.findings[story.findings[0]]


def story_sentence(split: SplitAudit, story: Story) -> str:
    """Which group it is about, and how often the model is wrong for it and for the rest."""
    f = telling_finding(split, story)
    group_error, rest_error = f.errors
    if not (math.isfinite(group_error) and math.isfinite(rest_error)):
        return words.sentence(f.finding.title)
    group_share, rest_share = _format_shares(group_error, rest_error)
    if f.kind == "shortcut":
        attribute = f.conditions[0].attribute
        return (
            f"Of the pictures whose {attribute} contradicts the label, {group_share} are "
            f"classified otherwise than labelled, of those where it agrees, {rest_share}."
        )
    rest = f"the others labelled {f.label}" if f.label is not None else "the others"
    return (
        f"Of {_describe_group(f)}, {group_share} are {_describe_errors(split, f)}, of {rest}, "
        f"{rest_share}."
    )


def story_figures(split: SplitAudit, story: Story) -> str:
    """The gap, its interval and its sample."""
    gap = telling_finding(split, story).gap
    return (
        f"{words.size_in_points(gap)} more in 100 "
        f"({words.confidence(gap.confidence)} {worse_interval(gap)}; "
        f"{words.images(gap.n, gap.people)})"
    )


def story_line(split: SplitAudit, story: Story) -> str:
    """The sentence and its figures in one line."""
    sentence = story_sentence(split, story).removesuffix(".")
    return f"{sentence}: {story_figures(split, story)}."


def story_detail(split: SplitAudit, story: Story) -> str:
    """Its figures, and the other findings of the same mistakes."""
    names = other_names(split, story)
    rest = f" The same mistakes: {'; '.join(names)}." if names else ""
    return f"{words.sentence(story_figures(split, story))}{rest}"


def finding_name(f: AuditFinding) -> str:
    """What a finding is about, in a few words."""
    if f.kind == "shortcut":
        return f"{f.conditions[0].attribute} as a cue"
    return group_name(f.conditions, f.label)


def other_names(split: SplitAudit, story: Story) -> list[str]:
    """The other findings of the same mistakes."""
    return [finding_name(split.findings[i]) for i in story.findings[1:]]


def label_aliases(split: SplitAudit) -> list[str]:
    """Findings that say in other words what the errors per label say."""
    return [
        f"“{finding_name(telling_finding(split, s))}” is nearly the label {s.stands_for} itself, "
        "so its gap is that of the label."
        for s in split.stories
        if s.stands_for is not None
    ]


def errors_by_label(split: SplitAudit) -> str:
    """The error for each label in one line; "" where all are undefined."""
    errors = {
        name.removeprefix("error:"): e
        for name, e in split.metrics.items()
        if name.startswith("error:") and math.isfinite(e.value)
    }
    if not errors:
        return ""
    worst = sorted(errors, key=lambda name: -errors[name].value)
    listed = worst if len(worst) <= _FEW_CLASSES else worst[:_MOST_WORST]
    rest = len(worst) - len(listed)
    parts = [f"{name}: {_format_error(errors[name])}" for name in listed]
    remainder = f", and {words.count(rest)} others less often" if rest else ""
    return f"Wrong, in 100 pictures of each label: {'; '.join(parts)}{remainder}."


def _format_error(e: Estimate) -> str:
    value = words.hundredths_of(e)
    return f"{value} ({words.hundredths_interval(e)}; {words.images(e.n, e.people)})"


def _describe_group(f: AuditFinding) -> str:
    images = "the pictures" if f.label is None else f"those labelled {f.label}"
    return f"{images} with {group_name(f.conditions)}"


def _describe_errors(split: SplitAudit, f: AuditFinding) -> str:
    """What the mistakes are: of two classes, the other one."""
    classes = [name.removeprefix("error:") for name in split.metrics if name.startswith("error:")]
    rest = [name for name in classes if name != f.label]
    if f.label is not None and len(rest) == 1:
        return f"taken for {rest[0]}"
    return "classified otherwise than labelled"


def _format_shares(group_error: float, rest_error: float) -> tuple[str, str]:
    """Two shares in hundredths, with a decimal where they would round to the same."""
    digits = 0 if round(100 * group_error) - round(100 * rest_error) >= 1 else 1
    group_share = words.number(100 * group_error, digits)
    rest_share = words.number(100 * rest_error, digits)
    if digits == 0 and 0 < 100 * rest_error < 0.5:
        rest_share = "fewer than 1"
    return f"{group_share} in 100", rest_share


def story_lines(split: SplitAudit, stories: Sequence[Story]) -> list[str]:
    """Each story in a line, and below it a few of its other names."""
    lines = []
    for s in stories:
        lines.append(story_line(split, s))
        names = other_names(split, s)
        if names:
            n_more = len(names) - _MOST_NAMES
            rest = f" and {words.count(n_more)} more" if n_more > 0 else ""
            lines.append(f"  the same mistakes: {'; '.join(names[:_MOST_NAMES])}{rest}")
    return lines
