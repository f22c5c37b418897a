"""Several models on the same images: how well each does, and what differs between any two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from candid.records import Estimate, Split
from candid.records.compare import Comparison, GroupChange
from candid.records.frames import Tabular, html_of
from candid.records.metrics import metric_named


@dataclass(frozen=True, slots=True)
class RunFigures:
    """How well one model does on the images that all of them answered.

    `metrics` are accuracy and weighted_f1, of a number mae and rmse; the first ranks the models.
    """

    name: str
    metrics: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class GroupAcross:
    """One class or group, and what every model makes of it.

    Attributes
    ----------
    changes
        Of each pair of models, in the order of `RunComparison.pairs`.
    widest
        The place in `changes` of the widest difference that was found; where none was, of the
        widest difference.
    """

    changes: tuple[GroupChange, ...]
    widest: int

    @property
    def about(self) -> GroupChange:
        """Any of the changes: which group it is, its images and its people are the same in all."""
        return self.changes[0]

    @property
    def found(self) -> int:
        """How many pairs differ for sure."""
        return sum(change.state == "found" for change in self.changes)


@dataclass(frozen=True, slots=True)
class RunComparison(Tabular):
    """Three or more models, or two, on the same images, each pair of them compared.

    Attributes
    ----------
    names
        What to call them, in the order in which they were given.
    target, classes, split
        The label, its classes, and the split that was compared.
    n, people
        Images that all speak of, with the same label, and people behind them.
    left_out
        Labelled images of the split that some of them speak of and not all; they do not count.
    relabelled
        Images that they label differently; they do not count either.
    figures
        Each model's, in the order of `names`.
    pairs
        Each pair's comparison, the earlier model before the later. The p-value of all images
        together is adjusted by Holm over the pairs, those of classes and groups by Benjamini and
        Hochberg over all pairs together.
    looked_at
        How many differences of classes and groups that counts.
    alpha
        The rate of false differences that "found" promises.
    """

    names: tuple[str, ...]
    target: str
    classes: tuple[str, ...]
    split: Split
    n: int
    people: int | None
    left_out: int
    relabelled: int
    figures: tuple[RunFigures, ...]
    pairs: tuple[Comparison, ...]
    looked_at: int
    alpha: float
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row for all images, each class and group of each pair: how the figure differs."""
        return [{"from": pair.a, "to": pair.b} | row for pair in self.pairs for row in pair.rows()]

    def _repr_html_(self) -> str:
        rows = []
        for model in self.ranked():
            (first, main), *further = model.metrics.items()
            interval = {"interval": f"{main.low:.4g} to {main.high:.4g}"}
            rest = {name.replace("weighted_f1", "weighted F1"): e.value for name, e in further}
            rows.append({"model": model.name, first: main.value} | interval | rest | {"n": main.n})
        return html_of(rows, f"{self.target}, {self.split}")

    @property
    def metric(self) -> str:
        """The figure that says which model is better: accuracy, or of a number `mae`."""
        return self.pairs[0].overall.metric

    @property
    def is_number(self) -> bool:
        """Whether the label is a number."""
        return self.pairs[0].is_number

    def ranked(self) -> list[RunFigures]:
        """The figures, the best model's first."""
        sign = metric_named(self.metric).better
        return sorted(self.figures, key=lambda model: -sign * model.metrics[self.metric].value)

    def across(self) -> list[GroupAcross]:
        """Every class and group, those with the most pairs that differ for sure first."""
        changes = [{_key(g): g for g in pair.every()[1:]} for pair in self.pairs]
        groups = [_group_across(tuple(pair[key] for pair in changes)) for key in changes[0]]
        return sorted(groups, key=lambda g: (-g.found, -_size(g.changes[g.widest])))

    def figures_of(self, group: GroupAcross) -> list[float]:
        """The group's accuracy, or its mean error, with each model, in the order of `names`."""
        first = group.changes[: len(self.names) - 1]  # the pairs of the first model come first
        return [first[0].main.a, *(change.main.b for change in first)]


def _key(change: GroupChange) -> tuple[str, str, str | None, bool]:
    # A group may bear the name of the label.
    return change.attribute, change.value, change.label, change.gap is None


def _group_across(changes: tuple[GroupChange, ...]) -> GroupAcross:
    ranks = [(change.state == "found", _size(change)) for change in changes]
    return GroupAcross(changes, ranks.index(max(ranks)))


def _size(change: GroupChange) -> float:
    """The size of a difference; -1 where it is undefined."""
    size = abs(change.change.value)
    return size if size >= 0 else -1.0
