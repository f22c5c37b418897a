"""Gaps that are left once everything else that was annotated is held constant.

A gap for hats may be a gap for dark pictures, if hats are worn in the dark. So the mistakes are
regressed on all annotations at once (logistic regression), and each value's adjusted gap is its
average marginal effect: the mean, over all images, of the predicted error with the value less that
without it, everything else as it is (g-computation; Robins 1986, Hernán & Robins 2020, ch. 13).
It is in percentage points like the raw gap, so the two can be compared.

**Intervals** use the influence function of the whole procedure: of the average over images, and
of the regression's coefficients. Its sum over each person's images is one number per person, and
their spread is the variance; two images of one person are not taken for two. Residuals are inflated
by (I - H)⁻¹ for each person, H being the leverage of their images, as the jackknife by person would
(CR3; Bell & McCaffrey 2002), because plain sandwich variances are too small where a value is rare.
The average errors with and without the value get Wilson's interval each, at the effective sample
size that this variance implies, and the difference gets Newcombe's, like every raw gap
(`candid.stats.differences`): an error near 0 has no symmetric interval.

**Separation.** A value whose images have no mistake has no finite effect in logits. A ridge penalty
(a normal prior with a standard deviation of 2.5 logits on each effect, none on the constant; le
Cessie & van Houwelingen 1992) keeps it finite and hardly moves an effect that the data know.

**Collinear values** (one follows from others) cannot be told apart: the later one is left out, and
the record names those that it follows from.

What is not annotated is not held constant. An adjusted gap is no proof of a cause.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.auditing.held_out import with_bins
from candid.errors import PredictionsError
from candid.predictions import Attribute, Predictions
from candid.records import Estimate, State
from candid.records.confounding import AdjustedGap, AdjustedGaps, LeftOut
from candid.stats.bootstrap import known_persons
from candid.stats.differences import Gaps, Side, difference_interval, error_gaps, touching
from candid.stats.intervals import student_quantile, sums_by_person
from candid.stats.multiple_testing import benjamini_hochberg
from candid.stats.regression import Logistic, average_outcome, logistic

Floats = NDArray[np.float64]

# A value on fewer images than this gets no column of its own, as nothing could be said of it.
_RARE = 10

# Fewer mistakes than this expected on either side, and no approximation of their number is right.
_FEWEST_MISTAKES = 5.0

# A column that is so nearly a sum of others, in units of its own length, follows from them.
_FOLLOWS = 1e-6


def adjusted_gaps(
    predictions: Predictions,
    *,
    split: str = "test",
    hold_label: bool = True,
    prior_sd: float = 2.5,
    smallest_people: int = 30,
    confidence: float = 0.95,
    false_discovery_rate: float = 0.05,
) -> AdjustedGaps:
    """Every value's gap in error, raw and with everything else that was annotated held constant.

    Numeric attributes are cut at their quartiles; images whose value is unknown stay, with a column
    that says so.

    Parameters
    ----------
    predictions
        From any model. Images without a label do not count.
    split
        Which images; where none of it has a label, all labelled images, and a note says so.
    hold_label
        Hold the label constant, too: a gap for lipstick is then not one for a class that is harder.
    prior_sd
        Of the ridge penalty, in logits; infinity for none.
    smallest_people
        Values on fewer people (images, where identities are unknown) are "too few to say".
    confidence
        Of the intervals.
    false_discovery_rate
        At which an adjusted gap counts as found.

    Raises
    ------
    PredictionsError
        Where no image has a label.
    """
    labelled = predictions.label >= 0
    if not labelled.any():
        raise PredictionsError(
            f"None of the {len(predictions)} images has a label.",
            expected="labelled images, to tell mistakes from right answers",
            todo="check the file that the predictions came from",
        )
    chosen = labelled & (predictions.split == split)
    p = with_bins(predictions)[chosen if chosen.any() else labelled]
    design = _design(p, hold_label)
    cluster = known_persons(p.identity)
    wrong = p.prediction != p.label
    fitted = logistic(design.columns, wrong, cluster, prior_sd=prior_sd)
    asked = _Asked(cluster, confidence, smallest_people)
    rows = [
        gap
        for block in design.blocks
        if block.attribute is not None
        for gap in _of_attribute(p, block, design, fitted, asked)
    ]
    # Values about which too little is known are not asked, so they cost the others nothing.
    corrected = benjamini_hochberg(
        np.array([r.p if r.state == "not found" else math.nan for r in rows])
    )
    return AdjustedGaps(
        target=p.target,
        split=split if chosen.any() else ", ".join(sorted(set(p.split.tolist()))),
        n=len(p),
        people=None if cluster is None else len(np.unique(cluster)),
        mistakes=int(wrong.sum()),
        columns=design.columns.shape[1] - 1,
        adjusted_for=tuple(b.name for b in design.blocks if b.columns),
        left_out=tuple(design.left_out),
        prior_sd=prior_sd,
        false_discovery_rate=false_discovery_rate,
        gaps=tuple(
            replace(
                row,
                adjusted_p=float(q),
                state="found" if q <= false_discovery_rate else row.state,
            )
            for row, q in zip(rows, corrected, strict=True)
        ),
        notes=tuple(_notes(p, wrong, design, split, bool(chosen.any()), prior_sd)),
    )


# --- the columns ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Block:
    """The columns of one attribute (or of the label), each a mark for one of its values.

    `columns` maps a code to its column; codes that are missing from it share the reference: the
    commonest value, rare values, and values that follow from others. `code` is (n,), with one code
    past the last value for "unknown".
    """

    name: str
    attribute: Attribute | None
    code: NDArray[np.intp]
    columns: dict[int, int]
    reference: int
    told_apart: dict[int, tuple[str, ...]]  # code → what it cannot be told from


@dataclass(frozen=True, eq=False)
class _Design:
    columns: Floats  # (n, 1 + marks)
    blocks: list[_Block]
    left_out: list[LeftOut]


def _design(p: Predictions, hold_label: bool) -> _Design:
    """A constant, the label's marks, then those of each attribute, without what follows."""
    sources: list[tuple[str, Attribute | None, NDArray[Any], tuple[str, ...]]] = []
    if hold_label:
        sources.append((p.target, None, p.label, p.classes))
    sources += [(a.name, a, a.data, a.values) for a in p.attributes.values() if a.values]
    basis = _Basis(len(p))
    blocks, left_out = [], []
    for name, attribute, data, values in sources:
        code = np.where(data >= 0, data, len(values)).astype(np.intp)
        counts = np.bincount(code, minlength=len(values) + 1)
        reference = int(counts[: len(values)].argmax())
        columns: dict[int, int] = {}
        told_apart: dict[int, tuple[str, ...]] = {}
        for k, value in enumerate((*values, "unknown")):
            if k == reference or not counts[k]:
                if attribute is not None and k < len(values) and not counts[k]:
                    left_out.append(LeftOut(name, value, "no image bears it"))
                continue
            if counts[k] < _RARE:
                why = f"only {counts[k]} images; they count as {values[reference]}"
                left_out.append(LeftOut(name, value, why))
                continue
            follows = basis.add((code == k).astype(np.float64), f"{name}: {value}")
            if follows is None:
                columns[k] = len(basis.kept) - 1
            else:
                told_apart[k] = follows
                left_out.append(LeftOut(name, value, f"follows from {', '.join(follows)}"))
        blocks.append(_Block(name, attribute, code, columns, reference, told_apart))
    return _Design(np.stack(basis.kept, axis=1), blocks, left_out)


