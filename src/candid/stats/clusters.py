"""Intervals that exploring and judging both need: Wilson, shares by person, Cramér's V.

Pictures of one person resemble each other, so an interval that counts pictures as independent is
too narrow. Everything here takes `cluster`, the number of the person (or whatever else was drawn as
a whole); None says that every row stands for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]

# Draws are weighed in blocks of this many numbers, so that memory stays flat (64 MiB).
_BLOCK = 8_000_000


def normal_quantile(confidence: float) -> float:
    """How many standard deviations either way hold `confidence` of a normal distribution."""
    return float(ndtri((1 + confidence) / 2))


def student_quantile(confidence: float, freedom: ArrayLike) -> Floats:
    """How many standard deviations either way hold `confidence` of Student's t.

    Infinite where there is no degree of freedom.
    """
    v = np.asarray(freedom, np.float64)
    exact: Floats = stdtrit(np.maximum(v, 1), (1 + confidence) / 2)
    return np.where(v >= 1, exact, np.inf)


def wilson(successes: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval of a proportion (Wilson 1927), NaN where n is 0.

    Parameters
    ----------
    successes, n
        Counts of any shapes that broadcast; they need not be whole (effective sample sizes).
    confidence
        What share of such intervals holds the true proportion.
    """
    return _wilson(
        np.asarray(successes, np.float64), np.asarray(n, np.float64), normal_quantile(confidence)
    )


