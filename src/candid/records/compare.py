"""Two models on the same images: what changed for whom (a part of `audit.json`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from candid.records import Estimate, Split, State
from candid.records.frames import Tabular, html_of, in_short, with_figure


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of two models on the same images, and their difference."""

    # a, b: the figure of either model, NaN where undefined
    a: float
    b: float
    # b - a with its paired interval: both models are judged on the same drawn people
    difference: Estimate


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What changed for one group of images."""

    # attribute, value: "Eyeglasses", "yes"; of a class the label and the class; of all images "",
    # ""
    attribute: str
    value: str
    n: int  # images
    people: int | None  # behind them; None where people are unknown
    # by name: accuracy, weighted_f1, and error:<class>, the share of the images labelled so that
    # are classified otherwise
    metrics: dict[str, Change]
    lost: int  # images that A had right and B has wrong (McNemar's n10)
    gained: int  # the other way round (n01)
    lost_people: int  # people who lost more images than they gained
    gained_people: int  # the other way round
    # Two-sided, of "neither model is better": an exact randomisation test by person, which is
    # McNemar's exact test where nobody has more than one image. 1 where no image flipped.
    p: float
    # After Benjamini and Hochberg over all classes and groups with enough people, NaN for the
    # others. All images together are not among them: there it is `p`.
    adjusted_p: float
    # the smallest difference in accuracy that these people would show in 80% of cases; NaN where
    # even the largest would be missed
    smallest_visible: float
    state: State  # "found", "not found", or "too few to say"
    # only images that are labelled so count, in the group as in the rest; None: all images
    label: str | None = None
    # Accuracy less that of the rest (images whose value is known and differs), of either model, and
    # how the gap changed. Nearer to 0 is fairer. None where there is no rest.
    gap: Change | None = None

    def row(self, a: str, b: str) -> dict[str, Any]:
        """How accuracy changed, as a row; `a` and `b` name the columns of both accuracies."""
        accuracy = self.metrics["accuracy"]
        about = {
            "group": f"{self.attribute}: {self.value}" if self.attribute else "all images",
            "label": self.label,
            a: accuracy.a,
            b: accuracy.b,
            "p": self.p,
            "adjusted_p": self.adjusted_p,
            "state": self.state,
        }
        return with_figure(about, self.accuracy_change)

    @property
    def accuracy_change(self) -> Estimate:
        """What changed in accuracy."""
        return self.metrics["accuracy"].difference


@dataclass(frozen=True, slots=True)
class Comparison(Tabular):
    """Two models on the same images."""

    # a, b: what to call them
    a: str
    b: str
    target: str  # the label
    classes: tuple[str, ...]  # in A's order
    split: Split  # that was compared
    n: int  # images in both files with the same label
    people: int | None  # behind them
    # only_a, only_b: labelled images of the split that only one of the files holds; they do not
    # count
    only_a: int
    only_b: int
    relabelled: int  # images in both files with different labels; they do not count either
    overall: GroupChange  # all images
    # the images of each class, in the order of the classes
    classes_changed: tuple[GroupChange, ...]
    # every value of every attribute that both files agree on, and each within each label (up to ten
    # classes): found ones first, those that lost most at the top, then the others by how much they
    # changed
    groups: tuple[GroupChange, ...]
    looked_at: int  # how many classes and groups the adjustment of p-values counts
    alpha: float  # the false discovery rate that "found" promises
    notes: tuple[str, ...] = ()  # what a reader should know: images left out, people unknown, …

    def rows(self) -> list[dict[str, Any]]:
        """One row for all images, each class and each group: how accuracy changed."""
        return [g.row("a", "b") for g in self.every()]

    def _repr_html_(self) -> str:
        rows = [r for r in self.rows() if r["group"] == "all images" or r["state"] == "found"]
        shown = [in_short(row, "group", "label", "a", "b", "p") for row in rows]
        return html_of(shown, f"{self.target}: accuracy of {self.b} less that of {self.a}")

    def every(self) -> tuple[GroupChange, ...]:
        """All images, each class, each group."""
        return (self.overall, *self.classes_changed, *self.groups)

    def judged(self) -> list[GroupChange]:
        """The classes and groups with enough people to say something."""
        return [g for g in self.every()[1:] if g.state in ("found", "not found")]

    def changed(self, sign: int) -> list[GroupChange]:
        """Those that became better (1) or worse (-1) for sure, the widest change first."""
        found = [
            g for g in self.judged() if g.state == "found" and sign * g.accuracy_change.value > 0
        ]
        return sorted(found, key=lambda g: -sign * g.accuracy_change.value)
