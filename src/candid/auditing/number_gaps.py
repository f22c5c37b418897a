"""For whom a number is predicted worse: gaps in mean absolute error, by the rules of all gaps.

Each value of each attribute is held against the rest whose value is known. Standard errors and
correlations come from people drawn again, intervals and p-values are those of a difference of means
(`auditing.gaps`), and Benjamini and Hochberg's correction goes over all gaps of a split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Floats
from candid.auditing.audit import asked_splits, chosen_attributes, of_groups
from candid.auditing.contrasts import Contrast
from candid.auditing.gaps import GapTable, Ledger
from candid.predictions import Attribute
from candid.predictions.numbers import NumberAnswers
from candid.records import SPLITS, Estimate, Split
from candid.records.audit import Audit, Condition, Group, SplitAudit
from candid.settings import AuditConfig
from candid.stats.bootstrap import (
    FigureSpec,
    Resample,
    estimate,
    resample,
    standard_error,
    unknown_people,
)
from candid.stats.differences import Side
from candid.stats.intervals import share
from candid.table import known_persons
from candid.text import notes as text

_METRIC = "mae"


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Images of one split: how they are drawn, and how far off each is."""

    drawing: Resample
    off: Floats
    person: NDArray[np.int64] | None


def audit_number(
    predictions: NumberAnswers, config: AuditConfig | None = None, *, source: str = ""
) -> Audit:
    """Every value of every attribute, in every split that was asked for.

    The record is that of an audit of classes, with `mae` as its figure and no classes.

    Raises
    ------
    ConfigError
        Where an attribute that the settings name does not exist.
    """
    config = config or AuditConfig()
    chosen, notes = chosen_attributes(predictions.attributes, config)
    if said := predictions.provenance.get("notes"):
        notes.append(said)
    attributes = [name for name, attribute in chosen.items() if attribute.known.any()]
    present: list[Split] = [s for s in SPLITS if (predictions.split == s).any()]
    splits, lacking = asked_splits(present, config)
    audited = tuple(
        _split(predictions[predictions.split == s], s, attributes, config) for s in splits
    )
    return Audit(predictions.target, (), source, audited, notes=(*notes, *lacking))


def _split(p: NumberAnswers, split: Split, names: list[str], config: AuditConfig) -> SplitAudit:
    drawing = resample(
        len(p), p.person, draws=config.draws, seed=config.seed, confidence=config.confidence
    )
    some = _Drawn(drawing, np.abs(p.predicted - p.value), known_persons(p.person))
    ledger = Ledger(some, config.smallest, config.false_discovery_rate)
    cut = [a for a in p.cut_attributes() if a.name in names]
    parts = [_measured(some, attribute, ledger) for attribute in cut]
    table = ledger.settle()
    groups = [group for part in parts for group in part.groups(some, table)]
    everyone = np.ones(len(p), np.bool_)
    notes = [] if drawing.by_person else [text.audited_without_people(split)]
    if unknown := unknown_people(p.person):
        notes.append(text.some_without_people(split, unknown, len(p)))
    missing = {a.name: int(np.count_nonzero(~a.known)) for a in cut}
    notes.extend(text.unknown_values(missing, len(p)))
    if numeric := [a.name for a in cut if p.attributes[a.name].kind == "numeric"]:
        notes.append(text.cut_at_quartiles(numeric))
    people = drawing.units if drawing.by_person else None
    figures = {_METRIC: _estimates(some, everyone[:, None])[0][0]}
    audited = of_groups(split, len(p), people, figures, tuple(groups), table, config)
    notes += text.looked_at(table.looked_at, table.threshold, table.rate)
    return replace(audited, notes=tuple(notes))


@dataclass(frozen=True, eq=False)
class _Measured:
    """The values of one attribute: (n, values) who has each, their figures, places in the table."""

    attribute: Attribute
    inside: NDArray[np.bool_]
    figures: list[Estimate]
    places: NDArray[np.intp]

    def groups(self, some: _Drawn, table: GapTable) -> list[Group]:
        """Their records."""
        states = table.states(self.places[None])
        known = self.attribute.data >= 0
        return [
            Group(
                conditions=(Condition(self.attribute.name, value),),
                label=None,
                n=self.figures[i].n,
                people=self.figures[i].people,
                share=share(self.inside[:, i], known, some.person, some.drawing.confidence),
                prevalence={},
                metrics={_METRIC: self.figures[i]},
                gaps={_METRIC: table.gap(int(self.places[i]))},
                state=states[i],
            )
            for i, value in enumerate(self.attribute.values)
        ]


def _measured(some: _Drawn, attribute: Attribute, ledger: Ledger) -> _Measured:
    """Write down the gaps of an attribute's values to the rest."""
    inside = attribute.data[:, None] == np.arange(len(attribute.values))
    rest = (attribute.data >= 0)[:, None] & ~inside
    figures, own, own_drawn = _estimates(some, inside)
    _, other, other_drawn = _estimates(some, rest)
    units, rest_units = (
        np.array([some.drawing.units_in(marks) for marks in columns.T], np.int64)
        for columns in (inside, rest)
    )
    contrast = Contrast(
        metric=_METRIC,
        left=Side(own, _spread(own_drawn, units), units),
        right=Side(other, _spread(other_drawn, rest_units), rest_units),
        correlation=_correlation(own_drawn, other_drawn),
        images=inside.sum(axis=0),
        rest_images=rest.sum(axis=0),
        lost=np.isnan(own_drawn + other_drawn).sum(axis=0),
        method=f"difference of means, {some.drawing.method}",
    )
    counted = np.ones(len(attribute.values), np.bool_)
    present = np.flatnonzero(inside.any(axis=0))
    if len(present) == 2:  # what one lacks the other has
        counted[present[1]] = False
    return _Measured(attribute, inside, figures, ledger.add(contrast, counted))


def _estimates(some: _Drawn, marks: NDArray[np.bool_]) -> tuple[list[Estimate], Floats, Floats]:
    """Mean errors of k groups of (n, k) marks: with intervals, (k,), and in (draws, k) draws."""
    k = marks.shape[1]
    cells = np.concatenate([marks, marks * some.off[:, None]], axis=1)

    def means(sums: Floats) -> dict[str, Floats]:
        n = np.where(sums[..., :k] > 0, sums[..., :k], np.nan)
        return {_METRIC: sums[..., k:] / n}

    value, drawn = some.drawing.of_sums(cells, means)
    each = drawn.get(_METRIC, np.empty((0, k)))
    figures = [
        estimate(value[_METRIC][i], each[:, i], FigureSpec("error", (marks[:, i],)), some.drawing)
        for i in range(k)
    ]
    return figures, value[_METRIC], each


def _spread(draws: Floats, units: NDArray[np.int64]) -> Floats:
    return np.array([standard_error(draws[:, i], int(n)) for i, n in enumerate(units)])


def _correlation(left: Floats, right: Floats) -> Floats:
    """(k,) between the columns of (draws, k); 0 where one of them does not vary."""

    def one(a: Any, b: Any) -> float:
        known = np.isfinite(a) & np.isfinite(b)
        if known.sum() < 2 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
            return 0.0
        return float(np.corrcoef(a[known], b[known])[0, 1])

    return np.array([one(left[:, i], right[:, i]) for i in range(left.shape[1])])
