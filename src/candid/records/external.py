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
    """A promise of few wrong answers beside what came true."""

    target_error: float  # what was promised: at most this share of the answers is wrong
    confidence: float  # of each of the two bounds
    # n, mistakes: the answers that count (of a person's pictures one, drawn at random, where people
    # are known), and how many of them were wrong
    n: int
    mistakes: int
    by_person: bool  # whether people are known
    # low, high: exact one-sided bounds of the share of wrong answers (Clopper & Pearson 1934)
    low: float
    high: float
    # "broken" where `low` is above the target, "kept" where `high` is at most it
    state: PromiseState


@dataclass(frozen=True, slots=True)
class ExternalFigures:
    """How well a model does on the labelled pictures of one place, and whether it knew."""

    evaluation: SplitEvaluation  # as for a split of the run's own data
    confidence: Estimate  # the mean of the highest probability
    overconfidence: Estimate  # that less accuracy
    # the share that was flagged as unlike the training data; undefined where nobody looked
    flagged: Estimate
    # flagged_accuracy, unflagged_accuracy: of the model's answers to those and to the others,
    # whether or not they were given
    flagged_accuracy: Estimate
    unflagged_accuracy: Estimate
    coverage: Estimate  # the share of the pictures that were answered: not flagged, and sure enough
    wrong: Estimate  # of the answers that were given, the share that is wrong
    # what was promised of it, beside what came true; None where nothing was
    promise: PromiseCheck | None


@dataclass(frozen=True, slots=True)
class Unread:
    """A picture that could not be read, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExternalSource:
    """One data set that the model was tried on."""

    name: str  # what it is called here
    data: str  # where it lay
    layout: str  # how it was read
    target: str  # its label
    split: str  # which of its splits; "" for all rows
    evaluated: str  # when, in ISO 8601
    cropped: bool  # whether faces were looked for first
    engine: str  # what computed
    calibration: str  # the one that was used; "" for the run's own
    pictures: int  # labelled pictures that were asked about
    unlabelled: int  # rows without a label, which were not
    unread: tuple[Unread, ...]  # pictures that could not be read, at most a hundred of them
    unread_count: int  # how many there were
    no_face: int  # pictures in which a face was looked for and not found; they are in no figure
    figures: ExternalFigures  # of all others
    # a figure by its name less that of the run's own test pictures; empty without such
    differences: dict[str, Estimate]
    paired: bool  # whether these are the run's own pictures, so that differences are paired
    audit: SplitAudit | None  # by group, on this data set's attributes; None where it has none
    notes: tuple[str, ...] = ()  # what a reader might not expect
    # the frame that the pictures have in common, from which they were framed; None where each was
    # framed by itself, or nothing is
    frame: CommonFrame | None = None


@dataclass(frozen=True, slots=True)
class Transfer(Tabular):
    """How a model does on data sets from elsewhere, beside its own test pictures."""

    target: str  # the run's label
    classes: tuple[str, ...]  # its values
    model: str  # a digest of the model that all of it is about
    # On the run's own test pictures, from its predictions; None where it has none. Whether they are
    # unlike the training data was not looked at: the limit was set on pictures like them.
    home: ExternalFigures | None
    sources: tuple[ExternalSource, ...]  # the data sets, in the order in which they came

    def rows(self) -> list[dict[str, Any]]:
        """A row per figure of every source, and of the run's own test pictures ("home")."""
        parts = [(s.name, s.figures, s.differences) for s in self.sources]
        if self.home is not None:
            parts.insert(0, ("home", self.home, {}))
        return [
            with_figure({"source": name, "figure": figure}, e)
            for name, figures, apart in parts
            for figure, e in _named(figures, apart)
        ]

    def _repr_html_(self) -> str:
        shown = ("accuracy", "weighted_f1", "confidence", "flagged", "coverage", "wrong")
        rows = [in_short(row, "source", "figure") for row in self.rows() if row["figure"] in shown]
        return html_of(rows, f"{self.target}: {', '.join(self.classes)}")


def _named(figures: ExternalFigures, apart: dict[str, Estimate]) -> list[tuple[str, Estimate]]:
    own = ("confidence", "overconfidence", "flagged", "flagged_accuracy", "unflagged_accuracy")
    return [
        *figures.evaluation.metrics.items(),
        *((name, getattr(figures, name)) for name in (*own, "coverage", "wrong")),
        *((f"{name} less home", e) for name, e in apart.items()),
    ]
