"""All groups at once: sums per person, and the bootstrap as one matrix product.

Every figure of a group that follows from counts is a function of a few sums over its images: how
many bear each label, how many of those are classified so, how much confidence went in. So a
person's part in a group is a few numbers, and a bootstrap draw is a product of matrices (see
`moments`). The rest of a group is the known ones less the group, so it needs no sums of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Float32Array, FloatArray, IndexArray
from candid.auditing.rows import GroupKey, Rows
from candid.stats.moments import Figures, Moments, Sums, combine_sides, compute_moments

# Numbers per block: of people × groups × sums (128 MiB), and of images × groups × sums (32 MiB).
_BLOCK, _ROWS = 32_000_000, 8_000_000


@dataclass(eq=False)
class SidePlan:
    """The sides, and the pairs of sides, to measure with `measure`.

    A side is (group, None), or (larger, group): the larger group without the group.
    """

    sides: list[tuple[GroupKey, GroupKey | None]] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    _index: dict[tuple[GroupKey, GroupKey | None], int] = field(default_factory=dict)

    def add_side(self, key: GroupKey, less: GroupKey | None = None) -> int:
        """The number of a side, new or known."""
        index = self._index.setdefault((key, less), len(self.sides))
        if index == len(self.sides):
            self.sides.append((key, less))
        return index

    def add_pair(self, left: int, right: int) -> int:
        """The number of a new pair of sides."""
        self.pairs.append((left, right))
        return len(self.pairs) - 1

    def compare(self, group: GroupKey, larger: GroupKey) -> int:
        """The number of a new pair: a group and the rest of a larger one."""
        return self.add_pair(self.add_side(group), self.add_side(larger, group))


def measure(rows: Rows, plan: SidePlan, figures: Figures) -> Moments:
    """Every side's figures with standard errors from all draws, one matrix product per sum.

    The sums of all groups of the plan are in memory at once: see `max_groups`.
    """
    keys = list(dict.fromkeys(k for side in plan.sides for k in side if k is not None))
    column = {key: i for i, key in enumerate(keys)}
    plus = np.asarray([column[key] for key, _ in plan.sides], dtype=np.intp)
    minus = np.asarray([-1 if less is None else column[less] for _, less in plan.sides], np.intp)
    pairs = np.asarray(plan.pairs, dtype=np.intp).reshape(-1, 2)

    by_stratum, totals = _sums(rows, figures.columns(rows.predictions), keys)
    units, images = _count_support(rows, figures, keys, plus, minus)
    sums = Sums(by_stratum, totals, plus, minus, units, images)
    return compute_moments(sums, pairs, figures, rows.counts())


def max_groups(rows: Rows, figures: Figures) -> int:
    """The number of groups whose sums fit into 128 MiB, and their marks too."""
    sums = figures.counts + (figures.bins + 1 if figures.rich else 0)
    return max(16, min(_BLOCK // max(1, rows.strata * sums), 4 * _BLOCK // max(1, len(rows))))


def _sums(
    rows: Rows, columns: FloatArray, keys: Sequence[GroupKey]
) -> tuple[Float32Array, FloatArray]:
    """(sums, strata, keys) in single precision for the draws, and (sums, keys) exactly."""
    count = columns.shape[1]
    by_stratum = np.empty((count, rows.strata, len(keys)), np.float32)
    totals = np.empty((count, len(keys)))
    order, starts = rows.by_stratum
    ordered = columns[order]
    for start in range(0, len(keys), step := max(1, _ROWS // max(1, len(rows)))):
        chunk = slice(start, start + step)
        inside = np.stack([rows.mask(key)[order] for key in keys[chunk]], axis=1)  # (n, k)
        totals[:, chunk] = ordered.T @ inside
        for i in range(count):
            part = np.where(inside, ordered[:, i : i + 1].astype(np.float32), np.float32(0))
            by_stratum[i, :, chunk] = np.add.reduceat(part, starts, axis=0) if len(starts) else 0
    return by_stratum, totals


def _count_support(
    rows: Rows,
    figures: Figures,
    keys: Sequence[GroupKey],
    plus: IndexArray,
    minus: IndexArray,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(figures, sides) units and images."""
    marks, kinds = figures.support(rows.predictions)
    order, starts = rows.by_unit
    units = np.zeros((marks.shape[1], len(plus)), np.int64)
    images = np.zeros_like(units)
    inside = np.stack([rows.mask(key)[order] for key in keys], axis=1)  # (n, keys)
    for kind in range(marks.shape[1]):
        marked = inside & marks[order, kind][:, None]
        images[kind] = combine_sides(marked.sum(0), plus, minus)
        if rows.resampling.units == len(rows):
            units[kind] = images[kind]
            continue
        per_unit = np.add.reduceat(marked, starts, axis=0, dtype=np.int32)  # (units, keys)
        for start in range(0, len(plus), step := max(1, _ROWS // max(1, len(per_unit)))):
            chunk = slice(start, start + step)
            per_side = combine_sides(per_unit, plus[chunk], minus[chunk])
            units[kind, chunk] = np.count_nonzero(per_side, axis=0)
    return units[kinds], images[kinds]
