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

from candid.arrays import BoolArray, FloatArray, IndexArray
from candid.auditing.contrasts import contrast, nearest_parent
from candid.auditing.gaps import GapTable, Ledger
from candid.auditing.groups import SidePlan, max_groups, measure
from candid.auditing.rows import KNOWN, Rows
from candid.auditing.side_figures import estimates
from candid.auditing.single_groups import Measurement
from candid.records import Estimate
from candid.records.audit import Condition, Grid, Group
from candid.stats.moments import Figures, Moments

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Intersections:
    """All pairs of values that are large enough."""

    values: list[Pair]  # the values that pairs are made of
    pairs: list[tuple[Pair, Pair]]  # the k pairs
    gap: IndexArray  # (k,) places in the table of gaps: to the rest
    beyond: IndexArray  # (k,) to the nearest larger group
    accuracy: FloatArray  # (k,) of each pair


def measure_pairs(rows: Rows, ledger: Ledger, values: Sequence[Pair]) -> Intersections:
    """Measure the accuracy of all pairs of the values and add their gaps to the ledger."""
    figures = Figures(rows.predictions.classes, rich=False, per_class=False)
    large = _find_large_pairs(rows, values, ledger.smallest)
    step = max(1, (max_groups(rows, figures) - 3 * len(values) - 1) // 2)
    pairs: list[tuple[Pair, Pair]] = []
    gap, beyond = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    accuracy = [np.empty(0)]
    for start in range(0, len(large), step):
        chunk = large[start : start + step]
        moments, sides = _measure(rows, chunk, figures)
        rest, first, second = (np.arange(k, 3 * len(chunk), 3) for k in range(3))
        units = contrast(moments, "accuracy", rest, rows).units
        is_large = np.flatnonzero(units >= ledger.smallest)
        gap.append(ledger.add(contrast(moments, "accuracy", rest[is_large], rows)))
        both = np.concatenate([first[is_large], second[is_large]])
        nearest, p = nearest_parent(contrast(moments, "accuracy", both, rows), 2)
        beyond.append(ledger.add(nearest, p=p))
        pairs += [chunk[i] for i in is_large]
        accuracy.append(moments.value[moments.row("accuracy"), sides[is_large]])
    return Intersections(
        list(values), pairs, np.concatenate(gap), np.concatenate(beyond), np.concatenate(accuracy)
    )


def _find_large_pairs(rows: Rows, values: Sequence[Pair], smallest: int) -> list[tuple[Pair, Pair]]:
    """Pairs with enough images, in the group and in its rest, to be worth measuring."""
    masks = [rows.mask(rows.key(v)) for v in values] or [np.zeros(len(rows), np.bool_)]
    one_hot = np.stack(masks, axis=1).astype(np.float32)
    both = one_hot.T @ one_hot
    return [
        (values[i], values[j])
        for i, j in itertools.combinations(range(len(values)), 2)
        if values[i][0] != values[j][0] and both[i, j] >= smallest
    ]


def _measure(
    rows: Rows, pairs: Sequence[tuple[Pair, Pair]], figures: Figures
) -> tuple[Moments, IndexArray]:
    """Each pair against its rest, and against the rest of either group that it is part of."""
    plan, sides = SidePlan(), []
    for first, second in pairs:
        group = rows.key(first, second)
        sides.append(plan.add_side(group))
        plan.compare(group, rows.key((first[0], KNOWN), (second[0], KNOWN)))
        for part, other in ((first, second), (second, first)):
            plan.compare(group, rows.key(part, (other[0], KNOWN)))
    return measure(rows, plan, figures), np.asarray(sides, np.intp)


# --- records -------------------------------------------------------------------------------------


def build_pair_groups(rows: Rows, table: GapTable, pairs: Intersections, limit: int) -> list[Group]:
    """The records of the pairs with the surest disadvantage, with every figure."""
    high = np.nan_to_num(table.high[pairs.gap], nan=np.inf)
    order = np.lexsort((table.value[pairs.gap], high))[:limit]
    figures = Figures(rows.predictions.classes, rich=False)
    groups: list[Group] = []
    for start in range(0, len(order), step := max_groups(rows, figures)):
        chunk, plan = order[start : start + step], SidePlan()
        sides = [plan.add_side(rows.key(*pairs.pairs[k])) for k in chunk]
        metrics_of_pairs = estimates(measure(rows, plan, figures), sides, rows)
        groups += [
            _build_group(rows, table, pairs, int(k), metrics)
            for k, metrics in zip(chunk, metrics_of_pairs, strict=True)
        ]
    return groups


def _build_group(
    rows: Rows, table: GapTable, pairs: Intersections, k: int, metrics: dict[str, Estimate]
) -> Group:
    first, second = pairs.pairs[k]
    inside = rows.mask(rows.key(first, second))
    has_values = rows.mask(rows.key((first[0], KNOWN), (second[0], KNOWN)))
    labels = rows.predictions.label[:, None] == np.arange(rows.classes)
    prevalence = rows.shares(inside[:, None] & labels, inside)
    return Group(
        conditions=rows.conditions(rows.key(first, second)),
        label=None,
        n=metrics["accuracy"].n,
        people=metrics["accuracy"].people,
        share=rows.shares(inside & has_values, has_values)[0],
        prevalence=dict(zip(rows.predictions.classes, prevalence, strict=True)),
        metrics=metrics,
        gaps={"accuracy": table.gap(pairs.gap[k])},
        state="found" if table.is_harmful[pairs.gap[k]] else "not found",
        beyond=table.gap(pairs.beyond[k]),
    )


def build_pair_grid(
    rows: Rows, table: GapTable, pairs: Intersections, parts: Sequence[Measurement]
) -> Grid:
    """All pairs at a glance, with the single values on the diagonal."""
    index = {value: k for k, value in enumerate(pairs.values)}
    size = len(index)
    n, is_found = np.zeros((size, size), np.int64), np.zeros((size, size), np.bool_)
    accuracy, gap, low, high = np.full((4, size, size), np.nan)

    def fill(x: IndexArray, y: IndexArray, gaps: IndexArray, share: FloatArray) -> None:
        n[x, y], accuracy[x, y] = table.n[gaps], share
        gap[x, y], is_found[x, y] = table.value[gaps], table.is_found[gaps]
        low[x, y], high[x, y] = table.low[gaps], table.high[gaps]

    for m in parts:
        inside = np.array([i for i, value in enumerate(m.values) if value in index], np.intp)
        diagonal = np.array([index[m.values[i]] for i in inside], np.intp)
        share = m.moments.value[m.moments.row("accuracy"), m.sides[inside]]
        if len(inside):
            fill(diagonal, diagonal, m.gaps["accuracy"][inside], share)
    ends = np.array([(index[one], index[two]) for one, two in pairs.pairs], np.intp).reshape(-1, 2)
    for x, y in (ends.T, ends.T[::-1]):
        fill(x, y, pairs.gap, pairs.accuracy)
    values = tuple(rows.conditions((value,))[0] for value in pairs.values)
    return make_grid(values, n, accuracy, gap, is_found, (low, high))


def make_grid(
    values: tuple[Condition, ...],
    n: NDArray[np.int64],
    accuracy: FloatArray,
    gap: FloatArray,
    is_found: BoolArray,
    limits: tuple[FloatArray, FloatArray] | None = None,
) -> Grid:
    """The record of (k, k) figures of pairs; `limits` are those of the gaps' intervals, if any."""
    counts, found = (tuple(map(tuple, figures.tolist())) for figures in (n, is_found))
    low, high = ((), ()) if limits is None else map(_round, limits)
    return Grid(values, counts, _round(accuracy), _round(gap), found, low, high)


def _round(figures: FloatArray) -> tuple[tuple[float, ...], ...]:
    """Round to what a chart shows."""
    return tuple(tuple(round(x, 5) for x in line) for line in figures.tolist())
