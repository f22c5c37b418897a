"""Means over images, their differences, and intervals that know which images show one person.

A mean over images is a ratio of sums over people, and so is a mean share over a mean area; its
variance is linearised over the people (Cochran 1977, §6.3), with Student's quantile.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.records import Estimate
from candid.stats.clusters import student_quantile, sums_by_cluster

Floats = NDArray[np.float64]


def ratios(
    above: NDArray[Any],
    below: NDArray[Any] | None = None,
    cluster: NDArray[Any] | None = None,
    *,
    confidence: float = 0.95,
) -> list[Estimate]:
    """Σ above / Σ below over images, k of them, with intervals by person.

    Parameters
    ----------
    above
        (n, k); NaN where an image has no part in it.
    below
        (n, k), or None for 1: then the ratio is a mean.
    cluster
        (n,) the number of the person; None: every image stands for itself.
    confidence
        Of the intervals.

    Returns
    -------
    list of Estimate
        NaN where nothing stands behind it, or nothing but zeros below; an unknown interval (NaN)
        where a single person does.
    """
    y = np.asarray(above, np.float64)
    m = np.ones_like(y) if below is None else np.asarray(below, np.float64)
    some = np.isfinite(y) & np.isfinite(m)
    y, m = np.where(some, y, 0.0), np.where(some, m, 0.0)
    units = np.arange(len(y)) if cluster is None else cluster
    total, of = sums_by_cluster(y, units), sums_by_cluster(m, units)
    people = np.count_nonzero(sums_by_cluster(some, units), axis=0)
    n = np.count_nonzero(some, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(of.sum(0) != 0, total.sum(0) / of.sum(0), np.nan)
        spread = np.sqrt(np.sum((total - value * of) ** 2, axis=0) * people / (people - 1))
        reach = student_quantile(confidence, people - 1) * spread / np.abs(of.sum(0))
    reach = np.where(people > 1, reach, np.nan)
    return [
        Estimate(
            value=float(value[i]),
            low=float(value[i] - reach[i]),
            high=float(value[i] + reach[i]),
            n=int(n[i]),
            method=f"linearised by {'image' if cluster is None else 'person'}",
            people=None if cluster is None else int(people[i]),
            confidence=confidence,
        )
        for i in range(y.shape[1])
    ]


def mean(
    values: NDArray[Any], cluster: NDArray[Any] | None = None, *, confidence: float = 0.95
) -> Estimate:
    """The mean of (n,) values over the images where it is defined, with its interval by person."""
    return ratios(np.asarray(values)[:, None], None, cluster, confidence=confidence)[0]


def unknown(confidence: float) -> Estimate:
    """A figure that nothing stands behind."""
    return Estimate(math.nan, math.nan, math.nan, 0, "none", confidence=confidence)


def difference(
    values: NDArray[np.float32],
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    cluster: NDArray[Any] | None = None,
    *,
    confidence: float = 0.95,
    block: int = 4096,
) -> tuple[Floats, Floats]:
    """The mean over some images less that over others, and half its interval, for k columns.

    Parameters
    ----------
    values
        (n, k).
    first, second
        (n,) which images belong to each; both may show the same person.
    cluster
        (n,) the number of the person; None: every image stands for itself.
    confidence
        Of the intervals, each for itself.
    block
        Columns at a time: what bounds the memory.

    Returns
    -------
    (k,), (k,)
        NaN where one of them is empty; half an interval of NaN where a single person is behind.
    """
    k = values.shape[1]
    gap, half = np.full(k, np.nan), np.full(k, np.nan)
    if not (first.any() and second.any()):
        return gap, half
    either = first | second
    units = np.flatnonzero(either) if cluster is None else cluster[either]
    one, other = first[either] / first.sum(), second[either] / second.sum()
    people = len(np.unique(units))
    quantile = float(student_quantile(confidence, people - 1)) if people > 1 else math.nan
    for start in range(0, k, block):
        columns = slice(start, start + block)
        part = values[either, columns].astype(np.float64)
        a, b = one @ part, other @ part
        pull = one[:, None] * (part - a) - other[:, None] * (part - b)
        variance = np.sum(sums_by_cluster(pull, units) ** 2, axis=0) * people / max(people - 1, 1)
        gap[columns], half[columns] = a - b, quantile * np.sqrt(variance)
    return gap, half


def rank_correlations(one: NDArray[Any], other: NDArray[Any]) -> Floats:
    """(n,) Spearman's rank correlation of each pair of maps; NaN where a map is constant.

    Ties have their mean rank.
    """
    a, b = (_centred(_ranks(maps.reshape(len(maps), -1))) for maps in (one, other))
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
        correlation: Floats = np.where(size > 0, (a * b).sum(1) / size, np.nan)
    return correlation


def _ranks(rows: NDArray[Any]) -> Floats:
    """(n, k) mean ranks within each row."""
    n, k = rows.shape
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    fresh = np.ones((n, k), np.bool_)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    tie = np.cumsum(fresh.ravel()) - 1  # ties are numbered through all rows
    place = np.tile(np.arange(k), n)
    middle = np.bincount(tie, place) / np.bincount(tie)
    ranks = np.empty((n, k))
    np.put_along_axis(ranks, order, middle[tie].reshape(n, k), axis=1)
    return ranks


def _centred(rows: Floats) -> Floats:
    centred: Floats = rows - rows.mean(1, keepdims=True)
    return centred
