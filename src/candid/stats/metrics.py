"""How good predictions are: pure functions of arrays, `*_score` up, `*_error` down.

Labels and predictions are (n,) whole numbers from 0, probabilities (n, classes). Every function
takes weights `(..., n)`, None for one each, and answers `(...)`: one row of weights is one figure,
a thousand rows are a thousand bootstrap draws at the price of a few matrix products. Counts are
gathered once into a confusion matrix, and everything that follows from counts takes that matrix.

The figures equal scikit-learn's, except where a figure is undefined. There scikit-learn answers 0
(`zero_division`) and these answer NaN: the precision of a class that was never predicted, the
recall of a class without images, an area with no positives or no negatives. The F1 of a class is
2 tp / (2 tp + fp + fn), so it is 0, not undefined, for a class that has images and is never
predicted; in weighted F1 a class without images has no weight.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray, IndexArray

_FEW_CLASSES = 8  # classes of which a whole matrix of (n, classes²) cells is quicker and no burden


# --- from counts ---------------------------------------------------------------------------------


def confusion_cells(label: NDArray[Any], prediction: NDArray[Any], n_classes: int) -> FloatArray:
    """(n, n_classes²): 1 in the cell of each image's label and prediction; 0 without a label."""
    cells = np.zeros((len(label), n_classes * n_classes))
    labelled = np.flatnonzero(label >= 0)
    cells[labelled, label[labelled].astype(np.intp) * n_classes + prediction[labelled]] = 1.0
    return cells


def confusion_matrix(
    label: NDArray[Any], prediction: NDArray[Any], n_classes: int, weight: FloatArray | None = None
) -> FloatArray:
    """(..., n_classes, n_classes) weights of images labelled i (down) and predicted j (across)."""
    if weight is not None and n_classes <= _FEW_CLASSES:
        counts = weight @ confusion_cells(label, prediction, n_classes)
        return counts.reshape(*counts.shape[:-1], n_classes, n_classes)
    cell = np.asarray(label, dtype=np.intp) * n_classes + prediction
    if weight is None:
        counts = np.bincount(cell, minlength=n_classes**2).astype(np.float64)
    else:  # most cells are empty: the images of each of the others are added up
        labelled = np.flatnonzero(np.asarray(label) >= 0)
        order = labelled[np.argsort(cell[labelled], kind="stable")]
        occupied, first = np.unique(cell[order], return_index=True)
        counts = np.zeros((*weight.shape[:-1], n_classes**2))
        if len(occupied):
            counts[..., occupied] = np.add.reduceat(weight[..., order], first, axis=-1)
    return counts.reshape(*counts.shape[:-1], n_classes, n_classes)


def accuracy_score(confusion: FloatArray) -> FloatArray:
    """Share of images that are classified as labelled; `(..., C, C)` to `(...)`."""
    return _divide(_hits(confusion).sum(-1), confusion.sum((-2, -1)))


def recall_score(confusion: FloatArray) -> FloatArray:
    """Of the images labelled so, the share predicted so, per class; `(..., C, C)` to `(..., C)`."""
    return _divide(_hits(confusion), confusion.sum(-1))


def precision_score(confusion: FloatArray) -> FloatArray:
    """Of the images predicted so, the share labelled so, per class; `(..., C, C)` to `(..., C)`."""
    return _divide(_hits(confusion), confusion.sum(-2))


def f1_score(confusion: FloatArray) -> FloatArray:
    """2 tp / (2 tp + fp + fn) per class; `(..., C, C)` to `(..., C)`."""
    return _divide(2 * _hits(confusion), confusion.sum(-1) + confusion.sum(-2))


def weighted_f1_score(confusion: FloatArray) -> FloatArray:
    """Mean of the classes' F1, each weighted by its share of the labels; to `(...)`."""
    support = confusion.sum(-1)
    weighted = support_times_f1(_hits(confusion), support, confusion.sum(-2))
    return _divide(weighted.sum(-1), support.sum(-1))


def weighted_f1_of_answers(label: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Weighted F1 of (n,) predicted classes."""
    top = int(max(label.max(), prediction.max())) + 1
    return float(weighted_f1_score(confusion_matrix(label, prediction, top)))


def support_times_f1(
    hits: NDArray[Any], support: NDArray[Any], predicted: NDArray[Any]
) -> NDArray[Any]:
    """Each class's F1 times its images; a class without images weighs nothing, even undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weighted: NDArray[Any] = np.where(
            support > 0, 2 * hits / (support + predicted) * support, 0
        )
    return weighted


