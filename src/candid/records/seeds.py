"""How much is luck: networks that differ in the seed alone, on the same images (`seeds.json`).

Undefined figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from candid.records import Estimate, Example, Split, State
from candid.records.frames import Tabular, with_figure


@dataclass(frozen=True, slots=True)
class SeedFigure:
    """One figure of a split over all seeds.

    Attributes
    ----------
    values
        With each seed, in the order of `Seeds.seeds`.
    mean
        Over seeds, with an interval for other seeds and other people.
    spread
        The standard deviation over seeds on these images.
    seeds_variance, people_variance
        Of the mean: what other seeds and what other people would make of it.
    """

    values: tuple[float, ...]
    mean: Estimate
    spread: Estimate
    seeds_variance: float
    people_variance: float


@dataclass(frozen=True, slots=True)
class GroupChanges:
    """How often the answers to a group change with the seed, beside all others.

    Attributes
    ----------
    attribute, value
        "Eyeglasses", "yes"; for a label the target's name and the class.
    changing, rest
        The share of the group's images, and of the others', whose answer is not the same with every
        seed.
    difference
        The first less the second.
    p, adjusted_p
        Of no difference; after Benjamini and Hochberg over all groups of the split.
    state
        "found": the group's answers change more or less often, beyond chance; "too few to say"
        where fewer people (or images, where nobody is known) stand on either side than the audit
        asks of a group.
    """

    attribute: str
    value: str
    changing: Estimate
    rest: Estimate
    difference: Estimate
    p: float
    adjusted_p: float
    state: State


@dataclass(frozen=True, slots=True)
class ChangingImage:
    """An image whose answer depends on the seed.

    `example` is what the run itself says of it; `answers` counts the seeds that gave each class.
    """

    example: Example
    person: int | None
    answers: dict[str, int]


@dataclass(frozen=True, slots=True)
class ChangingPerson:
    """A person with images whose answers depend on the seed; `id` is one of those images."""

    person: int
    id: str
    n: int
    changing: int


@dataclass(frozen=True, slots=True)
class WithheldChanges:
    """Whether abstention withholds the answers that depend on the seed.

    Attributes
    ----------
    target_error
        What the run's own threshold promises; NaN for the least sure tenth of the images.
    threshold
        Answers below it are withheld.
    withheld, given
        Of the withheld answers, and of those that are given, the share that changes with the seed.
    caught
        Of the answers that change, the share that is withheld.
    """

    target_error: float
    threshold: float
    withheld: Estimate
    given: Estimate
    caught: Estimate


@dataclass(frozen=True, slots=True)
class SeedSplit:
    """One split.

    Attributes
    ----------
    split, n, people
        Labelled images, and people behind them (None where people are unknown).
    figures
        By the names of `SplitEvaluation.metrics`: those of the answers and of the probabilities.
    changing
        The share of the images whose answer is not the same with every seed: more seeds, more
        change.
    disagreement
        The share of the images that two seeds answer differently, on average over all pairs: the
        same however many seeds there are.
    changing_people
        Of the people, the share with at least one such image; None where people are unknown.
    groups
        Each label and each value of each attribute, those that differ most surely first.
    abstention
        A row for each threshold of the audit, and one for the least sure tenth.
    images, persons
        The most divided first; not all of them, `seeds.parquet` has every image.
    """

    split: Split
    n: int
    people: int | None
    figures: dict[str, SeedFigure]
    changing: Estimate
    disagreement: Estimate
    changing_people: Estimate | None
    groups: tuple[GroupChanges, ...]
    abstention: tuple[WithheldChanges, ...]
    images: tuple[ChangingImage, ...]
    persons: tuple[ChangingPerson, ...]


@dataclass(frozen=True, slots=True)
class Seeds(Tabular):
    """Trainings that differ in the seed alone.

    `seeds` has the run's own first; the others lie in `seeds/<seed>/` of its folder.
    """

    target: str
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    splits: tuple[SeedSplit, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row per split and figure: its mean over seeds, and its spread."""
        return [
            with_figure(
                {"split": s.split, "metric": name, "seeds": len(self.seeds)}
                | {"spread": figure.spread.value},
                figure.mean,
            )
            for s in self.splits
            for name, figure in s.figures.items()
        ]
