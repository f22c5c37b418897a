"""Gaps of groups in the mean absolute error of a number, by the rules of all gaps.

Each value of each attribute is held against the rest whose value is known. Standard errors and
correlations come from people drawn again, intervals and p-values are those of a difference of means
(`auditing.gaps`), and Benjamini and Hochberg's correction goes over all gaps of a split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray, IndexArray
from candid.auditing.audit import build_group_audit, select_attributes, select_splits
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
class _Images:
    """Images of one split: how they are resampled, and their absolute errors."""

    resampling: Resample
    errors: FloatArray
    person: NDArray[np.int64] | None


def audit_number(
    predictions: NumberAnswers, config: AuditConfig | None = None, *, source: str = ""
) -> Audit:
    """Audit every value of every attribute, in every split of the settings.

    The record is that of an audit of classes, with `mae` as its figure and no classes.

    Raises ConfigError where an attribute that the settings name does not exist.
    """
    config = config or AuditConfig()
    attributes, notes = select_attributes(predictions.attributes, config)
    if note := predictions.provenance.get("notes"):
        notes.append(note)
    names = [name for name, attribute in attributes.items() if attribute.known.any()]
    present: list[Split] = [s for s in SPLITS if (predictions.split == s).any()]
    splits, split_notes = select_splits(present, config)
    audited = tuple(_split(predictions[predictions.split == s], s, names, config) for s in splits)
    return Audit(predictions.target, (), source, audited, notes=(*notes, *split_notes))


def _split(p: NumberAnswers, split: Split, names: list[str], config: AuditConfig) -> SplitAudit:
    resampling = resample(
        len(p), p.person, draws=config.draws, seed=config.seed, confidence=config.confidence
    )
    images = _Images(resampling, np.abs(p.predicted - p.value), known_persons(p.person))
    ledger = Ledger(images, config.smallest, config.false_discovery_rate)
    attributes = [a for a in p.cut_attributes() if a.name in names]
    parts = [_measure_attribute(images, attribute, ledger) for attribute in attributes]
    table = ledger.settle()
    groups = [group for part in parts for group in part.groups(images, table)]
    everyone = np.ones(len(p), np.bool_)
    notes = [] if resampling.by_person else [text.audited_without_people(split)]
    if unknown := unknown_people(p.person):
        notes.append(text.some_without_people(split, unknown, len(p)))
    missing = {a.name: int(np.count_nonzero(~a.known)) for a in attributes}
    notes.extend(text.unknown_values(missing, len(p)))
    if numeric := [a.name for a in attributes if p.attributes[a.name].kind == "numeric"]:
        notes.append(text.cut_at_quartiles(numeric))
    people = resampling.units if resampling.by_person else None
    figures = {_METRIC: _estimate_errors(images, everyone[:, None])[0][0]}
    audited = build_group_audit(split, len(p), people, figures, tuple(groups), table, config)
    notes += text.looked_at(table.looked_at, table.threshold, table.rate)
    return replace(audited, notes=tuple(notes))


@dataclass(frozen=True, eq=False)
class _MeasuredAttribute:
    """The values of one attribute: (n, values) masks, their figures and table indices."""

    attribute: Attribute
    inside: BoolArray
    figures: list[Estimate]
    indices: IndexArray

    def groups(self, images: _Images, table: GapTable) -> list[Group]:
        """The groups' records."""
        states = table.states(self.indices[None])
        known, confidence = self.attribute.data >= 0, images.resampling.confidence
        return [
            Group(
                conditions=(Condition(self.attribute.name, value),),
                label=None,
                n=self.figures[i].n,
                people=self.figures[i].people,
                share=share(self.inside[:, i], known, images.person, confidence),
                prevalence={},
                metrics={_METRIC: self.figures[i]},
                gaps={_METRIC: table.gap(int(self.indices[i]))},
                state=states[i],
            )
            for i, value in enumerate(self.attribute.values)
        ]


def _measure_attribute(images: _Images, attribute: Attribute, ledger: Ledger) -> _MeasuredAttribute:
    """Add the gaps of an attribute's values to the ledger."""
    inside = attribute.data[:, None] == np.arange(len(attribute.values))
    rest = (attribute.data >= 0)[:, None] & ~inside
    figures, value, draws = _estimate_errors(images, inside)
    _, rest_value, rest_draws = _estimate_errors(images, rest)
    units, rest_units = (
        np.array([images.resampling.count_units(marks) for marks in columns.T], np.int64)
        for columns in (inside, rest)
    )
    contrast = Contrast(
        metric=_METRIC,
        left=Side(value, _standard_errors(draws, units), units),
        right=Side(rest_value, _standard_errors(rest_draws, rest_units), rest_units),
        correlation=_correlate(draws, rest_draws),
        images=inside.sum(axis=0),
        rest_images=rest.sum(axis=0),
        undefined=np.isnan(draws + rest_draws).sum(axis=0),
        method=f"difference of means, {images.resampling.method}",
    )
    counted = np.ones(len(attribute.values), np.bool_)
    present = np.flatnonzero(inside.any(axis=0))
    if len(present) == 2:  # what one lacks the other has
        counted[present[1]] = False
    return _MeasuredAttribute(attribute, inside, figures, ledger.add(contrast, counted))


def _estimate_errors(
    images: _Images, marks: BoolArray
) -> tuple[list[Estimate], FloatArray, FloatArray]:
    """Mean errors of k groups of (n, k) marks: with intervals, (k,), and in (draws, k) draws."""
    k = marks.shape[1]
    cells = np.concatenate([marks, marks * images.errors[:, None]], axis=1)

    def means(sums: FloatArray) -> dict[str, FloatArray]:
        n = np.where(sums[..., :k] > 0, sums[..., :k], np.nan)
        return {_METRIC: sums[..., k:] / n}

    value, replicates = images.resampling.evaluate_sums(cells, means)
    draws, resampling = replicates.get(_METRIC, np.empty((0, k))), images.resampling
    figures = [
        estimate(value[_METRIC][i], draws[:, i], FigureSpec("error", (marks[:, i],)), resampling)
        for i in range(k)
    ]
    return figures, value[_METRIC], draws


def _standard_errors(draws: FloatArray, units: NDArray[np.int64]) -> FloatArray:
    return np.array([standard_error(draws[:, i], int(n)) for i, n in enumerate(units)])


def _correlate(left: FloatArray, right: FloatArray) -> FloatArray:
    """(k,) between the columns of (draws, k); 0 where one of them does not vary."""

    def correlate(a: Any, b: Any) -> float:
        known = np.isfinite(a) & np.isfinite(b)
        if known.sum() < 2 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
            return 0.0
        return float(np.corrcoef(a[known], b[known])[0, 1])

    return np.array([correlate(left[:, i], right[:, i]) for i in range(left.shape[1])])
