"""What the stages hand to each other: small frozen records, to and from JSON.

Undefined figures are NaN here and `null` in JSON. A record knows nothing of the stage that made it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from candid.records.files import from_plain as from_plain
from candid.records.files import read_record as read_record
from candid.records.files import to_plain as to_plain
from candid.records.files import write_record as write_record
from candid.records.frames import Tabular, html_of, in_short, text_of, with_figure
from candid.records.model import HistoryRow as HistoryRow
from candid.records.model import Layer as Layer
from candid.records.model import ModelCard as ModelCard
from candid.records.model import Provenance as Provenance

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

State = Literal["found", "not found", "not applicable", "too few to say"]
Severity = Literal["note", "warning", "serious"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval, what it was computed from, and how.

    Attributes
    ----------
    value, low, high
        The figure and the ends of its interval; NaN where undefined.
    n
        How many images stand behind it.
    method
        How the interval was made: "Wilson", "bootstrap by person", "bootstrap by image", …
    people
        How many people stand behind it; None where people are unknown.
    draws, undefined_draws
        Bootstrap draws, and how many of them left the figure undefined.
    confidence
        What share of such intervals holds the true value.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    people: int | None = None
    draws: int = 0
    undefined_draws: int = 0
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw: a code, an honest state, how much of it, and what to do.

    Attributes
    ----------
    code
        Stable and short: "DUPLICATES-ACROSS-SPLITS".
    title
        A few words for a heading.
    state
        "not found" says that it was looked for; "not applicable" that it could not be.
    severity
        How bad it is where it was found.
    detail
        What was seen, in one or two sentences, with its figures.
    count, of
        How many of how many; 0 of 0 where the check does not apply.
    examples
        Ids of images that show it; in a record at most a few, and `findings.parquet` has all.
    todo
        What a careful person would do about it.
    values
        What `detail` was made from, by name: plain values beside `count` and `of`. Of a finding
        about the data; empty in files that were written before there were any.
    """

    code: str
    title: str
    state: State
    severity: Severity
    detail: str
    count: int = 0
    of: int = 0
    examples: tuple[str, ...] = ()
    todo: str = ""
    values: dict[str, Any] = field(default_factory=dict)


