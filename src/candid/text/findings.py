"""Findings of an audit in words: groups that do worse, cues that the model leans on."""

from __future__ import annotations

from collections.abc import Sequence

from candid.records.audit import Condition, Gap, Kind, Shortcut
from candid.records.metrics import worse_when
from candid.records.tone import HUE, ITA, TONE
from candid.text import words

GROUP_TODO = (
    "Look at the surest mistakes and at the adjusted gap: it may be a gap of something "
    "that goes with it. More training pictures of this group, or weights by group, are the "
    "usual remedies; say so in the model card until then."
)
SHORTCUT_TODO = (
    "Look at what the maps show for these pictures, and train with more pictures that "
    "contradict the cue, or with weights by label and attribute."
)


def group_name(conditions: Sequence[Condition], label: str | None = None) -> str:
    """A group in the data's words: "Eyeglasses: yes and Young: no, labelled Male"."""
    text = " and ".join(f"{c.attribute}: {c.value}" for c in conditions)
    return text if label is None else f"{text}, labelled {label}"


def value_name(attribute: str, value: str, label: str | None = None) -> str:
    """The group of one value of one attribute, in the same words."""
    return group_name([Condition(attribute, value)], label)


def worse_interval(gap: Gap) -> str:
    """The interval of how much worse a group fares, in points, the near end first."""
    digits = words.decimals(gap, 1, 100)
    return " to ".join(words.number(100 * end, digits) for end in worse_ends(gap))


def worse_ends(gap: Gap) -> tuple[float, float]:
    """The interval of a gap, turned so that more is worse for the group."""
    return (gap.low, gap.high) if worse_when(gap.metric) > 0 else (-gap.high, -gap.low)


def group_title(group: Sequence[Condition], label: str | None) -> str:
    """The heading of a group that does worse."""
    return f"Worse for {group_name(group, label)}"


def group_detail(
    kind: Kind,
    group: Sequence[Condition],
    label: str | None,
    gap: Gap,
    beyond: Gap | None,
    errors: tuple[float, float],
    looked_at: int,
) -> str:
    """What was found of a group; `errors` are its share of mistakes and that of the others."""
    label_clauses = ("", "") if label is None else (f" and labelled {label}", f" labelled {label}")
    # What was measured from pixels nobody wrote.
    verb = "with" if any(c.attribute in (TONE, ITA, HUE) for c in group) else "annotated"
    detail = (
        f"Of the pictures {verb} {group_name(group)}{label_clauses[0]}, {words.percent(errors[0])} "
        f"are classified otherwise than labelled; of the others{label_clauses[1]}, "
        f"{words.percent(errors[1])}: {_format_gap(gap, looked_at)}."
    )
    if beyond is not None:
        detail += (
            f" It is also worse than the nearest larger group without it, by "
            f"{_format_points(beyond)} ({_format_interval(beyond)})."
        )
    if kind == "slice":
        detail += " Found by search on one half of the people; these figures are of the other half."
    return detail


def shortcut_title(shortcut: Shortcut) -> str:
    """The heading of a cue that the model leans on."""
    return f"Leans on {shortcut.attribute}, or on what goes with it"


def shortcut_detail(shortcut: Shortcut, errors: tuple[float, float], looked_at: int) -> str:
    """What was found of a cue; `errors` are where it contradicts the label and where it agrees."""
    cues = "; ".join(f"{value} goes with {c}" for value, c in shortcut.cue.items())
    return (
        f"{shortcut.attribute} goes with the label (Cramér's V "
        f"{words.figure_of(shortcut.association, 2)}; {cues}). Where it contradicts the label, "
        f"{words.percent(errors[0])} are classified otherwise than labelled, where it agrees "
        f"{words.percent(errors[1])}, within the pictures labelled {' or '.join(shortcut.within)}: "
        f"{_format_gap(shortcut.gap, looked_at)}."
    )


def _format_gap(gap: Gap, looked_at: int) -> str:
    return (
        f"{_format_points(gap)} more mistakes ({_format_interval(gap)}; {gap.n:,} pictures"
        f"{words.of_people(gap.people)}; p {_format_p(gap.p)}, {_format_p(gap.adjusted_p)} after "
        f"Benjamini and Hochberg over {looked_at:,} gaps)"
    )


def _format_points(gap: Gap) -> str:
    return f"{words.size_in_points(gap)} percentage points"


def _format_interval(gap: Gap) -> str:
    low, high = worse_ends(gap)
    ends = f"{words.number(100 * low, 1)} to {words.number(100 * high, 1)}"
    return f"{words.confidence(gap.confidence)} {ends}"


def _format_p(p: float) -> str:
    return "below 0.0001" if p < 0.0001 else f"= {p:.2g}"
