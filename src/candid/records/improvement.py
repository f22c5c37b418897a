"""Which remedies help a run's model, for whom, and what they cost the others (`improve.json`).

Everything is paired: the same images, answered by the run as it is and with a remedy. Undefined
figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from candid.records import Estimate, State
from candid.records.compare import Change, Comparison, GroupChange
from candid.records.frames import Tabular, html_of, in_short

Aim = Literal["worst group", "overall"]

# "group layer", "label layer": the last layer fitted again on images that weigh the same by label
# and attribute, or by label; "prior shift": its bias and temperature alone; "group calibration":
# those by group; "abstention": no answer where the run is unsure. All others were trained anew:
# with corrections; without copies; with weights of classes or groups; for the worst group (DRO);
# from "another seed" and else as the run, which is what these must be better than.
RemedyKind = Literal[
    "group layer",
    "label layer",
    "prior shift",
    "group calibration",
    "abstention",
    "another seed",
    "corrections",
    "copies",
    "class weights",
    "group weights",
    "group DRO",
]
_TRAINED: tuple[RemedyKind, ...] = get_args(RemedyKind)[5:]


@dataclass(frozen=True, slots=True)
class CellAccuracy:
    """The accuracy among images with one label and, unless these are "", one attribute's value."""

    label: str
    attribute: str
    value: str
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class CellCoverage:
    """Among such images, the share that is answered, and the share of the answers that is wrong."""

    label: str
    attribute: str
    value: str
    coverage: Estimate
    error: Estimate


@dataclass(frozen=True, slots=True)
class RemedyOutcome:
    """What one remedy does to people who had no part in choosing it."""

    name: str  # "last-layer-Male"
    kind: RemedyKind  # what it is
    attribute: str  # that it balances or asks for; "": none
    # "validation": fitted on the other folds of it; "training": on training images, with only the
    # strength chosen on the other folds; "": neither
    fitted_on: str
    # how strongly the last layer was held near the run's own (that of all folds together); NaN
    # where it was not fitted
    penalty: float
    # whether it can win: it changes something, answers too, and asks for nothing that a new picture
    # lacks
    eligible: bool
    aim: GroupChange  # what it was judged by: the images of the worst group, or all of them
    # `aim.p`, or the larger of that and `beside_control.p`, after Benjamini and Hochberg over the
    # remedies that could win; NaN for others
    adjusted_p: float
    # "found": it helps what is aimed at, beyond chance; "not applicable" where it cannot win
    helps: State
    overall: GroupChange  # all images
    # worst_before, worst_after: the combination of label and attribute with the lowest accuracy, as
    # the run is and with the remedy; not always the same one
    worst_before: CellAccuracy
    worst_after: CellAccuracy
    log_loss: Change  # of the probabilities
    # every class and group, those that changed for sure first; their p-values are adjusted over all
    # remedies together
    groups: tuple[GroupChange, ...]
    # where it abstains, what that costs each group; else empty
    coverage: tuple[CellCoverage, ...] = ()
    # of a remedy that trained anew, the same images against the run trained again from another
    # seed; None where nothing was trained
    beside_control: GroupChange | None = None

    @property
    def trained(self) -> bool:
        """Whether a network was trained anew for it."""
        return self.kind in _TRAINED

    def changed(self, sign: int) -> list[GroupChange]:
        """The classes and groups that became better (1) or worse (-1) for sure, widest first."""
        found = [
            g for g in self.groups if g.state == "found" and sign * g.accuracy_change.value > 0
        ]
        return sorted(found, key=lambda g: -sign * g.accuracy_change.value)


@dataclass(frozen=True, slots=True)
class TestLook:
    """The winner on test, which was looked at this once."""

    comparison: Comparison  # all images, each class and each group: what changed
    aim: GroupChange  # what was aimed at: the group that was worst on validation, or all images
    # worst_before, worst_after: as in `RemedyOutcome`
    worst_before: CellAccuracy
    worst_after: CellAccuracy


@dataclass(frozen=True, slots=True)
class Improvement(Tabular):
    """A tournament of remedies against a run as it is (`improve.json`)."""

    target: str  # the label
    classes: tuple[str, ...]  # its values
    model: str  # a digest of the weights that all of it is about
    aim: Aim  # what is to become better
    attributes: tuple[str, ...]  # whose groups count
    named: bool  # whether they were named or are those of the audit's findings
    folds: int  # parts of the validation people
    n: int  # images
    people: int | None  # None where people are unknown
    # the accuracy of each combination of label and attribute, as the run is
    cells: tuple[CellAccuracy, ...]
    remedies: tuple[RemedyOutcome, ...]  # those that helped most first; those that cannot win last
    winner: str  # the name of one of them; "" where none helps
    test: TestLook | None  # the winner on test; None where none won, or there are no test images
    folder: str  # where the winner lies, as a run of its own; "" without one
    alpha: float  # the false discovery rate
    seed: int  # decides the folds
    notes: tuple[str, ...] = ()  # what a reader might not expect

    def rows(self) -> list[dict[str, Any]]:
        """A row per remedy and group: how accuracy changed."""
        return [
            {"remedy": remedy.name} | g.row("before", "after")
            for remedy in self.remedies
            for g in (remedy.overall, *remedy.groups)
        ]

    def _repr_html_(self) -> str:
        rows = [r for r in self.rows() if r["group"] == "all images" or r["state"] == "found"]
        shown = [in_short(row, "remedy", "group", "label", "before", "after") for row in rows]
        return html_of(shown, f"{self.target}: {self.winner or 'none helps'}")
