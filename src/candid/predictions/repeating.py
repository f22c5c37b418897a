"""Columns that repeat a model's answers, or say whether they are right: no groups of people.

If nobody names the groups, such a column would be the widest gap of all: all images with "correct:
no" are wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import FloatArray
from candid.predictions.numbers import NumberAnswers
from candid.tables.attributes import Attribute

_LEAST = 30  # rows: of fewer, chance may agree
_FIRST = 1000  # rows: enough to tell most orders apart
_FEW = 4  # distinct numbers, whose order says little


def find_repeats(
    attributes: Mapping[str, Attribute], label: NDArray[Any], probability: FloatArray, *, hard: bool
) -> list[str]:
    """The attributes that repeat the answers, whether they are right, or their probabilities.

    `label` (n,), `probability` (n, classes) and `hard` are as in `Predictions`; rows without a
    probability do not count.
    """
    complete = np.asarray(~np.isnan(probability).any(axis=1))
    probability, label = probability[complete], label[complete]
    answer = probability.argmax(axis=1)
    right = np.where(label < 0, -1, answer == label)
    scores = [] if hard else [*probability.T, probability.max(axis=1)]
    return _select_repeats([a[complete] for a in attributes.values()], [answer, right], scores)


def find_number_repeats(p: NumberAnswers) -> list[str]:
    """The attributes that repeat the predicted number, or its error."""
    off = p.predicted - p.value
    return _select_repeats(p.attributes.values(), [], [p.predicted, off, abs(off)])


def _select_repeats(
    attributes: Iterable[Attribute], answers: Sequence[NDArray[Any]], scores: Sequence[FloatArray]
) -> list[str]:
    return [
        a.name
        for a in attributes
        if (
            any(_same_order(a.data, score) for score in scores)
            if a.kind == "numeric"
            else any(_one_to_one(a.data, codes) for codes in answers)
        )
    ]


def _one_to_one(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether the codes map one to one, where both are known (0 and up)."""
    both = (a >= 0) & (b >= 0)
    pairs = np.unique(np.stack([a[both], b[both]]), axis=1)
    sizes = {len(np.unique(codes)) for codes in pairs} | {pairs.shape[1]}
    return bool(both.sum() >= _LEAST and len(sizes) == 1 and pairs.shape[1] > 1)


def _same_order(a: FloatArray, b: FloatArray) -> bool:
    """Whether one is monotonic in the other; rounding does not matter."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < _LEAST or min(len(np.unique(a)), len(np.unique(b))) <= _FEW:
        return False
    return any(
        all(_rises(sign * a[rows], b[rows]) for rows in (slice(_FIRST), slice(None)))
        for sign in (1, -1)
    )


def _rises(a: FloatArray, b: FloatArray) -> bool:
    return bool(np.all(np.diff(b[np.lexsort((b, a))]) >= 0))