class _Basis:
    """Columns that are independent of each other, kept with an orthonormal basis beside them."""

    def __init__(self, n: int) -> None:
        self.kept = [np.ones(n)]
        self.names = ["everything"]
        self._orthonormal = [np.full(n, 1 / math.sqrt(n))]

    def add(self, column: Floats, name: str) -> tuple[str, ...] | None:
        """Keep the column, or say which kept ones it follows from."""
        basis = np.stack(self._orthonormal)  # (kept, n)
        rest = column - (basis @ column) @ basis
        rest -= (basis @ rest) @ basis  # once more, against rounding
        length = float(np.linalg.norm(rest))
        if length > _FOLLOWS * float(np.linalg.norm(column)):
            self.kept.append(column)
            self.names.append(name)
            self._orthonormal.append(rest / length)
            return None
        weights = np.linalg.lstsq(np.stack(self.kept, axis=1), column, rcond=None)[0]
        parts = [n for n, w in zip(self.names, weights, strict=True) if abs(w) > 1e-6]
        return tuple(n for n in parts if n != "everything") or ("everything",)


# --- from coefficients to gaps -------------------------------------------------------------------


def _of_attribute(
    p: Predictions, block: _Block, design: _Design, fitted: Logistic, asked: _Asked
) -> Iterator[AdjustedGap]:
    """Every value of one attribute; its `adjusted_p` is filled in once all are known."""
    values = block.attribute.values if block.attribute is not None else ()
    wrong = p.prediction != p.label
    inside = block.code[:, None] == np.arange(len(values))
    outside = (block.code < len(values))[:, None] & ~inside
    raw = error_gaps(wrong, inside, outside, asked.cluster, asked.confidence)
    held = _adjusted(block, fitted, raw, _counts(wrong, inside), _counts(wrong, outside))
    low, high = difference_interval(
        held.left, held.right, held.correlation, asked.confidence, score=True
    )
    z = touching(held.left, held.right, held.correlation, score=True)
    moved = _raw_influence(wrong, inside, outside, fitted.unit) - held.influence
    same = _same_elsewhere(block, design)
    known = asked.cluster is not None
    for k, value in enumerate(values):
        units = [int(side.units[k]) for side in (raw.left, raw.right)]
        make = _Maker(int(raw.n[k] + raw.rest_n[k]), units if known else None, asked.confidence)
        effect = float(held.left.value[k] - held.right.value[k])
        mistakes = [int(_counts(wrong, marks)[k]) for marks in (inside, outside)]
        explained = make.around(float(raw.value[k]) - effect, moved[:, k], min(units))
        if min(mistakes) < _FEWEST_MISTAKES:
            explained = replace(explained, low=math.nan, high=math.nan)
        yield AdjustedGap(
            attribute=block.name,
            value=value,
            n=int(raw.n[k]),
            people=units[0] if known else None,
            mistakes=mistakes[0],
            rest_n=int(raw.rest_n[k]),
            rest_people=units[1] if known else None,
            rest_mistakes=mistakes[1],
            raw=make.of(float(raw.value[k]), float(raw.low[k]), float(raw.high[k]), "Newcombe"),
            adjusted=make.of(
                effect, float(low[k]), float(high[k]), "Newcombe, jackknifed sandwich"
            ),
            explained=explained,
            p=math.erfc(float(z[k]) / math.sqrt(2)),
            adjusted_p=math.nan,
            state=_state(math.isnan(effect), units, raw, k, wrong, asked.smallest_people),
            inseparable_from=block.told_apart.get(k) or same[k],
        )


