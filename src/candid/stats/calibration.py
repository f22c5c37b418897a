"""Do probabilities come true? Reliability, and one temperature that mends overconfidence.

Temperature scaling (Guo et al. 2017) divides all logits by one number, so it changes how sure a
model is and never what it answers. It cannot mend a shift of the classes' shares: a loss weighted
by inverse class frequency teaches probabilities for classes that are equally common, and where
they are not, the rare class's probability stays too high after any temperature.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from candid.arrays import FloatArray
from candid.errors import PredictionsError
from candid.records import ReliabilityBin
from candid.stats.intervals import wilson_shares
from candid.stats.metrics import confidence_bins

# How far from its start, 1 / (spread of the logits), the inverse temperature may go either way.
_REACH = 1e4


def apply_temperature(logits: FloatArray, temperature: float) -> FloatArray:
    """Probabilities (n, classes) of logits, or of log-probabilities, divided by `temperature`."""
    p: FloatArray = softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=-1)
    return p


def undo_temperature(probability: FloatArray, temperature: float) -> FloatArray:
    """The probabilities before `temperature` was applied: raised to its power and normalised."""
    if temperature == 1.0:
        return probability
    with np.errstate(divide="ignore"):
        return apply_temperature(np.log(probability), 1 / temperature)


def fit_temperature(
    logits: FloatArray, label: NDArray[Any], weight: FloatArray | None = None
) -> float:
    """The temperature with the least log loss on images that the model did not learn from.

    Logits (n, classes), or log-probabilities, or their like; weights (n,), None for one each. The
    log loss is convex in 1 / temperature; Newton's steps inside a shrinking bracket find its
    minimum. Multiplying the logits by k multiplies the temperature by k. Where every image is
    classified as labelled the log loss falls for ever with the temperature; then Platt's targets
    (1999), (n + 1) / (n + 2) for the label, keep it finite.

    Above 1 for a model that is too sure, below 1 for one that is not sure enough; 1 where all
    logits of each image are equal, so that no temperature changes anything. A model that is worse
    than guessing gets a very high one: probabilities that are all nearly equal. Raises
    PredictionsError where there is no image, or a logit is not finite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or not len(logits) or not np.isfinite(logits).all():
        raise PredictionsError(
            f"Cannot fit a temperature to logits of shape {logits.shape}"
            + (" that are not all finite." if logits.size else "."),
            expected="one row of finite logits for each of one or more labelled images",
            todo="check that the model's loss is finite and that the validation split has images",
        )
    centred = logits - logits.mean(axis=1, keepdims=True)
    weights = np.ones(len(logits)) if weight is None else np.asarray(weight, dtype=np.float64)
    spread = math.sqrt(float(weights @ np.square(centred).mean(axis=1)) / weights.sum())
    if spread == 0:
        return 1.0
    # In units of the logits' spread, so that the search does not depend on their scale.
    z = centred / spread
    return spread / _minimise_loss(z, _smooth_targets(z, label, weights), weights / weights.sum())


def _smooth_targets(z: FloatArray, label: NDArray[Any], weights: FloatArray) -> FloatArray:
    """(n, classes) one-hot labels; smoothed where the images are separated without a mistake."""
    n, classes = z.shape
    one_hot: FloatArray = np.eye(classes)[label]
    is_mistake = (z.max(axis=1) > z[np.arange(n), label]) & (weights > 0)
    if is_mistake.any():
        return one_hot
    smoothing = 1 / (weights.sum() + 2)
    smooth: FloatArray = one_hot * (1 - smoothing) + (1 - one_hot) * smoothing / (classes - 1)
    return smooth


def _minimise_loss(z: FloatArray, target: FloatArray, share: FloatArray) -> float:
    """The inverse temperature b with the least Σ share · (logsumexp(b z) - b target·z)."""
    target_mean = float(share @ (target * z).sum(axis=1))

    def slope(b: float) -> tuple[float, float]:
        p = softmax(b * z, axis=-1)
        mean = (p * z).sum(axis=1)
        variance = (p * np.square(z)).sum(axis=1) - np.square(mean)
        return float(share @ mean) - target_mean, float(share @ variance)

    low, high = 1 / _REACH, _REACH
    if slope(low)[0] >= 0:
        return low
    if slope(high)[0] <= 0:
        return high
    b = 1.0
    for _ in range(200):
        first, second = slope(b)
        low, high = (b, high) if first < 0 else (low, b)
        step = b - first / second if second > 0 else math.inf
        # A step out of the bracket is replaced by its middle, in the logarithm.
        new = step if low < step < high else math.sqrt(low * high)
        if abs(new - b) <= 1e-12 * b:
            return new
        b = new
    return b


def reliability_bins(
    label: NDArray[Any],
    probability: FloatArray,
    *,
    person: NDArray[Any] | None = None,
    bins: int = 15,
    confidence: float = 0.95,
) -> tuple[ReliabilityBin, ...]:
    """What confidences promised and what came true, in equally wide bins of the top probability.

    The same bins as `metrics.calibration_error`; those without images are left out. `person` as in
    `intervals.wilson_shares`.
    """
    top = probability.max(axis=1)
    correct = probability.argmax(axis=1) == label
    index = confidence_bins(top, bins)
    edges = np.linspace(0, 1, bins + 1)
    occupied = np.unique(index)
    inside = index[:, None] == occupied
    accuracies = wilson_shares(inside & correct[:, None], inside, person, confidence)
    return tuple(
        ReliabilityBin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            n=accuracy.n,
            confidence=float(top[inside[:, k]].mean()),
            accuracy=accuracy,
        )
        for k, (i, accuracy) in enumerate(zip(occupied, accuracies, strict=True))
    )
