"""A shopping list: of which groups more people would let a gap be seen, and how many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from candid.arrays import Marks
from candid.predictions import Predictions
from candid.records.audit import Group
from candid.records.collecting import MOST_WANTED, Wanted
from candid.stats.differences import Gaps, error_gaps
from candid.stats.planning import people_needed, predicted_width

SIZE = 0.05  # the gap in error that an audit should be able to see


def wanted(
    p: Predictions,
    groups: Sequence[Group],
    threshold: float,
    smallest: int,
    confidence: float = 0.95,
) -> tuple[Wanted, ...]:
    """The groups whose gap of `SIZE` would be missed, those that need fewest people first.

    Of a group and its rest the smaller one is listed: it is what limits the audit.

    Parameters
    ----------
    p
        The labelled images of one split, without numeric attributes.
    groups
        Values of single attributes, alone and within labels, as audited.
    threshold
        The p at or below which a gap counts as found; NaN: nothing can be planned.
    smallest
        People (images, where people are unknown) that the audit asks of a group.
    confidence
        Of the intervals.
    """
    unseen = [g for g in groups if g.state != "found" and _unseen(g)]
    if not unseen or not threshold > 0:
        return ()
    inside, outside = (np.stack(marks, axis=1) for marks in zip(*_sides(p, unseen), strict=True))
    gaps = error_gaps(p.wrong, inside, outside, p.persons(), confidence)
    needed = people_needed(gaps.left, gaps.right, gaps.correlation, threshold, SIZE)
    needed = np.maximum(needed, smallest)  # a NaN stays one
    then = predicted_width(
        gaps.left, gaps.right, gaps.correlation, np.nan_to_num(needed, nan=1), confidence
    )
    found = [
        _entry(group, i, gaps, needed[i], float(then[i]))
        for i, group in enumerate(unseen)
        if 0 < gaps.left.units[i] <= gaps.right.units[i] and not needed[i] <= gaps.left.units[i]
    ]
    found.sort(key=lambda w: math.inf if w.more_people is None else w.more_people)
    return tuple(found[:MOST_WANTED])


def _entry(group: Group, i: int, gaps: Gaps, needed: float, width_then: float) -> Wanted:
    """What is told of the `i`-th gap, for which so many people are needed."""
    people, n, known = int(gaps.left.units[i]), int(gaps.n[i]), not math.isnan(needed)
    more = int(needed) - people if known else None
    (condition,) = group.conditions
    return Wanted(
        attribute=condition.attribute,
        value=condition.value,
        label=group.label,
        n=n,
        people=people,
        size=SIZE,
        more_people=more,
        more_images=None if more is None else math.ceil(more * n / people),
        width=float(gaps.high[i] - gaps.low[i]) if people > 1 else math.nan,
        width_then=width_then if known else math.nan,
    )


def _unseen(group: Group) -> bool:
    gap = group.gaps.get("accuracy")
    return len(group.conditions) == 1 and gap is not None and not gap.smallest_visible <= SIZE


def _sides(p: Predictions, groups: Sequence[Group]) -> Iterator[tuple[Marks, Marks]]:
    """(n,) marks of each group and of its rest."""
    for group in groups:
        (condition,) = group.conditions
        attribute = p.attributes[condition.attribute]
        there = attribute.data == attribute.values.index(condition.value)
        among = attribute.data >= 0
        if group.label is not None:
            among = among & (p.label == p.classes.index(group.label))
        yield there & among, among & ~there
