"""How far two things go together: Cramér's V with an interval by person, Spearman's correlation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray
from candid.records import Estimate
from candid.stats.bootstrap import Resample, resample_persons
from candid.stats.intervals import sums_by_person

# Attributes are drawn in blocks of this many marks of images, so that memory stays flat.
_BLOCK = 8_000_000


def cramers_v(tables: NDArray[Any]) -> FloatArray:
    """Cramér's V of (…, rows, columns) contingency tables (Cramér 1946, §21.9).

    √(χ² / (N · (min(rows, columns) - 1))), where rows and columns that are empty do not count;
    NaN where fewer than two of either are left.
    """
    table = np.asarray(tables, np.float64)
    rows, columns = table.sum(-1, keepdims=True), table.sum(-2, keepdims=True)
    total = table.sum((-2, -1), keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = rows * columns / total
        share = np.where(expected > 0, (table - expected) ** 2 / expected, 0.0).sum((-2, -1))
        fewest = np.minimum(
            np.count_nonzero(rows, axis=(-2, -1)), np.count_nonzero(columns, axis=(-2, -1))
        )
        v = np.sqrt(share / total[..., 0, 0] / (fewest - 1))
    return np.where(fewest >= 2, np.minimum(v, 1.0), np.nan)


def associations(
    hits: BoolArray,
    mask: BoolArray,
    label: NDArray[Any],
    n_classes: int,
    person: NDArray[Any] | None = None,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Estimate]:
    """Cramér's V between each of k yes-or-no marks and the label, with bootstrap intervals.

    `hits` and `mask` (n, k) say whether the image bears the mark, and whether that is known; a
    `label` of -1 is unknown. People are drawn, not images. For two classes V is the size of φ,
    which has a sign: the interval is that of φ, folded where it holds 0. For more, V cannot be
    negative and is too high on average, in the sample over the truth as in a draw over the sample:
    the draws' V² are lowered by twice that bias, and the interval reaches 0 where marks and label
    may well be independent. In simulations of 100 to 3,000 people, 93% to 100% of the 95% intervals
    held the truth.
    """
    n, k = hits.shape
    mask = mask & (label >= 0)[:, None]
    resampling = resample_persons(n, person, draws=draws, seed=seed, confidence=confidence)
    replicates, value = np.full((draws, k), np.nan), np.full(k, np.nan)
    width = max(1, _BLOCK // max(1, n * 2 * n_classes))
    for start in range(0, k if n else 0, width):
        columns = slice(start, start + width)
        value[columns], replicates[:, columns] = _signed_v(
            hits[:, columns], mask[:, columns], label, resampling, n_classes
        )
    interval = _fold_interval if n_classes == 2 else _debias_interval
    low, high = np.full((2, k), np.nan)
    defined = ~np.isnan(value) & ~np.isnan(replicates).all(0)
    if defined.any():
        low[defined], high[defined] = interval(value[defined], replicates[:, defined], confidence)
    people = np.count_nonzero(sums_by_person(mask, resampling.unit), axis=0)
    return [
        Estimate(
            value=abs(float(value[i])),
            low=float(low[i]),
            high=float(high[i]),
            n=int(np.count_nonzero(mask[:, i])),
            method=resampling.method,
            people=int(people[i]) if resampling.by_person else None,
            draws=draws,
            undefined_draws=int(np.count_nonzero(np.isnan(replicates[:, i]))),
            confidence=confidence,
        )
        for i in range(k)
    ]


def _signed_v(
    hits: BoolArray,
    mask: BoolArray,
    label: NDArray[Any],
    resampling: Resample,
    n_classes: int,
) -> tuple[FloatArray, FloatArray]:
    """(k,) and (draws, k): Cramér's V; for two classes with the sign of φ."""
    cells = mask[:, :, None, None] & (label[:, None] == np.arange(n_classes))[:, None, None, :]
    marks = np.stack([hits, ~hits], axis=2)[..., None]  # (n, k, 2, 1)

    def statistic(sums: FloatArray) -> dict[str, FloatArray]:
        table = sums.reshape(len(sums), -1, 2, n_classes)
        v = cramers_v(table)
        if n_classes == 2:
            odds = table[..., 0, 0] * table[..., 1, 1] - table[..., 0, 1] * table[..., 1, 0]
            v = np.where(odds < 0, -v, v)
        return {"v": v}

    value, replicates = resampling.evaluate_sums((cells & marks).reshape(len(hits), -1), statistic)
    return value["v"], replicates["v"]


def _fold_interval(
    value: FloatArray, replicates: FloatArray, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """The interval of |φ| from signed draws (draws, k)."""
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    sign = np.where(value < 0, -1, 1)
    ends = np.sort(np.nanquantile(replicates, tails, axis=0) * sign, axis=0)
    return np.maximum(ends[0], 0), np.max(np.abs(ends), axis=0)


def _debias_interval(
    value: FloatArray, replicates: FloatArray, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """The interval of V from its draws (draws, k), less twice the bias of V²."""
    squares = replicates**2
    bias = np.maximum(np.nanmean(squares, axis=0) - value**2, 0)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    ends = np.sqrt(np.maximum(np.nanquantile(squares - 2 * bias, tails, axis=0), 0))
    return np.minimum(ends[0], value), np.maximum(ends[1], value)


def rank_correlations(left: NDArray[Any], right: NDArray[Any]) -> FloatArray:
    """(n,) Spearman's rank correlation of each pair of maps; NaN where a map is constant.

    Ties have their mean rank.
    """
    a, b = (mean_ranks(maps.reshape(len(maps), -1)) for maps in (left, right))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
        correlation: FloatArray = np.where(size > 0, (a * b).sum(1) / size, np.nan)
    return correlation


def mean_ranks(rows: NDArray[Any]) -> FloatArray:
    """(n, k) mean ranks within each row."""
    n, k = rows.shape
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    is_new = np.ones((n, k), np.bool_)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    tie = np.cumsum(is_new.ravel()) - 1  # ties are numbered through all rows
    position = np.tile(np.arange(k), n)
    middle = np.bincount(tie, position) / np.bincount(tie)
    ranks = np.empty((n, k))
    np.put_along_axis(ranks, order, middle[tie].reshape(n, k), axis=1)
    return ranks
