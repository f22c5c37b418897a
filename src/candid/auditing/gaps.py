"""Gaps: contrasts of a split, their false discoveries and what was visible.

All gaps of a split go into one `Ledger` first, because whether a gap counts as found depends on how
many were looked at; `Ledger.settle` makes the table that everything is read from.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, CountArray, FloatArray, IndexArray
from candid.auditing.contrasts import Contrast, concatenate_contrasts
from candid.records import State
from candid.records.audit import Gap
from candid.records.metrics import worse_when
from candid.stats import multiple_testing
from candid.stats.bootstrap import Resample
from candid.stats.differences import Side


@dataclass(frozen=True, eq=False)
class GapTable:
    """All gaps of a split; every array is (k,)."""

    # metric, method, from_draws: as in `Contrast`
    metric: NDArray[np.str_]
    method: NDArray[np.str_]
    from_draws: BoolArray
    # left, right: the figure of the group, and of what it is compared with
    left: FloatArray
    right: FloatArray
    # low, high: of the interval of left - right
    low: FloatArray
    high: FloatArray
    p: FloatArray  # NaN where either side is too small
    q: FloatArray  # after Benjamini and Hochberg
    visible: FloatArray  # the smallest difference to the group's disadvantage that would be seen
    surprise: FloatArray  # as in `Contrast`
    # n, rest_n: images behind them
    n: CountArray
    rest_n: CountArray
    # units, rest_units: people, or images, behind them
    units: CountArray
    rest_units: CountArray
    undefined: CountArray  # as in `Contrast`
    looked_at: int  # how many p-values count
    threshold: float  # the p up to which a gap is found
    rate: float  # the false discovery rate
    count: int  # how many of those that count were found
    resampling: Resample  # how images were drawn

    @cached_property
    def value(self) -> FloatArray:
        """(k,) the gaps."""
        return self.left - self.right

    @cached_property
    def is_found(self) -> BoolArray:
        """(k,) whether each gap is found."""
        with np.errstate(invalid="ignore"):
            return self.q <= self.rate

    @cached_property
    def is_harmful(self) -> BoolArray:
        """(k,) whether each gap is found, to the group's disadvantage."""
        direction = {metric: worse_when(metric) for metric in set(self.metric.tolist())}
        with np.errstate(invalid="ignore"):
            signed = self.value * [direction[metric] for metric in self.metric.tolist()]
            return self.is_found & (signed > 0)

    def states(self, indices: IndexArray) -> list[State]:
        """The state of each group, from the (figures, groups) indices of its gaps."""
        is_tested, is_harmful = ~np.isnan(self.p[indices]), self.is_harmful[indices]
        return [
            "found" if n_harmful else "not found" if n_tested else "too few to say"
            for n_harmful, n_tested in zip(is_harmful.sum(0), is_tested.sum(0), strict=True)
        ]

    def gap(self, i: int, *, flipped: bool = False) -> Gap:
        """The record of one gap; `flipped` turns an error into an accuracy."""
        value, low, high = float(self.value[i]), float(self.low[i]), float(self.high[i])
        if flipped:
            value, low, high = -value, -high, -low
        by_person = self.resampling.by_person
        state: State = "found" if self.is_found[i] else "not found"
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
            people=int(self.units[i]) if by_person else None,
            rest_people=int(self.rest_units[i]) if by_person else None,
            method=str(self.method[i]),
            draws=self.resampling.draws if self.from_draws[i] else 0,
            undefined_draws=int(self.undefined[i]),
            confidence=self.resampling.confidence,
        )


class Resampled(Protocol):
    """Images that are resampled, such as `Rows`."""

    @property
    def resampling(self) -> Resample:
        """How they are resampled."""
        ...


class Ledger:
    """Gaps as they are measured; `settle` makes the table."""

    def __init__(self, rows: Resampled, smallest: int, rate: float) -> None:
        self.resampling, self.smallest, self.rate = rows.resampling, smallest, rate
        self._contrasts: list[Contrast] = []
        self._p: list[FloatArray | None] = []
        self._counted: list[BoolArray] = [np.empty(0, np.bool_)]
        self._size = 0

    def add(
        self, contrast: Contrast, counted: BoolArray | None = None, p: FloatArray | None = None
    ) -> IndexArray:
        """Add gaps; their indices in the table.

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
        """Decide which of all gaps are found."""
        kinds = self._by_kind()
        p = np.full(self._size, np.nan)
        for contrast, at in kinds:
            p[at] = contrast.p()
        start = 0
        for contrast, override in zip(self._contrasts, self._p, strict=True):
            rows = slice(start, start := start + len(contrast))
            p[rows] = np.where(
                contrast.units >= self.smallest, p[rows] if override is None else override, np.nan
            )
        counted = np.concatenate(self._counted)
        tested = np.where(counted, p, np.nan)
        looked_at = int(np.count_nonzero(~np.isnan(tested)))
        threshold = multiple_testing.cutoff(tested, self.rate)
        q = multiple_testing.benjamini_hochberg(tested)
        count = int(np.count_nonzero(q <= self.rate))
        # A mirror image has the adjusted p of a counted gap with its p.
        spare = np.flatnonzero(~counted & ~np.isnan(p))
        if len(spare) and looked_at:
            order = np.argsort(tested)[:looked_at]
            index = np.searchsorted(tested[order], p[spare] * (1 - 1e-9))
            q[spare] = q[order[np.minimum(index, looked_at - 1)]]
        return GapTable(
            **self._columns(kinds, threshold),
            p=p,
            q=q,
            looked_at=looked_at,
            threshold=threshold,
            rate=self.rate,
            count=count,
            resampling=self.resampling,
        )

    def _by_kind(self) -> list[tuple[Contrast, IndexArray]]:
        """Contrasts that can be computed as one, and their indices in the table."""
        kinds: dict[Hashable, list[tuple[Contrast, IndexArray]]] = {}
        ends = np.cumsum([len(c) for c in self._contrasts], dtype=np.intp)
        for contrast, end in zip(self._contrasts, ends, strict=True):
            members = kinds.setdefault(contrast.kind, [])
            members.append((contrast, np.arange(end - len(contrast), end)))
        return [
            (
                concatenate_contrasts([c for c, _ in members]),
                np.concatenate([at for _, at in members]),
            )
            for members in kinds.values()
        ]

    def _columns(
        self, kinds: Sequence[tuple[Contrast, IndexArray]], threshold: float
    ) -> dict[str, NDArray[Any]]:
        """The columns of the table that come from the contrasts."""
        none = np.empty(0, np.int64)
        side = Side(np.empty(0), np.empty(0), none)
        # Of any metric that is known: it has no gap, but the columns.
        empty = Contrast("mae", side, side, np.empty(0), none, none, none, "")
        order = np.argsort(np.concatenate([none, *(at for _, at in kinds)]))
        contrasts = [c for c, _ in kinds] or [empty]
        parts = [c.columns(self.resampling.confidence, threshold) for c in contrasts]
        columns = {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
        lengths = [len(c) for c in self._contrasts]
        names = {
            name: np.array([getattr(c, name) for c in self._contrasts], dtype)
            for name, dtype in (("metric", np.str_), ("method", np.str_), ("from_draws", np.bool_))
        }
        return columns | {name: np.repeat(column, lengths) for name, column in names.items()}
