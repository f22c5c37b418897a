"""Thresholds with a guarantee for finite samples: the arithmetic behind abstention.

The threshold whose answers are wrong no more often than asked for, and the limit of
split-conformal prediction sets. What they promise, and for whom, stands in
`candid.auditing.abstention`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]

# The sequence of tests has at most so many steps, so a threshold is met to 1 in 50 of the images.
_STEPS = 50

# It begins where so many mistakes still pass (and at a quarter of the images at least), so that a
# single wrong label among the surest answers does not end it at once.
_BEARS = 2


def answering_threshold(
    score: Floats, wrong: Marks, target_error: float, confidence: float = 0.95
) -> float:
    """The lowest threshold whose answers are wrong in at most `target_error`, with a guarantee.

    With the probability `confidence` over draws of independent images, P(wrong | score ≥ threshold)
    is at most `target_error`, provided that this error does not fall as the threshold does.
    Candidates are the scores themselves at ranks that depend on n alone. Given the score that comes
    next below a candidate, the scores above it are independent draws again, so the number of
    mistakes among them is binomial and its tail an exact p-value.

    Parameters
    ----------
    score
        (n,) how sure each answer is, of images that are independent of each other.
    wrong
        (n,) whether it is wrong.
    target_error, confidence
        Shares between 0 and 1.

    Returns
    -------
    0 where everything may be answered; NaN where nothing can be promised.
    """
    n = len(score)
    start = first_rank(n, target_error, confidence)
    if start > n:
        return math.nan
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    mistakes = np.concatenate([[0], np.cumsum(wrong[order])])
    threshold = math.nan
    for rank in np.unique(np.rint(np.linspace(start, n, _STEPS + 1)).astype(int)):
        below = ordered[rank] if rank < n else -math.inf
        # Only what lies strictly above the next score counts: fewer than `rank` where scores tie.
        answered = int(np.searchsorted(-ordered, -below, side="left"))
        if answered < start:
            continue
        if bdtr(int(mistakes[answered]), answered, target_error) > 1 - confidence:
            break
        threshold = float(np.nextafter(below, math.inf)) if rank < n else 0.0
    return threshold


def first_rank(n: int, target_error: float, confidence: float) -> int:
    """The rank at which testing begins, from n alone; more than n where nothing can be promised."""
    least = [fewest(bears, target_error, confidence) for bears in range(_BEARS + 1)]
    possible = [rank for rank in least if rank <= n]
    return max(possible[-1], n // 4) if possible else n + 1


def fewest(mistakes: int, target_error: float, confidence: float = 0.95) -> int:
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


def conformal_least(score: Floats, target_miss: float) -> float:
    """The least probability of a class that belongs in a split-conformal prediction set.

    Sets of the classes with at least this probability hold the label in at least 1 - `target_miss`
    of new images that are exchangeable with these, on average over calibrations: with the misfit
    1 - score, its ⌈(n + 1)(1 - target_miss)⌉-th smallest is the limit.

    Parameters
    ----------
    score
        (n,) the probability of each image's label.
    target_miss
        Share of the sets that may miss.

    Returns
    -------
    0 where there are too few images to leave any class out.
    """
    n = len(score)
    rank = math.ceil((n + 1) * (1 - target_miss) - 1e-9)  # less what floats add to whole numbers
    return 0.0 if rank > n else float(np.sort(score)[n - rank])
