"""From tallies to an audit: as in `candid.auditing.audit`, for what follows from sums alone.

Groups of one value, alone and within each label, have the same figures, gaps, p-values and
fairness figures as an audit in memory, from the same formulas; only the draws differ. Pairs of
values are counted, without intervals. What needs the images themselves is left out, and `SUMMED_UP`
says what.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Counts, Singles
from candid.auditing.audit import of_singles
from candid.auditing.findings import (
    HeldGap,
    MistakesSeen,
    group_finding,
    held_singles,
    surest_first,
)
from candid.auditing.gaps import Ledger
from candid.auditing.intersections import make_grid
from candid.auditing.rows import LABEL, Rows
from candid.auditing.side_figures import estimates, score_estimates
from candid.auditing.single_groups import WITHIN, GroupShares, Measured, write_down
from candid.auditing.stories import tell
from candid.auditing.tally import MOST_PEOPLE, STRATA, Codes, Tally, ValueSums, people_behind
from candid.predictions import Attribute, Predictions
from candid.records import Estimate, Split
from candid.records.audit import Grid, SplitAudit
from candid.settings import AuditConfig
from candid.stats.bootstrap import Resample
from candid.stats.differences import Side
from candid.stats.moments import Figures, Sums, moments_of
from candid.text import notes as text

_DRAWN = 2_000_000  # numbers per block of draws


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
        """Names and settings for those who ask for them; the images have gone by."""
        nothing, words = np.empty(0, np.int16), np.empty(0, np.str_)
        probability = np.empty((0, len(self.classes)))
        predictions = Predictions(
            *(self.target, self.classes, words, words, nothing, probability),
            attributes={a.name: replace(a, data=nothing) for a in self.attributes},
            hard=self.hard,
        )
        drawing = Resample(
            *(np.empty(0, np.intp), STRATA, self.by_person),
            *(config.draws, config.seed, config.confidence),
        )
        return Rows(predictions, drawing)


def audit_tally(tally: Tally, meaning: Meaning, config: AuditConfig, split: Split) -> SplitAudit:
    """The audit of one split from its tally of all its rows."""
    rows = meaning.rows(config)
    ledger = Ledger(rows, config.smallest, config.false_discovery_rate)
    figures = Figures(rows.predictions.classes, rich=True, bins=1)
    weights = _poisson(rows.drawing)
    # Of the words of all splits, those that this one has seen.
    values = {name: meaning.values[name][: len(t)] for name, t in tally.tables.items()}
    counted = [
        tally.tables[a.name].together(
            [np.flatnonzero(values[a.name] == v) for v in range(len(a.values))]
        )
        for a in rows.attributes
    ]
    parts = [
        _measure(rows, ledger, figures, weights, tally, a, groups)
        for a, groups in enumerate(counted)
    ] or [_measure(rows, ledger, figures, weights, tally, None, None)]
    everyone = estimates(parts[0].moments, [0], rows, parts[0].names)[0]
    table = ledger.settle()
    held = surest_first(table, held_singles(table, parts))
    known = meaning.by_person
    who = text.people_hashed(MOST_PEOPLE) if known else text.audited_without_people(split)
    people = (everyone["accuracy"].people or 0) if rows.drawing.by_person else None
    every = tuple(group_finding(rows, table, h, _seen(counted, h)) for h in held)
    found = every[: config.findings]
    more = text.more_findings(len(every), len(found))
    return replace(
        of_singles(rows, table, parts, everyone, split, tally.n, people, config),
        findings=found,
        stories=tell(found),
        notes=(
            *(text.SUMMED_UP, who, *more),
            *text.looked_at(table.looked_at, table.threshold, table.rate),
        ),
        severities=dict(Counter(f.finding.severity for f in every)),
        grid=_grid(tally, rows, values) if tally.pairs and rows.attributes else None,
    )


# --- sums ----------------------------------------------------------------------------------------


def _measure(
    rows: Rows,
    ledger: Ledger,
    figures: Figures,
    weights: Sequence[NDArray[np.uint8]],
    tally: Tally,
    a: int | None,
    groups: ValueSums | None,
) -> Measured:
    """One attribute's sides: everyone, then the groups, and their rests; the groups by label."""
    values = range(0 if groups is None else len(groups))
    group = 1 + np.arange(len(values))
    between = itertools.combinations(group.tolist(), 2)
    pairs = np.array([*zip(group, group + len(values), strict=True), *between], np.intp)
    rests = [[w for w in values if w != v] for v in values]
    sides = (groups.together([side]) for side in [*([v] for v in values), *rests] if groups)
    sums = _sums(rows, figures, itertools.chain([tally.everyone], sides))
    moments = moments_of(sums, pairs.reshape(-1, 2), figures, _as_singles(weights))
    names = [name for name in figures.names if not name.startswith("calibration")]
    own = [] if a is None else [(a, v) for v in values]
    return Measured(
        moments=moments,
        names=tuple(names),  # the calibration error needs a sum per bin
        values=own,
        sides=group,
        within=[]
        if groups is None
        else [_within(rows, figures, weights, groups, v) for v in values],
        between={} if a is None else {a: len(values)},
        shares=[] if groups is None else [_shares(rows, groups, v) for v in values],
        areas=[],  # an area needs every probability
        gaps={} if a is None else write_down(rows, ledger, moments, own, group)[0],
    )


