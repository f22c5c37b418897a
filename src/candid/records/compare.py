"""Two models on the same images: what changed for whom (a part of `audit.json`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from candid.records import Estimate, Split, State
from candid.records.frames import Tabular, html_of, in_short, with_figure
from candid.records.metrics import metric_named


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of two models on the same images, and their difference.

    Attributes
    ----------
    a, b
        The figure of either model, NaN where undefined.
    difference
        b - a with its paired interval: both models are judged on the same drawn people.
    """

    a: float
    b: float
    difference: Estimate


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What changed for one group of images.

    Attributes
    ----------
    attribute, value
        "Eyeglasses", "yes"; the label and one of its classes for a class; two empty strings for
        all images.
    n, people
        Images, and people behind them (None where people are unknown).
    metrics
        By name: accuracy, weighted_f1, and error:<class>, the share of the images labelled so that
        are classified otherwise. Of a number mae and rmse, of which less is better.
    lost, gained
        Images that A had right and B has wrong (McNemar's n10), and the other way round (n01); of a
        number those of which B is further off than A, and those of which it is less far.
    lost_people, gained_people
        People who lost more images than they gained, and the other way round; of a number those
        of whom B is further off than A on average.
    p
        Two-sided, of "neither model is better": an exact randomisation test by person, which is
        McNemar's exact test where nobody has more than one image. 1 where no image flipped. Of a
        number Student's test of the mean difference by person.
    adjusted_p
        After Benjamini and Hochberg over all classes and groups with enough people, NaN for the
        others. All images together are not among them: there it is `p`.
    smallest_visible
        The smallest change that these people would show in 80% of cases; NaN where even the
        largest would be missed.
    state
        "found", "not found", or "too few to say".
    label
        Only images that are labelled so count, in the group as in the rest; None: all images.
    gap
        The figure less that of the rest (images whose value is known and differs), of either model,
        and how the gap changed. Nearer to 0 is fairer. None where there is no rest.
    """

    attribute: str
    value: str
    n: int
    people: int | None
    metrics: dict[str, Change]
    lost: int
    gained: int
    lost_people: int
    gained_people: int
    p: float
    adjusted_p: float
    smallest_visible: float
    state: State
    label: str | None = None
    gap: Change | None = None

    def row(self, a: str, b: str) -> dict[str, Any]:
        """How `main` changed, as a row; `a` and `b` name the columns of both models' figures."""
        main = self.main
        about = {
            "group": f"{self.attribute}: {self.value}" if self.attribute else "all images",
            "label": self.label,
            a: main.a,
            b: main.b,
            "p": self.p,
            "adjusted_p": self.adjusted_p,
            "state": self.state,
        }
        return with_figure(about, self.change)

    @property
    def metric(self) -> str:
        """The figure that says which model is better: accuracy, or of a number `mae`."""
        return "mae" if "mae" in self.metrics else "accuracy"

    @property
    def main(self) -> Change:
        """The main figure of either model."""
        return self.metrics[self.metric]

    @property
    def change(self) -> Estimate:
        """The difference of that figure."""
        return self.main.difference

    @property
    def gain(self) -> float:
        """By how much B is better: the change, or its opposite where less is better."""
        return metric_named(self.metric).better * self.change.value


@dataclass(frozen=True, slots=True)
class Comparison(Tabular):
    """Two models on the same images.

    Attributes
    ----------
    a, b
        What to call them.
    target, classes, split
        The label, its classes in A's order (none of a number), and the split that was compared.
    n, people
        Images in both files with the same label, and people behind them.
    only_a, only_b
        Labelled images of the split that only one of the files holds; they do not count.
    relabelled
        Images in both files with different labels; they do not count either.
    overall
        All images.
    classes_changed
        The images of each class, in the order of the classes; of a number those of each range of
        the true value, ascending.
    groups
        Every value of every attribute that both files agree on, and each within each label (up to
        ten classes): found ones first, those that lost most at the top, then the others by how
        much they changed.
    looked_at
        How many classes and groups the adjustment of p-values counts.
    alpha
        The false discovery rate that "found" promises.
    notes
        What a reader should know: images left out, people unknown, …
    """

    a: str
    b: str
    target: str
    classes: tuple[str, ...]
    split: Split
    n: int
    people: int | None
    only_a: int
    only_b: int
    relabelled: int
    overall: GroupChange
    classes_changed: tuple[GroupChange, ...]
    groups: tuple[GroupChange, ...]
    looked_at: int
    alpha: float
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row for all images, each class or range, each group: how the figure changed."""
        return [g.row("a", "b") for g in self.every()]

    def _repr_html_(self) -> str:
        rows = [r for r in self.rows() if r["group"] == "all images" or r["state"] == "found"]
        columns = [in_short(row, "group", "label", "a", "b", "p") for row in rows]
        figure = "mean absolute error" if self.is_number else "accuracy"
        return html_of(columns, f"{self.target}: {figure} of {self.b} less that of {self.a}")

    @property
    def is_number(self) -> bool:
        """Whether the label is a number."""
        return self.overall.metric == "mae"

    def every(self) -> tuple[GroupChange, ...]:
        """All images, each class, each group."""
        return (self.overall, *self.classes_changed, *self.groups)

    def judged(self) -> list[GroupChange]:
        """The classes and groups with enough people to say something."""
        return [g for g in self.every()[1:] if g.state in ("found", "not found")]

    def changed(self, sign: int) -> list[GroupChange]:
        """Those that became better (1) or worse (-1) for sure, the widest change first."""
        groups = [g for g in self.judged() if g.state == "found" and sign * g.gain > 0]
        return sorted(groups, key=lambda g: -sign * g.gain)
