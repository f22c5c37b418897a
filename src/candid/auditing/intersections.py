"""Every pair of values of two attributes, and whether it is worse than both of them.

Where Eyeglasses do worse, so does nearly every pair with Eyeglasses. A pair is a finding of its own
only where it also does worse than the rest of either group that it is part of.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.auditing.gaps import Contrast, Ledger, contrast, estimates
from candid.auditing.groups import Plan, blocks, measure
from candid.auditing.rows import KNOWN, Key, Rows
from candid.records import Estimate
from candid.records.audit import Condition, Grid, Group
from candid.stats.differences import Side
from candid.stats.intervals import wilson_shares
from candid.stats.moments import Figures, Moments

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some pairs of values, measured together: their sides, and two entries in the ledger."""

    moments: Moments
    pairs: list[tuple[Pair, Pair]]
    sides: NDArray[np.intp]
    gap: int
    beyond: int


class Intersections:
    """All pairs of values that are large enough: measured first, told once all is settled."""

    def __init__(self, rows: Rows, ledger: Ledger, values: Sequence[Pair]) -> None:
        self.rows, self.ledger, self.values = rows, ledger, list(values)
        self.figures = Figures(rows.predictions.classes, rich=False)
        pairs = self._large()
        room = max(1, blocks(rows, self.figures) - 3 * len(self.values) - 1)
        self.batches = [
            self._measure(pairs[start : start + room]) for start in range(0, len(pairs), room)
        ]

    def __len__(self) -> int:
        return sum(len(b.pairs) for b in self.batches)

    def _large(self) -> list[tuple[Pair, Pair]]:
        """Pairs with enough images, in the group and in its rest, to be worth measuring."""
        masks = np.stack(
            [self.rows.mask(self.rows.key(v)) for v in self.values]
            or [np.zeros(len(self.rows), np.bool_)],
            axis=1,
        ).astype(np.float32)
        both = masks.T @ masks
        return [
            (self.values[i], self.values[j])
            for i, j in itertools.combinations(range(len(self.values)), 2)
            if self.values[i][0] != self.values[j][0] and both[i, j] >= self.ledger.smallest
        ]

    def _measure(self, pairs: list[tuple[Pair, Pair]]) -> Batch:
        rows, plan = self.rows, Plan()
        sides = []
        for one, two in pairs:
            group = rows.key(one, two)
            sides.append(plan.side(group))
            plan.pair(sides[-1], plan.side(rows.key((one[0], KNOWN), (two[0], KNOWN)), group))
            for part, other in ((one, two), (two, one)):
                plan.pair(sides[-1], plan.side(rows.key(part, (other[0], KNOWN)), group))
        moments = measure(rows, plan, self.figures)
        rest, first, second = (np.arange(k, 3 * len(pairs), 3) for k in range(3))
        kept = contrast(moments, "accuracy", rest, rows).units >= self.ledger.smallest
        rest, first, second = rest[kept], first[kept], second[kept]
        gap = self.ledger.add(contrast(moments, "accuracy", rest, rows))
        parents = [contrast(moments, "accuracy", part, rows) for part in (first, second)]
        nearest, p = nearest_parent(parents)
        return Batch(
            moments=moments,
            pairs=[pair for pair, keep in zip(pairs, kept, strict=True) if keep],
            sides=np.asarray(sides, np.intp)[kept],
            gap=gap,
            beyond=self.ledger.add(nearest, p=p),
        )

    def listed(self, most: int) -> list[tuple[Batch, int]]:
        """The pairs to tell of, the surest disadvantage first."""
        places, key = [], []
        for b in self.batches:
            for i in range(len(b.pairs)):
                gap = self.ledger.gap(b.gap, i)
                places.append((b, i))
                key.append((gap.high if gap.high == gap.high else np.inf, gap.value))
        order = sorted(range(len(places)), key=lambda k: key[k])
        return [places[k] for k in order[:most]]

    def found(self) -> list[tuple[Batch, int]]:
        """Pairs that do worse than the rest, and than the rest of both that they are part of."""
        found = []
        for b in self.batches:
            both = self.ledger.is_found(b.gap) & self.ledger.is_worse(b.gap)
            both &= self.ledger.is_found(b.beyond) & self.ledger.is_worse(b.beyond)
            found += [(b, int(i)) for i in np.flatnonzero(both)]
        return found

    def group(self, batch: Batch, i: int) -> Group:
        """The record of one pair."""
        one, two = batch.pairs[i]
        rows = self.rows
        metrics = estimates(batch.moments, int(batch.sides[i]), rows)
        inside = rows.mask(rows.key(one, two))
        known = rows.mask(rows.key((one[0], KNOWN), (two[0], KNOWN)))
        labels = rows.predictions.label[:, None] == np.arange(rows.classes)
        prevalence = shares_of(rows, inside[:, None] & labels, inside)
        worse = self.ledger.is_found(batch.gap)[i] and self.ledger.is_worse(batch.gap)[i]
        return Group(
            conditions=conditions(rows, rows.key(one, two)),
            label=None,
            n=metrics["accuracy"].n,
            people=metrics["accuracy"].people,
            share=shares_of(rows, inside & known, known)[0],
            prevalence=dict(zip(rows.predictions.classes, prevalence, strict=True)),
            metrics=metrics,
            gaps={"accuracy": self.ledger.gap(batch.gap, i)},
            state="found" if worse else "not found",
            beyond=self.ledger.gap(batch.beyond, i),
        )

    def grid(self, singles: Sequence[tuple[int, float, float, bool]]) -> Grid:
        """All pairs; `singles` holds (n, accuracy, gap, found) of each of the values."""
        size = len(self.values)
        place = {value: k for k, value in enumerate(self.values)}
        n = np.zeros((size, size), np.int64)
        accuracy, gap = np.full((size, size), np.nan), np.full((size, size), np.nan)
        found = np.zeros((size, size), np.bool_)
        for k, (images, value, difference, is_found) in enumerate(singles):
            n[k, k], accuracy[k, k], gap[k, k], found[k, k] = images, value, difference, is_found
        for b in self.batches:
            row = b.moments.row("accuracy")
            held = self.ledger.is_found(b.gap)
            for i, (one, two) in enumerate(b.pairs):
                record = self.ledger.gap(b.gap, i)
                for x, y in ((place[one], place[two]), (place[two], place[one])):
                    n[x, y], gap[x, y], found[x, y] = record.n, record.value, held[i]
                    accuracy[x, y] = b.moments.value[row, b.sides[i]]
        return Grid(
            conditions=tuple(conditions(self.rows, (value,))[0] for value in self.values),
            n=tuple(tuple(int(x) for x in line) for line in n),
            accuracy=_rounded(accuracy),
            gap=_rounded(gap),
            found=tuple(tuple(bool(x) for x in line) for line in found),
        )


