"""Slices found on one half of the people and put to the test on the other half.

Whoever searches thousands of combinations finds one that did badly by chance. On people who were
not searched, chance has no memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from candid.auditing.gaps import Ledger, contrast
from candid.auditing.groups import Plan, measure
from candid.auditing.intersections import conditions, nearest_parent, shares_of
from candid.auditing.rows import KNOWN, Key, Rows
from candid.auditing.slices import Found, find_slices
from candid.records.audit import Slice
from candid.stats.moments import Figures


@dataclass(frozen=True, eq=False)
class CrossFit:
    """The two halves, what the search found (best first), and its slices on the other half.

    `gap` and `beyond` are entries in the ledger, the latter in the order of `several`: which of the
    slices have more than one value.
    """

    search: Rows
    confirm: Rows
    found: tuple[Found, ...]
    gap: int = -1
    beyond: tuple[int, ...] = ()
    several: tuple[int, ...] = ()


def search_and_test(
    rows: Rows, ledger: Ledger, *, most: int, conditions: int, share: float, seed: int
) -> CrossFit:
    """Search one half of the people and write the gaps on the other half into the ledger."""
    rng = np.random.default_rng([seed, 1])
    first = (rng.permutation(rows.drawing.units) % 2 == 0)[rows.drawing.unit]
    search, confirm = rows[np.flatnonzero(first)], rows[np.flatnonzero(~first)]
    least = max(32, round(share * len(search)))
    found = find_slices(search, most=most, least=least, conditions=conditions) if most else []
    if not found or not len(confirm):
        return CrossFit(search, confirm, ())
    plan = Plan()
    for f in found:
        plan.pair(plan.side(f.key), plan.side(confirm.key(*known(f.key)), f.key))
    several = tuple(k for k, f in enumerate(found) if len(f.key) > 1)
    within = [_within_parents(plan, confirm, found[k].key) for k in several]
    moments = measure(confirm, plan, Figures(rows.predictions.classes, rich=False))
    gap = ledger.add(contrast(moments, "accuracy", np.arange(len(found)), confirm))
    beyond = []
    for pairs in within:
        parents = [contrast(moments, "accuracy", np.asarray([i]), confirm) for i in pairs]
        nearest, p = nearest_parent(parents)
        beyond.append(ledger.add(nearest, p=p))
    return CrossFit(search, confirm, tuple(found), gap, tuple(beyond), several)


def _within_parents(plan: Plan, rows: Rows, key: Key) -> list[int]:
    """Pairs of a slice and the rest of each larger one that lacks one of its conditions."""
    return [
        plan.pair(
            plan.side(key),
            plan.side(rows.key(*(pair for pair in key if pair != out), (out[0], KNOWN)), key),
        )
        for out in key
    ]


def known(key: Key) -> list[tuple[int, int]]:
    """The same attributes, whatever their values."""
    return [(a, KNOWN) for a, _ in key]


def slices(halves: CrossFit, ledger: Ledger) -> list[Slice]:
    """The records, best score first."""
    return [_slice(halves, ledger, k) for k in range(len(halves.found))]


def confirmed(halves: CrossFit, ledger: Ledger) -> list[int]:
    """Slices of several values that do worse than the rest, and than all that they are part of."""
    held = []
    for number, k in zip(halves.beyond, halves.several, strict=True):
        worse = all(
            ledger.is_found(entry)[i] and ledger.is_worse(entry)[i]
            for entry, i in ((halves.gap, k), (number, 0))
        )
        if worse:
            held.append(k)
    return held


def _slice(halves: CrossFit, ledger: Ledger, k: int) -> Slice:
    found, rows = halves.found[k], halves.confirm
    inside = rows.mask(found.key)
    error = shares_of(rows, inside & rows.wrong, inside)[0]
    beyond = None
    if k in halves.several:
        beyond = ledger.gap(halves.beyond[halves.several.index(k)], 0)
    return Slice(
        conditions=conditions(rows, found.key),
        score=found.score,
        found_n=found.n,
        found_error=found.mistakes / found.n,
        n=error.n,
        people=error.people,
        error=error,
        gap=ledger.gap(halves.gap, k),
        beyond=beyond,
    )
