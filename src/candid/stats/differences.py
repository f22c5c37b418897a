"""How surprising a difference would be by chance: intervals, p-values, power.

Everything is vectorised over comparisons and takes the standard errors that a bootstrap (or a
closed form) gave for either side, and their correlation. The interval's form is Newcombe's (1998)
hybrid score interval: each side's own interval (Wilson's, at the effective sample size) is found
first, and the difference's limits are made from the distances to them (MOVER), with the
correlation of the sides taken into account (Zou 2007). Unlike value ± quantile · standard error it
knows that a side without a mistake is not a side without doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, erfc, ndtri

from candid.arrays import BoolArray, CountArray, FloatArray
from candid.records import Estimate
from candid.stats.intervals import (
    effective_size,
    linearise,
    linearised_error,
    normal_quantile,
    sums_by_person,
    wilson_limits,
)


@dataclass(frozen=True, eq=False)
class Side:
    """One side of k comparisons: figures (k,), their standard errors, people (or images) behind.

    For a figure that is a share moved by something steadier (overconfidence is the share of
    mistakes less the doubt that was owned up to), `share` is that share.
    """

    value: FloatArray
    spread: FloatArray
    units: CountArray
    share: FloatArray | None = None

    def __getitem__(self, index: Any) -> Side:
        """The given comparisons."""
        share = None if self.share is None else self.share[index]
        return Side(self.value[index], self.spread[index], self.units[index], share)

    @property
    def effective(self) -> FloatArray:
        """(k,) as `effective_size`."""
        return np.maximum(effective_size(self.value, self.spread**2, self.units), 1e-9)


# --- intervals -----------------------------------------------------------------------------------


def score_interval(side: Side, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Wilson's interval at the effective sample size, with Student's quantile of the units.

    For figures from 0 to 1. NaN where undefined, (0, 1) where a single unit stands behind it.
    """
    return _score_limits(side, normal_quantile(confidence))


