"""Does the model look at the lipstick? Where a cue agrees with the label, and where it does not.

An attribute that goes with the label can serve a model as a shortcut (Geirhos et al. 2020). Then it
does well where the cue agrees ("labelled Female, with lipstick"; "labelled Male, without") and
worse where it contradicts. The difference is taken within each class and then averaged over the
classes, because the images that contradict may be of another mix of classes, and one class may be
harder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.auditing.gaps import Contrast, Ledger, bootstrap_name, estimates
from candid.auditing.groups import Plan, measure
from candid.auditing.rows import Rows
from candid.predictions import Attribute
from candid.records import Estimate
from candid.records.audit import Shortcut
from candid.stats.associations import associations
from candid.stats.moments import Figures, Moments

# Cue codes of the attribute that is made of each cue.
CONTRADICTS, AGREES = 0, 1


@dataclass(frozen=True, eq=False)
class Cues:
    """Attributes that go with the label, what of the images they contradict, and the gaps.

    Attributes
    ----------
    rows
        The rows, each of whose attributes says whether the cue agrees with the label.
    attributes
        The number of each cue among the original attributes.
    association
        Cramér's V of each.
    goes_with
        Per cue, the class that each of its values goes with.
    counted
        (classes, cues) the classes with enough people on both sides, within which the error is
        compared.
    moments, number
        What was measured, and the gaps' number in the ledger; None where there is no cue.
    """

    rows: Rows
    attributes: tuple[int, ...]
    association: tuple[Estimate, ...]
    goes_with: tuple[tuple[int, ...], ...]
    counted: NDArray[np.bool_]
    moments: Moments | None
    number: int | None


def find_cues(rows: Rows, ledger: Ledger, *, least: float, draws: int) -> Cues:
    """Measure every attribute whose association with the label is at least `least`.

    An attribute with more than two values counts by the one that goes most with the label.
    """
    label, count = rows.predictions.label, rows.classes
    kept, strength, goes, cues = [], [], [], []
    found = _associations(rows, draws)
    for a, attribute in enumerate(rows.attributes):
        table = _table(attribute, label, count)
        if (table.sum(1) > 0).sum() < 2:
            continue
        classes = _goes_with(table)
        cue = _cue(attribute, label, classes)
        if len(set(classes) - {-1}) < 2 or not (cue.data == CONTRADICTS).any():
            continue
        if found[a].value >= least and found[a].low > 0:
            kept.append(a)
            strength.append(found[a])
            goes.append(classes)
            cues.append(cue)
    inner = Rows(rows.predictions, tuple(cues), rows.drawing, rows.bins)
    if not cues:
        return Cues(inner, (), (), (), np.zeros((count, 0), np.bool_), None, None)
    plan = Plan()
    for a in range(len(cues)):
        plan.pair(plan.side(inner.key((a, CONTRADICTS))), plan.side(inner.key((a, AGREES))))
    units = np.asarray(
        [
            [
                len(np.unique(rows.drawing.unit[(cue.data == k) & (label == c)]))
                for c in range(count)
            ]
            for cue in cues
            for k in (CONTRADICTS, AGREES)
        ]
    ).T  # (classes, sides), in the order of the plan
    units = units.reshape(count, len(cues), 2)
    counted = units.min(2) >= ledger.smallest
    shares = np.bincount(label, minlength=count)[:, None] * counted
    with np.errstate(invalid="ignore"):
        weights = np.nan_to_num(shares / shares.sum(0))
    standard = np.repeat(weights, 2, axis=1)
    moments = measure(inner, plan, Figures(rows.predictions.classes, rich=False, standard=standard))
    number = ledger.add(_contrast(moments, inner, np.where(counted[..., None], units, 10**9)))
    return Cues(inner, tuple(kept), tuple(strength), tuple(goes), counted, moments, number)


def shortcuts(cues: Cues, ledger: Ledger, rows: Rows) -> list[tuple[int, Shortcut]]:
    """The records, the widest gap first, each with its place in the ledger's entry."""
    if cues.moments is None or cues.number is None:
        return []
    records = []
    for i, a in enumerate(cues.attributes):
        attribute = rows.attributes[a]
        contradicts, agrees = cues.moments.pairs[i]
        record = Shortcut(
            attribute=attribute.name,
            association=cues.association[i],
            cue={
                value: rows.predictions.classes[c]
                for value, c in zip(attribute.values, cues.goes_with[i], strict=True)
                if c >= 0
            },
            agrees=estimates(cues.moments, int(agrees), cues.rows)["accuracy"],
            contradicts=estimates(cues.moments, int(contradicts), cues.rows)["accuracy"],
            gap=ledger.gap(cues.number, i),
            within=tuple(
                name
                for name, counts in zip(rows.predictions.classes, cues.counted[:, i], strict=True)
                if counts
            ),
        )
        records.append((i, record))
    return sorted(
        records, key=lambda r: -r[1].gap.value if r[1].gap.value == r[1].gap.value else np.inf
    )


