"""Intervals of shares and means that know which images show one person.

Images of one person resemble each other, so an interval that counts images as independent is
too narrow. Everywhere `person` (n,) is the number of each image's person (or of whatever else was
drawn as a whole); None says that every image stands for itself. `confidence` is the share of such
intervals that hold the truth.

A share or a mean over images is a ratio of sums over people; its variance is linearised over the
people (Cochran 1977, §6.3). A share takes Wilson's interval at the effective sample size
p(1 - p) / variance (Korn & Graubard 1998; Dean & Pagano 2015), a mean a normal one, both with
Student's quantile of the people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from candid.arrays import BoolArray, FloatArray
from candid.records import Estimate

# --- quantiles and Wilson ------------------------------------------------------------------------


def normal_quantile(confidence: float) -> float:
    """How many standard deviations either way hold `confidence` of a normal distribution."""
    return float(ndtri((1 + confidence) / 2))


def student_quantile(confidence: float, freedom: ArrayLike) -> FloatArray:
    """Student's quantile, two-sided; infinite without a degree of freedom."""
    v = np.asarray(freedom, np.float64)
    exact: FloatArray = stdtrit(np.maximum(v, 1), (1 + confidence) / 2)
    return np.where(v >= 1, exact, np.inf)


def wilson(
    successes: ArrayLike, n: ArrayLike, confidence: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Wilson's score interval of a proportion (Wilson 1927), NaN where n is 0.

    Counts broadcast, and need not be whole (effective sample sizes).
    """
    n = np.asarray(n, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(n > 0, np.asarray(successes, np.float64) / n, np.nan)
    return wilson_limits(p, n, np.inf, normal_quantile(confidence))


def wilson_share(hits: int, n: int, confidence: float = 0.95) -> Estimate:
    """The share hits / n with its Wilson interval; NaN where n is 0."""
    low, high = wilson(hits, n, confidence)
    value = hits / n if n else math.nan
    return Estimate(value, float(low), float(high), n, "Wilson", confidence=confidence)


def effective_size(share: Any, variance: Any, units: Any) -> FloatArray:
    """The size of a simple random sample in which a share would have the same variance.

    One without any (no mistake at all) has one trial per unit.
    """
    room = np.maximum(share * (1 - share), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        size: FloatArray = np.where(variance > 0, room / variance, units)
    return size


def wilson_limits(
    p: ArrayLike, effective: ArrayLike, units: ArrayLike, quantile: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Wilson's interval of shares at an effective sample size, reaching `quantile` either way.

    `effective` is the size of a simple random sample with the same standard error, `units` how many
    people (or images) there are. NaN where the share is; (0, 1) where a single unit stands behind.
    """
    p, single = np.asarray(p, np.float64), np.asarray(units) < 2
    z2 = np.minimum(quantile, 1e6) ** 2 / np.maximum(effective, 1e-9)
    centre = (p + z2 / 2) / (1 + z2)
    half = np.sqrt(np.maximum(p * (1 - p) * z2 + z2**2 / 4, 0)) / (1 + z2)
    # At the ends the formula is exact on paper and off by one rounding in floats.
    low = np.where(single | (p <= 0), 0.0, np.maximum(centre - half, 0.0))
    high = np.where(single | (p >= 1), 1.0, np.minimum(centre + half, 1.0))
    return np.where(np.isnan(p), np.nan, low), np.where(np.isnan(p), np.nan, high)


# --- sums over people ----------------------------------------------------------------------------


def sums_by_person(values: NDArray[Any], person: NDArray[Any]) -> FloatArray:
    """(people, k) sums of the (n, k) rows of each person, in ascending order of their number."""
    if not len(values):
        return np.zeros((0, values.shape[1]))
    order = np.argsort(person, kind="stable")
    starts = np.flatnonzero(np.diff(person[order], prepend=person[order[0]] - 1))
    return np.add.reduceat(values[order], starts, axis=0, dtype=np.float64)


def linearise(above: FloatArray, below: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Σ above / Σ below of (people, k) sums, and how far each person moves it: (k,), (people, k).

    NaN where nothing stands below.
    """
    total = below.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(total != 0, above.sum(axis=0) / total, np.nan)
        return value, (above - value * below) / np.abs(total)


def linearised_error(moves: FloatArray, people: NDArray[np.int64]) -> FloatArray:
    """(k,) standard errors from how far (people, k) people move a figure; NaN for one person."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(people > 1, people / (people - 1), np.nan)
        error: FloatArray = np.sqrt(factor * np.sum(moves**2, axis=0))
    return error


# --- shares --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Shares:
    """k proportions with their intervals, and the images and people behind each; all (k,)."""

    value: FloatArray
    low: FloatArray
    high: FloatArray
    n: NDArray[np.int64]
    people: NDArray[np.int64]

    def estimates(self, method: str, *, by_person: bool, confidence: float) -> list[Estimate]:
        """As records."""
        return [
            Estimate(
                float(self.value[k]),
                float(self.low[k]),
                float(self.high[k]),
                n=int(self.n[k]),
                method=method,
                people=int(self.people[k]) if by_person else None,
                confidence=confidence,
            )
            for k in range(len(self.value))
        ]


def clustered_shares(
    hits: NDArray[Any],
    mask: NDArray[Any] | None = None,
    person: NDArray[Any] | None = None,
    confidence: float = 0.95,
) -> Shares:
    """Σ hits / Σ mask, in each of k columns of (n, k) or (n,) marks; None: every image counts.

    Hits outside `mask` must be False. A design effect below 1 counts as 1. A share of exactly 0 or
    1 has no variance to read the effect from: there every person counts as one image. NaN where
    nothing stands behind it; (0, 1) where a single person does.
    """
    hits = hits[:, None] if hits.ndim == 1 else hits
    mask = np.ones((len(hits), 1), np.bool_) if mask is None else mask
    mask = np.broadcast_to(mask[:, None] if mask.ndim == 1 else mask, hits.shape)
    n = np.count_nonzero(mask, axis=0)
    if person is not None:
        above, below = sums_by_person(hits, person), sums_by_person(mask, person)
        return _shares_of_sums(above, below, n, confidence)
    low, high = wilson(successes := np.count_nonzero(hits, axis=0), n, confidence)
    with np.errstate(invalid="ignore"):
        return Shares(successes / n, low, high, n, n)


def _shares_of_sums(
    above: FloatArray, below: FloatArray, n: NDArray[np.int64], confidence: float
) -> Shares:
    """Σ above / Σ below over people, where n images stand behind each."""
    people = np.count_nonzero(below, axis=0)
    p, moves = linearise(above, below)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective_sizes = p * (1 - p) / linearised_error(moves, people) ** 2
    effective = np.minimum(np.where((p > 0) & (p < 1), effective_sizes, people), n)
    low, high = wilson_limits(p, effective, people, student_quantile(confidence, people - 1))
    return Shares(p, low, high, n, people)


def wilson_shares(
    hits: BoolArray, mask: BoolArray | None, person: NDArray[Any] | None, confidence: float = 0.95
) -> list[Estimate]:
    """`clustered_shares` as records, where hits outside `mask` do not count."""
    shares = clustered_shares(hits if mask is None else hits & mask, mask, person, confidence)
    method = "Wilson" if person is None else "Wilson, effective size by person"
    return shares.estimates(method, by_person=person is not None, confidence=confidence)


def share(
    hits: BoolArray, mask: BoolArray, person: NDArray[Any] | None, confidence: float = 0.95
) -> Estimate:
    """The share Σ hits / Σ mask of (n,) marks."""
    return wilson_shares(hits[:, None], mask[:, None], person, confidence)[0]


def share_by_person(
    hits: BoolArray,
    mask: BoolArray,
    among: BoolArray,
    person: NDArray[Any],
    confidence: float = 0.95,
) -> Estimate:
    """The share Σ hits / Σ mask where every person counts once, whatever their number of images.

    That is the share for a person drawn at random and then one of their images `among` (n,), which
    holds all of `mask`: a ratio of sums over people of their mean hits and their mean `mask`.
    """
    marks = np.column_stack([(hits & mask)[among], mask[among], among[among]])
    above, below, images = sums_by_person(marks, person[among]).T[:, :, None]
    n = np.array([np.count_nonzero(mask)])
    shares = _shares_of_sums(above / images, below / images, n, confidence)
    return shares.estimates("Wilson, one vote per person", by_person=True, confidence=confidence)[0]


# --- means ---------------------------------------------------------------------------------------


def ratios(
    above: NDArray[Any],
    below: NDArray[Any] | None = None,
    person: NDArray[Any] | None = None,
    *,
    confidence: float = 0.95,
) -> list[Estimate]:
    """Σ above / Σ below over images, in each of k columns; `below` None: the mean.

    An image whose value (n, k) is NaN does not count. NaN without an image, or where all below are
    0; the interval is NaN for a single person.
    """
    y = np.asarray(above, np.float64)
    weight = np.ones_like(y) if below is None else np.asarray(below, np.float64)
    defined = np.isfinite(y) & np.isfinite(weight)
    units = np.arange(len(y)) if person is None else person
    sums = (sums_by_person(np.where(defined, x, 0.0), units) for x in (y, weight))
    people = np.count_nonzero(sums_by_person(defined, units), axis=0)
    value, moves = linearise(*sums)
    with np.errstate(invalid="ignore"):
        reach = student_quantile(confidence, people - 1) * linearised_error(moves, people)
    shares = Shares(value, value - reach, value + reach, np.count_nonzero(defined, axis=0), people)
    method = f"linearised by {'image' if person is None else 'person'}"
    return shares.estimates(method, by_person=person is not None, confidence=confidence)


def mean(
    values: NDArray[Any], person: NDArray[Any] | None = None, *, confidence: float = 0.95
) -> Estimate:
    """The mean of (n,) values over the images where it is defined."""
    return ratios(np.asarray(values)[:, None], None, person, confidence=confidence)[0]


def undefined_estimate(confidence: float) -> Estimate:
    """A figure without images: NaN."""
    return Estimate(math.nan, math.nan, math.nan, 0, "none", confidence=confidence)


def mean_over_seeds(values: Sequence[float], n: int, confidence: float = 0.95) -> Estimate:
    """The mean, with Student's interval over seeds; `n` images stand behind each value."""
    if not values:
        return Estimate(math.nan, math.nan, math.nan, n, "no seed")
    value, reach = float(np.mean(values)), math.nan
    if len(values) > 1:
        quantile = float(student_quantile(confidence, len(values) - 1))
        reach = quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    method = f"Student's t over {len(values)} seeds"
    return Estimate(value, value - reach, value + reach, n, method, confidence=confidence)


def mean_of_labels(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of a figure of several labels of the same images.

    Its interval is the mean of theirs: a mean's standard deviation is at most the mean of the
    standard deviations, as where all labels are right and wrong together.
    """
    if len(estimates) == 1:
        return estimates[0]
    value, low, high = np.mean([[e.value, e.low, e.high] for e in estimates], axis=0).tolist()
    people = [e.people for e in estimates if e.people is not None]
    return Estimate(
        value,
        low,
        high,
        n=max(e.n for e in estimates),
        method=f"the mean of {len(estimates)} labels, and of their intervals",
        people=max(people) if people else None,
        confidence=estimates[0].confidence,
    )


def mean_difference(
    values: NDArray[np.float32],
    first: BoolArray,
    second: BoolArray,
    person: NDArray[Any] | None = None,
    *,
    confidence: float = 0.95,
    block: int = 4096,
) -> tuple[FloatArray, FloatArray]:
    """The mean of (n, k) values over some images less that over others, and half its interval.

    `first` and `second` (n,) may hold the same person. (k,) NaN where one of them is empty; half an
    interval of NaN where a single person is behind. `block` columns at a time bound the memory.
    """
    k = values.shape[1]
    gap, half = np.full(k, np.nan), np.full(k, np.nan)
    if not (first.any() and second.any()):
        return gap, half
    either = first | second
    units = np.flatnonzero(either) if person is None else person[either]
    p, q = first[either] / first.sum(), second[either] / second.sum()
    people = np.asarray(len(np.unique(units)))
    quantile = float(student_quantile(confidence, people - 1))
    for start in range(0, k, block):
        columns = slice(start, start + block)
        chunk = values[either, columns].astype(np.float64)
        first_mean, second_mean = p @ chunk, q @ chunk
        moves = p[:, None] * (chunk - first_mean) - q[:, None] * (chunk - second_mean)
        gap[columns] = first_mean - second_mean
        half[columns] = quantile * linearised_error(sums_by_person(moves, units), people)
    return gap, half
