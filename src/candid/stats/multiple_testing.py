"""Many looks at once: how many of the differences that were found may be false."""

from __future__ import annotations

import math

import numpy as np

from candid.arrays import BoolArray, FloatArray, IndexArray


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Benjamini and Hochberg's (1995) adjusted p-values; NaN stay NaN and do not count."""
    out = np.full(len(p), np.nan)
    order = _sort(p)
    raised = p[order] * len(order) / np.arange(1, len(order) + 1)
    out[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return out


def _sort(p: FloatArray) -> IndexArray:
    """The indices of all p-values but NaN, the smallest first."""
    return np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]


def holm(p: FloatArray) -> FloatArray:
    """Holm's (1979) adjusted p-values, so that "found" is false anywhere with at most the rate.

    NaN stay NaN and do not count.
    """
    out = np.full(len(p), np.nan)
    order = _sort(p)
    raised = p[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return out


def cutoff(p: FloatArray, rate: float) -> float:
    """The p up to which Benjamini and Hochberg's procedure says "found", at a false discovery rate.

    Where nothing is found: the p that the first one would have needed; NaN without a p-value.
    """
    defined = p[~np.isnan(p)]
    if not len(defined):
        return math.nan
    n_found = int(np.count_nonzero(benjamini_hochberg(defined) <= rate))
    return rate * max(n_found, 1) / len(defined)


def over_families(smallest: FloatArray, rate: float) -> tuple[BoolArray, float]:
    """Several families of tests, each corrected by itself, judged together.

    A family is selected where Benjamini and Hochberg's procedure over the families' Simes p-values
    finds it; within those, a test holds whose adjusted p is at most `rate` times their share of all
    families. Then the share of false findings, averaged over the selected families, is at most
    `rate`, where families are independent (Benjamini & Bogomolov 2014, Theorem 1).

    Parameters
    ----------
    smallest
        (k,) the smallest adjusted p-value of each family, which is its Simes p-value; NaN: a family
        in which nothing was tested, which does not count.
    rate
        The false discovery rate.

    Returns
    -------
    (k,) which families are selected, and the level within them; NaN where none is.
    """
    selected = benjamini_hochberg(smallest) <= rate
    share = int(selected.sum()) / max(1, int((~np.isnan(smallest)).sum()))
    return selected, rate * share if selected.any() else math.nan
