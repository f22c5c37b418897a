"""From tallies to an audit: as in `candid.auditing.audit`, for what follows from sums alone.

Groups of one value, alone and within each label, have the same figures, gaps, p-values and
fairness figures as an audit in memory, from the same formulas; only the draws differ. Pairs of
values are counted, without intervals. What needs the images themselves is left out, and `LEFT_OUT`
says what.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.auditing.audit import looked_at, nobody_known, of_singles
from candid.auditing.findings import Teller
from candid.auditing.gaps import Ledger, estimates
from candid.auditing.rows import Rows
from candid.auditing.single_groups import Measured, Singles
from candid.auditing.tally import CELLS, MOST_PEOPLE, STRATA, Tally, people
from candid.predictions import Attribute, Predictions
from candid.records import Estimate, Split
from candid.records.audit import AuditFinding, Condition, Grid, SplitAudit
from candid.settings import AuditConfig
from candid.stats.bootstrap import Resample
from candid.stats.differences import Side, score_interval
from candid.stats.moments import Figures, Sums, moments_of

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

LEFT_OUT = (
    "A folder of tables is summed up row by row, so what needs all images at once is left out: "
    "areas under curves, calibration errors, intervals of pairs of values, the search for slices, "
    "shortcuts, adjusted gaps, abstention, label noise and pictures."
)
_DRAWN = 2_000_000  # numbers per block of draws


def streamed(
    tally: Tally,
    classes: tuple[str, ...],
    attributes: Sequence[Attribute],
    to: Remap,
    config: AuditConfig,
    *,
    target: str,
    split: Split,
    by_person: bool,
    hard: bool,
) -> SplitAudit:
    """The audit of one split from its tally.

    Parameters
    ----------
    tally
        Of all its rows.
    classes, attributes
        The label's values; the attributes with their values (and no data).
    to
        What the tally's codes mean.
    config
        Draws, seed, how small a group may be, false discovery rate.
    target, split
        What to call the label, and the split.
    by_person
        Whether identities are known.
    hard
        Whether there are answers and no probabilities.
    """
    rows = _no_rows(target, classes, attributes, config, by_person, hard)
    ledger = Ledger(rows, config.smallest, config.false_discovery_rate)
    singles = _FromSums(rows, ledger, tally, to)
    ledger.settle()
    groups = singles.groups()
    found = sorted(Teller(rows, ledger, 0).singles(singles), key=lambda f: -f.surprise)
    units = singles.everyone["accuracy"].people or 0
    notes = [LEFT_OUT]
    if by_person:
        notes.append(
            "People were counted by hashing, within about 1% up to 300,000 of them; "
            f"{MOST_PEOPLE:,} stands for that many or more."
        )
    else:
        notes.append(nobody_known(split))
    return replace(
        of_singles(singles, groups, split, tally.n, units),
        findings=tuple(singles.counted(f.finding) for f in found[: config.findings]),
        notes=(*notes, *looked_at(ledger)),
        grid=singles.grid() if tally.pairs and attributes else None,
    )


class Remap:
    """What the tally's codes mean.

    Parameters
    ----------
    label, answer
        (codes,) the class of each.
    values
        By attribute, (codes,) the place of each among its values.
    """

    def __init__(
        self, label: NDArray[Any], answer: NDArray[Any], values: dict[str, NDArray[Any]]
    ) -> None:
        self.label, self.answer, self.values = label, answer, values

    def table(self, x: NDArray[Any], name: str, values: int, classes: int) -> NDArray[Any]:
        """(strata, 1 + values, classes, classes): place 0 is for what is unknown."""
        out = np.zeros((len(x), 1 + values, classes, classes), x.dtype)
        place = np.zeros(1, np.intp)
        if name:
            place = np.concatenate([place, 1 + np.asarray(self.values[name], np.intp)])
        used = [
            (v, i, j)
            for v in range(min(x.shape[1], len(place)))
            for i in range(min(x.shape[2], len(self.label)))
            for j in range(min(x.shape[3], len(self.answer)))
        ]
        for v, i, j in used:
            into = out[:, place[v], self.label[i], self.answer[j]]
            if x.dtype == np.bool_:
                into |= x[:, v, i, j]
            else:
                into += x[:, v, i, j]
        return out


def _no_rows(
    target: str,
    classes: tuple[str, ...],
    attributes: Sequence[Attribute],
    config: AuditConfig,
    by_person: bool,
    hard: bool,
) -> Rows:
    """Names and settings for those who ask for them; the images have gone by."""
    nothing = np.empty(0, np.int16)
    predictions = Predictions(
        target=target,
        classes=classes,
        ids=np.empty(0, np.str_),
        split=np.empty(0, np.str_),
        label=nothing,
        probability=np.empty((0, len(classes))),
        hard=hard,
    )
    empty = tuple(replace(a, data=nothing) for a in attributes)
    drawing = Resample(
        np.empty(0, np.intp), STRATA, by_person, config.draws, config.seed, config.confidence
    )
    return Rows(predictions, empty, drawing, bins=1)


class _FromSums(Singles):
    """The single groups, from sums instead of rows."""

    def __init__(self, rows: Rows, ledger: Ledger, tally: Tally, to: Remap) -> None:
        self.rows, self.ledger, self.tally, self.to = rows, ledger, tally, to
        self.figures = Figures(rows.predictions.classes, rich=True, bins=1)
        self._weights = _poisson(rows.drawing)
        self._counts: dict[int, Counts] = {}
        self._seen: dict[int, NDArray[np.bool_]] = {}
        self.parts = [self._part(a) for a in range(len(rows.attributes))] or [self._part(None)]
        self.everyone = self.figures_of(self.parts[0], 0)

    def _part(self, a: int | None) -> Measured:
        """One attribute's sides: everyone, then per value the group, its rest, its labels."""
        rows, classes = self.rows, self.rows.classes
        values = 0 if a is None else len(rows.attributes[a].values)
        name = "" if a is None else rows.attributes[a].name
        source = self.tally.everyone if a is None else self.tally.tables[name]
        count, sure, seen = (
            self.to.table(x, name, values, classes)
            for x in (source.count, source.sure, source.seen)
        )
        everything, known = list(range(1 + values)), list(range(1, 1 + values))
        anyone = list(range(classes))
        # Each side: which values, and which labels.
        sides: list[tuple[list[int], list[int]]] = [(everything, anyone)]
        group = [self._side(sides, [v], anyone) for v in known]
        rest = [self._side(sides, [w for w in known if w != v], anyone) for v in known]
        within = [[self._side(sides, [v], [c]) for c in anyone] for v in known]
        between = list(itertools.combinations(range(values), 2))
        pairs = [*zip(group, rest, strict=True), *((group[i], group[j]) for i, j in between)]
        moments = moments_of(
            self._sums(count, sure, seen, sides),
            np.asarray(pairs, np.intp).reshape(-1, 2),
            self.figures,
            (block.astype(np.float32) for block in self._weights),
        )
        part = Measured(
            moments=moments,
            values=[] if a is None else [(a, v) for v in range(values)],
            sides=np.asarray(group, np.intp),
            within=np.asarray(within, np.intp).reshape(values, classes),
            between=({} if a is None else {a: {ij: values + k for k, ij in enumerate(between)}}),
            numbers={},
            area=Side(np.empty(0), np.empty(0), np.empty(0, np.int64)),
            area_images=np.empty(0, np.int64),
        )
        if a is not None:
            self._counts[a], self._seen[a] = count, seen
            self.write_down(part)
        return part

    @staticmethod
    def _side(
        sides: list[tuple[list[int], list[int]]], values: list[int], labels: list[int]
    ) -> int:
        sides.append((values, labels))
        return len(sides) - 1

    def _sums(
        self,
        count: Counts,
        sure: Floats,
        seen: NDArray[np.bool_],
        sides: Sequence[tuple[list[int], list[int]]],
    ) -> Sums:
        k = self.rows.classes
        per_class = 2 * k if k == 2 else 3 * k
        whole = np.zeros((per_class + 2, STRATA, len(sides)), np.float32)
        exact = np.zeros((per_class + 2, len(sides)))
        kinds = self.figures.behind(self.rows.predictions)[1]
        units = np.zeros((len(kinds), len(sides)), np.int64)
        images = np.zeros_like(units)
        for s, (values, labels) in enumerate(sides):
            cells = np.zeros((STRATA, k, k), np.int64)
            cells[:, labels] = count[:, values].sum(1)[:, labels]
            confidence = sure[:, values][:, :, labels].sum((1, 2, 3))
            if self.rows.predictions.hard:
                confidence = np.full(STRATA, np.nan)
            hit = np.diagonal(cells, axis1=1, axis2=2)
            columns = [cells.sum(2), hit, *([cells.sum(1)] if k > 2 else [])]
            columns += [confidence[:, None], (confidence - hit.sum(1))[:, None]]
            sums = np.concatenate(columns, axis=1, dtype=np.float64)
            whole[:, :, s], exact[:, s] = sums.T, sums.sum(0)
            marks = np.zeros((CELLS, k, k), np.bool_)
            marks[:, labels] = _any(seen[:, values], 1)[:, labels]
            behind, people_behind = _behind(cells.sum(0), marks)
            images[:, s] = behind[kinds]
            units[:, s] = people_behind[kinds]
        units = np.minimum(units, images) if self.rows.drawing.by_person else images
        place = np.arange(len(sides))
        return Sums(whole, exact, place, np.full(len(sides), -1, np.intp), units, images)

    # --- what Singles asks for ---

    def figures_of(self, m: Measured, side: int) -> dict[str, Estimate]:
        """Without the calibration error: it needs a sum per bin."""
        found = estimates(m.moments, side, self.rows)
        del found["calibration_error"]
        return found

    def area_of(self, m: Measured, i: int) -> dict[str, Estimate]:
        """None: an area needs every probability."""
        return {}

    def shares_alone(self, a: int, v: int) -> list[Estimate]:
        """How large a group is, and in what share of it each class is the label."""
        count, seen = self._counts[a], self._seen[a]
        mine, known = count[:, 1 + v].sum((1, 2)), count[:, 1:].sum((1, 2, 3))
        shares = [self._share(mine, known, _any(seen[:, 1:], (1, 2, 3)))]
        bearers = _any(seen[:, 1 + v], (1, 2))
        return shares + [
            self._share(count[:, 1 + v, c].sum(1), mine, bearers) for c in range(self.rows.classes)
        ]

    def share_within(self, a: int, v: int, c: int) -> Estimate:
        """How large a group is among the images of one class."""
        count, seen = self._counts[a], self._seen[a]
        return self._share(
            count[:, 1 + v, c].sum(1), count[:, 1:, c].sum((1, 2)), _any(seen[:, 1:, c], (1, 2))
        )

    def _share(self, hits: Counts, of: Counts, seen: NDArray[np.bool_]) -> Estimate:
        """Σ hits / Σ of over strata, with Wilson's interval at the effective size."""
        drawing = self.rows.drawing
        total, units = int(of.sum()), int(people(np.count_nonzero(seen)))
        units = min(units, total) if drawing.by_person else total
        method = "Wilson, effective size by person" if drawing.by_person else "Wilson"
        with np.errstate(invalid="ignore", divide="ignore"):
            p = np.float64(hits.sum()) / total
            strata = max(int(np.count_nonzero(of)), 2)
            square = float(np.sum((hits - p * of) ** 2)) * strata / (strata - 1)
            spread = np.sqrt(square) / total if drawing.by_person else np.sqrt(p * (1 - p) / total)
        side = Side(np.array([p]), np.array([spread]), np.array([units]))
        low, high = score_interval(side, drawing.confidence)
        return Estimate(
            float(p),
            float(low[0]),
            float(high[0]),
            n=total,
            method=method,
            people=units if drawing.by_person else None,
            confidence=drawing.confidence,
        )

    # --- what the audit asks for ---

    def counted(self, found: AuditFinding) -> AuditFinding:
        """A finding with the number of mistakes of its group."""
        (condition,) = found.conditions
        a = [x.name for x in self.rows.attributes].index(condition.attribute)
        v = self.rows.attributes[a].values.index(condition.value)
        cells = self._counts[a][:, 1 + v].sum(0)
        if found.label is not None:
            kept = self.rows.predictions.classes.index(found.label)
            cells = cells * (np.arange(len(cells)) == kept)[:, None]
        total = int(cells.sum())
        return replace(
            found, finding=replace(found.finding, count=total - int(np.trace(cells)), of=total)
        )

    def grid(self) -> Grid:
        """All pairs of values: how many images, and how accurate; no interval, nothing found."""
        names = [(a.name, v) for a in self.rows.attributes for v in range(len(a.values))]
        place = {name: i for i, name in enumerate(names)}
        images = np.zeros((len(names), len(names)), np.int64)
        wrong = np.zeros_like(images)
        known = {}
        for one, two in itertools.product(self.rows.attributes, repeat=2):
            left = [place[one.name, int(v)] for v in self.to.values[one.name]]
            right = [place[two.name, int(w)] for w in self.to.values[two.name]]
            both = self.tally.common(one.name, two.name)
            for x, into in zip(both, (images, wrong), strict=True):
                np.add.at(into, np.ix_(left, right), x)
            known[one.name, two.name] = [int(x.sum()) for x in both]
        n = np.array([[known[a, b][0] for b, _ in names] for a, _ in names])
        mistakes = np.array([[known[a, b][1] for b, _ in names] for a, _ in names])
        with np.errstate(invalid="ignore", divide="ignore"):
            accuracy = 1 - wrong / images
            gap = accuracy - (1 - (mistakes - wrong) / (n - images))
        values = {a.name: a.values for a in self.rows.attributes}
        return Grid(
            conditions=tuple(Condition(name, values[name][v]) for name, v in names),
            n=tuple(tuple(map(int, line)) for line in images),
            accuracy=_rounded(accuracy),
            gap=_rounded(gap),
            found=tuple((False,) * len(names) for _ in names),
        )


