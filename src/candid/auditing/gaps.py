"""Gaps: contrasts of a split, their false discoveries and what was visible.

All gaps of a split are written into one `Ledger` first, because whether a gap counts as found
depends on how many were looked at; `Ledger.settle` makes the table that everything is read from.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Counts, Floats, Indices, Marks
from candid.auditing.contrasts import Contrast, as_one
from candid.records import State
from candid.records.audit import Gap
from candid.records.metrics import worse_when
from candid.stats import multiple_testing
from candid.stats.bootstrap import Resample
from candid.stats.differences import Side


@dataclass(frozen=True, eq=False)
class GapTable:
    """All gaps of a split; every array is (k,)."""

    # metric, method, drawn: as in `Contrast`
    metric: NDArray[np.str_]
    method: NDArray[np.str_]
    drawn: Marks
    # left, right: the figure of the group, and of what it is compared with
    left: Floats
    right: Floats
    # low, high: of the interval of left - right
    low: Floats
    high: Floats
    p: Floats  # NaN where either side is too small
    q: Floats  # after Benjamini and Hochberg
    visible: Floats  # the smallest difference to the group's disadvantage that would be seen
    # surprise, lost: as in `Contrast`
    surprise: Floats  # as in `Contrast`
    # n, rest_n: images behind them
    n: Counts
    rest_n: Counts
    # units, rest_units: people, or images, behind them
    units: Counts
    rest_units: Counts
    lost: Counts  # as in `Contrast`
    looked_at: int  # how many p-values count
    threshold: float  # the p up to which a gap is found
    rate: float  # the false discovery rate
    count: int  # how many of those that count were found
    drawing: Resample  # how images were drawn

    @cached_property
    def value(self) -> Floats:
        """(k,) the gaps."""
        return self.left - self.right

    @cached_property
    def found(self) -> Marks:
        """(k,) whether each gap held."""
        with np.errstate(invalid="ignore"):
            return self.q <= self.rate

    @cached_property
    def harm(self) -> Marks:
        """(k,) whether each gap held and is to the group's disadvantage."""
        way = {metric: worse_when(metric) for metric in set(self.metric.tolist())}
        with np.errstate(invalid="ignore"):
            return self.found & (self.value * [way[metric] for metric in self.metric.tolist()] > 0)

    def states(self, places: Indices) -> list[State]:
        """What can be said of groups with (figures, groups) gaps that tell of a disadvantage."""
        known, harm = ~np.isnan(self.p[places]), self.harm[places]
        return [
            "found" if held else "not found" if said else "too few to say"
            for held, said in zip(harm.sum(0), known.sum(0), strict=True)
        ]

    def gap(self, i: int, *, flipped: bool = False) -> Gap:
        """The record of one gap; `flipped` tells an error as an accuracy."""
        value, low, high = float(self.value[i]), float(self.low[i]), float(self.high[i])
        if flipped:
            value, low, high = -value, -high, -low
        known = self.drawing.by_person
        state: State = "found" if self.found[i] else "not found"
        return Gap(
            metric="accuracy" if flipped else str(self.metric[i]),
            value=value,
            low=low,
            high=high,
            p=float(self.p[i]),
            adjusted_p=float(self.q[i]),
            smallest_visible=float(self.visible[i]),
            state="too few to say" if np.isnan(self.p[i]) else state,
            n=int(self.n[i]),
            rest_n=int(self.rest_n[i]),
            people=int(self.units[i]) if known else None,
            rest_people=int(self.rest_units[i]) if known else None,
            method=str(self.method[i]),
            draws=self.drawing.draws if self.drawn[i] else 0,
            undefined_draws=int(self.lost[i]),
            confidence=self.drawing.confidence,
        )


class Drawn(Protocol):
    """Images that are drawn, such as `Rows`."""

    @property
    def drawing(self) -> Resample:
        """How."""
        ...


