"""Every value of every attribute, alone and within each label."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Indices, Marks
from candid.auditing.auc import Areas
from candid.auditing.contrasts import contrast
from candid.auditing.fairness import Compared, fairness
from candid.auditing.gaps import GapTable, Ledger
from candid.auditing.groups import SidePlan, groups_at_once, measure
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
class Measured:
    """Some attributes, measured together."""

    moments: Moments  # their sides; the first side is everyone
    names: tuple[str, ...]  # the figures to tell
    values: list[tuple[int, int]]  # (attribute, value) of each of the k groups, in order
    sides: Indices  # (k,) the side of each
    # (k, classes) the figures of the groups within each label
    within: list[list[dict[str, Estimate]]]
    between: dict[int, int]  # attribute → the first of its pairs of values among the measured pairs
    shares: list[GroupShares]  # of each group
    areas: list[Estimate]  # the area under the curve of each group; empty where there are none
    gaps: dict[str, Indices]  # metric → (k,) places in the table of gaps

    @property
    def units(self) -> NDArray[np.int64]:
        """(k,) people, or images, of each group."""
        units: NDArray[np.int64] = self.moments.units[0][self.sides]
        return units

    def told(self) -> tuple[list[str], Indices]:
        """The metrics whose gaps make a group found, and (metrics, k) their places."""
        told = [name for name in self.gaps if name == "accuracy" or name.startswith("error:")]
        return told, np.stack([self.gaps[name] for name in told])


# --- measuring -----------------------------------------------------------------------------------


def measure_values(rows: Rows, ledger: Ledger) -> tuple[list[Measured], dict[str, Estimate]]:
    """All single groups of some rows, their gaps written down; and the figures of everyone."""
    figures = Figures(rows.predictions.classes, rich=True, bins=rows.bins)
    areas = Areas(rows)
    parts = [_measure(rows, ledger, figures, areas, some) for some in _batches(rows, figures)]
    side, images = areas.side(EVERYONE)
    area = score_estimates(side, [images], rows.drawing, areas.method)[0]
    return parts, estimates(parts[0].moments, [0], rows)[0] | {"roc_auc": area}


def _batches(rows: Rows, figures: Figures) -> Iterator[list[int]]:
    """Attributes whose groups fit into a plan together; one empty batch for no attribute."""
    room, batch, used = groups_at_once(rows, figures), list[int](), 0
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
) -> Measured:
    plan = SidePlan()
    plan.side(EVERYONE)
    values = [(a, v) for a in attributes for v in range(len(rows.attributes[a].values))]
    keys = {value: rows.key(value) for value in values}
    against = [(rows.key((a, KNOWN)), keys[a, v]) for a, v in values]
    sides = []
    for known, group in against:
        sides.append(plan.side(group))
        plan.pair(sides[-1], plan.side(known, group))
    between = {}
    for a in attributes:
        between[a] = len(plan.pairs)
        own = [plan.side(keys[a, v]) for v in range(len(rows.attributes[a].values))]
        for one, two in itertools.combinations(own, 2):
            plan.pair(one, two)
    moments = measure(rows, plan, figures)
    area = areas.contrast(against)
    areas.forget()
    gaps, counted = write_down(rows, ledger, moments, values, np.asarray(sides, np.intp))
    return Measured(
        moments=moments,
        names=tuple(name for name in figures.names if name != "calibration_noise"),
        values=values,
        sides=np.asarray(sides, np.intp),
        within=_measure_within(rows, figures, values),
        between=between,
        shares=[_shares(rows, a, v) for a, v in values],
        areas=score_estimates(area.left, area.images, rows.drawing, areas.method),
        gaps=gaps | {"roc_auc": ledger.add(area, counted)},
    )


def _measure_within(
    rows: Rows, figures: Figures, values: list[tuple[int, int]]
) -> list[list[dict[str, Estimate]]]:
    """Each group's figures within each label, which nothing is compared with.

    There are values × classes of them, so they are summed without a sum per class.
    """
    lean = replace(figures, per_class=False)
    cells = [(a, v, c) for a, v in values for c in range(rows.classes)]
    found: list[dict[str, Estimate]] = []
    for start in range(0, len(cells), room := groups_at_once(rows, lean)):
        plan = SidePlan()
        sides = [plan.side(rows.key((a, v), (LABEL, c))) for a, v, c in cells[start : start + room]]
        found += estimates(measure(rows, plan, lean), sides, rows, WITHIN)
    return [found[i : i + rows.classes] for i in range(0, len(found), rows.classes)]


def write_down(
    rows: Rows, ledger: Ledger, moments: Moments, values: list[tuple[int, int]], sides: Indices
) -> tuple[dict[str, Indices], Marks]:
    """Put the groups' gaps into the ledger: their places by metric, and which gaps count.

    A group that is what is left of the one before is its mirror image: its gaps are those, turned.
    """
    counted, some = np.ones(len(values), np.bool_), moments.images[0][sides] > 0
    for a, block in itertools.groupby(range(len(values)), key=lambda i: values[i][0]):
        present = [i for i in block if some[i]]
        if len(present) == 2 and len(rows.attributes[a].values) >= 2:
            counted[present[1]] = False
    per_class = [name for name in moments.figures if name.startswith(("error:", "false:"))]
    here = np.arange(len(values))
    gaps = {
        metric: ledger.add(contrast(moments, metric, here, rows), counted)
        for metric in (*_GAPS, *per_class)
    }
    return gaps, counted


def _shares(rows: Rows, a: int, v: int) -> GroupShares:
    data, classes = rows.attributes[a].data, rows.classes
    labels = rows.predictions.label[:, None] == np.arange(classes)
    inside, known = (data == v)[:, None], (data >= 0)[:, None]
    own = np.broadcast_to(inside, labels.shape)
    hits = np.concatenate([inside, labels & inside, labels & inside], axis=1)
    of = np.concatenate([known, own, labels & known], axis=1)
    found = rows.shares(hits, of)
    return GroupShares(found[0], found[1 : 1 + classes], found[1 + classes :])


# --- telling -------------------------------------------------------------------------------------


def single_groups(
    rows: Rows, table: GapTable, parts: Sequence[Measured]
) -> tuple[list[Group], list[Group]]:
    """The record of every value alone, and of every value within each label."""
    alone = [group for m in parts for group in _alone(rows, table, m)]
    return alone, [group for m in parts for group in _within(rows, table, m)]


def _alone(rows: Rows, table: GapTable, m: Measured) -> Iterator[Group]:
    figures = estimates(m.moments, m.sides, rows, m.names)
    states = table.states(m.told()[1])
    for i, (a, v) in enumerate(m.values):
        yield Group(
            conditions=rows.conditions(((a, v),)),
            label=None,
            n=figures[i]["accuracy"].n,
            people=figures[i]["accuracy"].people,
            share=m.shares[i].share,
            prevalence=dict(zip(rows.predictions.classes, m.shares[i].prevalence, strict=True)),
            metrics=figures[i] | ({"roc_auc": m.areas[i]} if m.areas else {}),
            gaps={metric: table.gap(places[i]) for metric, places in m.gaps.items()},
            state=states[i],
        )


def _within(rows: Rows, table: GapTable, m: Measured) -> Iterator[Group]:
    classes = rows.predictions.classes
    errors = [m.gaps[f"error:{name}"] for name in classes]
    states = [table.states(places[None]) for places in errors]
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
                # Accuracy among those labelled so is 1 less their error: the same gap, turned.
                gaps={"accuracy": table.gap(errors[c][i], flipped=True)},
                state=states[c][i],
            )


def fairness_figures(
    rows: Rows, parts: Sequence[Measured], smallest: int
) -> Iterator[FairnessFigure]:
    """The figures of every attribute with at least two groups that are large enough."""
    for m in parts:
        for a, first in m.between.items():
            here = np.array([i for i, value in enumerate(m.values) if value[0] == a], np.intp)
            large = np.flatnonzero(m.units[here] >= smallest)
            number = np.zeros((len(here), len(here)), np.intp)
            pairs = np.triu_indices(len(here), 1)
            number[pairs] = first + np.arange(len(pairs[0]))
            one, two = np.triu_indices(len(large), 1)
            attribute = rows.attributes[a]
            values = tuple(attribute.values[k] for k in large)
            compared = number[large[one], large[two]]
            sides = m.sides[here][large]
            yield from fairness(
                Compared(rows, m.moments, attribute, values, sides, one, two, compared)
            )