def _as_singles(weights: Sequence[NDArray[np.uint8]]) -> Iterator[Singles]:
    return (block.astype(np.float32) for block in weights)


def _within(
    rows: Rows,
    figures: Figures,
    weights: Sequence[NDArray[np.uint8]],
    groups: ValueSums,
    v: int,
) -> list[dict[str, Estimate]]:
    """A group's figures within each label, without a sum per class."""
    lean = replace(figures, per_class=False)
    sure = np.full_like(groups.sure[v], np.nan) if rows.predictions.hard else groups.sure[v]
    columns = [groups.labelled[v], groups.right[v], sure, sure - groups.right[v]]
    sums = np.stack(columns, dtype=np.float64)  # (sums, strata, labels)
    n = groups.labelled[v].sum(0)
    people = people_behind(np.count_nonzero(groups.seen_label[v], axis=0))
    images = np.stack([n] * len(lean.names))
    persons = np.minimum(people, images) if rows.drawing.by_person else images
    place, alone = np.arange(rows.classes), np.full(rows.classes, -1, np.intp)
    made = Sums(sums.astype(np.float32), sums.sum(1), place, alone, persons, images)
    moments = moments_of(made, np.empty((0, 2), np.intp), lean, _as_singles(weights))
    names = [name for name in WITHIN if not name.startswith("calibration")]
    return estimates(moments, place, rows, names)


def _sums(rows: Rows, figures: Figures, sides: Iterable[ValueSums]) -> Sums:
    """What `Figures` takes, of sides that are keys of their own."""
    kinds = figures.behind(rows.predictions)[1]
    whole, exact, images, units = [], [], [], []
    for side in sides:
        confidence, hit = side.sure[0].sum(1), side.right[0]
        sure = np.full(STRATA, np.nan) if rows.predictions.hard else confidence
        answered = [side.answered[0]] if rows.classes > 2 else []
        excess = sure - hit.sum(1)
        columns = [side.labelled[0], hit, *answered, sure[:, None], excess[:, None]]
        sums = np.concatenate(columns, axis=1, dtype=np.float64)
        whole.append(sums.astype(np.float32).T)
        exact.append(sums.sum(0))
        behind, people_behind = _behind(side)
        images.append(behind[kinds])
        units.append(people_behind[kinds])
    n = np.stack(images, axis=1)
    persons = np.minimum(np.stack(units, axis=1), n) if rows.drawing.by_person else n
    place = np.arange(len(whole))
    alone = np.full(len(whole), -1, np.intp)
    return Sums(np.stack(whole, axis=2), np.stack(exact, axis=1), place, alone, persons, n)


