"""Every value of every attribute, alone and within each label."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, IndexArray
from candid.auditing.auc import Areas
from candid.auditing.contrasts import contrast
from candid.auditing.fairness import ComparedGroups, fairness
from candid.auditing.gaps import GapTable, Ledger
from candid.auditing.groups import SidePlan, max_groups, measure
from candid.auditing.rows import EVERYONE, KNOWN, LABEL, Rows
from candid.auditing.side_figures import estimates, score_estimates
from candid.records import Estimate
from candid.records.audit import Group
from candid.records.fairness import FairnessFigure
from candid.stats.moments import Figures, Moments

# Figures that a group within one label has; what compares labels makes no sense there.
WITHIN = ("accuracy", "confidence", "overconfidence", "calibration_error")
_GAPS = ("accuracy", "weighted_f1", "confidence", "overconfidence")


@dataclass(frozen=True, eq=False)
class GroupShares:
    """How large a group is, its share of each label, and its share of each label's images."""

    share: Estimate
    prevalence: Sequence[Estimate]
    within: Sequence[Estimate]


@dataclass(frozen=True, eq=False)
class Measurement:
    """Some attributes, measured together."""

    moments: Moments  # their sides; the first side is everyone
    names: tuple[str, ...]  # the figures to tell
    values: list[tuple[int, int]]  # (attribute, value) of each of the k groups, in order
    sides: IndexArray  # (k,) the side of each
    # (k, classes) the figures of the groups within each label
    within: list[list[dict[str, Estimate]]]
    first_pair: dict[int, int]  # attribute → the index of its first pair of values
    shares: list[GroupShares]  # of each group
    areas: list[Estimate]  # the area under the curve of each group; empty where there are none
    gaps: dict[str, IndexArray]  # metric → (k,) places in the table of gaps

    @property
    def units(self) -> NDArray[np.int64]:
        """(k,) people, or images, of each group."""
        units: NDArray[np.int64] = self.moments.units[0][self.sides]
        return units

    def finding_gaps(self) -> tuple[list[str], IndexArray]:
        """The metrics whose gaps make a group found, and their (metrics, k) table indices."""
        names = [name for name in self.gaps if name == "accuracy" or name.startswith("error:")]
        return names, np.stack([self.gaps[name] for name in names])


# --- measuring -----------------------------------------------------------------------------------


def measure_values(rows: Rows, ledger: Ledger) -> tuple[list[Measurement], dict[str, Estimate]]:
    """Measure all single groups and add their gaps to the ledger; also everyone's figures."""
    figures = Figures(rows.predictions.classes, rich=True, bins=rows.bins)
    areas = Areas(rows)
    parts = [_measure(rows, ledger, figures, areas, batch) for batch in _batches(rows, figures)]
    side, images = areas.side(EVERYONE)
    area = score_estimates(side, [images], rows.resampling, areas.method)[0]
    return parts, estimates(parts[0].moments, [0], rows)[0] | {"roc_auc": area}


def _batches(rows: Rows, figures: Figures) -> Iterator[list[int]]:
    """Attributes whose groups fit into a plan together; one empty batch for no attribute."""
    room, batch, used = max_groups(rows, figures), list[int](), 0
    for a, attribute in enumerate(rows.attributes):
        needed = len(attribute.values) + 1
        if batch and used + needed > room:
            yield batch
            batch, used = [], 0
        batch.append(a)
        used += needed
    yield batch


def _measure(
    rows: Rows, ledger: Ledger, figures: Figures, areas: Areas, attributes: list[int]
) -> Measurement:
    plan = SidePlan()
    plan.add_side(EVERYONE)
    values = [(a, v) for a in attributes for v in range(len(rows.attributes[a].values))]
    keys = {value: rows.key(value) for value in values}
    comparisons = [(rows.key((a, KNOWN)), keys[a, v]) for a, v in values]
    for larger, group in comparisons:
        plan.compare(group, larger)
    first_pair = {}
    for a in attributes:
        first_pair[a] = len(plan.pairs)
        sides_of_a = [plan.add_side(keys[value]) for value in values if value[0] == a]
        for left, right in itertools.combinations(sides_of_a, 2):
            plan.add_pair(left, right)
    moments = measure(rows, plan, figures)
    area = areas.contrast(comparisons)
    areas.clear_cache()
    sides = np.asarray([plan.add_side(keys[value]) for value in values], np.intp)
    gaps, counted = add_gaps(rows, ledger, moments, values, sides)
    return Measurement(
        moments=moments,
        names=tuple(name for name in figures.names if name != "calibration_noise"),
        values=values,
        sides=sides,
        within=_measure_within(rows, figures, values),
        first_pair=first_pair,
        shares=[_build_shares(rows, a, v) for a, v in values],
        areas=score_estimates(area.left, area.images, rows.resampling, areas.method),
        gaps=gaps | {"roc_auc": ledger.add(area, counted)},
    )


