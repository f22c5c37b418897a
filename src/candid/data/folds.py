"""Folds for cross-validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candid.data.splits import groups_in_order
from candid.errors import DataError


def fold_groups(
    group: NDArray[np.uint64], label: NDArray[np.int16], folds: int
) -> NDArray[np.intp]:
    """(n,) folds from 0 of about the same size, without splitting groups, stratified by label.

    `group` and `label` are as for `split_groups`, whose order is cut into intervals. No fold is
    empty; where a group is larger than a fold, there may be fewer. Raises DataError where there are
    fewer groups than folds.
    """
    member, order, middle = groups_in_order(group, label)
    if len(order) < folds:
        raise DataError(
            f"{len(order):,} people, or pictures that are no copies, cannot make {folds} folds.",
            expected="at least one for each fold",
            todo="use more images, or lower check.folds",
        )
    fold = np.empty(len(order), np.intp)
    fold[order] = (middle * folds).astype(np.intp)
    return np.unique(fold, return_inverse=True)[1].reshape(-1)[member]