def _wilson(successes: Floats, n: Floats, z: Any) -> tuple[Floats, Floats]:
    with np.errstate(divide="ignore", invalid="ignore"):
        p = successes / n
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        # At the ends the formula is exact on paper and off by one rounding in floats.
        low = np.where(p == 0, 0.0, np.maximum(centre - half, 0.0))
        high = np.where(p == 1, 1.0, np.minimum(centre + half, 1.0))
    empty = ~(n > 0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


@dataclass(frozen=True, eq=False)
class Shares:
    """k proportions with their intervals, and the rows and clusters behind each; all (k,)."""

    value: Floats
    low: Floats
    high: Floats
    n: NDArray[np.int64]
    clusters: NDArray[np.int64]


def clustered_shares(
    hits: NDArray[Any],
    of: NDArray[Any] | None = None,
    cluster: NDArray[Any] | None = None,
    confidence: float = 0.95,
) -> Shares:
    """Proportions whose rows come in clusters, such as several pictures of one person.

    The share is Σ hits / Σ of, a ratio of sums over clusters; its variance is linearised over the
    clusters (Cochran 1977, §6.3), and Wilson's interval is taken at the effective sample size
    p(1 - p) / variance with Student's quantile of clusters - 1 (Korn & Graubard 1998; Dean & Pagano
    2015). A design effect below 1 counts as 1. A share of exactly 0 or 1 has no variance
    to read the effect from: there every cluster counts as one row. NaN where nothing stands behind
    it; (0, 1) where a single cluster does.

    Parameters
    ----------
    hits
        (n, k) or (n,) bool: does the row bear it? Rows outside `of` must be False.
    of
        (n, k) or (n,) bool: does the row count at all? None: every row.
    cluster
        (n,) whole numbers, the same for rows of one cluster; None: Wilson's interval by row.
    confidence
        What share of such intervals holds the true proportion.
    """
    hits = hits[:, None] if hits.ndim == 1 else hits
    of = np.ones((len(hits), 1), np.bool_) if of is None else of
    of = np.broadcast_to(of[:, None] if of.ndim == 1 else of, hits.shape)
    n = np.count_nonzero(of, axis=0)
    successes = np.count_nonzero(hits, axis=0)
    with np.errstate(invalid="ignore"):
        p = successes / n
    if cluster is None:
        low, high = wilson(successes, n, confidence)
        return Shares(p, low, high, n, n)

    y = sums_by_cluster(hits, cluster)  # (clusters, k)
    m = sums_by_cluster(of, cluster)
    clusters = np.count_nonzero(m, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = y - p * m
        variance = clusters / (clusters - 1) * np.sum(residual**2, axis=0) / n**2
        effective = np.where((p > 0) & (p < 1), p * (1 - p) / variance, clusters)
    effective = np.minimum(effective, n)
    single = clusters == 1
    effective = np.where(single, 1.0, effective)
    z = student_quantile(confidence, np.where(single, 2, clusters - 1))
    low, high = _wilson(p * effective, effective, z)
    low, high = np.where(single, 0.0, low), np.where(single, 1.0, high)
    return Shares(p, low, high, n, clusters)


def sums_by_cluster(values: NDArray[Any], cluster: NDArray[Any]) -> Floats:
    """(clusters, k) sums of the (n, k) rows of each cluster, in ascending order of its number."""
    if not len(values):
        return np.zeros((0, values.shape[1]))
    order = np.argsort(cluster, kind="stable")
    starts = np.flatnonzero(np.diff(cluster[order], prepend=cluster[order[0]] - 1))
    sums: Floats = np.add.reduceat(values[order], starts, axis=0, dtype=np.float64)
    return sums


def people(identity: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """(n,) cluster numbers from identities: each row without one (-1) is a person of its own."""
    if identity is None:
        return None
    known = identity >= 0
    top = int(identity.max(initial=-1)) + 1
    return np.where(known, identity, top + np.cumsum(~known))


def draw_counts(units: int, draws: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(draws, units): how often each unit is drawn in each bootstrap draw with replacement."""
    picked = rng.integers(0, units, size=(draws, units))
    picked += np.arange(draws)[:, None] * units
    counts = np.bincount(picked.ravel(), minlength=draws * units)
    return counts.reshape(draws, units).astype(np.float32)


def cramers_v(tables: NDArray[Any]) -> Floats:
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
        least = np.minimum(
            np.count_nonzero(rows, axis=(-2, -1)), np.count_nonzero(columns, axis=(-2, -1))
        )
        v = np.sqrt(share / total[..., 0, 0] / (least - 1))
    return np.where(least >= 2, np.minimum(v, 1.0), np.nan)


@dataclass(frozen=True, eq=False)
class Associations:
    """k associations with their intervals and the draws that left them undefined; all (k,)."""

    value: Floats
    low: Floats
    high: Floats
    n: NDArray[np.int64]
    clusters: NDArray[np.int64]
    undefined_draws: NDArray[np.int64]


def associations(
    hits: NDArray[np.bool_],
    of: NDArray[np.bool_],
    label: NDArray[Any],
    classes: int,
    cluster: NDArray[Any] | None = None,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Associations:
    """Cramér's V between each of k yes-or-no marks and the label, with bootstrap intervals.

    Clusters are drawn, not rows. For two classes V is the size of φ, which has a sign: the
    interval is that of φ, folded where it holds 0. For more, V cannot be negative and is too high
    on average, in the sample over the truth as in a draw over the sample: the draws' V² are lowered
    by twice that bias, and the interval reaches 0 where marks and label may well be independent.
    In simulations of 100 to 3,000 people, 93% to 100% of the 95% intervals held the truth.

    Parameters
    ----------
    hits, of
        (n, k) bool: does the row bear the mark; is it known whether it does?
    label
        (n,) index of each row's class; -1 where unknown.
    classes
        How many classes there are.
    cluster
        (n,) whole numbers; None: rows are drawn.
    draws, confidence, seed
        Of the bootstrap; the same seed gives the same draws.
    """
    n, k = hits.shape
    of = of & (label >= 0)[:, None]
    cluster = np.arange(n) if cluster is None else cluster
    width = max(1, _BLOCK // max(1, n * 2 * classes))
    drawn = np.full((draws, k), np.nan)
    value = np.full(k, np.nan)
    for start in range(0, k if n else 0, width):
        columns = slice(start, start + width)
        cells = _cells(hits[:, columns], of[:, columns], label, classes, cluster)
        value[columns] = _signed_v(cells.sum(0, dtype=np.float64).reshape(-1, 2, classes))
        drawn[:, columns] = _drawn_v(cells, classes, draws, np.random.default_rng(seed))
    ends = _folded_quantiles if classes == 2 else _debiased_quantiles
    low, high = ends(value, drawn, confidence)
    clusters = np.count_nonzero(sums_by_cluster(of, cluster), axis=0)
    undefined = np.count_nonzero(np.isnan(drawn), axis=0)
    value = np.abs(value)
    return Associations(value, low, high, np.count_nonzero(of, axis=0), clusters, undefined)


def _cells(
    hits: NDArray[np.bool_],
    of: NDArray[np.bool_],
    label: NDArray[Any],
    classes: int,
    cluster: NDArray[Any],
) -> NDArray[np.float32]:
    """(clusters, k * 2 * classes): each cluster's rows in every cell of the k tables."""
    cells = np.empty((*hits.shape, 2, classes), np.bool_)
    for c in range(classes):
        mine = of & (label == c)[:, None]
        cells[:, :, 0, c] = mine & hits
        cells[:, :, 1, c] = mine & ~hits
    return sums_by_cluster(cells.reshape(len(hits), -1), cluster).astype(np.float32)


def _drawn_v(
    cells: NDArray[np.float32], classes: int, draws: int, rng: np.random.Generator
) -> Floats:
    """(draws, k): V in each bootstrap draw of the clusters."""
    units = len(cells)
    step = max(1, _BLOCK // units)
    parts = []
    for start in range(0, draws, step):
        tables = draw_counts(units, min(step, draws - start), rng) @ cells
        parts.append(_signed_v(tables.reshape(len(tables), -1, 2, classes)))
    return np.concatenate(parts)


def _signed_v(tables: NDArray[Any]) -> Floats:
    """Cramér's V of (…, 2, classes) tables; for two classes with the sign of φ."""
    v = cramers_v(tables)
    if tables.shape[-1] != 2:
        return v
    table = np.asarray(tables, np.float64)
    odds = table[..., 0, 0] * table[..., 1, 1] - table[..., 0, 1] * table[..., 1, 0]
    return np.where(odds < 0, -v, v)


def _folded_quantiles(value: Floats, drawn: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The interval of |φ| from signed draws (draws, k); NaN columns stay."""
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    some = ~np.isnan(value) & ~np.isnan(drawn).all(0)
    if not some.any():
        return low, high
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    facing = np.where(value[some] < 0, -1, 1)
    ends = np.sort(np.nanquantile(drawn[:, some], tails, axis=0) * facing, axis=0)
    low[some] = np.maximum(ends[0], 0)
    high[some] = np.max(np.abs(ends), axis=0)
    return low, high


def _debiased_quantiles(value: Floats, drawn: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The interval of V from its draws (draws, k), less twice the bias of V²; NaN columns stay."""
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    some = ~np.isnan(value) & ~np.isnan(drawn).all(0)
    if not some.any():
        return low, high
    squares = drawn[:, some] ** 2
    bias = np.maximum(np.nanmean(squares, axis=0) - value[some] ** 2, 0)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    ends = np.sqrt(np.maximum(np.nanquantile(squares - 2 * bias, tails, axis=0), 0))
    low[some] = np.minimum(ends[0], value[some])
    high[some] = np.maximum(ends[1], value[some])
    return low, high
