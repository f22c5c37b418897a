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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Marks = NDArray[np.bool_]
Codes = NDArray[np.intp]

STRATA, CELLS = 1 << 13, 1 << 16
MOST_PEOPLE = round(CELLS * math.log(CELLS / 8))  # with fewer than 8 empty cells nobody can tell


def hashed(key: NDArray[Any], seed: int) -> NDArray[np.uint64]:
    """(n,) well mixed 64-bit numbers (SplitMix64's finaliser; Steele et al. 2014)."""
    z = key.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows, as numbers.

    Attributes
    ----------
    label, answer
        (n,) codes, 0 and up.
    confidence
        (n,) probability of the answer.
    key
        (n,) integers: the same for the same person.
    attributes
        By name, (n,) codes; -1 unknown.
    """

    label: Codes
    answer: Codes
    confidence: Floats
    key: NDArray[Any]
    attributes: Mapping[str, Codes]


class Tally:
    """The sums of one split; `add` batch by batch, in any order.

    Parameters
    ----------
    attributes
        Names.
    seed
        Decides which people share a stratum.
    pairs
        Whether pairs of values are counted too.
    """

    def __init__(self, attributes: tuple[str, ...], *, seed: int = 0, pairs: bool = True) -> None:
        self.names, self.seed, self.pairs = attributes, seed, pairs
        self.n = 0
        self._labels = self._answers = 1
        self._values = dict.fromkeys(attributes, 1)
        self.everyone = _Table(1)
        self.tables = {name: _Table(2) for name in attributes}
        self._both: Floats = np.zeros((2, 0, 0))
        self._at: dict[str, int] = {}

    def add(self, batch: Batch) -> None:
        """Count some more rows."""
        if not len(batch.label):
            return
        self._make_room(batch)
        self.n += len(batch.label)
        mixed = hashed(batch.key, self.seed)
        stratum = (mixed >> np.uint64(51)).astype(np.intp)
        cell = (mixed & np.uint64(CELLS - 1)).astype(np.intp)
        outcome = batch.label * self._answers + batch.answer
        self.everyone.add(stratum, cell, np.zeros(len(outcome), np.intp), outcome, batch)
        for name, table in self.tables.items():
            # Place 0 is for what is unknown.
            table.add(stratum, cell, batch.attributes[name] + 1, outcome, batch)
        if self.pairs:
            self._add_pairs(batch)

    def _make_room(self, batch: Batch) -> None:
        """Wider tables where a word is new."""
        labels = max(self._labels, int(batch.label.max()) + 1)
        answers = max(self._answers, int(batch.answer.max()) + 1)
        values = {
            name: max(self._values[name], int(batch.attributes[name].max()) + 1)
            for name in self.names
        }
        if (labels, answers, values) == (self._labels, self._answers, self._values) and self.n:
            return
        self._labels, self._answers = labels, answers
        self.everyone.widen(1, labels, answers)
        for name, table in self.tables.items():
            table.widen(values[name] + 1, labels, answers)
        at, wide = dict[str, int](), 0
        for name in self.names:
            at[name] = wide
            wide += values[name]
        if self.pairs:
            both = np.zeros((2, wide, wide))
            old = np.concatenate(
                [at[n] + np.arange(self._values[n]) for n in self._at] or [np.empty(0, np.intp)]
            )
            if self._both.size:
                both[:, old[:, None], old] = self._both
            self._both = both
        self._at, self._values = at, values

    def _add_pairs(self, batch: Batch) -> None:
        """How many images, and how many mistakes, every two values have in common."""
        hot = np.zeros((len(batch.label), self._both.shape[1]), np.float32)
        rows = np.arange(len(hot))
        for name, at in self._at.items():
            code = batch.attributes[name]
            known = code >= 0
            hot[rows[known], at + code[known]] = 1
        wrong = hot[batch.label != batch.answer]
        self._both[0] += hot.T @ hot
        self._both[1] += wrong.T @ wrong

    def common(self, name: str, other: str) -> tuple[Counts, Counts]:
        """(values, values) images and mistakes that values of two attributes have in common."""
        one, two = (slice(self._at[x], self._at[x] + self._values[x]) for x in (name, other))
        images, wrong = self._both[:, one, two].astype(np.int64)
        return images, wrong


class _Table:
    """Counts by stratum, value, label and answer; and which cells people of each fall into."""

    def __init__(self, values: int) -> None:
        self.count: Counts = np.zeros((STRATA, values, 1, 1), np.int64)
        self.sure: Floats = np.zeros((STRATA, values, 1, 1))
        self.seen: Marks = np.zeros((CELLS, values, 1, 1), np.bool_)

    def widen(self, values: int, labels: int, answers: int) -> None:
        """At least so many values, labels and answers."""
        wanted = zip((values, labels, answers), self.count.shape[1:], strict=True)
        more = [(0, 0), *((0, max(0, want - have)) for want, have in wanted)]
        if any(extra for _, extra in more):
            self.count = np.pad(self.count, more)
            self.sure = np.pad(self.sure, more)
            self.seen = np.pad(self.seen, more)

    def add(self, stratum: Codes, cell: Codes, value: Codes, outcome: Codes, batch: Batch) -> None:
        """Count rows."""
        width = math.prod(self.count.shape[1:])
        place = value * (self.count.shape[2] * self.count.shape[3]) + outcome
        at = stratum * width + place
        shape, size = self.count.shape, self.count.size
        self.count += np.bincount(at, minlength=size).reshape(shape)
        self.sure += np.bincount(at, batch.confidence, minlength=size).reshape(shape)
        self.seen.reshape(-1)[cell * width + place] = True


def people(occupied: Any) -> Counts:
    """How many people leave so many of the cells occupied."""
    empty = np.maximum(CELLS - np.asarray(occupied, np.float64), 8.0)
    found: Counts = np.rint(-CELLS * np.log(empty / CELLS)).astype(np.int64)
    return found
