"""The metrics as a reader meets them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric as a reader meets it: its name, which way is better, what it means."""

    name: str
    better: str
    meaning: str


METRICS = {
    "weighted_f1": Metric(
        "Weighted F1",
        "higher",
        "each class’s harmonic mean of precision and recall, weighted by the class’s images",
    ),
    "accuracy": Metric("Accuracy", "higher", "share of images whose prediction is the label"),
    "balanced_accuracy": Metric(
        "Balanced accuracy", "higher", "mean of the classes’ recalls: every class counts the same"
    ),
    "roc_auc": Metric(
        "ROC AUC",
        "higher",
        "how often an image of a class gets a higher probability for it than an image of another",
    ),
    "average_precision": Metric(
        "Average precision", "higher", "area under the precision-recall curve"
    ),
    "log_loss": Metric(
        "Log loss", "lower", "minus the mean log probability that the label was given"
    ),
    "brier_score": Metric(
        "Brier score", "lower", "mean squared difference between probabilities and what came true"
    ),
    "calibration_error": Metric(
        "Calibration error",
        "lower",
        "mean gap between confidence and the share that comes true (expected calibration error)",
    ),
    "calibration_error_before": Metric(
        "Calibration error before", "lower", "the same before the temperature was fitted"
    ),
    "precision": Metric(
        "Precision", "higher", "share of the answers of a class that are its label"
    ),
    "recall": Metric("Recall", "higher", "share of the images labelled so that get this answer"),
    "f1": Metric("F1", "higher", "harmonic mean of precision and recall"),
    "mae": Metric("Mean absolute error", "lower", "mean distance of prediction and true value"),
    "median_mae": Metric(
        "Mean absolute error of a blind guess",
        "–",
        "for comparison: of always answering the training median, without looking at the picture",
    ),
    "rmse": Metric("RMSE", "lower", "root of the mean squared error: what is far off counts more"),
    "median_rmse": Metric("RMSE of a blind guess", "–", "for comparison: of the training median"),
    "r2": Metric(
        "R²",
        "higher",
        "1 less the squared error as a share of that of always answering these images’ mean",
    ),
    "within": Metric("Near", "higher", "share of images whose prediction is off by no more"),
    "median_within": Metric("The same of a blind guess", "–", "for comparison"),
    "bias": Metric("Mean error", "near 0", "mean of prediction less true value, with its sign"),
    "coverage": Metric("Intervals hold", "as made", "share of true values within their interval"),
    "width": Metric("Width of an interval", "lower", "on average, in the label’s own unit"),
    "majority_f1": Metric(
        "Weighted F1 of a blind guess",
        "–",
        "for comparison: of always answering the commonest class, without looking at the picture",
    ),
}


def metric_text(key: str) -> Metric:
    """The metric by its key; one that is not known here keeps its key as its name."""
    return METRICS.get(key) or Metric(key.replace("_", " ").capitalize(), "", "")
