from __future__ import annotations

import numpy as np
import pytest

from candid.data.folds import fold_groups
from candid.data.splits import hash_keys
from candid.errors import DataError


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_folds_are_of_whole_groups_alike_in_size_and_classes(folds: int) -> None:
    rng = np.random.default_rng(folds)
    who = rng.integers(0, 400, 3000)
    label = (rng.random(400) < 0.2).astype(np.int16)[who]
    group = hash_keys(f"{k}" for k in who)
    fold = fold_groups(group, label, folds)
    assert set(fold.tolist()) == set(range(folds))
    assert len(np.unique(np.stack([who, fold]), axis=1).T) == len(np.unique(who))
    for c in (0, 1):
        shares = np.bincount(fold[label == c], minlength=folds) / (label == c).sum()
        assert abs(shares - 1 / folds).max() < 0.05
    order = rng.permutation(len(who))
    np.testing.assert_array_equal(fold_groups(group[order], label[order], folds), fold[order])


def test_fewer_groups_than_folds_and_one_that_is_larger_than_a_fold() -> None:
    label = np.zeros(100, np.int16)
    with pytest.raises(DataError, match="2 people"):
        fold_groups(hash_keys("ab" * 50), label, 3)
    large = hash_keys(["a"] * 90 + [f"{i}" for i in range(10)])
    fold = fold_groups(large, label, 5)
    assert len(set(fold[:90].tolist())) == 1
    assert set(fold.tolist()) == set(range(int(fold.max()) + 1)) and fold.max() >= 1
