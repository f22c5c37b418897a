"""The audit of tallies: the part of `candid.auditing.audit` that follows from sums.

Groups of one value, alone and within each label, have the same figures, gaps, p-values and
fairness figures as an audit in memory, from the same formulas; only the draws differ. Pairs of
values are counted, without intervals. `SUMMED_UP` lists what needs the images and is left out.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import CountArray, Float32Array
from candid.auditing.audit import build_single_audit
from candid.auditing.findings import (
    HarmfulGap,
    MistakeSample,
    find_group_gaps,
    group_finding,
    sort_by_surprise,
)
from candid.auditing.gaps import Ledger
from candid.auditing.intersections import make_grid
from candid.auditing.rows import LABEL, Rows
from candid.auditing.side_figures import estimates, score_estimates
from candid.auditing.single_groups import WITHIN, GroupShares, Measurement, add_gaps
from candid.auditing.stories import group_stories
from candid.auditing.tally import MOST_PEOPLE, STRATA, Codes, Tally, ValueSums, estimate_people
from candid.predictions import Attribute, Predictions
from candid.records import Estimate, Split
from candid.records.audit import Grid, SplitAudit
from candid.settings import AuditConfig
from candid.stats.bootstrap import Resample
from candid.stats.differences import Side
from candid.stats.moments import Figures, Sums, compute_moments
from candid.text import notes as text

_BLOCK = 2_000_000  # numbers per block of draws


@dataclass(frozen=True, eq=False)
class Meaning:
    """What a tally's numbers mean."""

    target: str  # what to call the label
    classes: tuple[str, ...]  # its values
    attributes: Sequence[Attribute]  # those that were counted, with their values and no data
    # by attribute, (codes,) the place of each code among its values; -1: counts as empty
    values: Mapping[str, Codes]
    by_person: bool  # whether people are known
    hard: bool  # whether there are answers and no probabilities

    def rows(self, config: AuditConfig) -> Rows:
        """The names and settings as `Rows` without images."""
        no_codes, words = np.empty(0, np.int16), np.empty(0, np.str_)
        probability = np.empty((0, len(self.classes)))
        predictions = Predictions(
            *(self.target, self.classes, words, words, no_codes, probability),
            attributes={a.name: replace(a, data=no_codes) for a in self.attributes},
            hard=self.hard,
        )
        resampling = Resample(
            *(np.empty(0, np.intp), STRATA, self.by_person),
            *(config.draws, config.seed, config.confidence),
        )
        return Rows(predictions, resampling)


def audit_tally(tally: Tally, meaning: Meaning, config: AuditConfig, split: Split) -> SplitAudit:
    """The audit of one split from its tally of all its rows."""
    rows = meaning.rows(config)
    ledger = Ledger(rows, config.smallest, config.false_discovery_rate)
    figures = Figures(rows.predictions.classes, rich=True, bins=1)
    weights = _draw_poisson(rows.resampling)
    # Of the codes of all splits, those that are in this one.
    values = {name: meaning.values[name][: len(t)] for name, t in tally.tables.items()}
    counted = [
        tally.tables[a.name].merge(
            [np.flatnonzero(values[a.name] == v) for v in range(len(a.values))]
        )
        for a in rows.attributes
    ]
    parts = [
        _measure(rows, ledger, figures, weights, tally, a, groups)
        for a, groups in enumerate(counted or [ValueSums(rows.classes)])
    ]
    everyone = estimates(parts[0].moments, [0], rows, parts[0].names)[0]
    table = ledger.settle()
    gaps = sort_by_surprise(table, find_group_gaps(table, parts))
    people, people_note = None, text.audited_without_people(split)
    if meaning.by_person:
        people, people_note = everyone["accuracy"].people or 0, text.people_hashed(MOST_PEOPLE)
    every = tuple(group_finding(rows, table, h, _count_mistakes(counted, h)) for h in gaps)
    findings = every[: config.findings]
    return replace(
        build_single_audit(rows, table, parts, everyone, split, tally.n, people, config),
        findings=findings,
        stories=group_stories(findings),
        notes=(
            *(text.SUMMED_UP, people_note, *text.more_findings(len(every), len(findings))),
            *text.looked_at(table.looked_at, table.threshold, table.rate),
        ),
        severities=dict(Counter(f.finding.severity for f in every)),
        grid=_build_grid(tally, rows, values) if tally.pairs and rows.attributes else None,
    )


# --- sums ----------------------------------------------------------------------------------------


