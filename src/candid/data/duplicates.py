"""Duplicates: the same picture exactly, or but for compression, size, tone and a small crop.

Aligned faces agree in coarse frequencies (eyes above nose above mouth), and all pictures differ in
the finest (noise, compression), so near duplicates are found in between: by the correlation of luma
in the cosine frequencies from 3 to 10 periods per side, weighed by frequency^1.2 so that each
octave of a natural image counts about the same. A pair's correlation depends on the two pictures
alone.

Among 29,996 distinct images of CelebA at 64×64, 95 of all 450 million pairs reach the threshold of
0.77. Of these, 84 carry the same person's number, and most of the rest are plainly one picture
under two numbers. Mirrored, much cropped or covered copies are missed.

The similarity of different pictures is measured in the data. Mirroring one picture of a pair keeps
faces as similar and undoes duplicates; so the mirrored pairs that reach a threshold estimate how
many others reach it by chance (one, in CelebA). Where that is more than a tenth, as among drawn
faces, the threshold rises until it is not: the false discovery rate, by target-decoy competition.
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


def row_blocks(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """The rows in blocks, so that memory does not grow with the store."""
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS]


def luma(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, side, side) luma, 0 to 255, of (n, side, side, 3) pixels (ITU-R BT.601)."""
    return pixels.astype(np.float32) @ _LUMA


def exact_groups(store: Store) -> NDArray[np.intp]:
    """(n,) a group per image, the same for identical pixels; -1 where not usable."""
    rows = np.flatnonzero(store.usable)
    digests = np.empty((len(rows), 2), np.uint64)
    for i, row in enumerate(rows):
        pixels = np.ascontiguousarray(store.pixels[row])
        digest = hashlib.blake2b(pixels.data, digest_size=16).digest()
        digests[i] = np.frombuffer(digest, np.uint64)
    groups = np.full(len(store), -1, np.intp)
    order = np.lexsort(digests.T[::-1])
    is_new = np.any(np.diff(digests[order], axis=0, prepend=~digests[order[:1]]), axis=1)
    groups[rows[order]] = np.cumsum(is_new) - 1
    return groups


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows that are near duplicates of each other."""

    first: NDArray[np.intp]  # (pairs,) rows, each before its second
    second: NDArray[np.intp]
    correlation: NDArray[np.float32]  # (pairs,) from `NEAR` to 1
    complete: bool  # False where the search was ended after a million
    threshold: float = NEAR  # the least correlation that counts; higher where chance reaches `NEAR`
    by_chance: float = math.nan  # expected chance pairs; NaN where the search was ended


@dataclass(frozen=True, eq=False)
class Copies:
    """All copies: `groups` (n,) of `exact_groups`, and near `pairs` among one image of each."""

    groups: NDArray[np.intp]
    pairs: Pairs

    def links(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of rows that link all copies: each with the first of its group, and near pairs if
        the search was complete.
        """
        rows = np.flatnonzero(self.groups >= 0)
        _, first, inverse = np.unique(self.groups[rows], return_index=True, return_inverse=True)
        first = rows[first[inverse]]
        is_copy = first != rows
        near = [self.pairs.first, self.pairs.second] if self.pairs.complete else [rows[:0]] * 2
        return np.concatenate([first[is_copy], near[0]]), np.concatenate([rows[is_copy], near[1]])


def find_copies(store: Store, *, quiet: bool = True) -> Copies:
    """All copies in a store; cached beside its pixels."""
    file = store.folder / COPIES
    damaged = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with contextlib.suppress(*damaged), np.load(file, allow_pickle=False) as archive:
        columns = {f.name: archive[f.name] for f in fields(Pairs)}
        plain = {name: value.item() for name, value in columns.items() if value.ndim == 0}
        return Copies(archive["groups"], Pairs(**(columns | plain)))
    groups = exact_groups(store)
    representatives = np.unique(groups, return_index=True)[1]
    pairs = near_pairs(store, representatives[groups[representatives] >= 0], quiet=quiet)
    # A cache that cannot be written to is ignored. A store need not be a pack.
    with contextlib.suppress(OutputError):
        if (store.folder / "index.parquet").is_file():
            with atomic(file) as part, part.open("wb") as out:
                np.savez(out, groups=groups, **vars(pairs))
    return Copies(groups, pairs)


def near_pairs(store: Store, rows: NDArray[np.intp], *, quiet: bool = True) -> Pairs:
    """Every pair among `rows` whose detail correlates by `NEAR` or more; exact, not sampled.

    The number of chance pairs is estimated from some thousand rows against all; the threshold rises
    where it is more than a tenth of the pairs found. Time is quadratic: 3 to 4 processor seconds
    for 30,000 rows, 2 to 3 minutes of one core for 200,000. Memory: 2.4 kB a row.
    """
    rows = np.sort(rows)
    features = np.concatenate(
        [detail(store.pixels[r]) for r in row_blocks(rows)] or [np.zeros((0, 1), np.float32)]
    )
    no_pairs = np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.float32)
    results: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]] = [no_pairs]
    total = 0
    blocks_of_pairs = list(combinations_with_replacement(range(0, len(rows), _ROWS), 2))
    for a, b in track(blocks_of_pairs, "near duplicates", unit="blocks", quiet=quiet):
        results.append(_pairs_above(features, a, b))
        total += len(results[-1][0])
        if total > _MOST_PAIRS:
            break
    first, second, correlation = (np.concatenate([f[i] for f in results]) for i in range(3))
    if total > _MOST_PAIRS:
        return Pairs(rows[first], rows[second], correlation, complete=False)
    decoys, weight = _correlate_decoys(features, store.pixels.shape[1], NEAR)
    threshold, by_chance = _choose_threshold(correlation, decoys, weight)
    keep = correlation >= threshold
    return Pairs(
        rows[first[keep]], rows[second[keep]], correlation[keep], True, threshold, by_chance
    )


