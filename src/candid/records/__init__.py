"""What the stages hand to each other: small frozen records, to and from JSON.

Undefined figures are NaN here and `null` in JSON. A record knows nothing of the stage that made it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from candid.errors import RunError, go_on_with
from candid.records.frames import frame_of, html_of
from candid.storage.files import FORMAT, check_format, read_bytes, reading, write_json

if TYPE_CHECKING:
    from cattrs import Converter

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_LARGEST_SIDE = 1024  # as in data.side

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
        How many people stand behind it; None where identities are unknown.
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


# --- data.json: what explore found ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Count:
    """How often a value stands in the data."""

    value: str
    count: int


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
class Exploration:
    """What images and labels there are (`data.json`).

    `people` is None where identities are unknown; `brightness` and `contrast` hold one histogram
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
    sizes: tuple[Count, ...]
    modes: tuple[Count, ...]
    formats: tuple[Count, ...]
    splits: tuple[SplitSummary, ...]
    attributes: tuple[AttributeSummary, ...]
    brightness: tuple[Histogram, ...]
    contrast: tuple[Histogram, ...]
    findings: tuple[Finding, ...]
    samples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    synthetic: bool = False


# --- model.json, history.parquet -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as the report draws it: its output shape without the batch, and its parameters."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """How to build and feed the network whose weights lie beside it (`model.json`).

    An image is `side` × `side` RGB; (pixel / 255 - mean) / std per channel goes in, and the logits
    divided by `temperature` are the calibrated logits of `classes`. Where `mirrored`, the logits
    are the mean of those of the image and of its mirror image. `options` are those of the network:
    its width and depth.
    """

    network: str
    options: dict[str, int | float | str]
    target: str
    classes: tuple[str, ...]
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    temperature: float
    parameters: int
    multiply_adds: int
    layers: tuple[Layer, ...]
    step: int
    kept: Literal["best", "last"]
    mirrored: bool = False

    def problem(self) -> str:
        """What no training can have written, in words; "" where all is possible."""
        if not 1 <= self.side <= _LARGEST_SIDE:
            return f"the side is {self.side} pixels"
        if not self.classes or len({*self.classes}) < len(self.classes):
            return f"the classes are {', '.join(map(repr, self.classes)) or 'none'}"
        if not all(-0.01 <= x <= 1.01 for x in self.mean):  # of pixels from 0 to 1; a NaN is not
            return f"the means of the pixels are {self.mean}"
        if not all(1e-7 <= x <= 1 for x in self.std):
            return f"the standard deviations of the pixels are {self.std}"
        if not 1e-9 <= self.temperature <= 1e9:
            return f"the temperature is {self.temperature}"
        return ""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One training step; the validation figures are NaN where the step ended without evaluation.

    `train_loss` is the loss of this step's batch, augmented and with dropout; `train_f1` is its
    weighted F1. `seconds` counts from the start of training, without time spent stopped. A fit that
    has no steps is one row, without a learning rate (NaN) and with the figures of all its images.
    """

    step: int
    images: int
    seconds: float
    learning_rate: float
    train_loss: float
    train_f1: float
    validation_loss: float = math.nan
    validation_f1: float = math.nan
    validation_accuracy: float = math.nan

    @property
    def is_fit(self) -> bool:
        """Whether this is the only row of a fit without steps."""
        return math.isnan(self.learning_rate)


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
    """One image that the report shows: what the annotator wrote and what the model says."""

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
class Evaluation:
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
            (split.split, of, name, figure)
            for split in self.splits
            for of, named in [("", split.metrics), *((c.name, c.metrics) for c in split.classes)]
            for name, figure in named.items()
        ]
        return [
            {
                "split": split,
                "class": of,
                "metric": name,
                "value": e.value,
                "low": e.low,
                "high": e.high,
                "n": e.n,
                "people": e.people,
                "method": e.method,
            }
            for split, of, name, e in figures
        ]

    def to_frame(self) -> Any:
        """`rows` as a data frame: pandas where it is installed, else polars, else Arrow."""
        return frame_of(self.rows())

    def _repr_html_(self) -> str:
        rows = [
            {
                "split": row["split"],
                "metric": row["metric"],
                "value": row["value"],
                "interval": ""
                if math.isnan(row["low"])
                else f"{row['low']:.4g} to {row['high']:.4g}",
                "n": row["n"],
            }
            for row in self.rows()
            if not row["class"]
        ]
        return html_of(rows, f"{self.target}: {', '.join(self.classes)}")


# --- provenance.json -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a run came from: enough to make it again, or to say why that fails.

    `seconds` and `digests` are by step: how long it took, and what it read. `sources` says where
    each of several data sets lay, by its name; of one, `data` does.
    """

    candid: str
    command: str
    started: str
    seconds: dict[str, float]
    seed: int
    commit: str | None
    versions: dict[str, str]
    machine: dict[str, str]
    data: str
    data_fingerprint: str
    digests: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def problem(self) -> str:
        """What no run can have noted, in words; "" where all is possible."""
        wrong = [k for k, s in self.seconds.items() if not 0 <= s < math.inf]
        return f"the seconds of {wrong[0]!r} are {self.seconds[wrong[0]]}" if wrong else ""


# --- to and from JSON ----------------------------------------------------------------------------

Record = TypeVar("Record")


@runtime_checkable
class _Checked(Protocol):
    """A record that may hold what cannot be."""

    def problem(self) -> str: ...


def to_plain(record: Any) -> Any:
    """Dicts, lists, strings and numbers, with None for NaN and infinities."""
    return _converter().unstructure(record)


def from_plain(kind: type[Record], plain: Any) -> Record:
    """Build a record from `to_plain`'s output; unknown keys are ignored, missing are errors."""
    return _converter().structure(plain, kind)


def write_record(path: Path, record: Any) -> None:
    """Write a record and the number of its format as JSON, whole or not at all."""
    write_json(path, {"format": FORMAT} | to_plain(record))


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a record that `write_record` wrote.

    Raises
    ------
    RunError
        Where the file is missing, is not JSON, has another format, or does not hold such a record
        or one with figures that cannot be.
    """
    with reading(
        path,
        expected=f"a record of the kind {kind.__name__}, from a stage that was finished",
        todo=go_on_with(path.parent),
    ):
        plain = json.loads(read_bytes(path))
        check_format(path, plain.get("format", FORMAT))
        record = from_plain(kind, plain)
    if isinstance(record, _Checked) and (problem := record.problem()):
        raise RunError(
            f"{path} holds what cannot be: {problem}.",
            expected=f"a record of the kind {kind.__name__} as Candid writes it",
            todo="take the file from where the run was made, or start a new run",
        )
    return record


@cache
def _converter() -> Converter:
    from cattrs import Converter

    converter = Converter()

    def unstructure_float(value: float) -> float | None:
        return float(value) if math.isfinite(value) else None

    def structure_float(value: Any, _: Any) -> float:
        return math.nan if value is None else float(value)

    converter.register_unstructure_hook(float, unstructure_float)
    converter.register_structure_hook(float, structure_float)
    converter.register_structure_hook(int | float | str, lambda value, _: value)
    return converter