def _measure(
    rows: Rows,
    ledger: Ledger,
    figures: Figures,
    weights: Sequence[NDArray[np.uint8]],
    tally: Tally,
    a: int,
    groups: ValueSums,
) -> Measurement:
    """One attribute's sides: everyone, the groups and their rests; and the groups by label."""
    values = range(len(groups))
    group = 1 + np.arange(len(values))
    between = itertools.combinations(group.tolist(), 2)
    pairs = np.array([*zip(group, group + len(values), strict=True), *between], np.intp)
    rests = [[w for w in values if w != v] for v in values]
    sides = (groups.merge([side]) for side in [*([v] for v in values), *rests])
    sums = _build_sums(rows, figures, itertools.chain([tally.everyone], sides))
    moments = compute_moments(sums, pairs.reshape(-1, 2), figures, _as_singles(weights))
    names = [name for name in figures.names if not name.startswith("calibration")]
    pairs_of_a = [(a, v) for v in values]
    return Measurement(
        moments=moments,
        names=tuple(names),  # the calibration error needs a sum per bin
        values=pairs_of_a,
        sides=group,
        within=[_measure_within(rows, figures, weights, groups, v) for v in values],
        first_pair={a: len(values)} if values else {},
        shares=_build_shares(rows, groups),
        areas=[],  # an area needs every probability
        gaps=add_gaps(rows, ledger, moments, pairs_of_a, group)[0],
    )


def _as_singles(weights: Sequence[NDArray[np.uint8]]) -> Iterator[Float32Array]:
    return (block.astype(np.float32) for block in weights)


def _measure_within(
    rows: Rows,
    figures: Figures,
    weights: Sequence[NDArray[np.uint8]],
    groups: ValueSums,
    v: int,
) -> list[dict[str, Estimate]]:
    """A group's figures within each label, without a sum per class."""
    lean = replace(figures, per_class=False)
    confidence = np.full_like(groups.sure[v], np.nan) if rows.predictions.hard else groups.sure[v]
    columns = [groups.labelled[v], groups.right[v], confidence, confidence - groups.right[v]]
    sums = np.stack(columns, dtype=np.float64)  # (sums, strata, labels)
    n = groups.labelled[v].sum(0)
    people = estimate_people(np.count_nonzero(groups.seen_label[v], axis=0))
    images = np.stack([n] * len(lean.names))
    persons = np.minimum(people, images) if rows.resampling.by_person else images
    plus, minus = np.arange(rows.classes), np.full(rows.classes, -1, np.intp)
    by_label = Sums(sums.astype(np.float32), sums.sum(1), plus, minus, persons, images)
    moments = compute_moments(by_label, np.empty((0, 2), np.intp), lean, _as_singles(weights))
    names = [name for name in WITHIN if not name.startswith("calibration")]
    return estimates(moments, plus, rows, names)


def _build_sums(rows: Rows, figures: Figures, sides: Iterable[ValueSums]) -> Sums:
    """The sums that `Figures` takes; every side is a key."""
    kinds = figures.support(rows.predictions)[1]
    by_stratum, totals, images, units = [], [], [], []
    for side in sides:
        right, sure = side.right[0], side.sure[0].sum(1)
        confidence = np.full(STRATA, np.nan) if rows.predictions.hard else sure
        answered = [side.answered[0]] if rows.classes > 2 else []
        excess = confidence - right.sum(1)
        columns = [side.labelled[0], right, *answered, confidence[:, None], excess[:, None]]
        sums = np.concatenate(columns, axis=1, dtype=np.float64)
        by_stratum.append(sums.astype(np.float32).T)
        totals.append(sums.sum(0))
        n_images, n_people = _count_support(side)
        images.append(n_images[kinds])
        units.append(n_people[kinds])
    n = np.stack(images, axis=1)
    persons = np.minimum(np.stack(units, axis=1), n) if rows.resampling.by_person else n
    plus, minus = np.arange(len(totals)), np.full(len(totals), -1, np.intp)
    return Sums(np.stack(by_stratum, axis=2), np.stack(totals, axis=1), plus, minus, persons, n)


