"""Every value of every attribute, alone and within each label."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candid.auditing.auc import Areas
from candid.auditing.fairness import AttributeGroups, fairness
from candid.auditing.gaps import Ledger, contrast, estimates, side_estimate
from candid.auditing.groups import Plan, blocks, measure
from candid.auditing.intersections import shares_of
from candid.auditing.rows import EVERYONE, KNOWN, LABEL, Rows
from candid.records import Estimate, State
from candid.records.audit import Condition, FairnessFigure, Group
from candid.stats.differences import Side
from candid.stats.moments import Figures, Moments

# Figures that a group within one label has; what compares labels makes no sense there.
_WITHIN = ("accuracy", "confidence", "overconfidence", "calibration_error")
_GAPS = ("accuracy", "weighted_f1", "confidence", "overconfidence")


@dataclass(frozen=True, eq=False)
class Measured:
    """Some attributes, measured together.

    Attributes
    ----------
    moments
        Their sides; the first side is everyone.
    values
        (attribute, value) of each single group, in order; its pair has the same place.
    sides, within
        The side of each, and (groups, classes) the sides of the groups within each label.
    between
        Attribute → (i, j) of its values → the number of the measured pair.
    numbers
        Metric → where its gaps stand in the ledger, in the order of `values`.
    """

    moments: Moments
    values: list[tuple[int, int]]
    sides: NDArray[np.intp]
    within: NDArray[np.intp]
    between: dict[int, dict[tuple[int, int], int]]
    numbers: dict[str, int]
    area: Side
    area_images: NDArray[np.int64]


class Singles:
    """All single groups of some rows: measured first, told once the ledger is settled."""

    def __init__(self, rows: Rows, ledger: Ledger) -> None:
        self.rows, self.ledger = rows, ledger
        self.figures = Figures(rows.predictions.classes, rich=True, bins=rows.bins)
        self.areas = Areas(rows)
        self.parts = [self._measure(some) for some in self._batches()]
        self.everyone = self._everyone()

    # --- measuring ---

    def _batches(self) -> Iterator[list[int]]:
        """Attributes whose groups fit into a plan together; one empty batch for no attribute."""
        room, batch, used = blocks(self.rows, self.figures), list[int](), 0
        for a, attribute in enumerate(self.rows.attributes):
            needed = (len(attribute.values) + 1) * (1 + self.rows.classes)
            if batch and used + needed > room:
                yield batch
                batch, used = [], 0
            batch.append(a)
            used += needed
        yield batch

    def _measure(self, attributes: list[int]) -> Measured:
        rows, plan = self.rows, Plan()
        plan.side(EVERYONE)
        values = [(a, v) for a in attributes for v in range(len(rows.attributes[a].values))]
        sides, within, areas = [], [], []
        for a, v in values:
            group, known = rows.key((a, v)), rows.key((a, KNOWN))
            sides.append(plan.side(group))
            plan.pair(sides[-1], plan.side(known, group))
            areas.append((known, group))
            within.append([plan.side(rows.key((a, v), (LABEL, c))) for c in range(rows.classes)])
        between = {a: self._between(plan, a) for a in attributes}
        moments = measure(rows, plan, self.figures)
        area = self.areas.contrast(areas)
        self.areas.forget()
        measured = Measured(
            moments=moments,
            values=values,
            sides=np.asarray(sides, np.intp),
            within=np.asarray(within, np.intp).reshape(len(values), rows.classes),
            between=between,
            numbers={},
            area=area.left,
            area_images=area.images,
        )
        mirror = self.write_down(measured)
        measured.numbers["roc_auc"] = self.ledger.add(area, ~mirror)
        return measured

    def write_down(self, measured: Measured) -> NDArray[np.bool_]:
        """Put the gaps of all figures into the ledger; whether each group is a mirror image."""
        mirror, here = self.mirrors(measured), np.arange(len(measured.values))
        per_class = [f for f in self.figures.names if f.startswith(("error:", "false:"))]
        for metric in (*_GAPS, *per_class):
            measured.numbers[metric] = self.ledger.add(
                contrast(measured.moments, metric, here, self.rows), ~mirror
            )
        return mirror

    def _between(self, plan: Plan, a: int) -> dict[tuple[int, int], int]:
        """Every two values of an attribute, for the fairness figures."""
        keys = [self.rows.key((a, v)) for v in range(len(self.rows.attributes[a].values))]
        return {
            (i, j): plan.pair(plan.side(keys[i]), plan.side(keys[j]))
            for i, j in itertools.combinations(range(len(keys)), 2)
        }

    def mirrors(self, m: Measured) -> NDArray[np.bool_]:
        """Whether a group is what is left of the one before: then its gaps are those, turned."""
        some = m.moments.images[0][m.sides] > 0
        mirror = np.zeros(len(m.values), np.bool_)
        for a, block in itertools.groupby(range(len(m.values)), key=lambda i: m.values[i][0]):
            present = [i for i in block if some[i]]
            if len(present) == 2 and len(self.rows.attributes[a].values) >= 2:
                mirror[present[1]] = True
        return mirror

    def _everyone(self) -> dict[str, Estimate]:
        metrics = estimates(self.parts[0].moments, 0, self.rows)
        side, images = self.areas.side(EVERYONE)
        return metrics | {"roc_auc": side_estimate(side, 0, images, self.rows, self.areas.method)}

    # --- telling ---

    def units(self) -> dict[tuple[int, int], int]:
        """(attribute, value) → people, or images."""
        return {
            pair: int(m.moments.units[0][side])
            for m in self.parts
            for pair, side in zip(m.values, m.sides, strict=True)
        }

    def groups(self) -> list[Group]:
        """Every value alone, then every value within each label."""
        alone, within = [], []
        for m in self.parts:
            for i in range(len(m.values)):
                alone.append(self._alone(m, i))
                within += [self._within(m, i, c) for c in range(self.rows.classes)]
        return [*alone, *within]

    def places(self) -> list[tuple[Measured, int]]:
        """Where each group alone was measured, in the order of `groups`."""
        return [(m, i) for m in self.parts for i in range(len(m.values))]

    def fairness(self) -> list[FairnessFigure]:
        """The figures of every attribute with at least two groups that are large enough."""
        figures = []
        for m in self.parts:
            for a, between in m.between.items():
                here = [i for i, pair in enumerate(m.values) if pair[0] == a]
                units = m.moments.units[0][m.sides[here]]
                kept = [k for k, n in enumerate(units) if n >= self.ledger.smallest]
                groups = AttributeGroups(
                    attribute=self.rows.attributes[a].name,
                    values=tuple(self.rows.attributes[a].values[k] for k in kept),
                    sides=m.sides[here][kept],
                    pairs={
                        (i, j): between[kept[i], kept[j]]
                        for i, j in itertools.combinations(range(len(kept)), 2)
                    },
                )
                figures += fairness(groups, m.moments, self.rows)
        return figures

    def _alone(self, m: Measured, i: int) -> Group:
        a, v = m.values[i]
        metrics = self.figures_of(m, int(m.sides[i])) | self.area_of(m, i)
        gaps = {metric: self.ledger.gap(number, i) for metric, number in m.numbers.items()}
        p, attribute = self.rows.predictions, self.rows.attributes[a]
        share, *prevalence = self.shares_alone(a, v)
        return Group(
            conditions=(Condition(attribute.name, attribute.values[v]),),
            label=None,
            n=metrics["accuracy"].n,
            people=metrics["accuracy"].people,
            share=share,
            prevalence=dict(zip(p.classes, prevalence, strict=True)),
            metrics=metrics,
            gaps=gaps,
            state=self._state(m, i, [k for k in gaps if k == "accuracy" or k.startswith("error:")]),
        )

    def _within(self, m: Measured, i: int, c: int) -> Group:
        a, v = m.values[i]
        metrics = self.figures_of(m, int(m.within[i, c]))
        p, attribute = self.rows.predictions, self.rows.attributes[a]
        error = f"error:{p.classes[c]}"
        # Accuracy among those labelled so is 1 less their error: the gap is the same one, turned.
        gap = self.ledger.gap(m.numbers[error], i, flipped=True, metric="accuracy")
        return Group(
            conditions=(Condition(attribute.name, attribute.values[v]),),
            label=p.classes[c],
            n=metrics["accuracy"].n,
            people=metrics["accuracy"].people,
            share=self.share_within(a, v, c),
            prevalence={},
            metrics={name: metrics[name] for name in _WITHIN if name in metrics},
            gaps={"accuracy": gap},
            state=self._state(m, i, [error]),
        )

    def _state(self, m: Measured, i: int, metrics: list[str]) -> State:
        known = [k for k in metrics if not np.isnan(self.ledger.p(m.numbers[k])[i])]
        if not known:
            return "too few to say"
        for metric in known:
            number = m.numbers[metric]
            if self.ledger.is_found(number)[i] and self.ledger.is_worse(number)[i]:
                return "found"
        return "not found"

    def figures_of(self, m: Measured, side: int) -> dict[str, Estimate]:
        """The figures of one measured side."""
        return estimates(m.moments, side, self.rows)

    def area_of(self, m: Measured, i: int) -> dict[str, Estimate]:
        """The area under the curve of one group."""
        images = int(m.area_images[i])
        return {"roc_auc": side_estimate(m.area, i, images, self.rows, self.areas.method)}

    def shares_alone(self, a: int, v: int) -> list[Estimate]:
        """How large a group is, and in what share of it each class is the label."""
        p, data = self.rows.predictions, self.rows.attributes[a].data
        labels = (data == v)[:, None] & (p.label[:, None] == np.arange(len(p.classes)))
        share = shares_of(self.rows, data == v, data >= 0)
        return [*share, *shares_of(self.rows, labels, data == v)]

    def share_within(self, a: int, v: int, c: int) -> Estimate:
        """How large a group is among the images of one class."""
        data, labelled = self.rows.attributes[a].data, self.rows.predictions.label == c
        return shares_of(self.rows, (data == v) & labelled, (data >= 0) & labelled)[0]
