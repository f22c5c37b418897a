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

from candid.arrays import BoolArray, FloatArray, IndexArray
from candid.errors import PredictionsError
from candid.predictions import Predictions
from candid.records import Estimate, State
from candid.records.confounding import AdjustedGap, AdjustedGaps, LeftOut
from candid.stats.differences import Gaps, Side, difference_interval, error_gaps, touching_quantile
from candid.stats.intervals import student_quantile, sums_by_person
from candid.stats.multiple_testing import benjamini_hochberg
from candid.stats.regression import Logistic, average_outcome, logistic
from candid.text import notes as text

# A value on fewer images than this gets no column of its own, as nothing could be said of it.
_FEWEST_IMAGES = 10

# Fewer mistakes than this expected on either side, and no approximation of their number is right.
_FEWEST_MISTAKES = 5.0

# A column that is so nearly a sum of others, in units of its own length, follows from them.
_COLLINEAR = 1e-6


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

    Raises PredictionsError where no image has a label.

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
        Values on fewer people (images, where people are unknown) are "too few to say".
    confidence, false_discovery_rate
        Of the intervals; at which an adjusted gap counts as found.
    """
    p, absent = _select_images(predictions, split)
    design, cluster, wrong = _design(p, hold_label), p.persons(), p.wrong
    model = logistic(design.columns, wrong, cluster, prior_sd=prior_sd)
    sample = _Sample(wrong, cluster, confidence, smallest_people)
    rows = [
        gap
        for block in design.blocks
        if block.is_attribute
        for gap in _measure_attribute(block, design, model, sample)
    ]
    return AdjustedGaps(
        target=p.target,
        split=", ".join(sorted(set(p.split.tolist()))) if absent else split,
        n=len(p),
        people=p.n_people(),
        mistakes=int(wrong.sum()),
        columns=design.columns.shape[1] - 1,
        adjusted_for=tuple(b.name for b in design.blocks if b.columns),
        left_out=tuple(design.left_out),
        prior_sd=prior_sd,
        false_discovery_rate=false_discovery_rate,
        gaps=tuple(_adjust_p_values(rows, false_discovery_rate)),
        notes=tuple(_notes(p, wrong, design, absent, prior_sd)),
    )


def _select_images(predictions: Predictions, split: str) -> tuple[Predictions, str]:
    """The labelled images of the split and ""; without any, all labelled ones and its name."""
    labelled = predictions.label >= 0
    if not labelled.any():
        raise PredictionsError(
            f"None of the {len(predictions)} images has a label.",
            expected="labelled images, to tell mistakes from right answers",
            todo="check the file that the predictions came from",
        )
    chosen, p = labelled & (predictions.split == split), predictions.with_bins()
    return (p[chosen], "") if chosen.any() else (p[labelled], split)


def _adjust_p_values(rows: Sequence[AdjustedGap], rate: float) -> Iterator[AdjustedGap]:
    """The gaps with Benjamini and Hochberg's adjusted p-values, and states by these."""
    # Values about which too little is known are not tested, so they cost the others nothing.
    p = np.array([r.p if r.state == "not found" else math.nan for r in rows])
    for row, q in zip(rows, benjamini_hochberg(p), strict=True):
        yield replace(row, adjusted_p=float(q), state="found" if q <= rate else row.state)


# --- the columns ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Block:
    """The columns of one attribute (or of the label), each an indicator of one value.

    Codes without a column share the reference: the commonest value, rare values, and values that
    follow from others.
    """

    name: str
    values: tuple[str, ...]
    is_attribute: bool  # False for the label
    code: IndexArray  # (n,), one past the last value for "unknown"
    columns: dict[int, int]  # code → column
    collinear_with: dict[int, tuple[str, ...]]  # code → columns that it follows from


@dataclass(frozen=True, eq=False)
class _Design:
    columns: FloatArray  # (n, 1 + marks)
    blocks: list[_Block]
    left_out: list[LeftOut]


def _design(p: Predictions, hold_label: bool) -> _Design:
    """A constant, then indicators of the label and of each attribute, without collinear ones."""
    sources: list[tuple[str, tuple[str, ...], bool, NDArray[Any]]] = [
        (a.name, a.values, True, a.data) for a in p.attributes.values() if a.values
    ]
    if hold_label:
        sources.insert(0, (p.target, p.classes, False, p.label))
    basis, blocks, left_out = _Basis(len(p)), list[_Block](), list[LeftOut]()
    for name, values, is_attribute, data in sources:
        code = np.where(data >= 0, data, len(values)).astype(np.intp)
        counts = np.bincount(code, minlength=len(values) + 1)
        reference = int(counts[: len(values)].argmax())
        block = _Block(name, values, is_attribute, code, {}, {})
        for k, value in enumerate((*values, "unknown")):
            if not counts[k]:
                if is_attribute and k < len(values):
                    left_out.append(LeftOut(name, value, "no image bears it"))
            elif k != reference:
                reason = _add_column(basis, block, k, value, int(counts[k]), values[reference])
                left_out += [LeftOut(name, value, reason)] if reason else []
        blocks.append(block)
    return _Design(np.stack(basis.columns, axis=1), blocks, left_out)


