"""How well a number is predicted (`evaluation.json` of a label that is one)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from candid.records import SPLITS, Estimate, Split
from candid.records.frames import Tabular, html_of, in_short, with_figure


@dataclass(frozen=True, slots=True)
class NumberGroup:
    """Images that share something: a range of the true value, or the value of an attribute.

    `attribute` is empty for a range. `metrics` are `mae`, `bias`, `coverage` and `width` (see
    `candid.stats.number_metrics`); of anybody's answers `mae`, `rmse`, `r2` and `bias`.
    """

    attribute: str
    value: str
    n: int
    people: int | None
    metrics: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class NumberExample:
    """One image: what is true, what is predicted, and the interval (NaN where there is none)."""

    id: str
    value: float
    predicted: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class NumberSplit:
    """How well a number is predicted on one split.

    `metrics` are those of `candid.stats.number_metrics`, in its order, but for what needs intervals
    or the training values where there are none; `ranges` are of the true
    value, ascending, `groups` every value of every attribute. `points` are at most a few thousand
    images (true value, prediction), drawn at random; `furthest` those that are furthest off.
    """

    split: Split
    n: int
    people: int | None
    metrics: dict[str, Estimate]
    ranges: tuple[NumberGroup, ...]
    groups: tuple[NumberGroup, ...]
    points: tuple[tuple[float, float], ...]
    furthest: tuple[NumberExample, ...]


@dataclass(frozen=True, slots=True)
class NumberEvaluation(Tabular):
    """How well a number is predicted, on each split that has predictions.

    Attributes
    ----------
    target
        The label.
    answer
        Which of the distribution's mean and median is the prediction; "" for anybody's answers.
    median
        Of the training values: the blind guess. NaN where they are not known.
    coverage
        The share of true values that the intervals are made to hold; NaN without intervals.
    tolerance
        How far off a prediction may be to count as near.
    splits
        Validation, on which the intervals were calibrated, and test.
    notes
        What a reader might not expect.
    """

    target: str
    answer: str
    median: float
    coverage: float
    tolerance: float
    splits: tuple[NumberSplit, ...]
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> NumberSplit | None:
        """The split that speaks for the model: test, else validation, else whatever there is."""
        splits = {s.split: s for s in self.splits if s.n}
        return next((splits[name] for name in reversed(SPLITS) if name in splits), None)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each figure of each split, range and group."""
        figures = [
            (split.split, attribute, value, name, figure)
            for split in self.splits
            for attribute, value, metrics in [
                ("", "", split.metrics),
                *((g.attribute, g.value, g.metrics) for g in (*split.ranges, *split.groups)),
            ]
            for name, figure in metrics.items()
        ]
        return [
            with_figure({"split": split, "attribute": a, "value of it": v, "metric": name}, e)
            for split, a, v, name, e in figures
        ]

    def table(self, title: str) -> str:
        """The figures of each split as a table of HTML."""
        rows = [row for row in self.rows() if not row["value of it"]]
        return html_of([in_short(row, "split", "metric") for row in rows], title)

    def _repr_html_(self) -> str:
        return self.table(self.target)