# --- data.json: what explore found ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Count:
    """How often a value stands in the data."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class SizeCount(Count):
    """How often a size stands in the data; without width and height, rare ones together."""

    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split: how many images and people, and the share of each class.

    `shares` follows the order of the classes; its intervals are by person where people are known.
    """

    split: Split
    n: int
    people: int | None
    counts: tuple[int, ...]
    shares: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class AttributeSummary:
    """One value of an attribute in one split, and how it goes with the label.

    Attributes
    ----------
    attribute, value
        "Eyeglasses", "yes". Numeric attributes come in bins: "20 to 35".
    split
        Where it was counted.
    prevalence
        The share of the split's images that bear the value.
    class_shares
        For each class, the share of its images that bear the value.
    association
        Cramér's V with the label, 0 (independent) to 1 (one decides the other).
    class_estimates
        `class_shares` with their intervals, by person where people are known; empty in files that
        were written before there were any.
    """

    attribute: str
    value: str
    split: Split
    prevalence: Estimate
    class_shares: tuple[float, ...]
    association: Estimate
    class_estimates: tuple[Estimate, ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges (one more edge than counts) for one group of images."""

    group: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class Exploration(Tabular):
    """What images and labels there are (`data.json`).

    `people` is None where people are unknown; `brightness` and `contrast` hold one histogram
    per class (mean and standard deviation of luma in an image, 0 to 1); `samples` holds the ids of
    a few training images of each class, drawn at random. `synthetic` says that a program drew the
    faces and wrote the labels.
    """

    name: str
    layout: str
    target: str
    classes: tuple[str, ...]
    n: int
    unreadable: int
    unlabelled: int
    people: int | None
    side: int
    fingerprint: str
    sizes: tuple[SizeCount, ...]
    modes: tuple[Count, ...]
    formats: tuple[Count, ...]
    splits: tuple[SplitSummary, ...]
    attributes: tuple[AttributeSummary, ...]
    brightness: tuple[Histogram, ...]
    contrast: tuple[Histogram, ...]
    findings: tuple[Finding, ...]
    samples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    synthetic: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """One row for each finding: what was looked for, and what came of it."""
        names = ("code", "title", "state", "severity", "count", "of", "detail")
        return [{name: getattr(f, name) for name in names} for f in self.findings]

    def _repr_html_(self) -> str:
        rows = [row for row in self.rows() if row["state"] == "found"]
        return html_of(rows, f"{self.name}: {self.n:,} images; {self.target}")


# --- evaluation.json -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class against the others."""

    name: str
    support: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    roc_auc: Estimate
    average_precision: Estimate

    @property
    def metrics(self) -> dict[str, Estimate]:
        """The figures by name."""
        names = ("precision", "recall", "f1", "roc_auc", "average_precision")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images whose confidence lies between `low` and `high`: what it promised, what came true."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve, thinned for drawing: ROC or precision-recall of one class."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One image that the report shows: what the annotator wrote and what the model says.

    `confidence` and `label_probability` are NaN where the model gave answers alone.
    """

    id: str
    label: str
    prediction: str
    confidence: float
    label_probability: float


@dataclass(frozen=True, slots=True)
class SplitEvaluation:
    """How well the model does on one split.

    `metrics` has, in this order: weighted_f1, accuracy, balanced_accuracy, roc_auc,
    average_precision, log_loss, brier_score, calibration_error, calibration_error_before (before
    the temperature was fitted), majority_f1 (always answering the commonest class of the split).
    `confusion[i][j]` counts the images labelled i and predicted j. `reliability_before` holds the
    bins before the temperature was fitted; empty where there was none, so that nothing changed.
    `corrected` says how many of the labels were corrected; where some were, `metrics_as_read` has
    figures against all of them as they were read.
    """

    split: Split
    n: int
    people: int | None
    metrics: dict[str, Estimate]
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    roc: tuple[Curve, ...]
    precision_recall: tuple[Curve, ...]
    surest_mistakes: tuple[Example, ...]
    least_sure: tuple[Example, ...]
    reliability_before: tuple[ReliabilityBin, ...] = ()
    corrected: int = 0
    metrics_as_read: dict[str, Estimate] = field(default_factory=dict)

    @property
    def only_class(self) -> ClassMetrics | None:
        """The class that all images are labelled with; None where there are several."""
        labelled = [c for c in self.classes if c.support]
        return labelled[0] if len(labelled) == 1 else None


@dataclass(frozen=True, slots=True)
class Convergence:
    """A verdict on the training curve, and how it was decided.

    `code` is one of "still-falling", "settled", "overfitting", "unsteady", "too-short".
    """

    code: str
    sentence: str
    rule: str
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation(Tabular):
    """How well the model does (`evaluation.json`), on each split that has predictions."""

    target: str
    classes: tuple[str, ...]
    temperature: float
    splits: tuple[SplitEvaluation, ...]
    convergence: Convergence | None
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row for each figure of each split, and of each class in it ("" for all)."""
        figures = [
            (split.split, of, metric, figure)
            for split in self.splits
            for of, metrics in [("", split.metrics), *((c.name, c.metrics) for c in split.classes)]
            for metric, figure in metrics.items()
        ]
        return [
            with_figure({"split": split, "class": of, "metric": metric}, e)
            for split, of, metric, e in figures
        ]

    def table(self, title: str = "") -> str:
        """The figures of each split as a small table for notebooks."""
        return html_of(self._split_rows(), title or self._title())

    def _split_rows(self) -> list[dict[str, Any]]:
        return [in_short(row, "split", "metric") for row in self.rows() if not row["class"]]

    def _title(self) -> str:
        return f"{self.target}: {', '.join(self.classes)}"

    def __str__(self) -> str:
        return text_of(self._split_rows(), self._title())

    def _repr_html_(self) -> str:
        return self.table()
