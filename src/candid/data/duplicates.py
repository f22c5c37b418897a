"""Which images are the same picture: exactly, or but for compression, size, tone and a small crop.

Near duplicates are found by what aligned faces of different people do not share. All such faces
agree in the coarse (eyes above nose above mouth), and all pictures differ in the finest (noise,
compression), so pictures are compared in between: by the correlation of their luma in the cosine
frequencies from 3 to 10 periods per side, weighed by frequency^1.2 so that each octave of a natural
image counts about as much as the next. A pair's figure depends on the two pictures alone.

Among 29,996 distinct images of CelebA at 64×64, 95 of all 450 million pairs reach the threshold of
0.77. Of these, 84 carry the same person's number, and most of the rest are plainly one picture
under two numbers. The price: mirrored, much cropped or covered copies are missed.

How alike different pictures of this data are is measured, not assumed. Mirroring one picture of a
pair keeps faces as alike as they were and undoes duplicates; so the mirrored pairs that reach a
threshold tell how many of the others reach it by chance (one, in CelebA). Where that is more than a
tenth, as among drawn faces, the threshold rises until it is not: the false discovery rate, by the
competition of targets with decoys.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from candid.data.packing import COPIES
from candid.data.store import Store
from candid.errors import OutputError
from candid.progress import track
from candid.storage.files import atomic

NEAR = 0.77

_LOW, _HIGH = 6, 20  # half-periods per side
_WEIGHT = 1.2
_NOISE = 1.0  # grey levels: less detail than this counts as none, so blank pictures match nothing
_ROWS = 1024  # a block of that many rows squared (4 MiB) stays in the processor's cache
_MOST_PAIRS = 1_000_000
_CHANCE = 0.1  # the largest share of pairs that chance alone may have brought together
_FEW = 10  # decoys that are too few for a tail
_DECOYS = 4096  # rows whose mirrored pairs are counted
_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def row_blocks(rows: NDArray[np.intp], size: int = _ROWS) -> Iterator[NDArray[np.intp]]:
    """The rows in runs of `size`, so that memory stays flat over a large store."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def luma(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, side, side) luma, 0 to 255, of (n, side, side, 3) pixels (ITU-R BT.601)."""
    return pixels.astype(np.float32) @ _LUMA


def exact_groups(store: Store) -> NDArray[np.intp]:
    """(n,) a number per picture, the same for identical pixels; -1 where not usable.

    Files with the same bytes have the same pixels, so they are in one group too.
    """
    rows = np.flatnonzero(store.usable)
    digests = np.empty((len(rows), 2), np.uint64)
    for at, row in enumerate(rows):
        pixels = np.ascontiguousarray(store.pixels[row])
        digest = hashlib.blake2b(pixels.data, digest_size=16).digest()
        digests[at] = np.frombuffer(digest, np.uint64)
    groups = np.full(len(store), -1, np.intp)
    order = np.lexsort(digests.T[::-1])
    fresh = np.any(np.diff(digests[order], axis=0, prepend=~digests[order[:1]]), axis=1)
    groups[rows[order]] = np.cumsum(fresh) - 1
    return groups


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows that are near duplicates of each other."""

    first: NDArray[np.intp]  # (pairs,) rows, each before its second
    second: NDArray[np.intp]
    correlation: NDArray[np.float32]  # (pairs,) from `NEAR` to 1
    complete: bool  # False where there were more than a million and the search was ended
    threshold: float = NEAR  # the least correlation that counts: more where chance pairs reach that
    by_chance: float = math.nan  # pairs that would by chance; NaN where the search was ended


@dataclass(frozen=True, eq=False)
class Copies:
    """Which images are the same picture.

    `groups` (n,) are those of `exact_groups`, `pairs` near duplicates among one of each group.
    """

    groups: NDArray[np.intp]
    pairs: Pairs

    def links(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of rows that link all copies: each with the first of its group, and near pairs.

        Near pairs only where all were found.
        """
        rows = np.flatnonzero(self.groups >= 0)
        _, first, inverse = np.unique(self.groups[rows], return_index=True, return_inverse=True)
        first = rows[first[inverse]]
        copied = first != rows
        near = [self.pairs.first, self.pairs.second] if self.pairs.complete else [rows[:0]] * 2
        return np.concatenate([first[copied], near[0]]), np.concatenate([rows[copied], near[1]])


def find_copies(store: Store, *, quiet: bool = True) -> Copies:
    """All copies in a store; they are kept beside its pixels, so that they are looked for once."""
    file = store.folder / COPIES
    damaged = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with contextlib.suppress(*damaged), np.load(file, allow_pickle=False) as kept:
        columns = {f.name: kept[f.name] for f in fields(Pairs)}
        plain = {name: value.item() for name, value in columns.items() if value.ndim == 0}
        return Copies(kept["groups"], Pairs(**(columns | plain)))
    groups = exact_groups(store)
    one_each = np.unique(groups, return_index=True)[1]
    pairs = near_pairs(store, one_each[groups[one_each] >= 0], quiet=quiet)
    # Where nobody can write to the cache, they are looked for again. A store need not be a pack.
    with contextlib.suppress(OutputError):
        if (store.folder / "index.parquet").is_file():
            with atomic(file) as part, part.open("wb") as out:
                np.savez(out, groups=groups, **vars(pairs))
    return Copies(groups, pairs)