def _behind(side: ValueSums) -> tuple[Counts, Counts]:
    """Images and people behind each kind of figure, as `Figures.behind` numbers the kinds."""
    labels, answers = side.outcomes[0].sum(1), side.outcomes[0].sum(0)
    seen, n = side.seen_label[0], labels.sum()
    several = seen.sum(1)
    cells = [[np.count_nonzero(several)], np.count_nonzero(seen, axis=0)]
    images = [[n], labels]
    if len(labels) > 2:
        cells.append(np.count_nonzero(several[:, None] > seen, axis=0))
        images.append(n - labels)
    cells.append(np.count_nonzero(side.seen_answer[0], axis=0))
    return np.concatenate([*images, answers]), people_behind(np.concatenate(cells))


def _shares(rows: Rows, groups: ValueSums, v: int) -> GroupShares:
    """As `single_groups.GroupShares` of one value, by strata."""
    count, seen, classes = groups.labelled, groups.seen_label, range(rows.classes)
    mine, known = count[v].sum(1), count.sum((0, 2))
    bearers, anyone = (np.count_nonzero(m) for m in (seen[v].any(1), seen.any((0, 2))))
    labelled = np.count_nonzero(seen.any(0), axis=0)
    return GroupShares(
        _share(rows, mine, known, anyone),
        [_share(rows, count[v, :, c], mine, bearers) for c in classes],
        [_share(rows, count[v, :, c], count[:, :, c].sum(0), labelled[c]) for c in classes],
    )


def _share(rows: Rows, hits: Counts, of: Counts, occupied: Any) -> Estimate:
    """Σ hits / Σ of over strata, with Wilson's interval at the effective size."""
    by_person, total = rows.drawing.by_person, int(of.sum())
    units = min(int(people_behind(occupied)), total) if by_person else total
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.float64(hits.sum()) / total
        strata = max(int(np.count_nonzero(of)), 2)
        square = float(np.sum((hits - p * of) ** 2)) * strata / (strata - 1)
        spread = np.sqrt(square) / total if by_person else np.sqrt(p * (1 - p) / total)
    side = Side(np.array([p]), np.array([spread]), np.array([units]))
    method = "Wilson, effective size by person" if by_person else "Wilson"
    return score_estimates(side, [total], rows.drawing, method)[0]


def _seen(counted: Sequence[ValueSums], held: HeldGap) -> MistakesSeen:
    """The number of mistakes of a group."""
    ((a, v),) = (pair for pair in held.key if pair[0] != LABEL)
    cells = counted[a].outcomes[v]
    for _, label in (pair for pair in held.key if pair[0] == LABEL):
        cells = cells * (np.arange(len(cells)) == label)[:, None]
    return MistakesSeen(int(cells.sum() - np.trace(cells)), int(cells.sum()))


def _grid(tally: Tally, rows: Rows, values: Mapping[str, Codes]) -> Grid:
    """All pairs of values: how many images, and how accurate; no interval, nothing found."""
    own = [range(len(a.values)) for a in rows.attributes]
    start = np.cumsum([0, *map(len, own)])
    images, wrong, n, mistakes = np.zeros((4, start[-1], start[-1]), np.int64)
    for i, j in itertools.product(range(len(own)), repeat=2):
        one, two = (values[rows.attributes[k].name] for k in (i, j))
        known = np.ix_(np.flatnonzero(one >= 0), np.flatnonzero(two >= 0))
        left, right = start[i] + one[one >= 0], start[j] + two[two >= 0]
        block = np.s_[start[i] : start[i + 1], start[j] : start[j + 1]]
        both = tally.common(rows.attributes[i].name, rows.attributes[j].name)
        for counts, into, whole in zip(both, (images, wrong), (n, mistakes), strict=True):
            np.add.at(into, np.ix_(left, right), counts[known])
            whole[block] = counts[known].sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = 1 - wrong / images
        gap = accuracy - (1 - (mistakes - wrong) / (n - images))
    names = rows.conditions(tuple((a, v) for a, vs in enumerate(own) for v in vs))
    return make_grid(names, images, accuracy, gap, np.zeros(images.shape, np.bool_))


def _poisson(drawing: Resample) -> list[NDArray[np.uint8]]:
    """Blocks (m, strata) of how often each stratum is drawn."""
    rng = np.random.default_rng(drawing.seed)
    step = _DRAWN // STRATA
    return [
        rng.poisson(1.0, (min(step, drawing.draws - start), STRATA)).astype(np.uint8)
        for start in range(0, drawing.draws, step)
    ]