@dataclass(frozen=True, eq=False)
class _Asked:
    cluster: NDArray[np.int64] | None
    confidence: float
    smallest_people: int


@dataclass(frozen=True, eq=False)
class _Held:
    """The two average errors of each of k values, everything else held constant.

    `influence` is (people, k): of each person on their difference.
    """

    left: Side
    right: Side
    correlation: Floats
    influence: Floats


def _adjusted(
    block: _Block, fitted: Logistic, raw: Gaps, mistakes: Floats, rest_mistakes: Floats
) -> _Held:
    """Average errors with a value and with the others; NaN where they cannot be told apart."""
    k = len(raw.n)
    average = np.full((2, k), np.nan)
    influence = np.full((2, len(fitted.influence), k), np.nan)
    for code in range(k):
        if code in block.told_apart or min(raw.n[code], raw.rest_n[code]) < _RARE:
            continue
        others = {int(c): float(raw.n[c] / raw.rest_n[code]) for c in range(k) if c != code}
        if code not in block.columns and not any(c in block.columns for c in others):
            continue
        for side, shares in enumerate(({code: 1.0}, others)):
            average[side, code], influence[side, :, code] = average_outcome(
                fitted, block.columns, shares
            )
    sides = []
    for side, (counts, seen, units) in enumerate(
        ((raw.n, mistakes, raw.left.units), (raw.rest_n, rest_mistakes, raw.right.units))
    ):
        spread = np.array([_spread(influence[side, :, c]) for c in range(k)])
        # What was held constant cannot make a side worth more images than it has; and where all
        # of them are right, or wrong, their residuals know nothing, so every person is one trial.
        most = np.where((seen == 0) | (seen == counts), units, counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            floor = np.sqrt(average[side] * (1 - average[side]) / most)
        sides.append(Side(average[side], np.maximum(spread, floor), units))
    centred = influence - influence.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.sqrt(np.sum(centred[0] ** 2, axis=0) * np.sum(centred[1] ** 2, axis=0))
        correlation = np.sum(centred[0] * centred[1], axis=0) / size
    left, right = sides
    return _Held(left, right, np.clip(correlation, -1, 1), influence[0] - influence[1])


def _counts(wrong: NDArray[np.bool_], marks: NDArray[np.bool_]) -> Floats:
    counts: Floats = wrong.astype(np.float64) @ marks
    return counts


@dataclass(frozen=True, slots=True)
class _Maker:
    """Estimates of one value, which share what stands behind them."""

    n: int
    units: Sequence[int] | None
    confidence: float

    def of(self, value: float, low: float, high: float, method: str) -> Estimate:
        persons = None if self.units is None else min(self.units)
        method += "" if self.units is None else " by person"
        return Estimate(value, low, high, self.n, method, persons, confidence=self.confidence)

    def around(self, value: float, influence: Floats, fewest: int) -> Estimate:
        """Value ± Student's quantile · standard error, from the influence of each person."""
        reach = float(student_quantile(self.confidence, max(fewest - 1, 0))) * _spread(influence)
        return self.of(value, value - reach, value + reach, "Student, jackknifed sandwich")


def _raw_influence(
    wrong: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    outside: NDArray[np.bool_],
    unit: NDArray[np.intp],
) -> Floats:
    """(people, k) the influence of each person on the raw gaps."""
    total = np.zeros(inside.shape)
    for marks, sign in ((inside, 1.0), (outside, -1.0)):
        n = np.maximum(marks.sum(axis=0), 1)
        total += sign * marks * (wrong[:, None] - _counts(wrong, marks) / n) / n
    return sums_by_person(total, unit)


def _spread(influence: Floats) -> float:
    """Standard error from (people,) influences."""
    persons = len(influence)
    if persons < 2 or np.isnan(influence).any():
        return math.nan
    centred = influence - influence.mean()
    return math.sqrt(float(centred @ centred))


def _same_elsewhere(block: _Block, design: _Design) -> list[tuple[str, ...]]:
    """For each value: those of other attributes that were left out because they follow from it."""
    values = block.attribute.values if block.attribute is not None else ()
    return [
        tuple(
            f"{o.name}: {o.attribute.values[code]}"
            for o in design.blocks
            if o.attribute is not None
            for code, follows in o.told_apart.items()
            if f"{block.name}: {value}" in follows and code < len(o.attribute.values)
        )
        for value in values
    ]


def _state(
    undefined: bool,
    units: Sequence[int],
    raw: Gaps,
    k: int,
    wrong: NDArray[np.bool_],
    smallest_people: int,
) -> State:
    """What can be said before p-values are corrected; "not found" is still to be decided."""
    expected = float(wrong.mean()) * min(int(raw.n[k]), int(raw.rest_n[k]))
    if min(units) < smallest_people or expected < _FEWEST_MISTAKES:
        return "too few to say"
    return "not applicable" if undefined else "not found"


def _notes(
    p: Predictions,
    wrong: NDArray[np.bool_],
    design: _Design,
    split: str,
    has_split: bool,
    prior_sd: float,
) -> Iterator[str]:
    yield (
        "Only what was annotated is held constant. An adjusted gap that stays may be due to "
        "something that nobody annotated, and one that vanishes may work through what it goes with."
    )
    if not has_split:
        yield f"No labelled image is in {split}, so all {len(p):,} labelled images count."
    columns, mistakes = design.columns.shape[1] - 1, int(wrong.sum())
    if columns and min(mistakes, len(p) - mistakes) < 5 * columns:
        yield (
            f"There are {mistakes:,} mistakes for {columns} columns. With fewer than five each, "
            f"effects are rough; the prior of {prior_sd:g} logits keeps them from running away."
        )
    missing = [a.name for a in p.attributes.values() if a.values and (a.data < 0).any()]
    if missing:
        yield (
            f"Some values are unknown ({', '.join(missing)}); such images stay, with a column that "
            "says so, which holds constant less than the value itself would."
        )
