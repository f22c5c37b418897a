"""The sentences of an audit, each from values: findings, fairness figures and notes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from candid.records import Estimate, Split
from candid.records.audit import Condition, FairnessFigure, Gap, Kind, Shortcut

# --- parts of sentences --------------------------------------------------------------------------


def group_name(group: Sequence[Condition]) -> str:
    """A group in words: "Eyeglasses: yes and Young: no"."""
    return " and ".join(f"{c.attribute}: {c.value}" for c in group)


def _percent(share: float) -> str:
    return "undefined" if math.isnan(share) else f"{100 * share:.1f}%"


def _points(value: float) -> str:
    return f"{abs(100 * value):.1f} percentage points"


def _range(gap: Gap) -> str:
    ends = sorted((abs(gap.low), abs(gap.high))) if gap.low * gap.high > 0 else (gap.low, gap.high)
    return f"{100 * gap.confidence:g}% interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def _p(p: float) -> str:
    return "below 0.0001" if p < 0.0001 else f"= {p:.2g}"


def _difference(gap: Gap, looked_at: int) -> str:
    people = "" if gap.people is None else f" of {gap.people:,} people"
    return (
        f"{_points(gap.value)} more mistakes ({_range(gap)}; {gap.n:,} pictures{people}; "
        f"p {_p(gap.p)}, {_p(gap.adjusted_p)} after Benjamini and Hochberg over "
        f"{looked_at:,} gaps)"
    )


# --- findings ------------------------------------------------------------------------------------

GROUP_TODO = (
    "Look at the surest mistakes and at the adjusted gap: it may be a gap of something "
    "that goes with it. More training pictures of this group, or weights by group, are the "
    "usual remedies; say so in the model card until then."
)
SHORTCUT_TODO = (
    "Look at what the maps show for these pictures, and train with more pictures that "
    "contradict the cue, or with weights by label and attribute."
)


def group_title(group: Sequence[Condition], label: str | None) -> str:
    """The heading of a group that does worse."""
    return f"Worse for {group_name(group)}" + ("" if label is None else f", labelled {label}")


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
    among = ("", "") if label is None else (f" and labelled {label}", f" labelled {label}")
    # What was measured from pixels nobody wrote.
    how = "with" if any("(measured)" in c.attribute for c in group) else "annotated"
    detail = (
        f"Of the pictures {how} {group_name(group)}{among[0]}, {_percent(errors[0])} are "
        f"classified otherwise than labelled; of the others{among[1]}, {_percent(errors[1])}: "
        f"{_difference(gap, looked_at)}."
    )
    if beyond is not None:
        detail += (
            f" It is also worse than the nearest larger group without it, by "
            f"{_points(beyond.value)} ({_range(beyond)})."
        )
    if kind == "slice":
        detail += " Found by search on one half of the people; these figures are of the other half."
    return detail


def shortcut_title(shortcut: Shortcut) -> str:
    """The heading of a cue that the model leans on."""
    return f"Leans on {shortcut.attribute}, or on what goes with it"


def shortcut_detail(shortcut: Shortcut, errors: tuple[float, float], looked_at: int) -> str:
    """What was found of a cue; `errors` are where it contradicts the label and where it agrees."""
    goes = "; ".join(f"{value} goes with {c}" for value, c in shortcut.cue.items())
    return (
        f"{shortcut.attribute} goes with the label (Cramér's V "
        f"{shortcut.association.value:.2f}; {goes}). Where it contradicts the label, "
        f"{_percent(errors[0])} are classified otherwise than labelled, where it agrees "
        f"{_percent(errors[1])}, within the pictures labelled {' or '.join(shortcut.within)}: "
        f"{_difference(shortcut.gap, looked_at)}."
    )


# --- fairness ------------------------------------------------------------------------------------

# By the start of a figure's name: its title, and the share that it compares.
_FAIRNESS = {
    "demographic_parity": ("Demographic parity", "share of images that are classified {0}"),
    "equal_opportunity": (
        "Equal opportunity",
        "share of images labelled {0} that are classified {0}",
    ),
    "equalized_odds": (
        "Equalised odds",
        "share of images that are classified {0}, among those labelled so or among the others",
    ),
    "predictive_parity": (
        "Predictive parity",
        "share of images classified {0} that are labelled so",
    ),
}


def fairness_sentence(figure: FairnessFigure) -> str:
    """What a figure of fairness means, for a reader who is no statistician."""
    e, about = figure.estimate, figure.attribute
    if figure.name == "worst_group_accuracy":
        return (
            f"Worst group's accuracy: among the groups of {about}, the model does "
            f"worst on {figure.lowest}: {_percent(e.value)} are classified as labelled "
            f"({100 * e.confidence:g}% interval {_ends(e)})."
        )
    if figure.name == "accuracy_max_min":
        kind, heading = "difference", "Largest difference in accuracy (max - min)"
        what = "share of images that are classified as labelled"
    else:
        start, _, kind = figure.name.rpartition("_")
        title, form = _FAIRNESS[start]
        heading, what = f"{title} {kind}", form.format(figure.about)
    if math.isnan(e.value):
        return f"{heading}: undefined, because the {what} cannot be computed in any two groups."
    if kind == "difference":
        return (
            f"{heading}: the {what} is up to {_points(e.value)} higher for {about}: "
            f"{figure.highest} than for {about}: {figure.lowest} "
            f"({100 * e.confidence:g}% interval {_ends(e)}); 0 would be equal."
        )
    return (
        f"{heading}: the {what} is, for {about}: {figure.lowest}, {e.value:.3f} of what it is for "
        f"{about}: {figure.highest} ({100 * e.confidence:g}% interval {e.low:.3f} to "
        f"{e.high:.3f}); 1 would be equal."
    )


def _ends(e: Estimate) -> str:
    return f"{_percent(e.low).rstrip('%')} to {_percent(e.high).rstrip('%')}"


# --- notes ---------------------------------------------------------------------------------------


def nobody_known(split: Split) -> str:
    """Where images have no people."""
    return (
        f"Nobody knows who is in the pictures of {split}: the audit takes each for another "
        "person's, and intervals are too narrow where that is wrong."
    )


def no_label(missing: int, n: int) -> str:
    """Where images have no label."""
    return f"{missing:,} of {n:,} images have no label and do not count."


def absent_splits(absent: Sequence[str]) -> str:
    """Where splits that were asked for have nothing to audit."""
    return f"No labelled images with predictions in: {', '.join(absent)}."


def split_instead(split: str) -> str:
    """Where none of the splits that were asked for has anything to audit."""
    return f"So {split} was audited instead."


def more_findings(found: int, told: int) -> str:
    """Where there are more findings than the record lists."""
    return (
        f"There are {found:,} findings; the {told:,} surest are told (audit.findings). Groups, "
        "pairs and slices say what else was found."
    )


def looked_at_note(looked_at: int, threshold: float, rate: float) -> list[str]:
    """How many gaps were looked at, where any was."""
    if not looked_at:
        return []
    return [
        f"{looked_at:,} gaps were looked at; one counts as found where its p is at most "
        f"{threshold:.2g}, so that at most {100 * rate:g}% of those found are "
        "chance. Opposite values of an attribute with two values count once."
    ]
