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

from candid.arrays import BoolArray, CountArray, IndexArray
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
    """k attributes that go with the label, and the gaps where they contradict it."""

    rows: Rows  # the rows, each of whose attributes says whether the cue agrees with the label
    attributes: tuple[Attribute, ...]  # the original attributes
    association: tuple[Estimate, ...]  # Cramér's V of each
    goes_with: tuple[tuple[int, ...], ...]  # per cue, the class that each of its values goes with
    # (classes, k) the classes with enough people on both sides, within which the error is compared
    counted: BoolArray
    moments: Moments | None  # what was measured; None where there is no cue
    gap: IndexArray  # (k,) places in the table of gaps

    def sort_by_gap(self, table: GapTable) -> list[int]:
        """The cues, the widest gap first."""
        order: list[int] = np.argsort(-table.value[self.gap], kind="stable").tolist()
        return order


def find_cues(rows: Rows, ledger: Ledger, *, least: float, draws: int) -> Cues:
    """Measure every attribute whose association with the label is at least `least`.

    An attribute with more than two values counts by the one that goes most with the label.
    """
    label, count = rows.predictions.label, rows.classes
    candidates = []
    for attribute, strength in zip(rows.attributes, _associations(rows, draws), strict=True):
        table = _contingency_table(attribute, label, count)
        if (table.sum(1) > 0).sum() < 2:
            continue
        classes = _match_classes(table)
        cue = _cue(attribute, label, classes)
        if len(set(classes) - {-1}) < 2 or not (cue.data == CONTRADICTS).any():
            continue
        if strength.value >= least and strength.low > 0:
            candidates.append((attribute, strength, classes, cue))
    if not candidates:
        inner, no_gap = _replace_attributes(rows, ()), np.empty(0, np.intp)
        return Cues(inner, (), (), (), np.zeros((count, 0), np.bool_), None, no_gap)
    attributes, association, goes_with, cues = zip(*candidates, strict=True)
    inner = _replace_attributes(rows, cues)
    units = _count_units(inner)
    counted = units.min(2) >= ledger.smallest
    shares = np.bincount(label, minlength=count)[:, None] * counted
    with np.errstate(invalid="ignore"):
        weights = np.nan_to_num(shares / shares.sum(0))
    plan = SidePlan()
    for i in range(len(cues)):
        contradicts, agrees = (plan.add_side(inner.key((i, k))) for k in (CONTRADICTS, AGREES))
        plan.add_pair(contradicts, agrees)
    figures = Figures(rows.predictions.classes, rich=False, standard=np.repeat(weights, 2, axis=1))
    moments = measure(inner, plan, figures)
    gap = ledger.add(_build_contrast(moments, inner, units, counted))
    return Cues(inner, attributes, association, goes_with, counted, moments, gap)


def _replace_attributes(rows: Rows, cues: Sequence[Attribute]) -> Rows:
    """The same rows, with cues instead of their attributes."""
    attributes = {cue.name: cue for cue in cues}
    return replace(rows, predictions=replace(rows.predictions, attributes=attributes))


def _count_units(rows: Rows) -> CountArray:
    """(classes, cues, 2) people with a label whose images contradict the cue, and agree with it."""
    label, resampling = rows.predictions.label, rows.resampling
    counts = [
        resampling.count_units((cue.data == k) & (label == c))
        for c in range(rows.classes)
        for cue in rows.attributes
        for k in (CONTRADICTS, AGREES)
    ]
    return np.reshape(counts, (rows.classes, -1, 2))


def _build_contrast(
    moments: Moments, rows: Rows, units: CountArray, counted: BoolArray
) -> Contrast:
    """The gaps; the class with the fewest people limits each, as every class's error counts."""
    result = contrast(moments, "standardised_error", np.arange(counted.shape[1]), rows)
    largest = np.iinfo(np.int64).max
    fewest = np.where(counted[..., None], units, largest).min(0)
    fewest = np.where(fewest == largest, 0, fewest)
    return replace(
        result,
        left=replace(result.left, units=fewest[:, CONTRADICTS]),
        right=replace(result.right, units=fewest[:, AGREES]),
        method=f"score interval of differences within classes, {rows.resampling.method}",
    )


def build_shortcut(cues: Cues, table: GapTable, i: int) -> Shortcut:
    """The record of one cue."""
    assert cues.moments is not None
    classes, sides = cues.rows.predictions.classes, cues.moments.pairs[i]
    accuracy = [e["accuracy"] for e in estimates(cues.moments, sides, cues.rows, ["accuracy"])]
    pairs = zip(cues.attributes[i].values, cues.goes_with[i], strict=True)
    return Shortcut(
        attribute=cues.attributes[i].name,
        association=cues.association[i],
        cue={value: classes[c] for value, c in pairs if c >= 0},
        agrees=accuracy[AGREES],
        contradicts=accuracy[CONTRADICTS],
        gap=table.gap(cues.gap[i]),
        within=tuple(name for name, c in zip(classes, cues.counted[:, i], strict=True) if c),
    )


def _contingency_table(attribute: Attribute, label: NDArray[np.int16], classes: int) -> CountArray:
    """(values, classes) images."""
    has_value = attribute.data >= 0
    cell = attribute.data[has_value].astype(np.intp) * classes + label[has_value]
    return np.bincount(cell, minlength=len(attribute.values) * classes).reshape(-1, classes)


def _match_classes(table: CountArray) -> tuple[int, ...]:
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
    resampling, p = rows.resampling, rows.predictions
    if not rows.attributes:
        return []
    owner = np.concatenate([np.full(len(a.values), k) for k, a in enumerate(rows.attributes)])
    hits = np.concatenate(
        [a.data[:, None] == np.arange(len(a.values)) for a in rows.attributes], axis=1
    )
    mask = np.stack([a.data >= 0 for a in rows.attributes], axis=1)[:, owner]
    v = associations(
        hits,
        mask,
        p.label,
        len(p.classes),
        resampling.unit if resampling.by_person else None,
        draws=draws,
        confidence=resampling.confidence,
        seed=resampling.seed,
    )
    value = np.nan_to_num([e.value for e in v], nan=-1.0)
    columns = [np.flatnonzero(owner == k) for k in range(len(rows.attributes))]
    return [v[int(c[np.argmax(value[c])]) if len(c) else 0] for c in columns]
