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
    "majority_f1": Metric(
        "Weighted F1 of a blind guess",
        "–",
        "for comparison: of always answering the commonest class, without looking at the picture",
    ),
}


def metric_text(key: str) -> Metric:
    """The metric by its key; one that is not known here keeps its key as its name."""
    return METRICS.get(key) or Metric(key.replace("_", " ").capitalize(), "", "")