def _behind(cells: Counts, seen: NDArray[np.bool_]) -> tuple[Counts, Counts]:
    """Images and people behind each kind of figure, as `Figures.behind` numbers the kinds."""
    k = len(cells)
    whole = np.ones((k, k), np.bool_)
    kinds = [whole]
    kinds += [np.broadcast_to((np.arange(k) == c)[:, None], (k, k)) for c in range(k)]
    if k > 2:
        kinds += [~kind for kind in kinds[1:]]
    kinds += [np.broadcast_to(np.arange(k) == c, (k, k)) for c in range(k)]
    images = np.array([cells[kind].sum() for kind in kinds])
    occupied = np.array([np.count_nonzero(seen[:, kind].any(1)) for kind in kinds])
    return images, people(occupied)


def _any(marks: NDArray[np.bool_], axis: int | tuple[int, ...]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.any(marks, axis=axis)
    return found


def _poisson(drawing: Resample) -> list[NDArray[np.uint8]]:
    """Blocks (m, strata) of how often each stratum is drawn."""
    rng = np.random.default_rng(drawing.seed)
    step = _DRAWN // STRATA
    return [
        rng.poisson(1.0, (min(step, drawing.draws - start), STRATA)).astype(np.uint8)
        for start in range(0, drawing.draws, step)
    ]


def _rounded(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(x), 5) for x in line) for line in values)
