"""Figures of many groups from sums over images, with standard errors from bootstrap draws.

A draw takes each person 0, 1, 2, … times, so the sums of all groups in all draws are products of
matrices: (draws, people) by (people, groups), once per sum. Only running moments of the figures are
kept, so memory does not grow with the draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, CountArray, Float32Array, FloatArray, IndexArray
from candid.predictions import Predictions
from candid.stats.differences import Side
from candid.stats.metrics import confidence_bins, support_times_f1

_BLOCK_DRAWN = 1_000_000  # figures are taken of draws × sides × sums in blocks of this (4 MiB)
_ROUNDING = 2e-6


# --- which figures come from which sums ----------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Figures:
    """Which figures come from which sums, for all groups and draws at once.

    `rich`: more than counts is summed: confidence and calibration, precision and predicted shares
    too. Single attributes have them; intersections do not. `bins` are those of the calibration
    error, `standard` (classes, sides) the weights of the classes' errors in `standardised_error`,
    if any. Not `per_class`: only figures without a sum per class, so that the cost of a side does
    not grow with the classes.
    """

    classes: tuple[str, ...]
    rich: bool
    bins: int = 15
    standard: FloatArray | None = None
    per_class: bool = True

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The figures in their order."""
        calibration = ["confidence", "overconfidence", "calibration_error", "calibration_noise"]
        if not self.per_class:
            return ("accuracy", *(calibration if self.rich else ()))
        per_class = ["error", *(["false"] if len(self.classes) > 2 else [])]
        names = ["accuracy", "weighted_f1", *(f"{m}:{c}" for m in per_class for c in self.classes)]
        if self.standard is not None:
            names.append("standardised_error")
        if self.rich:
            names += [f"{m}:{c}" for m in ("precision", "predicted") for c in self.classes]
            names += calibration
        return tuple(names)

    @property
    def counts(self) -> int:
        """How many sums of whole numbers they take: those before confidence and excess."""
        each = 3 if len(self.classes) > 2 else 2
        return each * len(self.classes) if self.per_class else 2

    def columns(self, p: Predictions) -> FloatArray:
        """(n, sums) what each image adds: support, hits, answers per class; confidence, excess.

        Not per class: itself, and whether it is right.
        """
        right = p.prediction == p.label
        blocks: list[NDArray[Any]] = [np.ones((len(p), 1)), right[:, None]]
        if self.per_class:
            label, answer = self._marks(p.label), self._marks(p.prediction)
            blocks = [label, label & answer, *([answer] if len(self.classes) > 2 else [])]
        if self.rich:
            # What needs degrees is undefined where the model only gave answers.
            top = p.confidence
            confidence = top * (np.nan if p.hard else 1.0)
            excess = np.zeros((len(p), self.bins))
            excess[np.arange(len(p)), confidence_bins(top, self.bins)] = confidence - right
            blocks += [confidence[:, None], excess]
        return np.concatenate(blocks, axis=1, dtype=np.float64)

    def evaluate(self, sums: NDArray[Any], sample: NDArray[Any] | None = None) -> NDArray[Any]:
        """(figures, ...) from (sums, ...); NaN where undefined.

        `sample` holds the sample's own sums: the calibration noise is Σ |drawn part - part|.
        """
        count = len(self.classes) if self.per_class else 1
        support, hit = sums[:count], sums[count : 2 * count]
        n = support.sum(0)
        # The sums of a side without images may be a rounding, and not 0.
        n = np.where(n > 0, n, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [hit.sum(0)[None] / n]
            if self.per_class:
                parts += self._by_class(sums, n)
            if self.rich:
                first = self.counts + 1
                confidence, excess = sums[first - 1] / n, sums[first:] / n
                expected = 0 if sample is None else sample[first:] / sample[:count].sum(0)
                noise = 0 if sample is None else np.abs(excess - expected).sum(0)
                deviations = (excess.sum(0), np.abs(excess).sum(0), np.where(n > 0, noise, np.nan))
                parts += [x[None] for x in (confidence, *deviations)]
        return np.concatenate(parts)

    def _by_class(self, sums: NDArray[Any], n: NDArray[Any]) -> list[NDArray[Any]]:
        """The figures that need sums per class; `n` images."""
        count = len(self.classes)
        support, hit = sums[:count], sums[count : 2 * count]
        answered = sums[2 * count : 3 * count] if count > 2 else hit + (support - hit)[::-1]
        error = (support - hit) / support
        parts = [(support_times_f1(hit, support, answered).sum(0) / n)[None], error]
        if count > 2:
            parts.append((answered - hit) / (n - support))
        if self.standard is not None:
            parts.append(self._standardised(error)[None])
        if self.rich:
            parts += [hit / answered, answered / n]
        return parts

    def support(self, p: Predictions) -> tuple[BoolArray, IndexArray]:
        """Which images stand behind each figure: (n, kinds) marks, and each figure's kind."""
        count, label = len(self.classes), self._marks(p.label)
        if not self.per_class:
            return np.ones((len(p), 1), np.bool_), np.zeros(len(self.names), np.intp)
        marks, kinds = [np.ones((len(p), 1), np.bool_), label], [0, 0, *range(1, count + 1)]
        if count > 2:
            marks.append(~label)
            kinds += range(count + 1, 2 * count + 1)
        if self.standard is not None:
            kinds.append(0)
        if self.rich:
            first = sum(m.shape[1] for m in marks)
            marks.append(self._marks(p.prediction))
            kinds += [*range(first, first + count), *([0] * (count + 4))]
        return np.concatenate(marks, axis=1), np.asarray(kinds, dtype=np.intp)

    def _marks(self, codes: NDArray[Any]) -> BoolArray:
        marks: BoolArray = codes[:, None] == np.arange(len(self.classes))
        return marks

    def _standardised(self, error: NDArray[Any]) -> NDArray[Any]:
        """The classes' errors (classes, ..., sides) weighed by `standard`."""
        assert self.standard is not None
        shares = self.standard.astype(error.dtype)
        shares = shares.reshape(len(shares), *[1] * (error.ndim - 2), -1)
        weighed = np.where(shares > 0, shares * error, 0).sum(0)
        return np.where(shares.sum(0) > 0, weighed, np.nan)


# --- moments over draws --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Moments:
    """Figures of k sides with their standard errors, and how c pairs of them go together.

    A side is a group, or the rest of a larger group.
    """

    figures: tuple[str, ...]
    value: FloatArray
    spread: FloatArray
    units: CountArray
    images: CountArray
    undefined: CountArray
    mean: FloatArray
    pairs: IndexArray
    correlation: FloatArray
    undefined_pairs: CountArray

    def row(self, name: str) -> int:
        """The row of a figure."""
        return self.figures.index(name)

    def side(self, name: str, sides: Any) -> Side:
        """A figure of sides, to compare."""
        i = self.row(name)
        share = None
        if name == "overconfidence":  # mean confidence less accuracy
            share = 1 - self.value[self.row("accuracy")][sides]
        return Side(self.value[i][sides], self.spread[i][sides], self.units[i][sides], share)


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over k keys, and how s sides are made of them."""

    by_stratum: Float32Array
    totals: FloatArray
    plus: IndexArray
    minus: IndexArray
    units: CountArray
    images: CountArray


def compute_moments(
    sums: Sums, pairs: IndexArray, figures: Figures, counts: Iterator[Float32Array]
) -> Moments:
    """Every side's figures with standard errors from all draws, and how pairs of sides go together.

    `counts` gives blocks (m, strata) of how often each stratum was drawn.
    """
    by_stratum, plus, minus = sums.by_stratum, sums.plus, sums.minus
    sample_sums = combine_sides(sums.totals, plus, minus)
    value = figures.evaluate(sample_sums)
    moments = _RunningMoments(value, pairs)
    sample = sample_sums.astype(np.float32)[:, None, :]
    step = max(4, _BLOCK_DRAWN // (len(plus) * len(by_stratum)))
    for block in counts:
        for start in range(0, len(block), step):
            weight = block[start : start + step]
            block_sums = np.stack([weight @ s for s in by_stratum])  # (sums, m, keys)
            moments.add(figures.evaluate(combine_sides(block_sums, plus, minus), sample))
    return moments.moments(figures.names, value, sums)


def combine_sides(sums: NDArray[Any], plus: IndexArray, minus: IndexArray) -> NDArray[Any]:
    """(…, sides) from (…, keys): each side is a key, less another one where `minus` is not -1."""
    sides: NDArray[Any] = np.take(sums, plus, axis=-1)
    differences = np.flatnonzero(minus >= 0)
    if len(differences):
        sides[..., differences] -= np.take(sums, minus[differences], axis=-1)
    return sides


class _RunningMoments:
    """Moments of figures over draws, block by block, around the figures themselves."""

    def __init__(self, value: FloatArray, pairs: IndexArray) -> None:
        self.value = np.nan_to_num(value).astype(np.float32)[:, None, :]
        self.pairs, (self.left, self.right) = pairs, pairs.T
        self.draws = 0
        self.defined, self.sum, self.square = np.zeros((3, *value.shape))
        of_pairs = np.zeros((4, len(value), len(pairs)))
        self.shared, self.cross, self.sum_left, self.sum_right = of_pairs

    def add(self, values: NDArray[Any]) -> None:
        """One block: (figures, draws, sides)."""
        # In double precision, so that it does not matter how draws are cut into blocks.
        deviation = (values - self.value).astype(np.float64)
        missing = np.isnan(deviation)
        has_missing = bool(missing.any())
        if has_missing:
            deviation[missing] = 0
        self.draws += values.shape[1]
        self.defined += values.shape[1] - (missing.sum(1) if has_missing else 0)
        self.sum += deviation.sum(1)
        self.square += np.einsum("fms,fms->fs", deviation, deviation)
        left, right = deviation[..., self.left], deviation[..., self.right]
        self.shared += values.shape[1]
        if has_missing:
            undefined = missing[..., self.left] | missing[..., self.right]
            self.shared -= undefined.sum(1)
            left[undefined], right[undefined] = 0, 0
        self.sum_left += left.sum(1)
        self.sum_right += right.sum(1)
        self.cross += np.einsum("fmc,fmc->fc", left, right)

    def moments(self, names: tuple[str, ...], value: FloatArray, sums: Sums) -> Moments:
        """The moments of all blocks."""
        units = sums.units
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.sum / self.defined
            variance = (self.square - self.defined * mean**2) / (self.defined - 1)
            spread = np.sqrt(np.maximum(variance, 0))
            covariance = self.cross / self.shared
            covariance -= self.sum_left * self.sum_right / self.shared**2
            correlation = covariance / (spread[:, self.left] * spread[:, self.right])
            spread = np.where(spread < _ROUNDING, 0.0, spread)  # one rounding is no spread
            # Drawing units from themselves loses one of those behind the figure.
            spread = np.where(units > 1, spread * np.sqrt(units / (units - 1)), np.nan)
        return Moments(
            figures=names,
            value=value,
            spread=spread,
            units=units,
            images=sums.images,
            undefined=(self.draws - self.defined).astype(np.int64),
            mean=mean + self.value[:, 0, :],
            pairs=self.pairs,
            correlation=np.clip(np.nan_to_num(correlation, posinf=0, neginf=0), -1, 1),
            undefined_pairs=(self.draws - self.shared).astype(np.int64),
        )
