"""The images on which remedies are tried: folds of people, and the groups that count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, IndexArray
from candid.errors import ConfigError, PredictionsError, did_you_mean
from candid.predictions import Predictions
from candid.records.audit import SplitAudit
from candid.records.improvement import CellAccuracy
from candid.stats.intervals import share

_MOST_NAMED = 3  # attributes that an audit's findings bring in


@dataclass(frozen=True, eq=False)
class Cell:
    """Images with one label and, unless these are "", one value of one attribute."""

    label: str
    attribute: str
    value: str
    mask: BoolArray

    @property
    def key(self) -> tuple[str, str, str]:
        """Label, attribute and value."""
        return self.label, self.attribute, self.value


@dataclass(frozen=True, eq=False)
class Arena:
    """Labelled images that the run did not learn from, answered by the run as it is."""

    before: Predictions  # what it says; of its attributes those whose groups count, without numbers
    fold: IndexArray  # (n,) from 0: no person is in two
    confidence: float  # of every interval
    # people (images, where people are unknown) that a cell needs to be the worst
    smallest: int

    def cells(self, p: Predictions | None = None) -> Iterator[Cell]:
        """Each label alone, or with each value of each attribute; in `p` in place of `before`."""
        p = self.before if p is None else p
        for code, label in enumerate(p.classes):
            in_class = p.label == code
            if not p.attributes:
                yield Cell(label, "", "", in_class)
            for attribute in p.attributes.values():
                for k, value in enumerate(attribute.values):
                    yield Cell(label, attribute.name, value, in_class & (attribute.data == k))

    def large(self) -> list[Cell]:
        """The cells with enough people."""
        return [c for c in self.cells() if _units(self.before, c.mask) >= self.smallest]

    def cell_codes(self, attribute: str = "") -> IndexArray:
        """(n,) the combination of label and attribute of each image; -1 where that is unknown."""
        return cell_codes(self.before, attribute)

    def accuracies(self, p: Predictions, cells: Sequence[Cell]) -> list[CellAccuracy]:
        """The accuracy of `p` in each of the cells, which are of its images."""
        right, persons, level = ~p.wrong, p.persons(), self.confidence
        return [CellAccuracy(*c.key, share(right & c.mask, c.mask, persons, level)) for c in cells]


def cell_codes(p: Predictions, attribute: str = "") -> IndexArray:
    """(n,) the combination of label and attribute of each image; -1 where either is unknown."""
    code = p.label.astype(np.intp)
    if not attribute:
        return code
    data = p.attributes[attribute].data.astype(np.intp)
    unknown = (data < 0) | (code < 0)
    return np.where(unknown, -1, code * len(p.attributes[attribute].values) + data)


def _units(p: Predictions, mask: BoolArray) -> int:
    people = p.n_people(mask)
    return int(np.count_nonzero(mask)) if people is None else people


def build_arena(
    validation: Predictions,
    attributes: Sequence[str],
    *,
    folds: int,
    seed: int,
    confidence: float,
    smallest: int,
) -> Arena:
    """Split the labelled images of `validation` into folds of people, rare combinations evenly.

    Raises ConfigError where an attribute does not exist. Raises PredictionsError where there are
    fewer people than three for each fold.
    """
    binned = validation.with_bins()
    if missing := [name for name in attributes if name not in binned.attributes]:
        raise ConfigError(
            f"There is no attribute {missing[0]!r} that the run's images are annotated with.",
            expected="an attribute whose groups are to be balanced",
            todo=did_you_mean(missing[0], binned.attributes),
        )
    selected = {name: binned.attributes[name] for name in dict.fromkeys(attributes)}
    p = replace(binned, attributes=selected)[binned.label >= 0]
    people = p.n_people() or len(p)
    if people < 3 * folds:
        raise PredictionsError(
            f"{people} people with a label on validation are too few for {folds} folds.",
            expected=f"at least {3 * folds}",
            todo="use fewer folds, or more images",
        )
    return Arena(p, _folds(p, folds, seed), confidence, smallest)


def _folds(p: Predictions, folds: int, seed: int) -> IndexArray:
    """(n,) folds; people are dealt out by their rarest combination, at random within it."""
    persons = p.persons()
    unit = np.arange(len(p)) if persons is None else np.unique(persons, return_inverse=True)[1]
    unit = unit.reshape(-1)
    key: NDArray[Any] = np.stack([p.label, *(a.data for a in p.attributes.values())], axis=1)
    _, cell, count = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    cell = cell.reshape(-1)
    rank = np.empty(len(count), np.intp)
    rank[np.argsort(count, kind="stable")] = np.arange(len(count))
    rarest = np.full(int(unit.max()) + 1, len(count))
    np.minimum.at(rarest, unit, rank[cell])
    tie_break = np.random.default_rng(seed).random(len(rarest))
    fold_of_unit = np.empty(len(rarest), np.intp)
    fold_of_unit[np.lexsort([tie_break, rarest])] = np.arange(len(rarest)) % folds
    return fold_of_unit[unit]


def attributes_found(split: SplitAudit | None) -> tuple[str, ...]:
    """The attributes of an audit's findings, the surest first: cues, then groups."""
    if split is None:
        return ()
    ordered = sorted(split.findings, key=lambda f: f.kind != "shortcut")
    names = [
        f.conditions[0].attribute
        for f in ordered
        if f.kind in ("shortcut", "group") and f.conditions
    ]
    return tuple(dict.fromkeys(names))[:_MOST_NAMED]
