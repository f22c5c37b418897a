"""The last layer fitted again, on images that weigh as they should and not as they occur.

What a network learned by the way (that blond people are women) it mostly weighs in its last layer;
what is needed to do without is in its features as well. So the last layer alone, fitted again on
held-out images in which every combination of label and attribute weighs the same, mends much of it
(deep feature reweighting: P. Kirichenko, P. Izmailov and A. G. Wilson, "Last layer re-training is
sufficient for robustness to spurious correlations", ICLR 2023).

Two things are done otherwise than there. Images are weighted in place of being left out until all
combinations are equally many, which throws no image away. And the layer is not found from nothing:
what is fitted is its difference from the run's own, held near zero by a ridge penalty whose
strength is chosen out of fold, so that a few dozen images move it little and thousands as they
like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from candid.arrays import BoolArray, FloatArray, IndexArray

# Of half the squared norm of the difference, for standardised features and the mean log loss; the
# first leaves the layer nearly as it is. Each begins where the one before ended.
PENALTIES = (10.0, 1.0, 0.1, 0.01, 0.001)
_MOST_STEPS = 200


@dataclass(frozen=True, eq=False)
class LastLayer:
    """Maps calibrated logits z of features x to scale · z + weight x + bias.

    `weight` is (classes, features), `bias` (classes,).
    """

    weight: FloatArray
    bias: FloatArray
    scale: float = 1.0

    def logits(self, features: NDArray[Any], start: FloatArray) -> FloatArray:
        """(n, classes) of (n, features) and (n, classes) calibrated logits."""
        return self.scale * start + features @ self.weight.T + self.bias


@dataclass(frozen=True, eq=False)
class FitImages:
    """n images with their features."""

    features: NDArray[Any]  # (n, features) what the last layer takes
    start: FloatArray  # (n, classes) the run's calibrated logits
    label: IndexArray  # (n,) codes of the classes
    weight: FloatArray  # what each image weighs in the fit, 0 for none

    def __getitem__(self, rows: NDArray[Any]) -> FitImages:
        """The given images."""
        return FitImages(self.features[rows], self.start[rows], self.label[rows], self.weight[rows])

    def loss(self, layer: LastLayer) -> float:
        """The weighted sum of the log losses."""
        z = log_softmax(layer.logits(self.features, self.start), axis=1)
        return -float(self.weight @ z[np.arange(len(z)), self.label])


def balanced_weights(cell: IndexArray) -> FloatArray:
    """(n,) weights under which every cell weighs the same, 1 on average; 0 for cell -1."""
    in_cell = cell >= 0
    counts = np.bincount(cell[in_cell], minlength=1)
    weight = np.zeros(len(cell))
    weight[in_cell] = in_cell.sum() / (np.count_nonzero(counts) * counts[cell[in_cell]])
    return weight


def fit_layers(images: FitImages) -> Iterator[LastLayer]:
    """The layer for each of `PENALTIES`, in their order.

    The penalised log loss is convex. A feature that never changes has no part in it.
    """
    from scipy.optimize import minimize

    share = images.weight / images.weight.sum()
    mean = share @ images.features
    std = np.sqrt(np.maximum(share @ np.square(images.features - mean), 0))
    scale = np.where(std > 1e-9 * (1 + np.abs(mean)), std, np.inf)
    x = (images.features - mean) / scale
    n, classes = images.start.shape
    one_hot = np.zeros((n, classes))
    at_label = np.arange(n), images.label
    one_hot[at_label] = 1.0
    start = np.zeros(classes * (x.shape[1] + 1))

    def loss(flat: FloatArray, penalty: float) -> tuple[float, FloatArray]:
        layer = flat.reshape(classes, -1)
        z = images.start + x @ layer[:, 1:].T + layer[:, 0]
        z -= z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        residual = share[:, None] * (np.exp(log_p) - one_hot)
        slope = np.column_stack([residual.sum(axis=0), residual.T @ x + penalty * layer[:, 1:]])
        value = -float(share @ log_p[at_label])
        return value + penalty * float(np.sum(layer[:, 1:] ** 2)) / 2, slope.ravel()

    for penalty in PENALTIES:
        options = {"maxiter": _MOST_STEPS}
        result = minimize(loss, start, (penalty,), jac=True, method="L-BFGS-B", options=options)
        start = np.asarray(result.x, np.float64)
        layer = start.reshape(classes, -1)
        weight = layer[:, 1:] / scale
        yield LastLayer(weight, layer[:, 0] - weight @ mean)


@dataclass(frozen=True, eq=False)
class Refitted:
    """A last layer and its logits out of fold."""

    # (n, classes) of the held-out images: each by a layer that was fitted, and whose penalty was
    # chosen, without the people of its fold
    logits: FloatArray
    # layer, penalty: for new images: from all folds
    layer: LastLayer
    penalty: float


def refit(held_out: FitImages, fold: IndexArray, training: FitImages | None = None) -> Refitted:
    """Fit the last layer on held-out images, or on training images where these are given.

    Then the held-out ones choose the penalty alone. `fold` (n,) from 0 says which of these are
    answered together; no person is in two.
    """
    folds = range(int(fold.max()) + 1)
    inside = [fold == k for k in folds]
    if training is None:
        return _refit_nested(held_out, inside)
    layers = list(fit_layers(training))
    losses = np.array([[held_out[mask].loss(layer) for layer in layers] for mask in inside])
    logits = np.empty_like(held_out.start)
    for k, mask in enumerate(inside):
        chosen = layers[int(np.argmin(losses.sum(axis=0) - losses[k]))]
        logits[mask] = chosen.logits(held_out.features[mask], held_out.start[mask])
    best = int(np.argmin(losses.sum(axis=0)))
    return Refitted(logits, layers[best], PENALTIES[best])


def _refit_nested(held_out: FitImages, inside: list[BoolArray]) -> Refitted:
    """Nested folds: the penalty for a fold is chosen by leaving out each of the others in turn."""
    folds = range(len(inside))
    inner = np.zeros((len(inside), len(inside), len(PENALTIES)))
    for k, j in combinations(folds, 2):
        layers = list(fit_layers(held_out[~(inside[k] | inside[j])]))
        inner[k, j] = [held_out[inside[j]].loss(layer) for layer in layers]
        inner[j, k] = [held_out[inside[k]].loss(layer) for layer in layers]
    outer = np.zeros((len(inside), len(PENALTIES)))
    logits = np.empty_like(held_out.start)
    for k in folds:
        images = held_out[inside[k]]
        layers = list(fit_layers(held_out[~inside[k]]))
        outer[k] = [images.loss(layer) for layer in layers]
        chosen = layers[int(np.argmin(inner[k].sum(axis=0)))]
        logits[inside[k]] = chosen.logits(images.features, images.start)
    best = int(np.argmin(outer.sum(axis=0)))
    return Refitted(logits, list(fit_layers(held_out))[best], PENALTIES[best])


def map_folds(
    fold: IndexArray, answer: Callable[[BoolArray, BoolArray], FloatArray], like: FloatArray
) -> FloatArray:
    """(n, …) what `answer(rest, mask)` gives for each fold, in the images' order."""
    answers = np.empty_like(like)
    for k in range(int(fold.max()) + 1):
        mask = fold == k
        answers[mask] = answer(~mask, mask)
    return answers
