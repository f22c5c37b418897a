"""Slices found on one half of the people and put to the test on the other half.

Whoever searches thousands of combinations finds one that did badly by chance. On people who were
not searched, chance has no memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from candid.arrays import Indices
from candid.auditing.contrasts import contrast, nearest_parent
from candid.auditing.gaps import GapTable, Ledger
from candid.auditing.groups import SidePlan, measure
from candid.auditing.rows import KNOWN, GroupKey, Rows
from candid.auditing.slices import FoundSlice, find_slices
from candid.records.audit import Slice
from candid.stats.moments import Figures


@dataclass(frozen=True, eq=False)
class CrossFit:
    """The search, and its slices on the other half."""

    confirm: Rows  # the other half
    found: tuple[FoundSlice, ...]  # what the search found, best first
    gap: Indices  # (k,) places in the table of gaps: to the rest
    beyond: Indices  # (k,) to the nearest larger slice; -1 for slices of one value


def search_and_test(
    rows: Rows, ledger: Ledger, *, most: int, conditions: int, share: float, seed: int
) -> CrossFit:
    """Search one half of the people and write the gaps on the other half into the ledger."""
    rng = np.random.default_rng([seed, 1])
    first = (rng.permutation(rows.drawing.units) % 2 == 0)[rows.drawing.unit]
    search, confirm = rows[np.flatnonzero(first)], rows[np.flatnonzero(~first)]
    least = max(32, round(share * len(search)))
    found = find_slices(search, most=most, least=least, conditions=conditions) if most else []
    beyond = np.full(len(found), -1, np.intp)
    if not found or not len(confirm):
        return CrossFit(confirm, (), np.empty(0, np.intp), beyond)
    plan = SidePlan()
    for f in found:
        plan.pair(plan.side(f.key), plan.side(confirm.key(*known(f.key)), f.key))
    inner = {
        k: [
            plan.pair(plan.side(f.key), plan.side(confirm.key(*part, (out[0], KNOWN)), f.key))
            for out in f.key
            for part in [tuple(pair for pair in f.key if pair != out)]
        ]
        for k, f in enumerate(found)
        if len(f.key) > 1
    }
    moments = measure(confirm, plan, Figures(rows.predictions.classes, rich=False))
    gap = ledger.add(contrast(moments, "accuracy", np.arange(len(found)), confirm))
    for k, pairs in inner.items():
        parents = contrast(moments, "accuracy", np.asarray(pairs), confirm)
        nearest, p = nearest_parent(parents, len(pairs))
        beyond[k] = ledger.add(nearest, p=p)[0]
    return CrossFit(confirm, tuple(found), gap, beyond)


def known(key: GroupKey) -> list[tuple[int, int]]:
    """The same attributes, whatever their values."""
    return [(a, KNOWN) for a, _ in key]


def confirmed(halves: CrossFit, table: GapTable) -> list[int]:
    """Slices of several values that do worse than the rest, and than all that they are part of."""
    harm = table.harm[halves.gap] & (halves.beyond >= 0)
    return [int(k) for k in np.flatnonzero(harm) if table.harm[halves.beyond[k]]]


def slices(halves: CrossFit, table: GapTable) -> list[Slice]:
    """The records, best score first."""
    rows, records = halves.confirm, []
    for found, gap, beyond in zip(halves.found, halves.gap, halves.beyond, strict=True):
        inside = rows.mask(found.key)
        error = rows.shares(inside & rows.predictions.wrong, inside)[0]
        records.append(
            Slice(
                conditions=rows.conditions(found.key),
                score=found.score,
                found_n=found.n,
                found_error=found.mistakes / found.n,
                n=error.n,
                people=error.people,
                error=error,
                gap=table.gap(gap),
                beyond=table.gap(beyond) if beyond >= 0 else None,
            )
        )
    return records
