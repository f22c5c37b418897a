"""A shopping list: of which groups more people would let a gap be seen, and how many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from candid.arrays import BoolArray
from candid.predictions import Predictions
from candid.records.audit import Group
from candid.records.collecting import MOST_WANTED, Wanted
from candid.stats.differences import Gaps, error_gaps
from candid.stats.planning import people_needed, predicted_width

SIZE = 0.05  # the gap in error that an audit should be able to see


def plan_collection(
    p: Predictions, groups: Sequence[Group], threshold: float, smallest: int, confidence: float
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
    invisible = [g for g in groups if g.state != "found" and _is_invisible(g)]
    if not invisible or not threshold > 0:
        return ()
    masks = zip(*_iterate_masks(p, invisible), strict=True)
    inside, outside = (np.stack(marks, axis=1) for marks in masks)
    gaps = error_gaps(p.wrong, inside, outside, p.persons(), confidence)
    sides = gaps.left, gaps.right, gaps.correlation
    needed = np.maximum(people_needed(*sides, threshold, SIZE), smallest)  # a NaN stays one
    width = predicted_width(*sides, np.nan_to_num(needed, nan=1), confidence)
    entries = [
        _build_entry(group, i, gaps, needed[i], float(width[i]))
        for i, group in enumerate(invisible)
        if 0 < gaps.left.units[i] <= gaps.right.units[i] and not needed[i] <= gaps.left.units[i]
    ]
    entries.sort(key=lambda w: math.inf if w.more_people is None else w.more_people)
    return tuple(entries[:MOST_WANTED])


def _build_entry(group: Group, i: int, gaps: Gaps, needed: float, new_width: float) -> Wanted:
    """The record of the `i`-th gap, for which `needed` people are needed."""
    people, n, is_known = int(gaps.left.units[i]), int(gaps.n[i]), not math.isnan(needed)
    more = int(needed) - people if is_known else None
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
        width_then=new_width if is_known else math.nan,
    )


def _is_invisible(group: Group) -> bool:
    gap = group.gaps.get("accuracy")
    return len(group.conditions) == 1 and gap is not None and not gap.smallest_visible <= SIZE


def _iterate_masks(
    p: Predictions, groups: Sequence[Group]
) -> Iterator[tuple[BoolArray, BoolArray]]:
    """(n,) marks of each group and of its rest."""
    for group in groups:
        (condition,) = group.conditions
        attribute = p.attributes[condition.attribute]
        mask = attribute.data == attribute.values.index(condition.value)
        has_value = attribute.data >= 0
        if group.label is not None:
            has_value = has_value & (p.label == p.classes.index(group.label))
        yield mask & has_value, has_value & ~mask
