"""Figures over seeds and people at once: what another seed and other people would have changed.

A figure is measured with each of S seeds on the same images of P people. Seeds and people are
crossed: every seed answers every image. The variance of the mean over seeds has then three parts,
σ²(seeds) / S + σ²(people) / P + σ²(seeds x people) / (S P). The variance of the S figures, divided
by S, estimates the first and the last of them, the variance over people of the mean over seeds the
second and the last. Their sum is what is used here: it counts the last one twice, which is on the
safe side (Owen 2007, "The pigeonhole bootstrap", §4, for why that one cannot be told apart without
more). Student's quantile has the degrees of freedom of Welch and Satterthwaite (1946), so that few
seeds that differ give a wide interval. In simulations with 60 people, 95% intervals held the truth
in 94% to 99% with five or ten seeds, and in 89% with two where these differ as much as people do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import chdtri

from candid.arrays import FloatArray
from candid.records import Estimate
from candid.records.metrics import Kind
from candid.stats.bootstrap import Resample, standard_error
from candid.stats.intervals import effective_size, student_quantile, wilson_limits


def over_seeds_and_people(
    values: Sequence[float], draws: FloatArray, kind: Kind, resampling: Resample
) -> Estimate:
    """The mean over seeds, with an interval for other seeds and other people.

    Parameters
    ----------
    values
        The figure with each seed, on the same images.
    draws
        (draws,) the mean over seeds in each bootstrap draw of the people of `resampling`.
    kind
        "score", "error" or "mean": on which scale the interval is built, as in `bootstrap`.
    resampling
        Whose people were drawn.

    Returns
    -------
    Estimate
        Without an end where there are fewer than two seeds, or two people.
    """
    seeds, units = len(values), resampling.units
    value = float(np.mean(values)) if seeds else math.nan
    by_seed = float(np.var(values, ddof=1)) / seeds if seeds > 1 else math.nan
    by_person = standard_error(draws, units) ** 2
    low, high = _interval(value, by_seed, by_person, seeds, units, kind, resampling.confidence)
    return Estimate(
        value,
        low,
        high,
        n=len(resampling.unit),
        method=f"{seeds} seeds crossed with {resampling.method}",
        people=units if resampling.by_person else None,
        draws=resampling.draws,
        undefined_draws=int(np.isnan(draws).sum()),
        confidence=resampling.confidence,
    )


def _interval(
    value: float,
    by_seed: float,
    by_person: float,
    seeds: int,
    units: int,
    kind: Kind,
    confidence: float,
) -> tuple[float, float]:
    """The interval from both variances of the mean."""
    variance = by_seed + by_person
    if not math.isfinite(value + variance):
        return math.nan, math.nan
    freedom = units - 1.0
    if variance > 0:
        freedom = variance**2 / (by_seed**2 / (seeds - 1) + by_person**2 / (units - 1))
    quantile = float(student_quantile(confidence, freedom))
    reach = quantile * math.sqrt(variance)
    if kind == "score":
        effective = effective_size(value, variance, units)
        low, high = wilson_limits(value, effective, units, quantile)
        return float(low), float(high)
    if kind == "error" and value > 0:
        factor = math.exp(reach / value)
        return value / factor, value * factor
    return value - reach, value + reach


def spread_over_seeds(values: Sequence[float], n: int, confidence: float) -> Estimate:
    """The standard deviation over seeds with its interval, if figures are normal over seeds.

    `n` images stand behind each value; NaN with fewer than two seeds.
    """
    seeds = len(values)
    spread = float(np.std(values, ddof=1)) if seeds > 1 else math.nan
    low = high = math.nan
    if math.isfinite(spread):
        tails = (1 - confidence) / 2, (1 + confidence) / 2
        low, high = (
            spread * math.sqrt((seeds - 1) / float(chdtri(seeds - 1, tail))) for tail in tails
        )
    return Estimate(spread, low, high, n, f"chi-square over {seeds} seeds", confidence=confidence)
