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

from candid.arrays import Floats
from candid.records import Estimate
from candid.records.metrics import Kind
from candid.stats.bootstrap import Resample, standard_error
from candid.stats.intervals import effective_size, student_quantile, wilson_limits


def over_seeds_and_people(
    values: Sequence[float], draws: Floats, kind: Kind, drawing: Resample
) -> Estimate:
    """The mean over seeds, with an interval for other seeds and other people.

    Parameters
    ----------
    values
        The figure with each seed, on the same images.
    draws
        (draws,) the mean over seeds in each bootstrap draw of the people of `drawing`.
    kind
        "score", "error" or "mean": on which scale the interval is built, as in `bootstrap`.
    drawing
        Whose people were drawn.

    Returns
    -------
    Estimate
        Without an end where there are fewer than two seeds, or two people.
    """
    seeds, units = len(values), drawing.units
    value = float(np.mean(values)) if seeds else math.nan
    of_seeds = float(np.var(values, ddof=1)) / seeds if seeds > 1 else math.nan
    of_people = standard_error(draws, units) ** 2
    low, high = _ends(value, of_seeds, of_people, seeds, units, kind, drawing.confidence)
    return Estimate(
        value,
        low,
        high,
        n=len(drawing.unit),
        method=f"{seeds} seeds crossed with {drawing.method}",
        people=units if drawing.by_person else None,
        draws=drawing.draws,
        undefined_draws=int(np.isnan(draws).sum()),
        confidence=drawing.confidence,
    )


def _ends(
    value: float,
    of_seeds: float,
    of_people: float,
    seeds: int,
    units: int,
    kind: Kind,
    confidence: float,
) -> tuple[float, float]:
    """The ends of the interval from both variances of the mean."""
    variance = of_seeds + of_people
    if not math.isfinite(value + variance):
        return math.nan, math.nan
    freedom = units - 1.0
    if variance > 0:
        parts = of_seeds**2 / (seeds - 1) + of_people**2 / (units - 1)
        freedom = variance**2 / parts
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