def _add_column(
    basis: _Basis, block: _Block, k: int, value: str, count: int, reference: str
) -> str | None:
    """Add the column of one value to the basis and return None, or the reason why not."""
    if count < _FEWEST_IMAGES:
        return f"only {count} images; they count as {reference}"
    sources = basis.add((block.code == k).astype(np.float64), f"{block.name}: {value}")
    if sources is None:
        block.columns[k] = len(basis.columns) - 1
        return None
    block.collinear_with[k] = sources
    return f"follows from {', '.join(sources)}"


class _Basis:
    """Linearly independent columns, and an orthonormal basis of them."""

    def __init__(self, n: int) -> None:
        self.columns = [np.ones(n)]
        self.names = ["everything"]
        self._orthonormal = [np.full(n, 1 / math.sqrt(n))]

    def add(self, column: FloatArray, name: str) -> tuple[str, ...] | None:
        """Add the column and return None, or the names of the columns that it follows from."""
        basis = np.stack(self._orthonormal)  # (columns, n)
        rest = column - (basis @ column) @ basis
        rest -= (basis @ rest) @ basis  # once more, against rounding
        length = float(np.linalg.norm(rest))
        if length > _COLLINEAR * float(np.linalg.norm(column)):
            self.columns.append(column)
            self.names.append(name)
            self._orthonormal.append(rest / length)
            return None
        weights = np.linalg.lstsq(np.stack(self.columns, axis=1), column, rcond=None)[0]
        sources = [n for n, w in zip(self.names, weights, strict=True) if abs(w) > 1e-6]
        return tuple(n for n in sources if n != "everything") or ("everything",)


# --- from coefficients to gaps -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Sample:
    wrong: BoolArray
    cluster: NDArray[np.int64] | None
    confidence: float
    smallest_people: int


def _measure_attribute(
    block: _Block, design: _Design, model: Logistic, sample: _Sample
) -> Iterator[AdjustedGap]:
    """The gap of every value of one attribute, without `adjusted_p`."""
    wrong, by_person = sample.wrong, sample.cluster is not None
    inside = block.code[:, None] == np.arange(len(block.values))
    outside = (block.code < len(block.values))[:, None] & ~inside
    raw = error_gaps(wrong, inside, outside, sample.cluster, sample.confidence)
    counts = np.stack([wrong.astype(np.float64) @ inside, wrong.astype(np.float64) @ outside])
    adjusted = _adjust_errors(block, model, raw, counts)
    sides = (adjusted.left, adjusted.right, adjusted.correlation)
    low, high = difference_interval(*sides, sample.confidence, score=True)
    z, effect = touching_quantile(*sides, score=True), adjusted.left.value - adjusted.right.value
    influence = _raw_influence(wrong, inside, outside, model.unit) - adjusted.influence
    units = np.stack([raw.left.units, raw.right.units])
    fewest = units.min(0)
    quantile = student_quantile(sample.confidence, np.maximum(fewest - 1, 0))
    reach = quantile * _standard_errors(influence)
    # What few mistakes decide has no such interval.
    reach = np.where(counts.min(0) < _FEWEST_MISTAKES, math.nan, reach)

    def estimate(
        k: int, value: FloatArray, low: FloatArray, high: FloatArray, method: str
    ) -> Estimate:
        return Estimate(
            *(float(value[k]), float(low[k]), float(high[k]), int(raw.n[k] + raw.rest_n[k])),
            method=method + (" by person" if by_person else ""),
            people=int(fewest[k]) if by_person else None,
            confidence=sample.confidence,
        )

    sandwich, part = "jackknifed sandwich", raw.value - effect
    for k, value in enumerate(block.values):
        yield AdjustedGap(
            attribute=block.name,
            value=value,
            n=int(raw.n[k]),
            people=int(units[0, k]) if by_person else None,
            mistakes=int(counts[0, k]),
            rest_n=int(raw.rest_n[k]),
            rest_people=int(units[1, k]) if by_person else None,
            rest_mistakes=int(counts[1, k]),
            raw=estimate(k, raw.value, raw.low, raw.high, "Newcombe"),
            adjusted=estimate(k, effect, low, high, f"Newcombe, {sandwich}"),
            explained=estimate(k, part, part - reach, part + reach, f"Student, {sandwich}"),
            p=math.erfc(float(z[k]) / math.sqrt(2)),
            adjusted_p=math.nan,
            state=_decide_state(math.isnan(effect[k]), int(fewest[k]), raw, k, sample),
            inseparable_from=block.collinear_with.get(k) or _collinear_values(block, value, design),
        )


