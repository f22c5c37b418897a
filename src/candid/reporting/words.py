"""How the report and the model card write a figure, its interval and what it stands on.

Everything here is plain text: whoever prints it escapes it for HTML, Markdown or YAML.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from candid.records import Estimate, SplitEvaluation

UNDEFINED = "undefined"

# --- figures -------------------------------------------------------------------------------------


def number(value: float, digits: int = 3) -> str:
    """A figure to so many decimals; "undefined" where it is NaN or infinite."""
    if not math.isfinite(value):
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def significant(value: float, digits: int = 3) -> str:
    """A figure to so many significant digits, for one whose size is not known beforehand."""
    return f"{value:.{digits}g}".replace("-", "−") if math.isfinite(value) else UNDEFINED


def count(value: int) -> str:
    """A whole number with its thousands marked: 24,152."""
    return f"{value:,}"


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage; never 0% or 100% unless it is exactly that."""
    if not math.isfinite(share):
        return UNDEFINED
    text = f"{100 * share:.{digits}f}"
    smallest = 10.0**-digits
    if float(text) >= 100 and share < 1:
        return f">{100 - smallest:.{digits}f}%"
    if float(text) == 0 and share > 0:
        return f"<{smallest:.{digits}f}%"
    return f"{text}%"


def interval(estimate: Estimate, digits: int = 3, *, share: bool = False) -> str:
    """The ends of the interval, "0.951 to 0.963"; "undefined" where either is."""
    ends = (estimate.low, estimate.high)
    if not all(math.isfinite(end) for end in ends):
        return UNDEFINED
    if share:
        return " to ".join(percent(end) for end in ends)
    return " to ".join(number(end, digits) for end in ends)


def support(estimate: Estimate) -> str:
    """What stands behind a figure: "n = 2,900 images of 611 people"."""
    images = f"n = {count(estimate.n)} {'image' if estimate.n == 1 else 'images'}"
    return images if estimate.people is None else f"{images} of {people(estimate.people)}"


def people(n: int) -> str:
    """So many people, in words that count."""
    return f"{count(n)} {'person' if n == 1 else 'people'}"


def method(estimate: Estimate) -> str:
    """How the interval was made, with the draws that left the figure undefined."""
    text = f"{100 * estimate.confidence:g}% interval, {estimate.method}"
    if estimate.draws:
        text += f", {count(estimate.draws)} draws"
    if estimate.undefined_draws:
        text += f", of which {count(estimate.undefined_draws)} left it undefined"
    return text


def in_full(estimate: Estimate) -> str:
    """A figure with its interval, what it stands on and how it was made, on one line."""
    return (
        f"{number(estimate.value)} ({interval(estimate)}; {support(estimate)}; {method(estimate)})"
    )


def listed(words: list[str], last: str = "and") -> str:
    """A, B and C."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def sentence(text: str) -> str:
    """A line as a sentence: it begins with a capital letter and ends with a stop."""
    text = text.strip()
    stop = "" if not text or text[-1] in ".!?…" else "."
    return text[:1].upper() + text[1:] + stop


# --- metrics -------------------------------------------------------------------------------------


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


def metric(key: str) -> Metric:
    """The metric by its key; one that is not known here keeps its key as its name."""
    return METRICS.get(key) or Metric(key.replace("_", " ").capitalize(), "", "")


def split_metric(split: SplitEvaluation | None, key: str) -> Estimate | None:
    """One split's figure, None where there is none."""
    return None if split is None else split.metrics.get(key)
