"""The combinations of values that hold the most excess error, by search.

SliceLine (Sagadeeva & Boehm, SIGMOD 2021) scores a slice S of n images by

    α · (error of S / error of all - 1) - (1 - α) · (n / |S| - 1),

so that much error counts and so does size. All combinations of up to three values are searched,
level by level, as products of 0/1 matrices; what cannot beat the best so far is pruned by an upper
bound of its size and its errors, so the answer is exact. A slice is kept only where it scores above
everything that it is part of: "Eyeglasses and Young" is no discovery where Eyeglasses scores more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from candid.arrays import BoolArray, FloatArray
from candid.auditing.rows import GroupKey, Rows
from candid.stats.agreement import jaccard


@dataclass(frozen=True, slots=True)
class SliceCandidate:
    """A slice: its key, its score, its images and the mistakes among them."""

    key: GroupKey
    score: float
    n: int
    mistakes: int


def slice_scores(n: Any, mistakes: Any, total: int, wrong: int, alpha: float = 0.95) -> FloatArray:
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
) -> list[SliceCandidate]:
    """The best slices of up to three values (`conditions`) and at least `least` images, best first.

    Only those with a score above 0, and above the scores of all slices that they are part of.
    `alpha` is what error weighs against size, 0 to 1. A slice that shares more than `overlap` of
    its mistakes and a better one's is left out: it is the same discovery in other words.
    """
    if not rows.predictions.wrong.any():
        return []
    # Enough to choose among, where the best are many ways to say the same.
    n_candidates = most if overlap >= 1 else 30 * most
    search = _Search(rows, list_values(rows), least, alpha, n_candidates)
    search.singles()
    if conditions > 1:
        search.doubles()
    if conditions > 2:
        search.triples()
    return _drop_similar(rows, search.best(), overlap)[:most]


def _drop_similar(rows: Rows, slices: list[SliceCandidate], overlap: float) -> list[SliceCandidate]:
    """Best first, without those whose mistakes are mostly those of a better one."""
    distinct: list[SliceCandidate] = []
    masks: list[BoolArray] = []
    for candidate in slices:
        mistakes = rows.mask(candidate.key) & rows.predictions.wrong
        if max((jaccard(mistakes, mask) for mask in masks), default=0.0) <= overlap:
            distinct.append(candidate)
            masks.append(mistakes)
    return distinct


def list_values(rows: Rows) -> list[tuple[int, int]]:
    """Every (attribute, value) of the rows, as numbers."""
    return [(a, v) for a, b in enumerate(rows.attributes) for v in range(len(b.values))]


class _Search:
    """One search; slices of every level by the numbers of their values."""

    def __init__(
        self, rows: Rows, pairs: list[tuple[int, int]], least: int, alpha: float, most: int
    ) -> None:
        self.rows, self.least, self.alpha, self.most = rows, least, alpha, most
        self.total, self.mistakes = len(rows), int(rows.predictions.wrong.sum())
        masks = [rows.mask(rows.key(pair)) for pair in pairs] or [np.zeros(self.total, np.bool_)]
        columns = np.stack(masks, axis=1)
        large = np.flatnonzero(columns.sum(0) >= least)
        self.pairs = [pairs[i] for i in large] if pairs else []
        self.basis = columns[:, large].astype(np.float32)  # (n, b)
        self.wrong_basis = self.basis[rows.predictions.wrong]  # (wrong, b)
        self.candidates: list[SliceCandidate] = []

    def score(self, n: Any, mistakes: Any) -> FloatArray:
        return slice_scores(n, mistakes, self.total, self.mistakes, self.alpha)

    def bound(self, n: FloatArray, mistakes: FloatArray) -> FloatArray:
        """What a part of slices with at most so many images and mistakes can score (eq. 3)."""
        best = np.full(np.shape(n), -np.inf)
        for size in (np.full(np.shape(n), float(self.least)), np.maximum(mistakes, self.least), n):
            size = np.minimum(size, n)
            best = np.maximum(best, self.score(size, np.minimum(mistakes, size)))
        return best

    def floor(self) -> float:
        """A new slice must score above this."""
        if len(self.candidates) < self.most or not self.most:
            return 0.0
        return sorted((f.score for f in self.candidates), reverse=True)[self.most - 1]

    def add(self, basis: Any, score: float, n: float, mistakes: float) -> None:
        key = self.rows.key(*(self.pairs[i] for i in basis))
        self.candidates.append(SliceCandidate(key, float(score), round(n), round(mistakes)))

    def best(self) -> list[SliceCandidate]:
        order = sorted(self.candidates, key=lambda f: (-f.score, len(f.key), f.key))
        return order[: self.most]

    def singles(self) -> None:
        n, e = self.basis.sum(0, dtype=np.float64), self.wrong_basis.sum(0, dtype=np.float64)
        self.s1 = self.score(n, e)
        for i in np.flatnonzero(self.s1 > 0):
            self.add((i,), self.s1[i], n[i], e[i])

    def doubles(self) -> None:
        self.n2 = (self.basis.T @ self.basis).astype(np.float64)
        self.e2 = (self.wrong_basis.T @ self.wrong_basis).astype(np.float64)
        attribute = np.asarray([a for a, _ in self.pairs], np.intp)
        large = (attribute[:, None] != attribute) & (self.n2 >= self.least)
        self.s2 = np.where(large, self.score(self.n2, self.e2), -np.inf)
        parents = np.maximum(self.s1[:, None], self.s1)
        for i, j in np.argwhere(np.triu((self.s2 > 0) & (self.s2 > parents), 1)):
            self.add((i, j), self.s2[i, j], self.n2[i, j], self.e2[i, j])

    def triples(self) -> None:
        floor, large = self.floor(), np.isfinite(self.s2)
        promising = np.argwhere(np.triu(large & (self.bound(self.n2, self.e2) > floor), 1))
        for start in range(0, len(promising), 256):
            chunk = promising[start : start + 256]
            first, second = chunk.T
            # Each triple once: its third value comes after the second.
            third = np.arange(len(self.pairs)) > second[:, None]
            third &= large[first] & large[second]
            n, e = (
                ((x[:, first] * x[:, second]).T @ x).astype(np.float64)
                for x in (self.basis, self.wrong_basis)
            )
            score = np.where(third & (n >= self.least), self.score(n, e), -np.inf)
            for row, k in np.argwhere(score > floor):
                i, j = chunk[row]
                parts = [*self.s1[[i, j, k]], self.s2[i, j], self.s2[i, k], self.s2[j, k]]
                if score[row, k] > max(parts):
                    self.add((i, j, k), score[row, k], n[row, k], e[row, k])
