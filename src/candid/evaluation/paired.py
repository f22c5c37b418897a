"""Two models' answers for the same images, and an exact test of which of them is better.

Images are matched by their ids; only what one model has right and the other wrong tells them apart.

The p-value is that of an exact randomisation test by person: if neither model is better, every
person's balance (images gained less images lost) might as well have the other sign. Where nobody
has more than one image this is McNemar's exact test (McNemar 1947).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.errors import PredictionsError
from candid.predictions import Attribute, Predictions
from candid.records import Split

Floats = NDArray[np.float64]

# From so many flips on, the sum of the signs is as good as normal (and takes no memory).
_EXACT = 20_000


@dataclass(frozen=True, eq=False)
class Pair:
    """n images with one label and two answers each, as indices into the same classes.

    Attributes
    ----------
    label, answer_a, answer_b
        (n,) indices.
    identity
        (n,) who is in the image; None where nobody knows.
    attributes
        Of either; unknown where the two say different things of an image.
    only_a, only_b
        How many labelled images only one of the two speaks of.
    relabelled
        How many are labelled differently in the two.
    """

    label: NDArray[np.intp]
    answer_a: NDArray[np.intp]
    answer_b: NDArray[np.intp]
    identity: NDArray[np.int64] | None
    attributes: tuple[Attribute, ...]
    only_a: int
    only_b: int
    relabelled: int

    @property
    def balance(self) -> NDArray[np.int64]:
        """(n,) 1 where only B is right, -1 where only A is, else 0."""
        right_a, right_b = self.answer_a == self.label, self.answer_b == self.label
        balance: NDArray[np.int64] = right_b.astype(np.int64) - right_a.astype(np.int64)
        return balance


def same_classes(a: Predictions, b: Predictions) -> tuple[str, ...]:
    """A's classes, and after them those that only B knows.

    Raises
    ------
    PredictionsError
        Where each knows a class that the other does not, or there are fewer than two.
    """
    one, two = {*a.classes}, {*b.classes}
    if not (one <= two or two <= one) or len(one | two) < 2:
        raise PredictionsError(
            f"The classes are {', '.join(a.classes)} in the one and {', '.join(b.classes)} in the "
            "other.",
            expected="two models that tell the same classes apart",
            todo="name two runs with the same target",
        )
    return (*a.classes, *(c for c in b.classes if c not in one))


def match(a: Predictions, b: Predictions, classes: tuple[str, ...], split: Split) -> Pair:
    """The images of a split that both speak of and that are labelled the same in both.

    Raises
    ------
    PredictionsError
        Where there is none.
    """
    a, b = (p[(p.split == split) & (p.label >= 0)] for p in (a, b))
    ids = [str(p.ids[0]) if len(p) else "none" for p in (a, b)]
    _, rows_a, rows_b = np.intersect1d(a.ids, b.ids, return_indices=True)
    only_a, only_b = len(a) - len(rows_a), len(b) - len(rows_b)
    a, b = a[rows_a], b[rows_b]
    place_a = np.array([classes.index(c) for c in a.classes])
    place_b = np.array([classes.index(c) for c in b.classes])
    same = place_a[a.label] == place_b[b.label]
    if not same.any():
        raise PredictionsError(
            f"The two have no image of the split {split!r} with the same id and the same label.",
            expected="predictions of two models for the same images",
            todo=f"check the ids ({ids[0]!r} in one, {ids[1]!r} in the other) and the splits",
        )
    a, b = a[same], b[same]
    return Pair(
        label=place_a[a.label],
        answer_a=place_a[a.prediction],
        answer_b=place_b[b.prediction],
        identity=b.identity if a.identity is None else a.identity,
        attributes=tuple(_agreed(a, b)),
        only_a=only_a,
        only_b=only_b,
        relabelled=int(np.count_nonzero(~same)),
    )


def _agreed(a: Predictions, b: Predictions) -> Iterator[Attribute]:
    """The attributes of either; what the two say differently of an image is unknown."""
    for name, mine in a.attributes.items():
        other = b.attributes.get(name)
        if other is None:
            yield mine
        elif (mine.kind == "numeric") != (other.kind == "numeric"):
            continue
        else:
            missing = np.nan if mine.kind == "numeric" else -1
            differs = np.array([x != y for x, y in zip(mine.words(), other.words(), strict=True)])
            yield replace(mine, data=np.where(differs, missing, mine.data).astype(mine.data.dtype))
    yield from (other for name, other in b.attributes.items() if name not in a.attributes)


def randomisation_p(balance: NDArray[np.int64]) -> float:
    """Two-sided p of the sum of `balance`, if each entry might as well have the other sign.

    Exact: the distribution of the sum is the convolution of one binomial distribution for each
    size of an entry. With entries of -1 and 1 it is McNemar's exact test. Above 20,000 in all it
    is the normal approximation.

    Parameters
    ----------
    balance
        (people,) images gained less images lost.

    Returns
    -------
    1.0 where every entry is 0.
    """
    size = np.abs(balance[balance != 0])
    reach, total = abs(int(balance.sum())), int(size.sum())
    if not total:
        return 1.0
    if total > _EXACT:
        return math.erfc(reach / math.sqrt(2 * float(np.sum(size.astype(np.float64) ** 2))))
    chance = np.ones(1)
    for entry, times in zip(*np.unique(size, return_counts=True), strict=True):
        steps = np.zeros(2 * int(entry) * int(times) + 1)
        steps[:: 2 * int(entry)] = _fair_binomial(int(times))
        chance = np.convolve(chance, steps)
    at = np.abs(np.arange(-total, total + 1)) >= reach
    return float(min(chance[at].sum(), 1.0))


def _fair_binomial(n: int) -> Floats:
    """Chances of 0, …, n heads of a fair coin."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    chances: Floats = np.exp(
        log_factorial[n] - log_factorial - log_factorial[::-1] - n * math.log(2)
    )
    return chances
