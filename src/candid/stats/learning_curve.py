"""How an error falls with the people that a model learned from: a power law, and where it leads.

Errors of trained networks fall as a · n⁻ᵇ over wide ranges of the number n of examples (Hestness et
al., "Deep learning scaling is predictable, empirically", 2017). So the logarithm of the error is a
straight line in the logarithm of n, and a few trainings on parts of the people give it.

Two things make a prediction unsure. The people: they are drawn again and again, all their
images under all trainings together, and the line moves up and down with the mean of the log errors.
And the differences of the trainings, chance in training and which of these people each gets wrong:
how far the points lie from their line tells how much that is, with few degrees of freedom, which
the draws take into account as Student's t does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import FloatArray
from candid.records import Estimate
from candid.stats.bootstrap import draw_counts

FEWEST_POINTS = 3
_BLOCK = 200  # draws at a time


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """error = exp(level) · n^-fall, and draws of both; NaN where there is no fit."""

    level: float
    fall: float
    levels: FloatArray  # (draws,)
    falls: FloatArray  # (draws,)
    scatter: FloatArray  # (draws,) of the deviation of a training's log error from the line
    n: int  # images whose errors these are
    people: int
    confidence: float  # of the intervals
    seed: int

    @property
    def fall_interval(self) -> Estimate:
        """The exponent b."""
        return self._estimate(self.fall, self.falls)

    def error_at(self, size: float) -> Estimate:
        """The error of one more training on so many people."""
        noise = np.random.default_rng([self.seed, 1]).normal(size=len(self.levels))
        replicates = np.exp(self.levels - self.falls * np.log(size) + self.scatter * noise)
        value = float(np.exp(self.level - self.fall * np.log(size)))
        return self._estimate(value, np.minimum(replicates, 1.0))

    def size_for(self, error: float) -> Estimate:
        """People to learn from for an error; NaN where the fit does not fall, ∞ where a draw's end.

        A draw that does not fall needs infinitely many.
        """
        if not (self.fall > 0 and error > 0):
            return self._estimate(np.nan, self.falls[:0])
        value = float(np.exp((self.level - np.log(error)) / self.fall))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            replicates = np.exp((self.levels - np.log(error)) / self.falls)
        return self._estimate(value, np.where(self.falls > 0, replicates, np.inf))

    def _estimate(self, value: float, replicates: FloatArray) -> Estimate:
        tail = 100 * (1 - self.confidence) / 2
        low = high = np.nan
        if len(replicates) and not np.isnan(replicates).any():
            # Of infinite ends no average is taken.
            ends = np.percentile(replicates, [tail, 100 - tail], method="inverted_cdf")
            low, high = (float(end) for end in ends)
        return Estimate(
            value=value,
            low=low,
            high=high,
            n=self.n,
            people=self.people,
            method="bootstrap by person, and the scatter of trainings around a power law",
            confidence=self.confidence,
        )


def fit_power_law(
    sizes: FloatArray,
    wrong: NDArray[Any],
    person: NDArray[Any] | None = None,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PowerLaw:
    """The power law of the errors of several trainings on the same images.

    Parameters
    ----------
    sizes
        (trainings,) people that each learned from; two or more different ones.
    wrong
        (trainings, n) which images each gets wrong.
    person
        (n,) the person of each; None: each image is another person's.
    draws, confidence, seed
        Of the intervals.

    Undefined (NaN) below three trainings or two sizes, or without images. Half a mistake is added,
    and half a right answer, so that a training without mistakes has a logarithm.
    """
    persons = np.arange(wrong.shape[1]) if person is None else person
    _, unit = np.unique(persons, return_inverse=True)
    people = int(unit.max()) + 1 if len(unit) else 0
    no_draws = np.zeros(0)
    empty = PowerLaw(
        np.nan, np.nan, no_draws, no_draws, no_draws, wrong.shape[1], people, confidence, seed
    )
    if len(sizes) < FEWEST_POINTS or len(np.unique(sizes)) < 2 or not people:
        return empty
    x = np.column_stack([np.ones(len(sizes)), -np.log(sizes)])  # (trainings, 2): level, fall
    mistakes = np.stack([np.bincount(unit, w, minlength=people) for w in wrong], axis=1)
    images = np.bincount(unit, minlength=people).astype(np.float64)
    rng = np.random.default_rng(seed)
    blocks = [
        _log_errors(draw_counts(people, min(_BLOCK, draws - first), rng), mistakes, images)
        for first in range(0, draws, _BLOCK)
    ]
    y = _log_errors(np.ones((1, people), np.float32), mistakes, images)[0]
    solve = np.linalg.pinv(x)  # (2, trainings)
    fit = solve @ y
    freedom = len(sizes) - 2
    residual = float(np.sum((y - x @ fit) ** 2))
    scatter = np.sqrt(residual / rng.chisquare(freedom, draws))
    root = np.linalg.cholesky(np.linalg.inv(x.T @ x))
    shift = np.concatenate(blocks).mean(axis=1) - y.mean()
    coefficients = fit + np.column_stack([shift, np.zeros(draws)])
    coefficients = coefficients + scatter[:, None] * (rng.normal(size=(draws, 2)) @ root.T)
    return replace(
        empty,
        level=float(fit[0]),
        fall=float(fit[1]),
        levels=coefficients[:, 0],
        falls=coefficients[:, 1],
        scatter=scatter,
    )


def _log_errors(
    counts: NDArray[np.float32], mistakes: NDArray[Any], images: FloatArray
) -> FloatArray:
    """(draws, trainings) for (draws, people) counts and (people, trainings) mistakes."""
    wrong, n = counts @ mistakes, counts @ images
    errors: FloatArray = np.log((wrong + 0.5) / (n[:, None] + 1.0))
    return errors
