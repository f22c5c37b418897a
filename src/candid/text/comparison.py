"""What the report says of two models on the same images, in sentences.

Everything here is plain text: whoever prints it escapes it.
"""

from __future__ import annotations

from candid.records.compare import Comparison, GroupChange
from candid.text import words
from candid.text.findings import value_name

_TOLD = 3  # groups of either direction that the summary names


def change_name(change: GroupChange) -> str:
    """The group in the data's words; "labelled Male" for a class."""
    if not change.attribute:
        return "all images"
    if change.attribute == "label" and change.gap is None and change.label is None:
        return f"labelled {change.value}"
    return value_name(change.attribute, change.value, change.label)


def change_figures(change: GroupChange) -> str:
    """How far its accuracy moved, how sure that is, and on what it stands."""
    e = change.accuracy_change
    return (
        f"{words.points_of(e)} points, {words.points_interval(e)}; "
        f"{words.images(change.n, change.people)}"
    )


def comparison_summary(comparison: Comparison) -> list[str]:
    """For whom it became better or worse, how sure that is, and what it cost the others."""
    better, worse = comparison.changed(1), comparison.changed(-1)
    said = [_told(g, "Better") for g in better[:_TOLD]] + [_told(g, "Worse") for g in worse[:_TOLD]]
    more = len(better) + len(worse) - len(said)
    if more:
        said.append(
            f"{words.many(more, 'more class or group', 'more classes and groups')} changed for "
            "sure; the table says."
        )
    if not said:
        said.append(
            f"None of the {words.count(len(comparison.judged()))} classes and groups that could be "
            "judged changed by more than chance explains."
        )
    return [*said, overall(comparison), cost(comparison), *_unseen(comparison)]


def _told(change: GroupChange, word: str) -> str:
    accuracy = change.metrics["accuracy"]
    text = (
        f"{word} for {change_name(change)}: {words.percent(accuracy.a)} were right, now "
        f"{words.percent(accuracy.b)} are ({change_figures(change)})"
    )
    if change.gap is not None:
        text += (
            f"; its gap to the rest went from {words.points(change.gap.a)} to "
            f"{words.points(change.gap.b)} points"
        )
    return f"{text}."


def overall(comparison: Comparison) -> str:
    """All images together."""
    accuracy = comparison.overall.metrics["accuracy"]
    e = accuracy.difference
    chance = "" if e.low > 0 or e.high < 0 else ", which could be chance"
    return (
        f"Over all {words.count(comparison.n)} {comparison.split} images, "
        f"{words.percent(accuracy.a)} were right with “{comparison.a}” and "
        f"{words.percent(accuracy.b)} are with “{comparison.b}”: {words.points_of(e)} points "
        f"({words.points_interval(e)} with {100 * e.confidence:g}% confidence){chance}."
    )


def cost(comparison: Comparison) -> str:
    """What the change took from whom."""
    lost, gained = comparison.overall.lost, comparison.overall.gained
    worse = len(comparison.changed(-1))
    groups = words.many(worse, "class or group", "classes and groups")
    if not worse:
        groups = "no class and no group"
    return (
        f"What it cost: {words.many(lost, 'image that was', 'images that were')} right became "
        f"wrong, and {words.many(gained, 'that was', 'that were')} wrong became right; {groups} of "
        f"{words.count(len(comparison.judged()))} became worse for sure."
    )


def _unseen(comparison: Comparison) -> list[str]:
    """What the comparison could not have seen."""
    known = comparison.judged()
    visible = words.middle(g.smallest_visible for g in known)
    said = []
    if visible is not None:
        said.append(
            f"Half of the groups would have to change by at least "
            f"{words.number(100 * visible, 1)} points for that to be likely "
            "(80%) seen: “not found” does not mean unchanged."
        )
    few = len(comparison.groups) + len(comparison.classes_changed) - len(known)
    if few:
        said.append(f"{words.too_few(few, 'people')}.")
    return said