def near_pairs(store: Store, rows: NDArray[np.intp], *, quiet: bool = True) -> Pairs:
    """Every pair among `rows` whose detail correlates by `NEAR` or more; exact, not sampled.

    Only how many would do so by chance is estimated, from some thousand rows against all; the
    threshold rises where that is more than a tenth of the pairs found. Time grows with the square
    of the rows: 3 to 4 processor seconds for 30,000, so 2 to 3 minutes of one core for 200,000.
    Memory: 2.4 kB a row.
    """
    rows = np.sort(rows)
    features = np.concatenate(
        [detail(store.pixels[some]) for some in row_blocks(rows)] or [np.zeros((0, 1), np.float32)]
    )
    nothing = np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.float32)
    found: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]] = [nothing]
    total = 0
    blocks_of_pairs = list(combinations_with_replacement(range(0, len(rows), _ROWS), 2))
    for a, b in track(blocks_of_pairs, "near duplicates", unit="blocks", quiet=quiet):
        found.append(_above(features, a, b))
        total += len(found[-1][0])
        if total > _MOST_PAIRS:
            break
    first, second, correlation = (np.concatenate([f[i] for f in found]) for i in range(3))
    if total > _MOST_PAIRS:
        return Pairs(rows[first], rows[second], correlation, complete=False)
    decoys, each = _decoys(features, store.pixels.shape[1], NEAR)
    threshold, by_chance = _credible(correlation, decoys, each)
    keep = correlation >= threshold
    return Pairs(
        rows[first[keep]], rows[second[keep]], correlation[keep], True, threshold, by_chance
    )


def _decoys(
    features: NDArray[np.float32], side: int, threshold: float
) -> tuple[NDArray[np.float32], float]:
    """Correlations of pairs with one picture mirrored, from `threshold`; how many each stands for.

    Mirroring changes the sign of the coefficients with an odd number of half-periods along x.
    """
    count = len(features)
    if count < 2:
        return np.zeros(0, np.float32), 0.0
    _, x = np.nonzero(_band(side))
    mirrored = features * np.where(x % 2, -1, 1).astype(np.float32)
    some = np.random.default_rng(0).permutation(count)[:_DECOYS]
    reached = []
    for rows in row_blocks(some):
        products = features[rows] @ mirrored.T
        products[np.arange(len(rows)), rows] = -2  # a face and its own mirror image are no pair
        reached.append(products[products >= threshold])
    pairs, tried = count * (count - 1) / 2, len(some) * (count - 1)
    return np.concatenate(reached), pairs / tried


def _credible(
    found: NDArray[np.float32], decoys: NDArray[np.float32], each: float
) -> tuple[float, float]:
    """The least threshold that at most a tenth of the pairs reach by chance, and how many do."""
    candidates = np.unique(np.append(found, np.float32(NEAR)))
    reach = len(found) - np.searchsorted(np.sort(found), candidates)
    chance = each * _expected(np.sort(decoys), candidates)
    good = np.flatnonzero(chance <= _CHANCE * reach)
    if len(good):
        return float(candidates[good[0]]), float(chance[good[0]])
    return math.inf, 0.0


def _above(
    features: NDArray[np.float32], a: int, b: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Pairs between two blocks of rows; each pair once."""
    products = features[a : a + _ROWS] @ features[b : b + _ROWS].T
    if a == b:
        products[np.tril_indices(len(products))] = -1
    first, second = np.divmod(np.flatnonzero(products >= NEAR), products.shape[1])
    return first + a, second + b, products[first, second]


def _expected(decoys: NDArray[np.float32], candidates: NDArray[np.float32]) -> NDArray[np.float64]:
    """How many decoys reach each candidate: counted, and where they end, by their tail.

    Of many decoys the highest lies where it does by luck. An exponential tail through the highest
    hundred goes on from there; that of a correlation, which ends at 1, is lighter.
    """
    counted = (len(decoys) - np.searchsorted(decoys, candidates)).astype(np.float64)
    if len(decoys) < 2 * _FEW:
        return counted
    top = decoys[-min(100, len(decoys) // 2) :].astype(np.float64)
    excess = max(float(np.mean(top - top[0])), 1e-9)
    tail = len(top) * np.exp(-np.maximum(candidates - top[0], 0) / excess)
    return np.where(counted < len(top), np.maximum(counted, tail), counted)


def detail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, frequencies) weighed cosine coefficients of luma, scaled to unit length.

    The product of two rows is the pictures' correlation. A picture with hardly any detail has a
    shorter row, so that it is like nothing.
    """
    side = pixels.shape[1]
    basis = _cosines(side, min(_HIGH, side))  # (frequencies, side)
    band = _band(side)
    weight = (np.hypot(*np.nonzero(band)) ** _WEIGHT).astype(np.float32)
    rows = (basis @ luma(pixels) @ basis.T)[:, band] * weight
    noise = _NOISE**2 * float(np.sum(weight**2))
    lengths = np.sqrt(np.sum(rows**2, axis=1, keepdims=True) + noise)
    scaled: NDArray[np.float32] = (rows / lengths).astype(np.float32)
    return scaled


def _band(side: int) -> NDArray[np.bool_]:
    """(frequencies, frequencies) which half-periods along y and x count."""
    along = np.arange(min(_HIGH, side))
    radius = np.hypot(along[:, None], along[None])
    return (radius >= _LOW) & (radius < _HIGH)


def _cosines(side: int, frequencies: int) -> NDArray[np.float32]:
    """(frequencies, side) rows of the orthonormal DCT-II."""
    at = (2 * np.arange(side) + 1) / (2 * side)
    rows = np.cos(np.pi * np.arange(frequencies)[:, None] * at) * np.sqrt(2 / side)
    rows[0] /= np.sqrt(2)
    cosines: NDArray[np.float32] = rows.astype(np.float32)
    return cosines
