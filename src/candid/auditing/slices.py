"""Slices found, not asked for: which combinations of values hold the most excess error.

SliceLine (Sagadeeva & Boehm, SIGMOD 2021) scores a slice S of n images by

    α · (error of S / error of all - 1) - (1 - α) · (n / |S| - 1),

so that much error counts and so does size. All combinations of up to three values are searched,
level by level, as products of 0/1 matrices; what cannot beat the best so far is pruned by an upper
bound of its size and its errors, so the answer is exact. A slice is kept only where it scores above
everything that it is part of: "Eyeglasses and Young" is no discovery where Eyeglasses scores more.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.auditing.rows import Key, Rows

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Found:
    """A slice: its key, its score, its images and the mistakes among them."""

    key: Key
    score: float
    n: int
    mistakes: int


def slice_scores(n: Any, mistakes: Any, total: int, wrong: int, alpha: float = 0.95) -> Floats:
    """SliceLine's score of slices with so many images and mistakes, of so many in all."""
    n, mistakes = np.asarray(n, np.float64), np.asarray(mistakes, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = alpha * (mistakes / n * total / wrong - 1) - (1 - alpha) * (total / n - 1)
    return np.where(n > 0, score, -np.inf)


def find_slices(
    rows: Rows,
    *,
    most: int = 10,
    least: int = 32,
    conditions: int = 3,
    alpha: float = 0.95,
    overlap: float = 0.5,
    only: list[tuple[int, int]] | None = None,
) -> list[Found]:
    """The best slices of up to three values, best first.

    Parameters
    ----------
    rows
        The images to search.
    most
        How many slices to return at most.
    least
        The fewest images of a slice.
    conditions
        1, 2 or 3 values.
    alpha
        What error weighs against size, 0 to 1.
    overlap
        A slice that shares more than this of its mistakes and a better one's is left out: it is
        the same discovery in other words. 1: none is.
    only
        The (attribute, value) pairs to search; None: all.

    Returns
    -------
    Only slices with a score above 0, and above the scores of all slices that they are part of,
    unless they overlap with a better one.
    """
    wrong = rows.wrong.astype(np.float32)
    total, mistakes = len(rows), int(rows.wrong.sum())
    if not mistakes:
        return []
    pairs = only if only is not None else values_of(rows)
    # Enough to choose among, where the best are many ways to say the same.
    deep = most if overlap >= 1 else 30 * most
    search = _Search(rows, wrong, total, mistakes, least, alpha, deep)
    search.singles(pairs)
    if conditions > 1:
        search.doubles()
    if conditions > 2:
        search.triples()
    return _different(rows, search.best(), overlap)[:most]


def _different(rows: Rows, found: list[Found], overlap: float) -> list[Found]:
    """Best first, without those whose mistakes are mostly those of a better one."""
    kept: list[Found] = []
    masks: list[NDArray[np.bool_]] = []
    for f in found:
        mistakes = rows.mask(f.key) & rows.wrong
        shared = [float((mistakes & m).sum() / max(int((mistakes | m).sum()), 1)) for m in masks]
        if max(shared, default=0.0) <= overlap:
            kept.append(f)
            masks.append(mistakes)
    return kept


def values_of(rows: Rows) -> list[tuple[int, int]]:
    """Every (attribute, value) of the rows, as numbers."""
    return [(a, v) for a, b in enumerate(rows.attributes) for v in range(len(b.values))]


class _Search:
    """One search; slices of every level by the numbers of their values."""

    def __init__(
        self,
        rows: Rows,
        wrong: NDArray[np.float32],
        total: int,
        mistakes: int,
        least: int,
        alpha: float,
        most: int,
    ) -> None:
        self.rows, self.wrong, self.total, self.mistakes = rows, wrong, total, mistakes
        self.least, self.alpha, self.most = least, alpha, most
        self.kept: list[Found] = []

    def score(self, n: Any, mistakes: Any) -> Floats:
        return slice_scores(n, mistakes, self.total, self.mistakes, self.alpha)

    def bound(self, n: Floats, mistakes: Floats) -> Floats:
        """What a part of slices with at most so many images and mistakes can score (eq. 3)."""
        best = np.full(np.shape(n), -np.inf)
        for size in (np.full(np.shape(n), float(self.least)), np.maximum(mistakes, self.least), n):
            size = np.minimum(size, n)
            best = np.maximum(best, self.score(size, np.minimum(mistakes, size)))
        return best

    def floor(self) -> float:
        """A new slice must score above this."""
        if len(self.kept) < self.most or not self.most:
            return 0.0
        return sorted((f.score for f in self.kept), reverse=True)[self.most - 1]

    def keep(self, basis: tuple[int, ...], score: float, n: float, mistakes: float) -> None:
        key = self.rows.key(*(self.pairs[i] for i in basis))
        self.kept.append(Found(key, float(score), round(n), round(mistakes)))

    def best(self) -> list[Found]:
        order = sorted(self.kept, key=lambda f: (-f.score, len(f.key), f.key))
        return order[: self.most]

    def singles(self, pairs: list[tuple[int, int]]) -> None:
        masks = np.stack(
            [self.rows.mask(self.rows.key(pair)) for pair in pairs] or [np.zeros(self.total, bool)],
            axis=1,
        )
        large = np.flatnonzero(masks.sum(0) >= self.least)
        self.pairs = [pairs[i] for i in large] if pairs else []
        self.basis = masks[:, large].astype(np.float32)  # (n, b)
        self.attribute = np.asarray([a for a, _ in self.pairs], np.intp)
        self.n1 = self.basis.sum(0, dtype=np.float64)
        self.e1 = (self.wrong @ self.basis).astype(np.float64)
        self.s1 = self.score(self.n1, self.e1)
        for i in np.flatnonzero(self.s1 > 0):
            self.keep((int(i),), self.s1[i], self.n1[i], self.e1[i])

    def doubles(self) -> None:
        b = len(self.pairs)
        bad = self.basis[self.wrong > 0]
        self.n2 = (self.basis.T @ self.basis).astype(np.float64)
        self.e2 = (bad.T @ bad).astype(np.float64)
        possible = self.attribute[:, None] != self.attribute[None]
        self.s2 = np.where(
            possible & (self.n2 >= self.least), self.score(self.n2, self.e2), -np.inf
        )
        parents = np.maximum(self.s1[:, None], self.s1[None])
        good = np.triu((self.s2 > 0) & (self.s2 > parents), 1)
        for i, j in np.argwhere(good) if b else []:
            self.keep((int(i), int(j)), self.s2[i, j], self.n2[i, j], self.e2[i, j])

    def triples(self) -> None:
        floor = self.floor()
        large = np.isfinite(self.s2)
        hopeful = np.argwhere(np.triu(large & (self.bound(self.n2, self.e2) > floor), 1))
        for start in range(0, len(hopeful), 256):
            some = hopeful[start : start + 256]
            both = self.basis[:, some[:, 0]] * self.basis[:, some[:, 1]]  # (n, pairs)
            # Each triple once: its third value comes after the second.
            third = np.arange(len(self.pairs))[None] > some[:, 1:2]
            third &= large[some[:, 0]] & large[some[:, 1]]
            n = (both.T @ self.basis).astype(np.float64)
            wrong = self.wrong > 0
            e = (both[wrong].T @ self.basis[wrong]).astype(np.float64)
            score = np.where(third & (n >= self.least), self.score(n, e), -np.inf)
            for row, k in np.argwhere(score > floor):
                i, j = some[row]
                parts = [self.s1[m] for m in (i, j, k)]
                parts += [self.s2[a, c] for a, c in itertools.combinations((i, j, k), 2)]
                if score[row, k] > max(parts):
                    basis = (int(i), int(j), int(k))
                    self.keep(basis, score[row, k], n[row, k], e[row, k])
