"""The figures that records hold by name: which way is better, and what kind of number each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["score", "error", "deviation", "mean"]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One figure.

    Attributes
    ----------
    kind
        "score": 0 to 1. "error": 0 to infinity. "deviation": a sum of absolute deviations. "mean":
        any sign.
    better
        1 where a higher figure is better, -1 where a lower one is, 0 where neither is.
    needs_probability
        Whether it is undefined where a model gave answers and no probabilities.
    """

    kind: Kind
    better: Literal[-1, 0, 1]
    needs_probability: bool = False


# Some are figures of a class; then records call them "error:<class>".
METRICS: dict[str, MetricSpec] = {
    **dict.fromkeys(("weighted_f1", "accuracy", "balanced_accuracy"), MetricSpec("score", 1)),
    **dict.fromkeys(("roc_auc", "average_precision"), MetricSpec("score", 1, True)),
    **dict.fromkeys(("log_loss", "brier_score"), MetricSpec("error", -1, True)),
    **dict.fromkeys(
        ("calibration_error", "calibration_error_before"), MetricSpec("deviation", -1, True)
    ),
    **dict.fromkeys(("majority_f1", "precision", "recall", "f1"), MetricSpec("score", 1)),
    **dict.fromkeys(("error", "false", "standardised_error"), MetricSpec("score", -1)),
    # Of a number; "median_…" is of always answering the training median.
    **dict.fromkeys(("mae", "rmse", "median_mae", "median_rmse"), MetricSpec("error", -1)),
    **dict.fromkeys(("within", "median_within", "coverage"), MetricSpec("score", 1)),
    "r2": MetricSpec("mean", 1),
    "bias": MetricSpec("mean", 0),
    "width": MetricSpec("error", -1),
    "predicted": MetricSpec("score", 0),
    "confidence": MetricSpec("score", 0, True),
    "overconfidence": MetricSpec("mean", 0, True),
}


def metric_named(name: str) -> MetricSpec:
    """A figure by the name that records give it: "accuracy", "error:<class>"."""
    return METRICS[name.partition(":")[0]]


def worse_when(name: str) -> int:
    """1 where a higher figure is worse, -1 where a lower one is, 0 where neither is."""
    return -metric_named(name).better
