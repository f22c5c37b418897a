"""A number predicted as a distribution: bins, soft labels, mean, quantiles, honest intervals.

A network gives a probability for each of some ordered bins (n, bins). It learns from soft labels:
a value is a normal distribution around itself, of which each bin has its part (label distribution
learning: Gao et al. 2017, "Deep label distribution learning with label ambiguity"; bins that share
a normal distribution as in Imani & White 2018, "Improving regression performance with
distributional losses"). Within a bin probability lies evenly, so the cumulative distribution is
piecewise linear and has an inverse.

An interval holds the truth as often as it says, whatever the network believes, as far as new images
are like those it was calibrated on: split-conformal prediction with the score |F(y) − 1/2|, where F
is the predicted cumulative distribution (Chernozhukov, Wüthrich & Zhu 2021, "Distributional
conformal prediction"). That it does so for every group is not promised, and is to be measured.

It can be made to do so for every range of the true value: each range then has a reach of its own,
from the images whose true value lies there, and an interval spans all values that are held by their
own range's reach (label-conditional conformal prediction: Vovk 2012, "Conditional validity of
inductive conformal predictors"; that the values between are held, too, can only add). The price is
width where few values lie: a network rightly expects few of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from candid.arrays import FloatArray
from candid.stats.metrics import running_sums

MOST_BINS = 128
_SOFT_WIDTH = 0.1  # of the spread of the values in train: the soft label's standard deviation
_LEVELS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 7 / 8, 15 / 16)
_NORMAL_QUARTILES = 1.349  # standard deviations between the quartiles of a normal distribution


@dataclass(frozen=True, eq=False)
class NumberScale:
    """The bins of a number, and the values that its codes stand for."""

    values: FloatArray  # (k,) the different values of the data, ascending
    centres: FloatArray  # (bins,) the values that the bins stand for, ascending
    quartiles: tuple[float, float, float]  # of the training values
    width: float  # the standard deviation of a soft label

    @property
    def median(self) -> float:
        """Of the training values."""
        return self.quartiles[1]

    @property
    def bins(self) -> int:
        """How many there are."""
        return len(self.centres)

    @cached_property
    def soft_labels(self) -> FloatArray:
        """(k, bins) what each value's normal distribution gives to each bin; rows sum to 1.

        The outermost bins have all that lies beyond them.
        """
        inner = (self.centres[1:] + self.centres[:-1]) / 2
        below = ndtr((inner - self.values[:, None]) / self.width)
        ends = np.zeros((len(self.values), 1)), np.ones((len(self.values), 1))
        return np.diff(np.concatenate([ends[0], below, ends[1]], axis=1), axis=1)


def fit_scale(values: FloatArray, train: FloatArray) -> NumberScale:
    """The scale of some different values of which `train` (n,) were seen in training.

    Up to `MOST_BINS` different numbers in train have a bin each; of more, as many of their
    quantiles, so that no bin is empty and a few outliers do not take the bins of all others. Soft
    labels are a tenth as wide as the training values spread, by their quartiles (by their standard
    deviation where these are one); the ages of UTKFace: 1.6 years, and DLDL took 2.
    """
    distinct = np.unique(train)
    if len(distinct) > MOST_BINS:
        middles = (np.arange(MOST_BINS) + 0.5) / MOST_BINS
        distinct = np.unique(np.quantile(train, middles))
    low, median, high = np.quantile(train, [0.25, 0.5, 0.75]).tolist()
    spread = (high - low) / _NORMAL_QUARTILES or float(np.std(train))
    if len(distinct) < 2 or spread <= 0:
        raise ValueError(f"no two different values among {len(train)}")
    return NumberScale(values, distinct, (low, median, high), _SOFT_WIDTH * spread)


def bin_edges(centres: FloatArray) -> FloatArray:
    """(bins + 1,) where bins begin and end: half way between centres, and as far beyond them."""
    inner = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - inner[0], 2 * centres[-1] - inner[-1]
    return np.concatenate([[first], inner, [last]])


def mean_of(probability: FloatArray, centres: FloatArray) -> FloatArray:
    """(n,) means of distributions (n, bins)."""
    return probability @ centres


def cumulative_at(probability: FloatArray, centres: FloatArray, value: FloatArray) -> FloatArray:
    """(n,) how much of each distribution (n, bins) lies at or below each value (n,)."""
    edges, sums = bin_edges(centres), _cumulative(probability)
    index = np.clip(np.searchsorted(edges, value, side="right") - 1, 0, len(centres) - 1)
    rows = np.arange(len(value))
    share = np.clip((value - edges[index]) / (edges[index + 1] - edges[index]), 0, 1)
    cumulative: FloatArray = sums[rows, index] + share * probability[rows, index]
    return np.clip(cumulative, 0, 1)


def quantile_of(
    probability: FloatArray, centres: FloatArray, level: float | FloatArray
) -> FloatArray:
    """(n,) the values below which so much (from 0 to 1) of each distribution (n, bins) lies."""
    edges, sums = bin_edges(centres), _cumulative(probability)
    levels = np.broadcast_to(np.asarray(level, np.float64), len(probability))
    index = (sums[:, 1:] < levels[:, None]).sum(axis=1).clip(max=len(centres) - 1)
    rows = np.arange(len(probability))
    mass = probability[rows, index]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(mass > 0, (levels - sums[rows, index]) / mass, 0.0)
    quantiles: FloatArray = edges[index] + np.clip(share, 0, 1) * (edges[index + 1] - edges[index])
    return quantiles


def conformal_reach(
    probability: FloatArray, centres: FloatArray, value: FloatArray, coverage: float
) -> float:
    """How far from 1/2 the cumulative distribution may be at a value that an interval holds.

    The ⌈(n + 1) · coverage⌉-th smallest of |F(value) − 1/2| over n images, whose distributions are
    (n, bins) and whose values (n,); 1/2, which is all there is, where n is too small for that.
    """
    score = np.sort(np.abs(cumulative_at(probability, centres, value) - 0.5))
    rank = math.ceil((len(score) + 1) * coverage)
    return 0.5 if rank > len(score) else float(score[rank - 1])


def reaches_by_range(
    probability: FloatArray, centres: FloatArray, value: FloatArray, coverage: float
) -> tuple[FloatArray, FloatArray]:
    """The (k,) edges between ranges of the true value, and the (k + 1,) reach of each.

    Ranges are halves, quarters, eighths and sixteenths of the n values, finer towards both ends,
    as far as each has twice the images that a reach needs; a value on an edge is the upper range's.
    """
    least = 2 * math.ceil(1 / (1 - coverage) - 1e-9)
    edges: list[float] = []
    for edge in np.unique(np.quantile(value, _LEVELS)).tolist():
        below = value >= edges[-1] if edges else np.ones(len(value), np.bool_)
        if min(np.count_nonzero(below & (value < edge)), np.count_nonzero(value >= edge)) >= least:
            edges.append(edge)
    bounds = np.array(edges)
    index = np.searchsorted(bounds, value, side="right")
    reaches = [
        conformal_reach(probability[index == k], centres, value[index == k], coverage)
        for k in range(len(bounds) + 1)
    ]
    return bounds, np.array(reaches)


def interval_by_range(
    probability: FloatArray, centres: FloatArray, edges: FloatArray, reaches: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(n,) the ends of what spans the values that the reach of their own range holds.

    `edges` and `reaches` are as `reaches_by_range` gives them.
    """
    low, high = np.full(len(probability), np.inf), np.full(len(probability), -np.inf)
    begins, ends = np.append(-np.inf, edges), np.append(edges, np.inf)
    for begin, end, reach in zip(begins, ends, reaches, strict=True):
        first, last = interval_of(probability, centres, float(reach))
        first, last = np.maximum(first, begin), np.minimum(last, end)
        nonempty = first <= last
        low = np.where(nonempty, np.minimum(low, first), low)
        high = np.where(nonempty, np.maximum(high, last), high)
    return low, high


def interval_of(
    probability: FloatArray, centres: FloatArray, reach: float
) -> tuple[FloatArray, FloatArray]:
    """(n,) the ends of what lies within `reach` of the median, in probability."""
    low = quantile_of(probability, centres, 0.5 - reach)
    return low, quantile_of(probability, centres, 0.5 + reach)


def _cumulative(probability: FloatArray) -> FloatArray:
    """(n, bins + 1) running sums, from 0 to exactly 1."""
    sums = running_sums(probability)
    sums[:, -1] = np.maximum(sums[:, -1], 1.0)
    return sums
