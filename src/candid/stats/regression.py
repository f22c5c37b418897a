"""Logistic regression with the influence of each person on every figure.

Coefficients come from Newton's method with a ridge penalty; averages of predictions, and the
influence of each person on them, from the coefficients. The influence of a person is their score
with their leverage undone, (I - H)⁻¹, as the jackknife by person would have it (CR3; Bell &
McCaffrey 2002).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from candid.arrays import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted logistic regression of (n, k) `columns`, by the person (n,) of each row.

    `coefficients` (k,) are in logits, `linear` (n,) is the predictor. `influence` (people, k) is
    how much each person moved the coefficients, with their leverage undone; the sum of squares over
    people, times (people - 1) / people, is the CR3 variance.
    """

    coefficients: FloatArray
    linear: FloatArray
    influence: FloatArray
    columns: FloatArray
    unit: IndexArray


def logistic(
    columns: FloatArray,
    outcome: BoolArray,
    cluster: NDArray[Any] | None = None,
    *,
    prior_sd: float = math.inf,
) -> Logistic:
    """Logistic regression by Newton's method, ridge-penalised, with an influence for each person.

    The first of the (n, k) columns is the constant; all others have a normal prior of `prior_sd`.
    """
    n, k = columns.shape
    penalty = np.full(k, 0.0 if math.isinf(prior_sd) else 1 / prior_sd**2)
    penalty[0] = 0.0
    y = outcome.astype(np.float64)
    beta = np.zeros(k)
    # A constant that fits alone is a good start; half an outcome more of each keeps it finite.
    beta[0] = math.log((y.sum() + 0.5) / (n - y.sum() + 0.5))

    def loss(point: FloatArray) -> float:
        eta = columns @ point
        return float(np.sum(np.logaddexp(0, eta) - y * eta) + penalty @ point**2 / 2)

    current = loss(beta)
    for _ in range(100):
        mean = expit(columns @ beta)
        slope = columns.T @ (y - mean) - penalty * beta
        curvature = (columns.T * (mean * (1 - mean))) @ columns + np.diag(penalty)
        step = np.linalg.lstsq(curvature, slope, rcond=None)[0]
        size = 1.0
        while (trial := loss(beta + size * step)) > current + 1e-12 * abs(current) and size > 1e-8:
            size /= 2
        beta, current = beta + size * step, min(current, trial)
        if float(np.abs(size * step).max()) < 1e-9:
            break
    mean = expit(columns @ beta)
    weight = mean * (1 - mean)
    curvature = (columns.T * weight) @ columns + np.diag(penalty)
    inverse = np.asarray(np.linalg.pinv(curvature, hermitian=True), np.float64)
    person = np.arange(n) if cluster is None else cluster
    unit = np.unique(person, return_inverse=True)[1].reshape(-1)
    scores = _jackknife_scores(columns, y - mean, weight, inverse, unit)
    return Logistic(beta, columns @ beta, scores @ inverse, columns, unit)


def _jackknife_scores(
    columns: FloatArray,
    residual: FloatArray,
    weight: FloatArray,
    inverse: FloatArray,
    unit: IndexArray,
) -> FloatArray:
    """(people, k) each person's score, Xᵀ (I - H)⁻¹ residual over their rows (CR3).

    People with equally many rows are solved for together.
    """
    order = np.argsort(unit, kind="stable")
    starts = np.searchsorted(unit[order], np.arange(int(unit.max()) + 1))
    sizes = np.diff(np.append(starts, len(unit)))
    scores = np.zeros((len(starts), columns.shape[1]))
    for size in np.unique(sizes):
        people = np.flatnonzero(sizes == size)
        for chunk in np.array_split(people, max(1, len(people) * int(size) ** 2 // 200_000)):
            rows = order[starts[chunk][:, None] + np.arange(size)]  # (people, size)
            x = columns[rows]  # (people, size, k)
            leverage = (x @ inverse) @ x.transpose(0, 2, 1) * weight[rows][:, None, :]
            complement, r = np.eye(int(size)) - leverage, residual[rows][:, :, None]
            try:
                adjusted = np.linalg.solve(complement, r)
            except np.linalg.LinAlgError:  # without such a person nothing could be fitted
                adjusted = np.linalg.pinv(complement) @ r
            scores[chunk] = (x * adjusted).sum(axis=1)
    return scores


def average_outcome(
    fitted: Logistic, columns: dict[int, int], shares: Mapping[int, float]
) -> tuple[float, FloatArray]:
    """The mean probability of the outcome over all rows, if these had other values.

    `columns` maps the attribute's codes to their columns (a code without one has the reference's
    effect), `shares` the codes that are set to weights that sum to 1. With it (people,) the
    influence of each person on the average.
    """
    x, n = fitted.columns, len(fitted.columns)
    block = list(columns.values())
    base = fitted.linear - x[:, block] @ fitted.coefficients[block]
    means, slopes = np.zeros(n), np.zeros(n)
    gradient = np.zeros(x.shape[1])
    for code, weight in shares.items():
        column = columns.get(code)
        effect = 0.0 if column is None else fitted.coefficients[column]
        mean = expit(base + effect)
        slope = weight * mean * (1 - mean)
        means += weight * mean
        slopes += slope
        if column is not None:
            gradient[column] += slope.mean()
    rest = np.ones(x.shape[1], np.bool_)
    rest[block] = False
    gradient[rest] = (x[:, rest].T @ slopes) / n
    average = float(means.mean())
    persons = len(fitted.influence)
    direct = np.bincount(fitted.unit, (means - average) / n, minlength=persons)
    return average, direct + fitted.influence @ gradient


def fit_line(x: FloatArray, y: FloatArray) -> tuple[float, float, float, float]:
    """Least squares: its fall from end to end, that fall's error, y's mean, residual deviation."""
    centred = x - x.mean()
    squares = float(centred @ centred)
    slope = float(centred @ y) / squares
    residual = y - y.mean() - slope * centred
    scatter = math.sqrt(float(residual @ residual) / (len(x) - 2))
    span = float(x[-1] - x[0])
    return -slope * span, scatter / math.sqrt(squares) * span, float(y.mean()), scatter