def _correlate_decoys(
    features: NDArray[np.float32], side: int, threshold: float
) -> tuple[NDArray[np.float32], float]:
    """Correlations from `threshold` of pairs with one picture mirrored; and the weight of each.

    Mirroring changes the sign of the coefficients with an odd number of half-periods along x.
    """
    count = len(features)
    if count < 2:
        return np.zeros(0, np.float32), 0.0
    _, x = np.nonzero(_band(side))
    decoys = features * np.where(x % 2, -1, 1).astype(np.float32)
    sample = np.random.default_rng(0).permutation(count)[:_DECOYS]
    correlations = []
    for rows in row_blocks(sample):
        products = features[rows] @ decoys.T
        products[np.arange(len(rows)), rows] = -2  # a face and its own mirror image are no pair
        correlations.append(products[products >= threshold])
    pairs, n_compared = count * (count - 1) / 2, len(sample) * (count - 1)
    return np.concatenate(correlations), pairs / n_compared


def _choose_threshold(
    correlations: NDArray[np.float32], decoys: NDArray[np.float32], weight: float
) -> tuple[float, float]:
    """The least threshold that at most a tenth of the pairs reach by chance, and their number."""
    thresholds = np.unique(np.append(correlations, np.float32(NEAR)))
    reach = len(correlations) - np.searchsorted(np.sort(correlations), thresholds)
    chance = weight * _tail(np.sort(decoys), thresholds)
    acceptable = np.flatnonzero(chance <= _CHANCE * reach)
    if len(acceptable):
        return float(thresholds[acceptable[0]]), float(chance[acceptable[0]])
    return math.inf, 0.0


def _pairs_above(
    features: NDArray[np.float32], a: int, b: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Pairs between two blocks of rows; each pair once."""
    products = features[a : a + _ROWS] @ features[b : b + _ROWS].T
    if a == b:
        products[np.tril_indices(len(products))] = -1
    first, second = np.divmod(np.flatnonzero(products >= NEAR), products.shape[1])
    return first + a, second + b, products[first, second]


def _tail(decoys: NDArray[np.float32], thresholds: NDArray[np.float32]) -> NDArray[np.float64]:
    """How many decoys reach each candidate: counted, and in the tail, extrapolated.

    The highest of many decoys is luck, so an exponential tail is fitted to the highest hundred;
    that of a correlation, which ends at 1, is lighter.
    """
    counts = (len(decoys) - np.searchsorted(decoys, thresholds)).astype(np.float64)
    if len(decoys) < 2 * _FEW:
        return counts
    top = decoys[-min(100, len(decoys) // 2) :].astype(np.float64)
    excess = max(float(np.mean(top - top[0])), 1e-9)
    tail = len(top) * np.exp(-np.maximum(thresholds - top[0], 0) / excess)
    return np.where(counts < len(top), np.maximum(counts, tail), counts)


def detail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, frequencies) weighed cosine coefficients of luma, scaled to unit length.

    The product of two rows is the images' correlation. An image with hardly any detail has a
    shorter row, so that it matches nothing.
    """
    side = pixels.shape[1]
    basis = _cosines(side, min(_HIGH, side))  # (frequencies, side)
    band = _band(side)
    weight = (np.hypot(*np.nonzero(band)) ** _WEIGHT).astype(np.float32)
    rows = (basis @ luma(pixels) @ basis.T)[:, band] * weight
    noise = _NOISE**2 * float(np.sum(weight**2))
    lengths = np.sqrt(np.sum(rows**2, axis=1, keepdims=True) + noise)
    unit: NDArray[np.float32] = (rows / lengths).astype(np.float32)
    return unit


def _band(side: int) -> NDArray[np.bool_]:
    """(frequencies, frequencies) which half-periods along y and x count."""
    frequency = np.arange(min(_HIGH, side))
    radius = np.hypot(frequency[:, None], frequency[None])
    return (radius >= _LOW) & (radius < _HIGH)


def _cosines(side: int, frequencies: int) -> NDArray[np.float32]:
    """(frequencies, side) rows of the orthonormal DCT-II."""
    x = (2 * np.arange(side) + 1) / (2 * side)
    rows = np.cos(np.pi * np.arange(frequencies)[:, None] * x) * np.sqrt(2 / side)
    rows[0] /= np.sqrt(2)
    cosines: NDArray[np.float32] = rows.astype(np.float32)
    return cosines