def _contrast(moments: Moments, rows: Rows, units: NDArray[np.int64]) -> Contrast:
    """The gaps; `units` (classes, cues, 2) are those of each class that counts."""
    name = "standardised_error"
    i = moments.row(name)
    left, right = moments.pairs[:, 0], moments.pairs[:, 1]
    # Every class's error has to be known: the class with the fewest people limits it.
    fewest = units.min(0)
    fewest = np.where(fewest == 10**9, 0, fewest)
    return Contrast(
        metric=name,
        left=replace(moments.side(name, left), units=fewest[:, 0]),
        right=replace(moments.side(name, right), units=fewest[:, 1]),
        correlation=moments.correlation[i],
        images=moments.images[i][left],
        rest_images=moments.images[i][right],
        lost=moments.lost[i],
        method=f"score interval of differences within classes, {bootstrap_name(rows)}",
    )


def _table(attribute: Attribute, label: NDArray[np.int16], count: int) -> NDArray[np.int64]:
    """(values, classes) images."""
    known = attribute.data >= 0
    cell = attribute.data[known].astype(np.intp) * count + label[known]
    return np.bincount(cell, minlength=len(attribute.values) * count).reshape(-1, count)


def _goes_with(table: NDArray[np.int64]) -> tuple[int, ...]:
    """The class that is most over-represented among each value's images; -1 where it has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = (table / table.sum(1, keepdims=True)) / (table.sum(0) / table.sum())
    return tuple(
        int(np.nanargmax(row)) if n else -1 for row, n in zip(lift, table.sum(1), strict=True)
    )


def _cue(attribute: Attribute, label: NDArray[np.int16], classes: tuple[int, ...]) -> Attribute:
    """Whether each image's value goes with its label."""
    expected = np.asarray(classes)[attribute.data]
    agrees = np.where(expected == label, AGREES, CONTRADICTS)
    data = np.where((attribute.data >= 0) & (expected >= 0), agrees, -1).astype(np.int16)
    return Attribute(attribute.name, "binary", ("contradicts", "agrees"), data)


def _associations(rows: Rows, draws: int) -> list[Estimate]:
    """Each attribute's Cramér's V with the label; of several values, that of the highest."""
    drawing, p = rows.drawing, rows.predictions
    if not rows.attributes:
        return []
    owner = np.concatenate([np.full(len(a.values), k) for k, a in enumerate(rows.attributes)])
    hits = np.concatenate(
        [a.data[:, None] == np.arange(len(a.values)) for a in rows.attributes], axis=1
    )
    of = np.stack([a.data >= 0 for a in rows.attributes], axis=1)[:, owner]
    mine_of = [np.flatnonzero(owner == k) for k in range(len(rows.attributes))]
    v = associations(
        hits,
        of,
        p.label,
        len(p.classes),
        drawing.unit if drawing.by_person else None,
        draws=draws,
        confidence=drawing.confidence,
        seed=drawing.seed,
    )
    value = np.nan_to_num([e.value for e in v], nan=-1.0)
    return [v[int(mine[np.argmax(value[mine])]) if len(mine) else 0] for mine in mine_of]
