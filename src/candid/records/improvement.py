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
_RETRAINED: tuple[RemedyKind, ...] = get_args(RemedyKind)[5:]


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
    """What one remedy does to people who had no part in choosing it.

    Attributes
    ----------
    name, kind, attribute
        "last-layer-Male"; what it is; the attribute that it balances or asks for ("": none).
    fitted_on
        "validation": fitted on the other folds of it; "training": on training images, with only
        the strength chosen on the other folds; "": neither.
    penalty
        How strongly the last layer was held near the run's own (that of all folds together); NaN
        where it was not fitted.
    eligible
        Whether it can win: it changes something, answers too, and asks for nothing that a new
        picture lacks.
    aim
        What it was judged by: the images of the worst group, or all of them.
    beside_control
        Of a remedy that trained anew, the same images against the run trained again from another
        seed; None where nothing was trained.
    adjusted_p
        `aim.p`, or the larger of that and `beside_control.p`, after Benjamini and Hochberg over the
        remedies that could win; NaN for others.
    helps
        "found": it helps what is aimed at, beyond chance; "not applicable" where it cannot win.
    overall
        All images.
    worst_before, worst_after
        The combination of label and attribute with the lowest accuracy, as the run is and with the
        remedy; not always the same one.
    log_loss
        Of the probabilities.
    groups
        Every class and group, those that changed for sure first; their p-values are adjusted over
        all remedies together.
    coverage
        Where it abstains, what that costs each group; else empty.
    """

    name: str
    kind: RemedyKind
    attribute: str
    fitted_on: str
    penalty: float
    eligible: bool
    aim: GroupChange
    adjusted_p: float
    helps: State
    overall: GroupChange
    worst_before: CellAccuracy
    worst_after: CellAccuracy
    log_loss: Change
    groups: tuple[GroupChange, ...]
    coverage: tuple[CellCoverage, ...] = ()
    beside_control: GroupChange | None = None

    @property
    def trained(self) -> bool:
        """Whether a network was trained anew for it."""
        return self.kind in _RETRAINED

    def changed(self, sign: int) -> list[GroupChange]:
        """The classes and groups that became better (1) or worse (-1) for sure, widest first."""
        groups = [g for g in self.groups if g.state == "found" and sign * g.change.value > 0]
        return sorted(groups, key=lambda g: -sign * g.change.value)


@dataclass(frozen=True, slots=True)
class TestLook:
    """The winner on test, which was looked at this once.

    Attributes
    ----------
    comparison
        All images, each class and each group: what changed.
    aim
        What was aimed at: the group that was worst on validation, or all images.
    worst_before, worst_after
        As in `RemedyOutcome`.
    """

    comparison: Comparison
    aim: GroupChange
    worst_before: CellAccuracy
    worst_after: CellAccuracy


@dataclass(frozen=True, slots=True)
class Improvement(Tabular):
    """A tournament of remedies against a run as it is (`improve.json`).

    Attributes
    ----------
    target, classes, model
        The label and its values; a digest of the weights that all of it is about.
    aim, attributes, named
        What is to become better; the attributes whose groups count, and whether they were named or
        are those of the audit's findings.
    folds, n, people
        Parts of the validation people, images and people (None where people are unknown).
    cells
        The accuracy of each combination of label and attribute, as the run is.
    remedies
        Those that helped most first; those that cannot win last.
    winner
        The name of one of them; "" where none helps.
    test
        The winner on test; None where none won, or there are no test images.
    folder
        Where the winner lies, as a run of its own; "" without one.
    alpha, seed
        The false discovery rate; decides the folds.
    notes
        What a reader might not expect.
    """

    target: str
    classes: tuple[str, ...]
    model: str
    aim: Aim
    attributes: tuple[str, ...]
    named: bool
    folds: int
    n: int
    people: int | None
    cells: tuple[CellAccuracy, ...]
    remedies: tuple[RemedyOutcome, ...]
    winner: str
    test: TestLook | None
    folder: str
    alpha: float
    seed: int
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """A row per remedy and group: how accuracy changed."""
        return [
            {"remedy": remedy.name} | g.row("before", "after")
            for remedy in self.remedies
            for g in (remedy.overall, *remedy.groups)
        ]

    def _repr_html_(self) -> str:
        rows = [r for r in self.rows() if r["group"] == "all images" or r["state"] == "found"]
        columns = [in_short(row, "remedy", "group", "label", "before", "after") for row in rows]
        return html_of(columns, f"{self.target}: {self.winner or 'none helps'}")