def nearest_parent(parents: Sequence[Contrast]) -> tuple[Contrast, NDArray[np.float64]]:
    """Per group, the contrast with the larger group that it differs least from, and its p.

    "Worse than all of them" is shown by being shown worse than each (an intersection-union test),
    so the largest p is the one that counts. It is 1 where the group does not do worse.

    Parameters
    ----------
    parents
        For each way to leave one value out, the k groups against the rest of the larger group.
    """
    signed = []
    for c in parents:
        signed.append(np.where(c.left.value < c.right.value, c.surprise, -c.surprise))
    all_signed = np.stack(signed)  # (parents, k)
    few = np.stack([c.units for c in parents])
    unknown = np.isnan(all_signed)
    least = np.argmin(np.where(unknown, -np.inf, all_signed), axis=0)
    k = np.arange(all_signed.shape[1])

    def pick(values: list[NDArray[Any]]) -> NDArray[Any]:
        chosen: NDArray[Any] = np.stack(values)[least, k]
        return chosen

    def side(sides: list[Side]) -> Side:
        return Side(
            pick([s.value for s in sides]),
            pick([s.spread for s in sides]),
            pick([s.units for s in sides]),
        )

    chosen = replace(
        parents[0],
        left=side([c.left for c in parents]),
        right=side([c.right for c in parents]),
        correlation=pick([c.correlation for c in parents]),
        images=pick([c.images for c in parents]),
        rest_images=pick([c.rest_images for c in parents]),
        lost=pick([c.lost for c in parents]),
    )
    p = chosen.p()
    p = np.where(chosen.left.value < chosen.right.value, p, 1.0)
    undefined = unknown.any(0) | (few.min(0) < 2)
    return chosen, np.where(undefined, np.nan, p)


def conditions(rows: Rows, key: Key) -> tuple[Condition, ...]:
    """A key in words."""
    return tuple(
        Condition(rows.attributes[a].name, rows.attributes[a].values[v]) for a, v in key if a >= 0
    )


def shares_of(rows: Rows, hits: NDArray[np.bool_], of: NDArray[np.bool_]) -> list[Estimate]:
    """Shares of images, (n,) or (n, k) marks, with intervals by person where people are known."""
    hits = hits[:, None] if hits.ndim == 1 else hits
    of = np.broadcast_to(of[:, None], hits.shape)
    drawing = rows.drawing
    return wilson_shares(hits, of, drawing.unit if drawing.by_person else None, drawing.confidence)


def _rounded(values: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(x), 5) for x in line) for line in values)
