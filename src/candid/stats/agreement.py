"""How far two labellings, or two sets, agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray
from candid.records import Estimate
from candid.stats.bootstrap import FigureSpec, Resample, estimate, resample
from candid.stats.intervals import wilson_share


def cohen_kappa(counts: FloatArray) -> FloatArray:
    """(...) Cohen's kappa (1960) of (..., k, k) counts: how often one said i and the other j.

    1 where they always agree, 0 where no more than chance would. NaN without a count, or where both
    only ever say the same one thing.
    """
    total = counts.sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = counts / total[..., None, None]
        observed = np.trace(share, axis1=-2, axis2=-1)
        chance = (share.sum(axis=-1) * share.sum(axis=-2)).sum(axis=-1)
        kappa: FloatArray = np.where(chance < 1 - 1e-12, (observed - chance) / (1 - chance), np.nan)
    return kappa


def jaccard(a: BoolArray, b: BoolArray) -> float:
    """Jaccard's index of two sets, 0 to 1; 0 where both are empty."""
    either = int(np.sum(a | b))
    return int(np.sum(a & b)) / either if either else 0.0


def measure_agreement(
    first: Sequence[str],
    second: Sequence[str],
    *,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Estimate, Estimate]:
    """The share of images on which two agree, with Wilson's interval; and their kappa.

    `first` and `second` are (n,) what each says. The interval of kappa is normal, with the standard
    error of a bootstrap by image, and ends at 1 at most.
    """
    n = len(first)
    a, b = np.asarray(first, np.str_), np.asarray(second, np.str_)
    same = int(np.count_nonzero(a == b))
    resampling = resample(n, draws=draws, seed=seed, confidence=confidence)
    return wilson_share(same, n, confidence), _kappa(a, b, resampling)


def _kappa(a: NDArray[np.str_], b: NDArray[np.str_], resampling: Resample) -> Estimate:
    n = len(a)
    if not n:
        nan = math.nan
        return Estimate(nan, nan, nan, 0, resampling.method, confidence=resampling.confidence)
    words, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    k = len(words)
    cell = codes.reshape(-1)[:n] * k + codes.reshape(-1)[n:]
    occupied, cell = np.unique(cell, return_inverse=True)  # few of k² cells have a count
    cells = (cell.reshape(-1)[:, None] == np.arange(len(occupied))).astype(np.int64)

    def kappa(sums: FloatArray) -> dict[str, Any]:
        counts = np.zeros((len(sums), k * k))
        counts[:, occupied] = sums
        return {"kappa": cohen_kappa(counts.reshape(-1, k, k))}

    value, replicates = resampling.evaluate_sums(cells, kappa)
    spec = FigureSpec("mean", (np.ones(n, np.bool_),))
    result = estimate(value["kappa"], replicates["kappa"], spec, resampling)
    return replace(result, low=max(-1.0, result.low), high=min(1.0, result.high))
