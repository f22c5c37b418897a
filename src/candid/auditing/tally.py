"""Sums of any number of rows in flat memory, from which an audit is made.

Every figure of the audit that follows from counts needs, for each group, how many images of each
label got each answer, and how much confidence went in. Such counts add, over batches and over
shards. For intervals by person each person belongs to one of 8,192 strata, by a hash of who they
are: the same in every shard, wherever their images lie. Strata are then drawn instead of people
(random groups, Wolter 2007, §2.2) with Poisson weights (Hanley & MacGibbon 2006; Chamandy et al.
2012), so a draw costs nothing while rows go by.

How many people stand behind a group is estimated from how many of 65,536 cells they leave empty
(linear counting, Whang et al. 1990): within 1% up to 300,000 people, and at most `MOST_PEOPLE`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, CountArray, FloatArray

Codes = NDArray[np.intp]

STRATA, CELLS = 1 << 13, 1 << 16
MOST_PEOPLE = round(CELLS * math.log(CELLS / 8))  # fewer than 8 empty cells tell nothing


def hash_people(key: NDArray[Any], seed: int) -> NDArray[np.uint64]:
    """(n,) well mixed 64-bit numbers (SplitMix64's finaliser; Steele et al. 2014)."""
    z = key.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows, as numbers."""

    # label, answer: (n,) classes
    label: Codes
    answer: Codes
    confidence: FloatArray  # (n,) probability of the answer
    key: NDArray[Any]  # (n,) integers: the same for the same person
    # By name, (n,) codes; -1 unknown. A code that is new makes room for itself.
    attributes: Mapping[str, Codes]

    def take(self, rows: BoolArray | Codes) -> Batch:
        """The given rows, without attributes."""
        return Batch(self.label[rows], self.answer[rows], self.confidence[rows], self.key[rows], {})


# What is summed of each value: by stratum and label, images, those that are right and their
# confidence, and by stratum and answer, images; where people of each label and answer fall; and, of
# all strata, images by label and answer.
SUMS = ("labelled", "right", "sure", "answered", "seen_label", "seen_answer", "outcomes")
_MANY = 8  # places for each row that are still gone through as a whole


class ValueSums:
    """Sums of some values by label, and by answer.

    Strata do not cross labels with answers, so memory grows with the classes, not their square.
    """

    def __init__(self, n_classes: int, values: int = 0) -> None:
        self.n_classes = n_classes
        by_stratum, by_cell = (values, STRATA, n_classes), (values, CELLS, n_classes)
        self.labelled: CountArray = np.zeros(by_stratum, np.int64)
        self.right: CountArray = np.zeros(by_stratum, np.int64)
        self.sure: FloatArray = np.zeros(by_stratum)
        self.answered: CountArray = np.zeros(by_stratum, np.int64)
        self.seen_label: BoolArray = np.zeros(by_cell, np.bool_)
        self.seen_answer: BoolArray = np.zeros(by_cell, np.bool_)
        self.outcomes: CountArray = np.zeros((values, n_classes, n_classes), np.int64)

    def __len__(self) -> int:
        return len(self.outcomes)

    def widen(self, values: int) -> None:
        """Append zeros up to so many values."""
        more = ValueSums(self.n_classes, values - len(self))
        for name in SUMS:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(more, name)]))

    def add(self, value: Codes, stratum: Codes, cell: Codes, batch: Batch) -> None:
        """Count rows."""
        k, right = self.n_classes, batch.label == batch.answer
        row = value * STRATA + stratum
        by_label = row * k + batch.label
        _count(self.labelled, by_label)
        _count(self.right, by_label[right])
        _count(self.sure, by_label, batch.confidence)
        _count(self.answered, row * k + batch.answer)
        at = value * CELLS + cell
        self.seen_label.reshape(-1)[at * k + batch.label] = True
        self.seen_answer.reshape(-1)[at * k + batch.answer] = True
        _count(self.outcomes, (value * k + batch.label) * k + batch.answer)

    def merge(self, groups: Sequence[Sequence[int] | Codes]) -> ValueSums:
        """The sums of each group of values."""
        merged = ValueSums(self.n_classes, len(groups))
        for name in SUMS:
            values_of, target = getattr(self, name), getattr(merged, name)
            combine = np.add if values_of.dtype != np.bool_ else np.logical_or
            for g, values in enumerate(groups):
                combine.reduce(values_of[values], axis=0, out=target[g])
        return merged


def _count(
    counts: CountArray | FloatArray, index: Codes, weights: FloatArray | None = None
) -> None:
    """Add 1, or weights, at flat indices, which may repeat."""
    flat = counts.reshape(-1)
    if flat.size <= _MANY * len(index):
        flat += np.bincount(index, weights, minlength=flat.size)  # quick, and as large as all
    else:
        np.add.at(flat, index, 1 if weights is None else weights)


class Tally:
    """The sums of one split; `add` batch by batch, in any order.

    Parameters
    ----------
    attributes
        Names.
    n_classes
        How many the label has.
    seed
        Decides which people share a stratum.
    pairs
        Whether pairs of values are counted too.
    """

    def __init__(
        self, attributes: tuple[str, ...], n_classes: int, *, seed: int = 0, pairs: bool = True
    ) -> None:
        self.seed, self.pairs, self.n = seed, pairs, 0
        self.everyone = ValueSums(n_classes, 1)
        self.tables = {name: ValueSums(n_classes) for name in attributes}
        # Of each attribute's codes, the columns of the table of pairs.
        self._columns: dict[str, Codes] = {name: np.empty(0, np.intp) for name in attributes}
        self._both: FloatArray = np.zeros((2, 0, 0))

    def add(self, batch: Batch) -> None:
        """Count some more rows."""
        if not len(batch.label):
            return
        self._make_room(batch)
        self.n += len(batch.label)
        hashes = hash_people(batch.key, self.seed)
        stratum = (hashes >> np.uint64(51)).astype(np.intp)
        cell = (hashes & np.uint64(CELLS - 1)).astype(np.intp)
        self.everyone.add(np.zeros(len(batch.label), np.intp), stratum, cell, batch)
        for name, table in self.tables.items():
            code = batch.attributes[name]
            is_known = code >= 0
            table.add(code[is_known], stratum[is_known], cell[is_known], batch.take(is_known))
        if self.pairs:
            self._add_pairs(batch)

    def _make_room(self, batch: Batch) -> None:
        """Widen tables where a code is new."""
        width = sum(map(len, self._columns.values()))
        start = width
        for name, columns in self._columns.items():
            n_new = int(batch.attributes[name].max()) + 1 - len(columns)
            if n_new > 0:
                self.tables[name].widen(len(columns) + n_new)
                self._columns[name] = np.concatenate([columns, width + np.arange(n_new)])
                width += n_new
        if self.pairs and width > start:
            self._both = np.pad(self._both, ((0, 0), (0, width - start), (0, width - start)))

    def _add_pairs(self, batch: Batch) -> None:
        """Count the images and the mistakes that every two values have in common."""
        one_hot = np.zeros((len(batch.label), self._both.shape[1]), np.float32)
        rows = np.arange(len(one_hot))
        for name, columns in self._columns.items():
            code = batch.attributes[name]
            is_known = code >= 0
            one_hot[rows[is_known], columns[code[is_known]]] = 1
        wrong = one_hot[batch.label != batch.answer]
        self._both[0] += one_hot.T @ one_hot
        self._both[1] += wrong.T @ wrong

    def count_common(self, name: str, other: str) -> tuple[CountArray, CountArray]:
        """(codes, codes) images and mistakes that codes of two attributes have in common."""
        rows, columns = self._columns[name], self._columns[other]
        images, wrong = self._both[:, rows[:, None], columns].astype(np.int64)
        return images, wrong


def estimate_people(occupied: Any) -> CountArray:
    """How many people leave so many of the cells occupied."""
    empty = np.maximum(CELLS - np.asarray(occupied, np.float64), 8.0)
    people: CountArray = np.rint(-CELLS * np.log(empty / CELLS)).astype(np.int64)
    return people
