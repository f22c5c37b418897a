"""Does the model look at the lipstick? Where a cue agrees with the label, and where it does not.

An attribute that goes with the label can serve a model as a shortcut (Geirhos et al. 2020). Then it
does well where the cue agrees ("labelled Female, with lipstick"; "labelled Male, without") and
worse where it contradicts. The difference is taken within each class and then averaged over the
classes, because the images that contradict may be of another mix of classes, and one class may be
harder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Indices
from candid.auditing.contrasts import Contrast, contrast
from candid.auditing.gaps import GapTable, Ledger
from candid.auditing.groups import SidePlan, measure
from candid.auditing.rows import Rows
from candid.auditing.side_figures import estimates
from candid.predictions import Attribute
from candid.records import Estimate
from candid.records.audit import Shortcut
from candid.stats.associations import associations
from candid.stats.moments import Figures, Moments

# Cue codes of the attribute that is made of each cue.
CONTRADICTS, AGREES = 0, 1


@dataclass(frozen=True, eq=False)
class Cues:
    """k attributes that go with the label, what of the images they contradict, and the gaps."""

    rows: Rows  # the rows, each of whose attributes says whether the cue agrees with the label
    attributes: tuple[Attribute, ...]  # the original attributes
    association: tuple[Estimate, ...]  # Cramér's V of each
    goes_with: tuple[tuple[int, ...], ...]  # per cue, the class that each of its values goes with
    # (classes, k) the classes with enough people on both sides, within which the error is compared
    counted: NDArray[np.bool_]
    moments: Moments | None  # what was measured; None where there is no cue
    gap: Indices  # (k,) places in the table of gaps

    def ordered(self, table: GapTable) -> list[int]:
        """The cues, the widest gap first."""
        order: list[int] = np.argsort(-table.value[self.gap], kind="stable").tolist()
        return order


def find_cues(rows: Rows, ledger: Ledger, *, least: float, draws: int) -> Cues:
    """Measure every attribute whose association with the label is at least `least`.

    An attribute with more than two values counts by the one that goes most with the label.
    """
    label, count = rows.predictions.label, rows.classes
    kept = []
    for attribute, strength in zip(rows.attributes, _associations(rows, draws), strict=True):
        table = _table(attribute, label, count)
        if (table.sum(1) > 0).sum() < 2:
            continue
        classes = _goes_with(table)
        cue = _cue(attribute, label, classes)
        if len(set(classes) - {-1}) < 2 or not (cue.data == CONTRADICTS).any():
            continue
        if strength.value >= least and strength.low > 0:
            kept.append((attribute, strength, classes, cue))
    if not kept:
        inner = _with_cues(rows, ())
        return Cues(inner, (), (), (), np.zeros((count, 0), np.bool_), None, np.empty(0, np.intp))
    attributes, association, goes, cues = zip(*kept, strict=True)
    inner = _with_cues(rows, cues)
    units = _units(inner)
    counted = units.min(2) >= ledger.smallest
    shares = np.bincount(label, minlength=count)[:, None] * counted
    with np.errstate(invalid="ignore"):
        weights = np.nan_to_num(shares / shares.sum(0))
    plan = SidePlan()
    for a in range(len(cues)):
        plan.pair(plan.side(inner.key((a, CONTRADICTS))), plan.side(inner.key((a, AGREES))))
    figures = Figures(rows.predictions.classes, rich=False, standard=np.repeat(weights, 2, axis=1))
    moments = measure(inner, plan, figures)
    gap = ledger.add(_contrast(moments, inner, units, counted))
    return Cues(inner, attributes, association, goes, counted, moments, gap)


def _with_cues(rows: Rows, cues: Sequence[Attribute]) -> Rows:
    """The same rows, with cues instead of their attributes."""
    some = replace(rows.predictions, attributes={cue.name: cue for cue in cues})
    return replace(rows, predictions=some)


def _units(inner: Rows) -> NDArray[np.int64]:
    """(classes, cues, 2) people with a label whose images contradict the cue, and agree with it."""
    unit, label = inner.drawing.unit, inner.predictions.label
    return np.asarray(
        [
            [
                [len(np.unique(unit[(cue.data == k) & (label == c)])) for k in (0, 1)]
                for cue in inner.attributes
            ]
            for c in range(inner.classes)
        ]
    )


def _contrast(
    moments: Moments, rows: Rows, units: NDArray[np.int64], counted: NDArray[np.bool_]
) -> Contrast:
    """The gaps. Every class's error has to be known: that with the fewest people limits it."""
    found = contrast(moments, "standardised_error", np.arange(counted.shape[1]), rows)
    many = np.iinfo(np.int64).max
    fewest = np.where(counted[..., None], units, many).min(0)
    fewest = np.where(fewest == many, 0, fewest)
    return replace(
        found,
        left=replace(found.left, units=fewest[:, CONTRADICTS]),
        right=replace(found.right, units=fewest[:, AGREES]),
        method=f"score interval of differences within classes, {rows.drawing.method}",
    )


def shortcut(cues: Cues, table: GapTable, i: int) -> Shortcut:
    """The record of one cue."""
    assert cues.moments is not None
    classes, sides = cues.rows.predictions.classes, cues.moments.pairs[i]
    accuracy = [e["accuracy"] for e in estimates(cues.moments, sides, cues.rows, ["accuracy"])]
    goes = zip(cues.attributes[i].values, cues.goes_with[i], strict=True)
    return Shortcut(
        attribute=cues.attributes[i].name,
        association=cues.association[i],
        cue={value: classes[c] for value, c in goes if c >= 0},
        agrees=accuracy[AGREES],
        contradicts=accuracy[CONTRADICTS],
        gap=table.gap(cues.gap[i]),
        within=tuple(name for name, c in zip(classes, cues.counted[:, i], strict=True) if c),
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
    mine_of = [np.flatnonzero(owner == k) for k in range(len(rows.attributes))]
    return [v[int(mine[np.argmax(value[mine])]) if len(mine) else 0] for mine in mine_of]