class Ledger:
    """Gaps as they are measured; `settle` makes the table."""

    def __init__(self, rows: Drawn, smallest: int, rate: float) -> None:
        self.drawing, self.smallest, self.rate = rows.drawing, smallest, rate
        self._contrasts: list[Contrast] = []
        self._p: list[Floats | None] = []
        self._counted: list[Marks] = [np.empty(0, np.bool_)]
        self._size = 0

    def add(
        self, contrast: Contrast, counted: Marks | None = None, p: Floats | None = None
    ) -> Indices:
        """Write down some gaps; their places in the table.

        Parameters
        ----------
        contrast
            The gaps.
        counted
            (k,) False for the mirror image of a gap that is in the ledger already: with two values,
            what one lacks the other has. None: all count.
        p
            (k,) their p-values, where they are not the contrast's own.
        """
        self._contrasts.append(contrast)
        self._p.append(p)
        self._counted.append(np.ones(len(contrast), np.bool_) if counted is None else counted)
        self._size += len(contrast)
        return np.arange(self._size - len(contrast), self._size)

    def settle(self) -> GapTable:
        """Decide what was found, over everything that was written down."""
        kinds = self._by_kind()
        p = np.full(self._size, np.nan)
        for contrast, at in kinds:
            p[at] = contrast.p()
        start = 0
        for contrast, given in zip(self._contrasts, self._p, strict=True):
            here = slice(start, start := start + len(contrast))
            p[here] = np.where(
                contrast.units >= self.smallest, p[here] if given is None else given, np.nan
            )
        counted = np.concatenate(self._counted)
        known = np.where(counted, p, np.nan)
        looked_at = int(np.count_nonzero(~np.isnan(known)))
        threshold = multiple_testing.cutoff(known, self.rate)
        q = multiple_testing.benjamini_hochberg(known)
        count = int(np.count_nonzero(q <= self.rate))
        # A mirror image has the adjusted p of a counted gap with its p.
        spare = np.flatnonzero(~counted & ~np.isnan(p))
        if len(spare) and looked_at:
            order = np.argsort(known)[:looked_at]
            place = np.searchsorted(known[order], p[spare] * (1 - 1e-9))
            q[spare] = q[order[np.minimum(place, looked_at - 1)]]
        return GapTable(
            **self._columns(kinds, threshold),
            p=p,
            q=q,
            looked_at=looked_at,
            threshold=threshold,
            rate=self.rate,
            count=count,
            drawing=self.drawing,
        )

    def _by_kind(self) -> list[tuple[Contrast, Indices]]:
        """What can be computed at once, and where it stands in the table."""
        kinds: dict[Hashable, list[tuple[Contrast, Indices]]] = {}
        ends = np.cumsum([len(c) for c in self._contrasts], dtype=np.intp)
        for contrast, end in zip(self._contrasts, ends, strict=True):
            some = kinds.setdefault(contrast.kind, [])
            some.append((contrast, np.arange(end - len(contrast), end)))
        return [
            (as_one([c for c, _ in some]), np.concatenate([at for _, at in some]))
            for some in kinds.values()
        ]

    def _columns(
        self, kinds: Sequence[tuple[Contrast, Indices]], threshold: float
    ) -> dict[str, NDArray[Any]]:
        """The columns of the table that come from the contrasts."""
        side, none = Side(np.empty(0), np.empty(0), np.empty(0, np.int64)), np.empty(0, np.int64)
        # Of any metric that is known: it has no gap, but the columns.
        empty = Contrast("mae", side, side, np.empty(0), none, none, none, "")
        order = np.argsort(np.concatenate([none, *(at for _, at in kinds)]))
        parts = [c.columns(self.drawing.confidence, threshold) for c, _ in kinds]
        parts = parts or [empty.columns(self.drawing.confidence, threshold)]
        columns = {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
        lengths = [len(c) for c in self._contrasts]
        names = {
            "metric": np.array([c.metric for c in self._contrasts], np.str_),
            "method": np.array([c.method for c in self._contrasts], np.str_),
            "drawn": np.array([c.drawn for c in self._contrasts], np.bool_),
        }
        return columns | {name: np.repeat(column, lengths) for name, column in names.items()}
