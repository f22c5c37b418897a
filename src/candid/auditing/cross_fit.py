"""Slices found on one half of the people and put to the test on the other half.

Whoever searches thousands of combinations finds one that did badly by chance. On people who were
not searched, chance has no memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from candid.arrays import IndexArray
from candid.auditing.contrasts import contrast, nearest_parent
from candid.auditing.gaps import GapTable, Ledger
from candid.auditing.groups import SidePlan, measure
from candid.auditing.rows import KNOWN, Rows
from candid.auditing.slices import SliceCandidate, find_slices
from candid.records.audit import Slice
from candid.stats.moments import Figures


@dataclass(frozen=True, eq=False)
class CrossFit:
    """The search, and its slices on the other half."""

    confirm: Rows  # the other half
    candidates: tuple[SliceCandidate, ...]  # what the search found, best first
    gap: IndexArray  # (k,) places in the table of gaps: to the rest
    beyond: IndexArray  # (k,) to the nearest larger slice; -1 for slices of one value


def search_and_test(
    rows: Rows, ledger: Ledger, *, most: int, conditions: int, share: float, seed: int
) -> CrossFit:
    """Search one half of the people and add the gaps on the other half to the ledger."""
    rng = np.random.default_rng([seed, 1])
    is_first = (rng.permutation(rows.resampling.units) % 2 == 0)[rows.resampling.unit]
    search, confirm = rows[np.flatnonzero(is_first)], rows[np.flatnonzero(~is_first)]
    least = max(32, round(share * len(search)))
    candidates = find_slices(search, most=most, least=least, conditions=conditions) if most else []
    beyond = np.full(len(candidates), -1, np.intp)
    if not candidates or not len(confirm):
        return CrossFit(confirm, (), np.empty(0, np.intp), beyond)
    plan = SidePlan()
    for candidate in candidates:
        plan.compare(candidate.key, confirm.key(*((a, KNOWN) for a, _ in candidate.key)))
    larger = {
        k: [
            plan.compare(c.key, confirm.key(*{*c.key} - {pair}, (pair[0], KNOWN))) for pair in c.key
        ]
        for k, c in enumerate(candidates)
        if len(c.key) > 1
    }
    moments = measure(confirm, plan, Figures(rows.predictions.classes, rich=False))
    gap = ledger.add(contrast(moments, "accuracy", np.arange(len(candidates)), confirm))
    for k, pairs in larger.items():
        parents = contrast(moments, "accuracy", np.asarray(pairs), confirm)
        nearest, p = nearest_parent(parents, len(pairs))
        beyond[k] = ledger.add(nearest, p=p)[0]
    return CrossFit(confirm, tuple(candidates), gap, beyond)


def build_slices(halves: CrossFit, table: GapTable) -> list[Slice]:
    """The records, best score first."""
    rows, records = halves.confirm, []
    for candidate, gap, beyond in zip(halves.candidates, halves.gap, halves.beyond, strict=True):
        inside = rows.mask(candidate.key)
        error = rows.shares(inside & rows.predictions.wrong, inside)[0]
        records.append(
            Slice(
                conditions=rows.conditions(candidate.key),
                score=candidate.score,
                found_n=candidate.n,
                found_error=candidate.mistakes / candidate.n,
                n=error.n,
                people=error.people,
                error=error,
                gap=table.gap(gap),
                beyond=table.gap(beyond) if beyond >= 0 else None,
            )
        )
    return records
