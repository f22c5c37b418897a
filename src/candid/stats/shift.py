"""Probabilities brought to another place: one temperature, and a bias for each class.

Where only the shares of the classes differ from those that a model was calibrated for, its
probabilities p become p · π' / π, normalised (Saerens, Latinne & Decaestecker 2002): the logarithms
of the shares' quotients are added to those of p. Where the model is also surer than right, they are
divided by a temperature too. Both are fitted together by maximum likelihood, as in bias-corrected
temperature scaling (Alexandari, Kundaje & Shrikumar 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from candid.arrays import FloatArray
from candid.errors import PredictionsError

_LEAST = 1e-7  # of a probability: the least that a table of predictions keeps
# A normal prior of so many standard deviations' width on 1 / temperature, around 1, and on each
# bias, around 0: a few hundred pictures outweigh it, a few without a mistake are kept finite.
_PRIOR_SD = 2.0
_SMALLEST_SLOPE = 1e-3  # of 1 / temperature: a model worse than guessing becomes a flat one


@dataclass(frozen=True, eq=False)
class ProbabilityShift:
    """How probabilities are changed: log p / temperature + bias, normalised."""

    temperature: float
    bias: FloatArray  # (classes,)

    def apply(self, probability: FloatArray) -> FloatArray:
        """(n, classes) of probabilities (n, classes)."""
        z = np.log(np.maximum(probability, _LEAST)) / self.temperature + self.bias
        shifted: FloatArray = softmax(z, axis=1)
        return shifted


def fit_shift(probability: FloatArray, label: NDArray[Any]) -> ProbabilityShift:
    """The shift with the highest posterior on labelled images; see `_PRIOR_SD`.

    The penalised log loss is convex in 1 / temperature and the biases, which sum to 0.

    Raises PredictionsError where there is no image.

    Parameters
    ----------
    probability
        (n, classes) of images that the model did not learn from.
    label
        (n,) codes of their classes.
    """
    from scipy.optimize import minimize

    n, classes = probability.shape
    if not n:
        raise PredictionsError(
            "There is no labelled image to fit on.",
            expected="a few hundred",
            todo="name more labelled pictures",
        )
    logs = np.log(np.maximum(probability, _LEAST))
    logs = logs - logs.mean(axis=1, keepdims=True)
    one_hot = np.eye(classes)[label]

    def loss(x: FloatArray) -> tuple[float, FloatArray]:
        slope, bias = x[0], x[1:]
        z = slope * logs + bias
        residual = softmax(z, axis=1) - one_hot
        value = -float((one_hot * log_softmax(z, axis=1)).sum())
        value += float((slope - 1) ** 2 + bias @ bias) / (2 * _PRIOR_SD**2)
        gradient = np.concatenate([[float((residual * logs).sum())], residual.sum(axis=0)])
        gradient += np.concatenate([[slope - 1], bias]) / _PRIOR_SD**2
        return value, gradient

    start = np.concatenate([[1.0], np.zeros(classes)])
    bounds = [(_SMALLEST_SLOPE, None)] + [(None, None)] * classes
    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8}
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    bias = np.asarray(result.x[1:], np.float64)
    return ProbabilityShift(1 / float(result.x[0]), bias - bias.mean())