def _count_support(side: ValueSums) -> tuple[CountArray, CountArray]:
    """Images and people behind each kind of figure, as `Figures.support` numbers the kinds."""
    labels, answers = side.outcomes[0].sum(1), side.outcomes[0].sum(0)
    present, n = side.seen_label[0], labels.sum()
    several = present.sum(1)
    cells = [[np.count_nonzero(several)], np.count_nonzero(present, axis=0)]
    images = [[n], labels]
    if len(labels) > 2:
        cells.append(np.count_nonzero(several[:, None] > present, axis=0))
        images.append(n - labels)
    cells.append(np.count_nonzero(side.seen_answer[0], axis=0))
    return np.concatenate([*images, answers]), estimate_people(np.concatenate(cells))


def _build_shares(rows: Rows, groups: ValueSums) -> list[GroupShares]:
    """As `single_groups.GroupShares` of each value, by strata."""
    count, present, classes = groups.labelled, groups.seen_label, range(rows.classes)
    by_label, label_present = count.sum(0), np.logical_or.reduce(present)
    known, anyone = by_label.sum(1), np.count_nonzero(label_present.any(1))
    labelled = np.count_nonzero(label_present, axis=0)
    shares = []
    for value_count, cells in zip(count, present, strict=True):
        hits, in_group = value_count.sum(1), np.count_nonzero(cells.any(1))
        shares.append(
            GroupShares(
                _estimate(rows, hits, known, anyone),
                [_estimate(rows, value_count[:, c], hits, in_group) for c in classes],
                [_estimate(rows, value_count[:, c], by_label[:, c], labelled[c]) for c in classes],
            )
        )
    return shares


def _estimate(rows: Rows, hits: CountArray, base: CountArray, occupied: Any) -> Estimate:
    """Σ hits / Σ base over strata, with Wilson's interval at the effective size."""
    by_person, total = rows.resampling.by_person, int(base.sum())
    units = min(int(estimate_people(occupied)), total) if by_person else total
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.float64(hits.sum()) / total
        strata = max(int(np.count_nonzero(base)), 2)
        square = float(np.sum((hits - p * base) ** 2)) * strata / (strata - 1)
        spread = np.sqrt(square) / total if by_person else np.sqrt(p * (1 - p) / total)
    side = Side(np.array([p]), np.array([spread]), np.array([units]))
    method = "Wilson, effective size by person" if by_person else "Wilson"
    return score_estimates(side, [total], rows.resampling, method)[0]


def _count_mistakes(counted: Sequence[ValueSums], gap: HarmfulGap) -> MistakeSample:
    """Count the mistakes of a group."""
    ((a, v),) = (pair for pair in gap.key if pair[0] != LABEL)
    cells = counted[a].outcomes[v]
    for _, label in (pair for pair in gap.key if pair[0] == LABEL):
        cells = cells * (np.arange(len(cells)) == label)[:, None]
    return MistakeSample(int(cells.sum() - np.trace(cells)), int(cells.sum()))


def _build_grid(tally: Tally, rows: Rows, values: Mapping[str, Codes]) -> Grid:
    """All pairs of values: how many images, and how accurate; no interval, nothing found."""
    names, sizes = zip(*((a.name, len(a.values)) for a in rows.attributes), strict=True)
    start = np.cumsum([0, *sizes])
    images, wrong, n, mistakes = np.zeros((4, start[-1], start[-1]), np.int64)
    for i, j in itertools.product(range(len(names)), repeat=2):
        left, right = values[names[i]], values[names[j]]
        known = np.ix_(np.flatnonzero(left >= 0), np.flatnonzero(right >= 0))
        cells = np.ix_(start[i] + left[left >= 0], start[j] + right[right >= 0])
        block = np.s_[start[i] : start[i + 1], start[j] : start[j + 1]]
        shared = tally.count_common(names[i], names[j])
        for counts, by_pair, totals in zip(shared, (images, wrong), (n, mistakes), strict=True):
            np.add.at(by_pair, cells, counts[known])
            totals[block] = counts[known].sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = 1 - wrong / images
        gap = accuracy - (1 - (mistakes - wrong) / (n - images))
    conditions = rows.conditions(tuple((a, v) for a, k in enumerate(sizes) for v in range(k)))
    return make_grid(conditions, images, accuracy, gap, np.zeros(images.shape, np.bool_))


def _draw_poisson(resampling: Resample) -> list[NDArray[np.uint8]]:
    """Blocks (m, strata) of how often each stratum is drawn."""
    rng = np.random.default_rng(resampling.seed)
    step = _BLOCK // STRATA
    return [
        rng.poisson(1.0, (min(step, resampling.draws - start), STRATA)).astype(np.uint8)
        for start in range(0, resampling.draws, step)
    ]
