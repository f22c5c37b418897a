"""Every pair of values of two attributes, and whether it is worse than both of them.

Where Eyeglasses do worse, so does nearly every pair with Eyeglasses. A pair is a finding of its own
only where it also does worse than the rest of either group that it is part of.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Floats, Indices
from candid.auditing.contrasts import contrast, nearest_parent
from candid.auditing.gaps import GapTable, Ledger
from candid.auditing.groups import SidePlan, groups_at_once, measure
from candid.auditing.rows import KNOWN, Rows
from candid.auditing.side_figures import estimates
from candid.auditing.single_groups import Measured
from candid.records import Estimate
from candid.records.audit import Condition, Grid, Group
from candid.stats.moments import Figures, Moments

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Intersections:
    """All pairs of values that are large enough."""

    values: list[Pair]  # the values that pairs are made of
    pairs: list[tuple[Pair, Pair]]  # the k pairs
    gap: Indices  # (k,) places in the table of gaps: to the rest
    beyond: Indices  # (k,) to the nearest larger group
    accuracy: Floats  # (k,) of each pair


def measure_pairs(rows: Rows, ledger: Ledger, values: Sequence[Pair]) -> Intersections:
    """Measure the accuracy of all pairs of some values and write their gaps down."""
    figures = Figures(rows.predictions.classes, rich=False, per_class=False)
    large = _large(rows, values, ledger.smallest)
    room = max(1, (groups_at_once(rows, figures) - 3 * len(values) - 1) // 2)
    pairs: list[tuple[Pair, Pair]] = []
    gap, beyond = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    accuracy = [np.empty(0)]
    for start in range(0, len(large), room):
        some = large[start : start + room]
        moments, sides = _measure(rows, some, figures)
        rest, first, second = (np.arange(k, 3 * len(some), 3) for k in range(3))
        units = contrast(moments, "accuracy", rest, rows).units
        kept = np.flatnonzero(units >= ledger.smallest)
        gap.append(ledger.add(contrast(moments, "accuracy", rest[kept], rows)))
        both = np.concatenate([first[kept], second[kept]])
        nearest, p = nearest_parent(contrast(moments, "accuracy", both, rows), 2)
        beyond.append(ledger.add(nearest, p=p))
        pairs += [some[i] for i in kept]
        accuracy.append(moments.value[moments.row("accuracy"), sides[kept]])
    return Intersections(
        list(values), pairs, np.concatenate(gap), np.concatenate(beyond), np.concatenate(accuracy)
    )


def _large(rows: Rows, values: Sequence[Pair], smallest: int) -> list[tuple[Pair, Pair]]:
    """Pairs with enough images, in the group and in its rest, to be worth measuring."""
    masks = [rows.mask(rows.key(v)) for v in values] or [np.zeros(len(rows), np.bool_)]
    hot = np.stack(masks, axis=1).astype(np.float32)
    both = hot.T @ hot
    return [
        (values[i], values[j])
        for i, j in itertools.combinations(range(len(values)), 2)
        if values[i][0] != values[j][0] and both[i, j] >= smallest
    ]


def _measure(
    rows: Rows, pairs: Sequence[tuple[Pair, Pair]], figures: Figures
) -> tuple[Moments, Indices]:
    """Each pair against its rest, and against the rest of either group that it is part of."""
    plan, sides = SidePlan(), []
    for one, two in pairs:
        group = rows.key(one, two)
        sides.append(plan.side(group))
        plan.pair(sides[-1], plan.side(rows.key((one[0], KNOWN), (two[0], KNOWN)), group))
        for part, other in ((one, two), (two, one)):
            plan.pair(sides[-1], plan.side(rows.key(part, (other[0], KNOWN)), group))
    return measure(rows, plan, figures), np.asarray(sides, np.intp)


# --- telling -------------------------------------------------------------------------------------


def told_pairs(rows: Rows, table: GapTable, pairs: Intersections, most: int) -> list[Group]:
    """The records of some pairs, the surest disadvantage first; only they have every figure."""
    high = np.nan_to_num(table.high[pairs.gap], nan=np.inf)
    order = np.lexsort((table.value[pairs.gap], high))[:most]
    figures = Figures(rows.predictions.classes, rich=False)
    told: list[Group] = []
    for start in range(0, len(order), room := groups_at_once(rows, figures)):
        some, plan = order[start : start + room], SidePlan()
        sides = [plan.side(rows.key(*pairs.pairs[k])) for k in some]
        found = estimates(measure(rows, plan, figures), sides, rows)
        told += [
            _group(rows, table, pairs, int(k), metrics)
            for k, metrics in zip(some, found, strict=True)
        ]
    return told


def _group(
    rows: Rows, table: GapTable, pairs: Intersections, k: int, metrics: dict[str, Estimate]
) -> Group:
    one, two = pairs.pairs[k]
    inside = rows.mask(rows.key(one, two))
    known = rows.mask(rows.key((one[0], KNOWN), (two[0], KNOWN)))
    labels = rows.predictions.label[:, None] == np.arange(rows.classes)
    prevalence = rows.shares(inside[:, None] & labels, inside)
    return Group(
        conditions=rows.conditions(rows.key(one, two)),
        label=None,
        n=metrics["accuracy"].n,
        people=metrics["accuracy"].people,
        share=rows.shares(inside & known, known)[0],
        prevalence=dict(zip(rows.predictions.classes, prevalence, strict=True)),
        metrics=metrics,
        gaps={"accuracy": table.gap(pairs.gap[k])},
        state="found" if table.harm[pairs.gap[k]] else "not found",
        beyond=table.gap(pairs.beyond[k]),
    )


def grid_of_pairs(
    rows: Rows, table: GapTable, pairs: Intersections, parts: Sequence[Measured]
) -> Grid:
    """All pairs at a glance, with the single values on the diagonal."""
    place = {value: k for k, value in enumerate(pairs.values)}
    size = len(place)
    n, found = np.zeros((size, size), np.int64), np.zeros((size, size), np.bool_)
    accuracy, gap, low, high = np.full((4, size, size), np.nan)

    def fill(x: Indices, y: Indices, gaps: Indices, share: Floats) -> None:
        n[x, y], accuracy[x, y] = table.n[gaps], share
        gap[x, y], found[x, y] = table.value[gaps], table.found[gaps]
        low[x, y], high[x, y] = table.low[gaps], table.high[gaps]

    for m in parts:
        here = np.array([i for i, value in enumerate(m.values) if value in place], np.intp)
        at = np.array([place[m.values[i]] for i in here], np.intp)
        share = m.moments.value[m.moments.row("accuracy"), m.sides[here]]
        if len(here):
            fill(at, at, m.gaps["accuracy"][here], share)
    ends = np.array([(place[one], place[two]) for one, two in pairs.pairs], np.intp).reshape(-1, 2)
    for x, y in (ends.T, ends.T[::-1]):
        fill(x, y, pairs.gap, pairs.accuracy)
    values = tuple(rows.conditions((value,))[0] for value in pairs.values)
    return make_grid(values, n, accuracy, gap, found, (low, high))


def make_grid(
    values: tuple[Condition, ...],
    n: NDArray[np.int64],
    accuracy: Floats,
    gap: Floats,
    found: NDArray[np.bool_],
    ends: tuple[Floats, Floats] | None = None,
) -> Grid:
    """The record of (k, k) figures of pairs; `ends` are those of the gaps' intervals, if any."""
    counts, held = (tuple(map(tuple, figures.tolist())) for figures in (n, found))
    low, high = ((), ()) if ends is None else map(_rounded, ends)
    return Grid(values, counts, _rounded(accuracy), _rounded(gap), held, low, high)


def _rounded(figures: Floats) -> tuple[tuple[float, ...], ...]:
    """To what a picture shows."""
    return tuple(tuple(round(x, 5) for x in line) for line in figures.tolist())