def balanced_accuracy_score(confusion: FloatArray) -> FloatArray:
    """Mean recall of the classes that have images (scikit-learn's definition); to `(...)`."""
    recall = recall_score(confusion)
    present = confusion.sum(-1) > 0
    return _divide(np.where(present, recall, 0.0).sum(-1), present.sum(-1).astype(np.float64))


def constant_confusion(confusion: FloatArray, answer: int) -> FloatArray:
    """The confusion matrix of a model that gives every image the same answer."""
    constant = np.zeros_like(confusion)
    constant[..., answer] = confusion.sum(-1)
    return constant


# --- from ranks ----------------------------------------------------------------------------------


def rank_scores(
    positive: BoolArray, score: FloatArray, weight: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """ROC AUC and average precision together: they share the sorting and summing.

    The one is the chance that a positive ranks above a negative, where ties count half; the other
    the area under the precision-recall curve as a sum of steps, Σ (R_k - R_{k-1}) P_k. `positive`
    (n,) says whether the image bears the class, `score` (n,) how much the model thinks so. NaN
    without a positive, and the first without a negative.

    Only where a positive stands does either sum change, so positives are looked up among the
    sorted negatives, once for all rows of weights.
    """
    weights = _weights(weight, len(score))
    above, below = (_sort_by_score(np.flatnonzero(marks), score) for marks in (positive, ~positive))
    ranked, others = -score[above], -score[below]
    beaten_by = np.searchsorted(others, ranked, side="left")  # negatives with a higher score
    not_above = np.searchsorted(others, ranked, side="right")  # and those that tie
    positives = weights[..., above]
    true = running_sums(positives)[..., np.searchsorted(ranked, ranked, side="right")]
    negatives = running_sums(weights[..., below])
    false = negatives[..., not_above]
    total = positives.sum(-1), negatives[..., -1]

    retrieved = true + false
    precision = np.divide(true, retrieved, out=np.zeros_like(true), where=retrieved > 0)
    ap = _divide(np.einsum("...k,...k->...", positives, precision), total[0])
    if (beaten_by != not_above).any():
        false = (false + negatives[..., beaten_by]) / 2  # ties count half
    beaten = total[0] * total[1] - np.einsum("...k,...k->...", positives, false)
    return _divide(beaten, total[0] * total[1]), ap


def rank_counts(
    positive: BoolArray, score: FloatArray, weight: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """(..., thresholds) positives and negatives at or above each distinct score, highest first."""
    order = _sort_by_score(np.arange(len(score)), score)
    ranked = _weights(weight, len(order))[..., order]
    if not len(order):  # no image: one threshold that nothing reaches
        nothing = np.zeros((*ranked.shape[:-1], 1))
        return nothing, nothing
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    true = running_sums(ranked * positive[order])[..., ends + 1]
    return true, running_sums(ranked)[..., ends + 1] - true


def roc_auc_influence(
    above: BoolArray, below: BoolArray, rank: IndexArray
) -> tuple[float, FloatArray]:
    """Area under the ROC curve, and how much each image (n,) moves it (DeLong et al. 1988).

    An image's influence is how its placement among the other class's images differs from the mean.
    The sum of squares (over images, or over people of each one's sums) is the area's variance.
    `above` and `below` (n,) are the positives and the negatives; other images do not count. `rank`
    (n,) holds ranks of the scores from 0, the same for the same score. NaN without a positive or a
    negative.
    """
    influence = np.zeros(len(rank))
    m, n = int(above.sum()), int(below.sum())
    if not m or not n:
        return math.nan, influence
    top = int(rank.max()) + 1
    positives = np.bincount(rank[above], minlength=top)
    negatives = np.bincount(rank[below], minlength=top)
    beaten = (np.cumsum(negatives) - negatives / 2) / n  # by a positive at each rank; ties half
    beating = 1 - (np.cumsum(positives) - positives / 2) / m
    area = float(positives @ beaten) / m
    influence[above] = (beaten[rank[above]] - area) / m
    influence[below] = (beating[rank[below]] - area) / n
    return area, influence


def macro_average(per_class: list[FloatArray]) -> FloatArray:
    """Mean over the classes, one against the rest; for two classes, the second one's figure.

    NaN where any class's figure is: a mean over whichever classes a draw happens to hold would be
    another figure in every draw.
    """
    if len(per_class) == 2:
        return per_class[1]
    mean: FloatArray = np.mean(per_class, axis=0)
    return mean


# --- from probabilities --------------------------------------------------------------------------


def log_loss_error(
    label: NDArray[Any], probability: FloatArray, weight: FloatArray | None = None
) -> FloatArray:
    """Mean of -log of the probability given to the label, in nats; see `log_losses`."""
    return weighted_mean(log_losses(label, probability), weight)


def log_losses(label: NDArray[Any], probability: FloatArray) -> FloatArray:
    """(n,) of each image: -log of the probability given to its label, in nats.

    Clipped to the machine's epsilon as in scikit-learn, so that one certain mistake costs 36 nats
    and not infinity.
    """
    eps = np.finfo(np.float64).eps
    label_probability = probability[np.arange(len(label)), label]
    losses: FloatArray = -np.log(np.clip(label_probability, eps, 1 - eps))
    return losses


def brier_error(
    label: NDArray[Any], probability: FloatArray, weight: FloatArray | None = None
) -> FloatArray:
    """Mean squared distance between probabilities and labels; see `brier_losses`."""
    return weighted_mean(brier_losses(label, probability), weight)


def brier_losses(label: NDArray[Any], probability: FloatArray) -> FloatArray:
    """(n,) squared distance between each image's probabilities and its label.

    For two classes (p - y)² of one class, 0 to 1 (Brier's score as most software gives it); for
    more, summed over the classes, 0 to 2 (Brier 1950). Both are scikit-learn's defaults.
    """
    truth = np.eye(probability.shape[1])[label]
    squares: FloatArray = np.square(probability - truth).sum(axis=1)
    return squares / 2 if probability.shape[1] == 2 else squares


def confidence_bins(confidence: FloatArray, bins: int) -> IndexArray:
    """Which of `bins` equally wide bins ((0, 1/bins], …) each confidence falls into."""
    edges = np.linspace(0, 1, bins + 1)
    return np.searchsorted(edges[1:-1], confidence, side="left")


def calibration_error(
    label: NDArray[Any],
    probability: FloatArray,
    weight: FloatArray | None = None,
    *,
    bins: int = 15,
) -> FloatArray:
    """Expected calibration error of the top label (Guo et al. 2017, equation 3).

    Images are binned by the probability of the predicted class, in equally wide bins; the absolute
    difference between mean probability and accuracy of each bin is averaged by the bins' weight.
    It is biased upwards where bins hold few images; arguments as in `log_loss_error`.
    """
    total: FloatArray = np.abs(bin_excess(label, probability, weight, bins=bins)).sum(-1)
    return total


def bin_excess(
    label: NDArray[Any],
    probability: FloatArray,
    weight: FloatArray | None = None,
    *,
    bins: int = 15,
) -> FloatArray:
    """(..., bins) parts of the calibration error: positive where the model is too sure."""
    confidence = probability.max(axis=1)
    excess = confidence - (probability.argmax(axis=1) == label)
    by_bin = np.zeros((len(label), bins))
    by_bin[np.arange(len(label)), confidence_bins(confidence, bins)] = excess
    weights = _weights(weight, len(label))
    return _divide(weights @ by_bin, weights.sum(-1, keepdims=True))


def weighted_mean(values: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    """Mean of `(n,)` values under `(..., n)` weights; NaN where no weight is left."""
    weights = _weights(weight, len(values))
    return _divide(weights @ values, weights.sum(-1))


# --- helpers -------------------------------------------------------------------------------------


def _weights(weight: FloatArray | None, n: int) -> FloatArray:
    return np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)


def _sort_by_score(rows: IndexArray, score: FloatArray) -> IndexArray:
    """The rows in descending order of their scores."""
    return rows[np.argsort(-score[rows], kind="stable")]


def running_sums(values: FloatArray) -> FloatArray:
    """(..., n + 1) sums of the first 0, 1, …, n values."""
    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    return sums


def _hits(confusion: FloatArray) -> FloatArray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _divide(above: FloatArray, below: FloatArray) -> FloatArray:
    """Quotients, NaN where nothing is below the line."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    quotient = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient[()]