def mean_interval(side: Side, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Value ± Student's quantile · standard error; infinite ends where one unit is behind it.

    Where the side has a `share`, the ends are as far away as those of the share's score interval:
    what is rare makes the figure skewed, and far from normal where a handful of mistakes decide.
    """
    return _mean_limits(side, normal_quantile(confidence))


def difference_interval(
    left: Side, right: Side, correlation: FloatArray, confidence: float, *, score: bool
) -> tuple[FloatArray, FloatArray]:
    """Limits of left - right by MOVER, from each side's own interval.

    `correlation` (k,) is that of the sides' figures: some people may have images in both. `score`
    says that the figures go from 0 to 1; then each side's interval is Wilson's.
    """
    return _mover_limits(left, right, correlation, normal_quantile(confidence), score=score)


def independent_difference(left: Estimate, right: Estimate) -> Estimate:
    """The difference left - right of figures of two samples that have nobody in common, by MOVER.

    Each side's own interval says how far its limits are from the figure; `n` and `people` are the
    left side's. NaN where a side is undefined.
    """
    below = math.hypot(left.value - left.low, right.high - right.value)
    above = math.hypot(left.high - left.value, right.value - right.low)
    value = left.value - right.value
    return Estimate(
        value=value,
        low=value - below,
        high=value + above,
        n=left.n,
        method=f"difference of independent samples, {left.method}",
        people=left.people,
        draws=left.draws,
        undefined_draws=max(left.undefined_draws, right.undefined_draws),
        confidence=left.confidence,
    )


def ratio_interval(left: Side, right: Side, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Limits of left / right, both from 0 to 1, by MOVER for ratios (Donner & Zou 2012, eq. 9)."""
    l1, u1 = score_interval(left, confidence)
    l2, u2 = score_interval(right, confidence)
    p1, p2 = left.value, right.value
    product = p1 * p2
    with np.errstate(divide="ignore", invalid="ignore"):
        inner_low = product**2 - l1 * u2 * (2 * p1 - l1) * (2 * p2 - u2)
        inner_high = product**2 - u1 * l2 * (2 * p1 - u1) * (2 * p2 - l2)
        low = (product - np.sqrt(np.maximum(inner_low, 0))) / (u2 * (2 * p2 - u2))
        high = (product + np.sqrt(np.maximum(inner_high, 0))) / (l2 * (2 * p2 - l2))
    low = np.where(np.isfinite(low) & (low > 0), low, 0.0)
    high = np.where(np.isfinite(high) & (l2 > 0), high, np.inf)
    undefined = ~(np.isfinite(p1) & (p2 > 0))
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def _mover_limits(
    left: Side, right: Side, correlation: FloatArray, z: Any, *, score: bool
) -> tuple[FloatArray, FloatArray]:
    ends = []
    for side in (left, right):
        low, high = (_score_limits if score else _mean_limits)(side, z)
        ends.append((side.value - low, high - side.value))
    (below1, above1), (below2, above2) = ends
    difference = left.value - right.value
    r = np.nan_to_num(correlation)
    low = difference - _hypot(below1, above2, r)
    high = difference + _hypot(above1, below2, r)
    if score:
        low, high = np.maximum(low, -1.0), np.minimum(high, 1.0)
    return low, high


def _hypot(a: FloatArray, b: FloatArray, r: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", over="ignore"):
        square = a**2 + b**2 - 2 * r * a * b
        root: FloatArray = np.sqrt(np.maximum(square, 0.0))
    # One unit on a side says nothing: that side's reach has no end, whatever the other's.
    return np.where(np.isinf(a) | np.isinf(b), np.inf, root)


def _score_limits(side: Side, z: Any) -> tuple[FloatArray, FloatArray]:
    undefined = np.isnan(side.spread) & (side.units > 1)
    value = np.where(undefined, np.nan, side.value)
    quantile = approximate_student(z, side.units - 1)
    return wilson_limits(value, side.effective, side.units, quantile)


def _mean_limits(side: Side, z: Any) -> tuple[FloatArray, FloatArray]:
    quantile = approximate_student(z, side.units - 1)
    reach: FloatArray = np.where(side.units < 2, np.inf, quantile * side.spread)
    below = above = reach
    if side.share is not None:
        share = side.share
        inner = (share > 0) & (share < 1)
        # Without a mistake (or a right answer) there is one trial per unit, as for any share.
        low, high = _score_limits(Side(share, np.where(inner, side.spread, 0.0), side.units), z)
        several = side.units > 1
        below = np.where(several & (share > 0), share - low, reach)
        above = np.where(several & (share < 1), high - share, reach)
    return side.value - below, side.value + above


def approximate_student(z: Any, freedom: Any) -> FloatArray:
    """Student's quantile where the normal one is `z`, by Wallace's (1959) transformation.

    Within 0.6% of the exact one at 95% from 4 degrees of freedom on, too large with fewer.
    """
    v = np.maximum(np.asarray(freedom, np.float64), 1.0)
    scaled = np.minimum((z * (8 * v + 3) / (8 * v + 1)) ** 2 / v, 500.0)
    t: FloatArray = np.sqrt(v * np.expm1(scaled))
    return t


# --- p-values ------------------------------------------------------------------------------------


def difference_p(
    left: Side, right: Side, correlation: FloatArray, *, score: bool, z: FloatArray | None = None
) -> FloatArray:
    """Two-sided p of "no difference": 1 less the confidence whose interval would just touch 0.

    Where the figures are scores, the larger of that and twice the exact tail, because the smaller
    side may hold so few mistakes that no smooth interval is right in its tails. `z` is the
    `touching_quantile`, where it is known already. NaN where a side is undefined or has under two
    units.
    """
    z = touching_quantile(left, right, correlation, score=score) if z is None else z
    p = _two_sided(z)
    return np.maximum(p, _exact_p(left, right)) if score else p


def touching_quantile(
    left: Side, right: Side, correlation: FloatArray, *, score: bool
) -> FloatArray:
    """(k,) the normal quantile at which the interval of left - right would just touch 0."""
    difference = left.value - right.value
    defined = np.isfinite(difference) & np.isfinite(left.spread) & np.isfinite(right.spread)
    defined &= (left.units > 1) & (right.units > 1)

    def covers_zero(z: FloatArray) -> BoolArray:
        lower, upper = _mover_limits(left, right, correlation, z, score=score)
        excludes_zero: BoolArray = (np.where(difference > 0, lower, -upper) > 0) & (difference != 0)
        return ~excludes_zero

    start = np.zeros(len(difference)), np.full(len(difference), 40.0)
    return np.where(defined, bisect(covers_zero, *start, steps=34)[0], np.nan)  # to 2e-9


def bisect(
    reached: Callable[[FloatArray], BoolArray], low: FloatArray, high: FloatArray, *, steps: int
) -> tuple[FloatArray, FloatArray]:
    """(k,) ends around where k searches are `reached` first, from below, after halving so often."""
    for _ in range(steps):
        middle = (low + high) / 2
        is_reached = reached(middle)
        low, high = np.where(is_reached, low, middle), np.where(is_reached, middle, high)
    return low, high


def _exact_p(left: Side, right: Side) -> FloatArray:
    """Twice the tail of how the mistakes of both sides fall to the smaller one.

    Given all mistakes, their number on one of two sides is hypergeometric. Its tail is that of the
    nearer of two binomials (the mistakes that fall to the side, or the side's images that are
    mistaken), whose surprise is then brought from the binomial's variance to the hypergeometric's.
    """
    n1, n2 = left.effective, right.effective
    with np.errstate(invalid="ignore", divide="ignore"):
        # The rarer outcome is what is counted: mistakes, unless most images are mistaken.
        pooled = (n1 * left.value + n2 * right.value) / (n1 + n2)
        flip = pooled > 0.5
        rate = np.clip(np.where(flip, 1 - pooled, pooled), 0, 1)
        smaller = n1 <= n2
        n, share = np.minimum(n1, n2), np.minimum(n1, n2) / (n1 + n2)
        value = np.where(smaller, left.value, right.value)
        x = n * np.where(flip, 1 - value, value)
        by_mistakes = share > rate
        trials = np.where(by_mistakes, (n1 + n2) * rate, n)
        chance = np.where(by_mistakes, share, rate)
        tail = np.where(
            x >= n * rate,
            betainc(np.maximum(x, 1e-12), np.maximum(trials - x, 0) + 1, chance),
            1 - betainc(x + 1, np.maximum(trials - x, 1e-12), chance),
        )
        z = -ndtri(np.clip(tail, 1e-300, 0.5)) / np.sqrt(1 - np.minimum(share, rate))
    return _two_sided(z)


def _two_sided(z: FloatArray) -> FloatArray:
    p: FloatArray = erfc(z / math.sqrt(2))
    return p


# --- power ----------------------------------------------------------------------------------------

POWER = 0.8  # how often a difference is seen that is said to be visible


def smallest_visible(
    left: Side, right: Side, correlation: FloatArray, threshold: float, worse: Any = None
) -> FloatArray:
    """(k,) the size of difference that would reach the p `threshold` in `POWER` of cases.

    `worse`, for scores: 1 where a higher score is worse for the left side (an error), -1 where a
    lower one is; the right side's score plus the difference must stay within 0 and 1, and the
    spread grows with it. None: any real figure, whose spread stays. NaN where even the largest
    difference would be missed, or a side is undefined.
    """
    if not threshold > 0:
        return np.full(len(left.value), np.nan)
    z_alpha, z_power = normal_quantile(1 - threshold), normal_quantile(2 * POWER - 1)
    t = approximate_student(z_alpha, np.minimum(left.units, right.units) - 1)
    if worse is None:
        variance = left.spread**2 + right.spread**2 - 2 * correlation * left.spread * right.spread
        return (t + z_power) * np.sqrt(np.maximum(variance, 0))
    base = np.where(np.asarray(worse) > 0, right.value, 1 - right.value)  # an error
    n1, n2 = left.effective, right.effective
    widest = np.maximum(1 - base, 0.0)

    def is_visible(difference: FloatArray) -> BoolArray:
        raised = base + difference
        pooled = (n1 * raised + n2 * base) / (n1 + n2)
        null_error = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
        error = np.sqrt(raised * (1 - raised) / n1 + base * (1 - base) / n2)
        # The exact tail asks for more: Cornish and Fisher's term for the skewness of a
        # hypergeometric number, and half a mistake because mistakes are whole.
        share = n1 / (n1 + n2)
        skew = (1 - 2 * share) * (1 - 2 * pooled) * (z_alpha**2 - 1) / 6 + 0.5
        visible: BoolArray = difference >= t * null_error + z_power * error + skew / (
            n1 * (1 - share)
        )
        return visible

    with np.errstate(invalid="ignore"):
        # Where all of the others are mistaken, none can be more often.
        possible = is_visible(widest) & np.isfinite(base) & (widest > 0)
        smallest = bisect(is_visible, np.zeros(len(base)), widest, steps=50)[1]
    return np.where(possible, smallest, np.nan)


# --- differences of errors -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Gaps:
    """k differences between the error of a group and that of the rest."""

    left: Side
    right: Side
    correlation: FloatArray
    low: FloatArray
    high: FloatArray
    n: CountArray
    rest_n: CountArray

    @property
    def value(self) -> FloatArray:
        """(k,) the differences."""
        return self.left.value - self.right.value


def error_gaps(
    hits: BoolArray,
    inside: BoolArray,
    outside: BoolArray,
    person: NDArray[Any] | None,
    confidence: float = 0.95,
) -> Gaps:
    """How much more often groups bear something (a mistake) than their rest.

    The standard errors are linearised over people (Cochran 1977, §6.3), the intervals Newcombe's.
    An image may belong to neither of `inside` and `outside` (n, k).
    """
    person = np.arange(len(hits)) if person is None else person
    wrong = hits[:, None]
    sides, moves = [], []
    for marks in (inside, outside):
        images = sums_by_person(marks, person)  # (people, k)
        p, move = linearise(sums_by_person(marks & wrong, person), images)
        units = np.count_nonzero(images, axis=0)
        # A share of 0 or 1 has no spread, not one of a rounding.
        spread = np.where((p == 0) | (p == 1), 0.0, linearised_error(move, units))
        sides.append(Side(p, spread, units))
        moves.append(move)
    (left, right), (left_moves, right_moves) = sides, moves
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.sqrt(np.sum(left_moves**2, axis=0) * np.sum(right_moves**2, axis=0))
        correlation = np.where(size > 0, np.sum(left_moves * right_moves, axis=0) / size, 0.0)
    low, high = difference_interval(left, right, correlation, confidence, score=True)
    return Gaps(left, right, correlation, low, high, inside.sum(axis=0), outside.sum(axis=0))