@dataclass(frozen=True, eq=False)
class _AdjustedErrors:
    """The two average errors of each of k values, everything else held constant."""

    left: Side
    right: Side
    correlation: FloatArray
    influence: FloatArray  # (people, k) of each person on their difference


def _adjust_errors(
    block: _Block, model: Logistic, raw: Gaps, mistakes: FloatArray
) -> _AdjustedErrors:
    """Average errors with a value and with the others; NaN where these are collinear."""
    k = len(raw.n)
    average = np.full((2, k), np.nan)
    influence = np.full((2, len(model.influence), k), np.nan)
    for code in range(k):
        if code in block.collinear_with or min(raw.n[code], raw.rest_n[code]) < _FEWEST_IMAGES:
            continue
        rest_shares = {int(c): float(raw.n[c] / raw.rest_n[code]) for c in range(k) if c != code}
        if code not in block.columns and not any(c in block.columns for c in rest_shares):
            continue
        for side, shares in enumerate(({code: 1.0}, rest_shares)):
            outcome = average_outcome(model, block.columns, shares)
            average[side, code], influence[side, :, code] = outcome
    sides = []
    support = (raw.n, raw.left.units), (raw.rest_n, raw.right.units)
    for side, (counts, units) in enumerate(support):
        # What was held constant cannot make a side worth more images than it has; and where all
        # of them are right, or wrong, their residuals know nothing, so every person is one trial.
        is_constant = (mistakes[side] == 0) | (mistakes[side] == counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            floor = np.sqrt(
                average[side] * (1 - average[side]) / np.where(is_constant, units, counts)
            )
        spread = np.maximum(_standard_errors(influence[side]), floor)
        sides.append(Side(average[side], spread, units))
    centred = influence - influence.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.sqrt(np.sum(centred[0] ** 2, axis=0) * np.sum(centred[1] ** 2, axis=0))
        correlation = np.sum(centred[0] * centred[1], axis=0) / size
    left, right = sides
    return _AdjustedErrors(left, right, np.clip(correlation, -1, 1), influence[0] - influence[1])


def _raw_influence(
    wrong: BoolArray, inside: BoolArray, outside: BoolArray, unit: IndexArray
) -> FloatArray:
    """(people, k) the influence of each person on the raw gaps."""
    total = np.zeros(inside.shape)
    for marks, sign in ((inside, 1.0), (outside, -1.0)):
        n = np.maximum(marks.sum(axis=0), 1)
        total += sign * marks * (wrong[:, None] - wrong.astype(np.float64) @ marks / n) / n
    return sums_by_person(total, unit)


def _standard_errors(influence: FloatArray) -> FloatArray:
    """(k,) standard errors from (people, k) influences."""
    if len(influence) < 2:
        return np.full(influence.shape[1], math.nan)
    spreads: FloatArray = np.sqrt(np.sum((influence - influence.mean(axis=0)) ** 2, axis=0))
    return spreads


def _collinear_values(block: _Block, value: str, design: _Design) -> tuple[str, ...]:
    """Values of other attributes that were left out because they follow from this one."""
    return tuple(
        f"{other.name}: {other.values[code]}"
        for other in design.blocks
        if other.is_attribute
        for code, sources in other.collinear_with.items()
        if f"{block.name}: {value}" in sources and code < len(other.values)
    )


def _decide_state(undefined: bool, fewest: int, raw: Gaps, k: int, sample: _Sample) -> State:
    """The state before p-values are adjusted; "not found" may become "found"."""
    expected = float(sample.wrong.mean()) * min(int(raw.n[k]), int(raw.rest_n[k]))
    if fewest < sample.smallest_people or expected < _FEWEST_MISTAKES:
        return "too few to say"
    return "not applicable" if undefined else "not found"


def _notes(
    p: Predictions, wrong: BoolArray, design: _Design, absent: str, prior_sd: float
) -> Iterator[str]:
    yield text.ONLY_ANNOTATED
    if absent:
        yield text.all_labelled_count(absent, len(p))
    columns, mistakes = design.columns.shape[1] - 1, int(wrong.sum())
    if columns and min(mistakes, len(p) - mistakes) < 5 * columns:
        yield text.few_mistakes(mistakes, columns, prior_sd)
    missing = [a.name for a in p.attributes.values() if a.values and (a.data < 0).any()]
    if missing:
        yield text.unknown_columns(missing)
