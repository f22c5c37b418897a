"""How a run's model does on pictures from elsewhere (`transfer.json`).

Undefined figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from candid.records import Estimate, SplitEvaluation
from candid.records.audit import SplitAudit
from candid.records.frames import Tabular, html_of, in_short, with_figure
from candid.records.framing import CommonFrame

PromiseState = Literal["kept", "broken", "too few to say"]


@dataclass(frozen=True, slots=True)
class PromiseCheck:
    """A promise of few wrong answers beside what came true.

    Attributes
    ----------
    target_error
        What was promised: at most this share of the answers is wrong.
    confidence
        Of each of the two bounds.
    n, mistakes
        The answers that count (of a person's pictures one, drawn at random, where people are
        known), and how many of them were wrong.
    by_person
        Whether people are known.
    low, high
        Exact one-sided bounds of the share of wrong answers (Clopper & Pearson 1934).
    state
        "broken" where `low` is above the target, "kept" where `high` is at most it.
    """

    target_error: float
    confidence: float
    n: int
    mistakes: int
    by_person: bool
    low: float
    high: float
    state: PromiseState


@dataclass(frozen=True, slots=True)
class ExternalFigures:
    """How well a model does on the labelled pictures of one place, and whether it knew.

    Attributes
    ----------
    evaluation
        As for a split of the run's own data.
    confidence, overconfidence
        The mean of the highest probability, and that less accuracy.
    flagged
        The share that was flagged as unlike the training data; undefined where nobody looked.
    flagged_accuracy, unflagged_accuracy
        Accuracy of the model's answers to those and to the others, whether or not they were given.
    coverage
        The share of the pictures that were answered: not flagged, and sure enough.
    wrong
        Of the answers that were given, the share that is wrong.
    promise
        What was promised of it, beside what came true; None where nothing was.
    """

    evaluation: SplitEvaluation
    confidence: Estimate
    overconfidence: Estimate
    flagged: Estimate
    flagged_accuracy: Estimate
    unflagged_accuracy: Estimate
    coverage: Estimate
    wrong: Estimate
    promise: PromiseCheck | None


@dataclass(frozen=True, slots=True)
class Unread:
    """A picture that could not be read, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPictures:
    """One data set that a model was tried on, whatever its label.

    Attributes
    ----------
    name, data, layout, target
        What it is called here, where it lay, how it was read, and its label.
    split
        Which of its splits; "" for all rows.
    evaluated
        When, in ISO 8601.
    cropped, engine
        Whether faces were looked for first, and what computed.
    pictures, unlabelled
        Labelled pictures that were asked about, and rows without a label, which were not.
    unread, unread_count
        Pictures that could not be read, at most a hundred of them; and how many there were.
    no_face
        Pictures in which a face was looked for and not found; they are in no figure.
    differences
        A figure by its name less that of the run's own test pictures; empty without such.
    paired
        Whether these are the run's own pictures, so that differences are paired.
    audit
        By group, on this data set's attributes; None where it has none.
    notes
        What a reader might not expect.
    frame
        The frame that the pictures have in common, from which they were framed; None where each
        was framed by itself, or nothing is.
    """

    name: str
    data: str
    layout: str
    target: str
    split: str
    evaluated: str
    cropped: bool
    engine: str
    pictures: int
    unlabelled: int
    unread: tuple[Unread, ...]
    unread_count: int
    no_face: int
    differences: dict[str, Estimate]
    paired: bool
    audit: SplitAudit | None
    notes: tuple[str, ...] = ()
    frame: CommonFrame | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalSource(AskedPictures):
    """One data set that a model of classes was tried on.

    `calibration` is the one that was used ("": the run's own); `figures` are of all pictures that
    could be read and, where faces were looked for, have one.
    """

    calibration: str
    figures: ExternalFigures


@dataclass(frozen=True, slots=True)
class Transfer(Tabular):
    """How a model does on data sets from elsewhere, beside its own test pictures.

    Attributes
    ----------
    target, classes
        The run's label and its values.
    model
        A digest of the model that all of it is about.
    home
        On the run's own test pictures, from its predictions; None where it has none. Whether they
        are unlike the training data was not looked at: the limit was set on pictures like them.
    sources
        The data sets, in the order in which they came.
    """

    target: str
    classes: tuple[str, ...]
    model: str
    home: ExternalFigures | None
    sources: tuple[ExternalSource, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row per figure of every source, and of the run's own test pictures ("home")."""
        return rows_by_source(self.home, self.sources, _EXTRA_FIGURES)

    def _repr_html_(self) -> str:
        names = ("accuracy", "weighted_f1", "confidence", "flagged", "coverage", "wrong")
        rows = [in_short(row, "source", "figure") for row in self.rows() if row["figure"] in names]
        return html_of(rows, f"{self.target}: {', '.join(self.classes)}")


_EXTRA_FIGURES = (
    "confidence", "overconfidence", "flagged", "flagged_accuracy", "unflagged_accuracy", "coverage",
    "wrong",
)  # fmt: skip


def rows_by_source(
    home: Any, sources: tuple[Any, ...], extra: tuple[str, ...]
) -> list[dict[str, Any]]:
    """A row per figure: of each evaluation, its `extra` beside that, and what it is less home."""
    parts = [(s.name, s.figures, s.differences) for s in sources]
    if home is not None:
        parts.insert(0, ("home", home, {}))
    return [
        with_figure({"source": name, "figure": figure}, e)
        for name, figures, differences in parts
        for figure, e in (
            *figures.evaluation.metrics.items(),
            *((name, getattr(figures, name)) for name in extra),
            *((f"{name} less home", e) for name, e in differences.items()),
        )
    ]