def _measure_within(
    rows: Rows, figures: Figures, values: list[tuple[int, int]]
) -> list[list[dict[str, Estimate]]]:
    """Each group's figures within each label; values × classes, so without a sum per class."""
    lean = replace(figures, per_class=False)
    cells = [(a, v, c) for a, v in values for c in range(rows.classes)]
    metrics: list[dict[str, Estimate]] = []
    for start in range(0, len(cells), room := max_groups(rows, lean)):
        plan = SidePlan()
        chunk = cells[start : start + room]
        sides = [plan.add_side(rows.key((a, v), (LABEL, c))) for a, v, c in chunk]
        metrics += estimates(measure(rows, plan, lean), sides, rows, WITHIN)
    return [metrics[i : i + rows.classes] for i in range(0, len(metrics), rows.classes)]


def add_gaps(
    rows: Rows, ledger: Ledger, moments: Moments, values: list[tuple[int, int]], sides: IndexArray
) -> tuple[dict[str, IndexArray], BoolArray]:
    """Add the groups' gaps to the ledger; their table indices by metric, and which gaps count.

    The second of two values is the rest of the first: its gaps are the same with the other sign.
    """
    counted, has_images = np.ones(len(values), np.bool_), moments.images[0][sides] > 0
    for a, block in itertools.groupby(range(len(values)), key=lambda i: values[i][0]):
        present = [i for i in block if has_images[i]]
        if len(present) == 2 and len(rows.attributes[a].values) >= 2:
            counted[present[1]] = False
    per_class = [name for name in moments.figures if name.startswith(("error:", "false:"))]
    pairs = np.arange(len(values))
    gaps = {
        metric: ledger.add(contrast(moments, metric, pairs, rows), counted)
        for metric in (*_GAPS, *per_class)
    }
    return gaps, counted


def _build_shares(rows: Rows, a: int, v: int) -> GroupShares:
    data, classes = rows.attributes[a].data, rows.classes
    labels = rows.predictions.label[:, None] == np.arange(classes)
    inside, is_known = (data == v)[:, None], (data >= 0)[:, None]
    in_group = np.broadcast_to(inside, labels.shape)
    hits = np.concatenate([inside, labels & inside, labels & inside], axis=1)
    masks = np.concatenate([is_known, in_group, labels & is_known], axis=1)
    shares = rows.shares(hits, masks)
    return GroupShares(shares[0], shares[1 : 1 + classes], shares[1 + classes :])


# --- records -------------------------------------------------------------------------------------


def build_groups(
    rows: Rows, table: GapTable, parts: Sequence[Measurement]
) -> tuple[list[Group], list[Group]]:
    """The record of every value alone, and of every value within each label."""
    groups = [group for m in parts for group in _build_value_groups(rows, table, m)]
    return groups, [group for m in parts for group in _build_label_groups(rows, table, m)]


def _build_value_groups(rows: Rows, table: GapTable, m: Measurement) -> Iterator[Group]:
    figures = estimates(m.moments, m.sides, rows, m.names)
    states = table.states(m.finding_gaps()[1])
    for i, (a, v) in enumerate(m.values):
        yield Group(
            conditions=rows.conditions(((a, v),)),
            label=None,
            n=figures[i]["accuracy"].n,
            people=figures[i]["accuracy"].people,
            share=m.shares[i].share,
            prevalence=dict(zip(rows.predictions.classes, m.shares[i].prevalence, strict=True)),
            metrics=figures[i] | ({"roc_auc": m.areas[i]} if m.areas else {}),
            gaps={metric: table.gap(indices[i]) for metric, indices in m.gaps.items()},
            state=states[i],
        )


def _build_label_groups(rows: Rows, table: GapTable, m: Measurement) -> Iterator[Group]:
    classes = rows.predictions.classes
    errors = [m.gaps[f"error:{name}"] for name in classes]
    states = [table.states(indices[None]) for indices in errors]
    for i, (a, v) in enumerate(m.values):
        for c, label in enumerate(classes):
            yield Group(
                conditions=rows.conditions(((a, v),)),
                label=label,
                n=m.within[i][c]["accuracy"].n,
                people=m.within[i][c]["accuracy"].people,
                share=m.shares[i].within[c],
                prevalence={},
                metrics=m.within[i][c],
                # Accuracy among those labelled so is 1 less their error: the same gap, negated.
                gaps={"accuracy": table.gap(errors[c][i], flipped=True)},
                state=states[c][i],
            )


def build_fairness(
    rows: Rows, parts: Sequence[Measurement], smallest: int
) -> Iterator[FairnessFigure]:
    """The figures of every attribute with at least two groups that are large enough."""
    for m in parts:
        for a, first in m.first_pair.items():
            members = np.array([i for i, value in enumerate(m.values) if value[0] == a], np.intp)
            large = np.flatnonzero(m.units[members] >= smallest)
            pair_index = np.zeros((len(members), len(members)), np.intp)
            upper = np.triu_indices(len(members), 1)
            pair_index[upper] = first + np.arange(len(upper[0]))
            left, right = np.triu_indices(len(large), 1)
            attribute = rows.attributes[a]
            values = tuple(attribute.values[k] for k in large)
            pairs = pair_index[large[left], large[right]]
            sides = m.sides[members][large]
            yield from fairness(
                ComparedGroups(rows, m.moments, attribute, values, sides, left, right, pairs)
            )
