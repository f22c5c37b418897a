"""Standard errors of all groups' figures from bootstrap draws, and how pairs of them go together.

A draw takes each person 0, 1, 2, … times, so the sums of all groups in all draws are products of
matrices: (draws, people) by (people, groups), once per sum. Only running moments of the figures are
kept, so memory does not grow with the draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.auditing.figures import Figures
from candid.auditing.rows import Singles
from candid.stats.significance import Side

Floats = NDArray[np.float64]

_BLOCK_DRAWN = 1_000_000  # figures are taken of draws × sides × sums in blocks of this (4 MiB)
_ROUNDING = 2e-6


@dataclass(frozen=True, eq=False)
class Moments:
    """Figures of k sides with their standard errors, and how c pairs of them go together.

    A side is a group, or what is left of a larger group without it.

    Attributes
    ----------
    figures
        Their names; rows of the arrays below.
    value, spread
        (figures, k): the figure on the images themselves, and its standard error.
    units, images
        (figures, k): units and images behind it.
    undefined
        (figures, k): draws that left it undefined.
    mean
        (figures, k): its mean over the draws.
    pairs
        (c, 2) the sides that were compared.
    correlation
        (figures, c) between the two sides.
    lost
        (figures, c) draws that left one of them undefined.
    """

    figures: tuple[str, ...]
    value: Floats
    spread: Floats
    units: NDArray[np.int64]
    images: NDArray[np.int64]
    undefined: NDArray[np.int64]
    mean: Floats
    pairs: NDArray[np.intp]
    correlation: Floats
    lost: NDArray[np.int64]

    def row(self, name: str) -> int:
        """Where a figure stands."""
        return self.figures.index(name)

    def side(self, name: str, sides: Any) -> Side:
        """A figure of some sides, as `significance` takes it."""
        i = self.row(name)
        share = None
        if name == "overconfidence":  # mean confidence less accuracy
            share = 1 - self.value[self.row("accuracy")][sides]
        return Side(self.value[i][sides], self.spread[i][sides], self.units[i][sides], share)


@dataclass(frozen=True, eq=False)
class Sums:
    """What is summed over k keys, and how s sides are made of them.

    Attributes
    ----------
    whole
        (sums, strata, keys) in single precision: what is drawn.
    exact
        (sums, keys) over all images.
    plus, minus
        (sides,) each side is a key, less another one; -1: less nothing.
    units, images
        (figures, sides) behind each figure.
    """

    whole: Singles
    exact: Floats
    plus: NDArray[np.intp]
    minus: NDArray[np.intp]
    units: NDArray[np.int64]
    images: NDArray[np.int64]


def moments_of(
    sums: Sums, pairs: NDArray[np.intp], figures: Figures, counts: Iterator[Singles]
) -> Moments:
    """Every side's figures with standard errors from all draws, and how pairs of sides go together.

    `counts` gives blocks (m, strata) of how often each stratum was drawn.
    """
    whole, plus, minus, units = sums.whole, sums.plus, sums.minus, sums.units
    own = sides_of(sums.exact, plus, minus)
    value = figures.of(own)
    moments = _Running(value, pairs)
    around = own.astype(np.float32)[:, None, :]
    step = max(4, _BLOCK_DRAWN // (len(plus) * len(whole)))
    for block in counts:
        for start in range(0, len(block), step):
            weight = block[start : start + step]
            drawn = np.stack([weight @ s for s in whole])  # (sums, m, keys)
            moments.add(figures.of(sides_of(drawn, plus, minus), around))
    spread, undefined, mean, correlation, lost = moments.finish()
    # Drawing units from themselves loses one of those behind the figure.
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(units > 1, spread * np.sqrt(units / (units - 1)), np.nan)
    return Moments(
        figures=figures.names,
        value=value,
        spread=spread,
        units=units,
        images=sums.images,
        undefined=undefined,
        mean=mean,
        pairs=pairs,
        correlation=correlation,
        lost=lost,
    )


def sides_of(sums: NDArray[Any], plus: NDArray[np.intp], minus: NDArray[np.intp]) -> NDArray[Any]:
    """(…, sides) from (…, keys): each side is a key, less another one where `minus` is not -1."""
    sides: NDArray[Any] = np.take(sums, plus, axis=-1)
    some = np.flatnonzero(minus >= 0)
    if len(some):
        sides[..., some] -= np.take(sums, minus[some], axis=-1)
    return sides


class _Running:
    """Moments of figures over draws, block by block, around the figures themselves."""

    def __init__(self, value: Floats, pairs: NDArray[np.intp]) -> None:
        self.value = np.nan_to_num(value).astype(np.float32)[:, None, :]
        self.left, self.right = pairs[:, 0], pairs[:, 1]
        shape, both = value.shape, (len(value), len(pairs))
        self.draws = 0
        self.defined, self.sum, self.square = (np.zeros(shape) for _ in range(3))
        self.shared, self.cross = np.zeros(both), np.zeros(both)
        self.sum_left, self.sum_right = np.zeros(both), np.zeros(both)

    def add(self, drawn: NDArray[Any]) -> None:
        """One block: (figures, draws, sides)."""
        away = drawn - self.value
        missing = np.isnan(away)
        holes = bool(missing.any())
        if holes:
            away[missing] = 0
        self.draws += drawn.shape[1]
        self.defined += drawn.shape[1] - (missing.sum(1) if holes else 0)
        self.sum += away.sum(1, dtype=np.float64)
        self.square += np.einsum("fms,fms->fs", away, away)
        left, right = away[..., self.left], away[..., self.right]
        if holes:
            gone = missing[..., self.left] | missing[..., self.right]
            self.shared += drawn.shape[1] - gone.sum(1)
            left[gone], right[gone] = 0, 0
        else:
            self.shared += drawn.shape[1]
        self.sum_left += left.sum(1, dtype=np.float64)
        self.sum_right += right.sum(1, dtype=np.float64)
        self.cross += np.einsum("fmc,fmc->fc", left, right)

    def finish(
        self,
    ) -> tuple[Floats, NDArray[np.int64], Floats, Floats, NDArray[np.int64]]:
        """Standard errors, undefined draws, means, correlations, draws lost to a pair."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.sum / self.defined
            variance = (self.square - self.defined * mean**2) / (self.defined - 1)
            spread = np.sqrt(np.maximum(variance, 0))
            covariance = self.cross / self.shared
            covariance -= self.sum_left * self.sum_right / self.shared**2
            correlation = covariance / (spread[:, self.left] * spread[:, self.right])
        spread = np.where(spread < _ROUNDING, 0.0, spread)  # one rounding is no spread
        correlation = np.clip(np.nan_to_num(correlation, posinf=0, neginf=0), -1, 1)
        undefined = (self.draws - self.defined).astype(np.int64)
        lost = (self.draws - self.shared).astype(np.int64)
        return spread, undefined, mean + self.value[:, 0, :], correlation, lost
