"""What holds exactly in finite samples: thresholds with a guarantee, bounds, a randomisation test.

The threshold whose answers are wrong no more often than asked for, and the limit of
split-conformal prediction sets, are the arithmetic behind abstention. What they promise, and for
whom, stands in `candid.auditing.abstention`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv, betaln

from candid.arrays import BoolArray, FloatArray

# The sequence of tests has at most so many steps, so a threshold is met to 1 in 50 of the images.
_MOST_STEPS = 50

# It begins where so many mistakes still pass (and at a quarter of the images at least), so that a
# single wrong label among the surest answers does not end it at once.
_MISTAKES_ALLOWED = 2

# From so many flips on, the sum of the signs is as good as normal (and takes no memory).
_MOST_EXACT = 20_000


def answering_threshold(
    score: FloatArray, wrong: BoolArray, target_error: float, confidence: float = 0.95
) -> float:
    """The lowest threshold whose answers are wrong in at most `target_error`, with a guarantee.

    `score` and `wrong` (n,) are of images that are independent of each other. With the probability
    `confidence` over draws of them, P(wrong | score ≥ threshold) is at most `target_error`,
    provided that this error does not fall as the threshold does. Candidates are the scores
    themselves at ranks that depend on n alone. Given the score that comes next below a candidate,
    the scores above it are independent draws again, so the number of mistakes among them is
    binomial and its tail an exact p-value. 0 where everything may be answered; NaN where nothing
    can be promised.
    """
    n = len(score)
    start = first_rank(n, target_error, confidence)
    if start > n:
        return math.nan
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    mistakes = np.concatenate([[0], np.cumsum(wrong[order])])
    threshold = math.nan
    for rank in np.unique(np.rint(np.linspace(start, n, _MOST_STEPS + 1)).astype(int)):
        next_score = ordered[rank] if rank < n else -math.inf
        # Only what lies strictly above the next score counts: fewer than `rank` where scores tie.
        answered = int(np.searchsorted(-ordered, -next_score, side="left"))
        if answered < start:
            continue
        if bdtr(int(mistakes[answered]), answered, target_error) > 1 - confidence:
            break
        threshold = float(np.nextafter(next_score, math.inf)) if rank < n else 0.0
    return threshold


def first_rank(n: int, target_error: float, confidence: float) -> int:
    """The rank at which testing begins, from n alone; more than n where nothing can be promised."""
    ranks = (fewest_answers(k, target_error, confidence) for k in range(_MISTAKES_ALLOWED + 1))
    possible = [rank for rank in ranks if rank <= n]
    return max(possible[-1], n // 4) if possible else n + 1


def fewest_answers(mistakes: int, target_error: float, confidence: float = 0.95) -> int:
    """The fewest answers with so many mistakes that show the error to be at most the target.

    The least n with P(Binomial(n, target_error) ≤ mistakes) ≤ 1 - confidence; 299 for no mistake
    at 1% and 95%.
    """
    low, high = mistakes, mistakes + 1
    while bdtr(mistakes, high, target_error) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if bdtr(mistakes, middle, target_error) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def binomial_bounds(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """One-sided bounds of a binomial chance, each right with the probability `confidence` at least.

    Clopper & Pearson (1934): the chance at which so many hits or more have the probability 1 -
    `confidence`, and that at which so many or fewer have. 0 and 1 where nothing was tried.
    """
    low = float(betaincinv(hits, n - hits + 1, 1 - confidence)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, confidence)) if hits < n else 1.0
    return low, high


def exceedance_p(flagged: int, n: int, checked: int, share: float) -> float:
    """The chance that so many of n new images or more lie above a conformal limit, or a higher one.

    The limit is the ⌈(checked + 1)(1 - share)⌉-th smallest of `checked` scores that are
    exchangeable with those of the new images; it is random too, so the number above it is
    beta-binomial (Vovk 2012). 1 where there is no limit.
    """
    rank = math.ceil((checked + 1) * (1 - share))
    if rank > checked or not flagged:
        return 1.0
    a, b = checked - rank + 1, rank
    fewer = np.arange(flagged)
    log_chance = (
        -betaln(fewer + 1.0, n - fewer + 1.0)
        - math.log(n + 1)
        + betaln(fewer + a, n - fewer + b)
        - betaln(a, b)
    )
    return float(np.clip(1 - np.exp(log_chance).sum(), 0.0, 1.0))


def conformal_threshold(score: FloatArray, target_miss: float) -> float:
    """The least probability of a class that belongs in a split-conformal prediction set.

    Sets of the classes with at least this probability hold the label in at least 1 - `target_miss`
    of new images that are exchangeable with these, on average over calibrations: with the misfit 1
    - score, (n,) of each label, its ⌈(n + 1)(1 - target_miss)⌉-th smallest is the limit. 0 where
    there are too few images to leave any class out.
    """
    n = len(score)
    rank = math.ceil((n + 1) * (1 - target_miss) - 1e-9)  # less what floats add to whole numbers
    return 0.0 if rank > n else float(np.sort(score)[n - rank])


def randomisation_p(balance: NDArray[np.int64]) -> float:
    """Two-sided p of the sum of `balance`, if each entry might as well have the other sign.

    So it might where neither of two models is better and an entry is how many of a person's images
    are gained less lost; McNemar's exact test (1947) where nobody has more than one image. Exact:
    the distribution of the sum is the convolution of one binomial distribution for each size of an
    entry. Above 20,000 in all it is the normal approximation.
    """
    size = np.abs(balance[balance != 0])
    reach, total = abs(int(balance.sum())), int(size.sum())
    if not total:
        return 1.0
    if total > _MOST_EXACT:
        return math.erfc(reach / math.sqrt(2 * float(np.sum(size.astype(np.float64) ** 2))))
    probability = np.ones(1)
    for entry, times in zip(*np.unique(size, return_counts=True), strict=True):
        steps = np.zeros(2 * int(entry) * int(times) + 1)
        steps[:: 2 * int(entry)] = _fair_binomial(int(times))
        probability = np.convolve(probability, steps)
    extreme = np.abs(np.arange(-total, total + 1)) >= reach
    return float(min(probability[extreme].sum(), 1.0))


def _fair_binomial(n: int) -> FloatArray:
    """Chances of 0, …, n heads of a fair coin."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    chances: FloatArray = np.exp(
        log_factorial[n] - log_factorial - log_factorial[::-1] - n * math.log(2)
    )
    return chances
