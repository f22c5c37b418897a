"""Shares, and differences between shares, as estimates with intervals that know of people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.predictions import Predictions, binned
from candid.records import Estimate
from candid.stats.clusters import (
    clustered_shares,
    normal_quantile,
    student_quantile,
    sums_by_cluster,
    wilson,
)
from candid.stats.significance import Side, difference_interval

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]


def shares(
    hits: Marks, of: Marks, cluster: NDArray[Any] | None, confidence: float = 0.95
) -> list[Estimate]:
    """The share Σ hits / Σ of in each of k columns.

    Parameters
    ----------
    hits, of
        (n, k): does the image bear it, and does it count at all? Hits outside `of` do not count.
    cluster
        (n,) the person of each image; None: every image counts as another person's.
    confidence
        Of the intervals: Wilson's, at the effective sample size where people are known.
    """
    found = clustered_shares(hits & of, of, cluster, confidence)
    method = "Wilson" if cluster is None else "Wilson, effective size by person"
    return [
        Estimate(
            float(found.value[k]),
            float(found.low[k]),
            float(found.high[k]),
            n=int(found.n[k]),
            method=method,
            people=None if cluster is None else int(found.clusters[k]),
            confidence=confidence,
        )
        for k in range(len(found.value))
    ]


def share(
    hits: Marks, of: Marks, cluster: NDArray[Any] | None, confidence: float = 0.95
) -> Estimate:
    """The share Σ hits / Σ of for (n,) marks; see `shares`."""
    return shares(hits[:, None], of[:, None], cluster, confidence)[0]


def share_by_person(
    hits: Marks, of: Marks, among: Marks, cluster: NDArray[Any], confidence: float = 0.95
) -> Estimate:
    """The share Σ hits / Σ of where every person counts once, whatever their number of images.

    That is the share for a person drawn at random and then one of their images: a ratio of sums
    over people of their mean hits and their mean `of`. Its interval is Wilson's at the effective
    sample size, as in `candid.stats.clusters.clustered_shares`.

    Parameters
    ----------
    hits, of
        (n,): does the image bear it, and does it count?
    among
        (n,): the images that a person's mean is taken over; `of` lies within.
    cluster
        (n,) the person of each image.
    confidence
        Of the interval.
    """
    _, person = np.unique(cluster[among], return_inverse=True)
    person = person.reshape(-1)
    images = np.bincount(person)
    y = np.bincount(person, (hits & of)[among]) / images
    m = np.bincount(person, of[among]) / images
    people, total = int(np.count_nonzero(m)), float(m.sum())
    if not people:
        return Estimate(np.nan, np.nan, np.nan, 0, "Wilson, one vote per person", people=0)
    p = float(y.sum() / total)
    low, high = 0.0, 1.0
    if people > 1:
        spread = people / (people - 1) * float(np.sum((y - p * m) ** 2)) / total**2
        effective = p * (1 - p) / spread if spread > 0 and 0 < p < 1 else float(people)
        effective = min(effective, int(of.sum()))
        # Wilson's interval depends on quantile² / n alone, so Student's quantile goes in through n.
        student = float(student_quantile(confidence, people - 1))
        effective *= (normal_quantile(confidence) / student) ** 2
        low, high = (float(end) for end in wilson(p * effective, effective, confidence))
    return Estimate(
        p,
        low,
        high,
        n=int(np.count_nonzero(of)),
        method="Wilson, one vote per person",
        people=people,
        confidence=confidence,
    )


@dataclass(frozen=True, eq=False)
class Gaps:
    """k differences between the error of a group and that of the rest; all (k,).

    Attributes
    ----------
    left, right
        The group and the rest: error, standard error, people (or images).
    correlation
        Of the two errors, as some people have images on both sides.
    low, high
        Of the interval of left - right.
    n, rest_n
        Images on either side.
    """

    left: Side
    right: Side
    correlation: Floats
    low: Floats
    high: Floats
    n: NDArray[np.int64]
    rest_n: NDArray[np.int64]

    @property
    def value(self) -> Floats:
        """(k,) the differences."""
        return self.left.value - self.right.value


def gaps(
    hits: Marks,
    inside: Marks,
    outside: Marks,
    cluster: NDArray[Any] | None,
    confidence: float = 0.95,
) -> Gaps:
    """How much more often groups bear something than their rest, with intervals by person.

    The standard errors are linearised over people (Cochran 1977, §6.3), the intervals Newcombe's;
    see `candid.stats.significance`.

    Parameters
    ----------
    hits
        (n,) whether the image bears it: a mistake.
    inside, outside
        (n, k) the groups and their rests; an image may belong to neither.
    cluster
        (n,) the person of each image; None: every image counts as another person's.
    confidence
        Of the intervals.
    """
    cluster = np.arange(len(hits)) if cluster is None else cluster
    sides, parts = [], []
    for marks in (inside, outside):
        n = marks.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            p = (hits.astype(np.float64) @ marks) / n  # of bools, @ would be a bool
            part = sums_by_cluster(marks * (hits[:, None] - p) / n, cluster)  # (people, k)
        units = np.count_nonzero(sums_by_cluster(marks, cluster), axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt(units / (units - 1) * np.sum(part**2, axis=0))
        # A share of 0 or 1 has no spread, not one of a rounding.
        sides.append(Side(p, np.where((p == 0) | (p == 1), 0.0, spread), units))
        parts.append(part)
    left, right = sides
    with np.errstate(invalid="ignore", divide="ignore"):
        crossed = np.sum(parts[0] * parts[1], axis=0)
        size = np.sqrt(np.sum(parts[0] ** 2, axis=0) * np.sum(parts[1] ** 2, axis=0))
        correlation = np.where(size > 0, crossed / size, 0.0)
    low, high = difference_interval(left, right, correlation, confidence, score=True)
    return Gaps(left, right, correlation, low, high, inside.sum(axis=0), outside.sum(axis=0))


def with_bins(predictions: Predictions) -> Predictions:
    """The same predictions with every numeric attribute cut at its quartiles."""
    everything = np.arange(len(predictions))
    return replace(
        predictions,
        attributes={name: binned(a, everything) for name, a in predictions.attributes.items()},
    )
