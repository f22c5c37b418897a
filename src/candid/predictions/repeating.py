"""Columns that say again what a model said, or whether it was right: no groups of people.

Where nobody names the groups, such a column would be the widest gap of all: among the pictures that
are "correct: no", every one is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Floats
from candid.predictions.numbers import NumberAnswers
from candid.tables.attributes import Attribute

_LEAST = 30  # rows: of fewer, chance may agree
_FIRST = 1000  # rows, most columns of which show that they have an order of their own
_FEW = 4  # different numbers, of which an order says little


def said_again(
    attributes: Mapping[str, Attribute], label: NDArray[Any], probability: Floats, *, hard: bool
) -> list[str]:
    """The attributes that tell the answers, whether they are right, or how sure the model was.

    `label` (n,), `probability` (n, classes) and `hard` are as in `Predictions`; rows without a
    probability do not count.
    """
    known = np.asarray(~np.isnan(probability).any(axis=1))
    probability, label = probability[known], label[known]
    answer = probability.argmax(axis=1)
    right = np.where(label < 0, -1, answer == label)
    scores = [] if hard else [*probability.T, probability.max(axis=1)]
    return _repeating([a[known] for a in attributes.values()], [answer, right], scores)


def number_said_again(p: NumberAnswers) -> list[str]:
    """The attributes that tell what is predicted, or how far off it is."""
    off = p.predicted - p.value
    return _repeating(p.attributes.values(), [], [p.predicted, off, abs(off)])


def _repeating(
    attributes: Iterable[Attribute], told: Sequence[NDArray[Any]], scores: Sequence[Floats]
) -> list[str]:
    return [
        a.name
        for a in attributes
        if (
            any(_same_order(a.data, score) for score in scores)
            if a.kind == "numeric"
            else any(_one_to_one(a.data, codes) for codes in told)
        )
    ]


def _one_to_one(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Whether each value of either goes with one of the other, where both are known (0 and up)."""
    known = (ours >= 0) & (theirs >= 0)
    pairs = np.unique(np.stack([ours[known], theirs[known]]), axis=1)
    sizes = {len(np.unique(side)) for side in pairs} | {pairs.shape[1]}
    return bool(known.sum() >= _LEAST and len(sizes) == 1 and pairs.shape[1] > 1)


def _same_order(ours: Floats, theirs: Floats) -> bool:
    """Whether one never falls where the other rises, or never rises: so rounded numbers do, too."""
    known = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[known], theirs[known]
    if len(ours) < _LEAST or min(len(np.unique(ours)), len(np.unique(theirs))) <= _FEW:
        return False
    return any(
        all(_rises(way * ours[some], theirs[some]) for some in (slice(_FIRST), slice(None)))
        for way in (1, -1)
    )


def _rises(ours: Floats, theirs: Floats) -> bool:
    return bool(np.all(np.diff(theirs[np.lexsort((theirs, ours))]) >= 0))
