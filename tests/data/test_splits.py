from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from candid.data import splits
from candid.errors import ConfigError, DataError
from candid.settings import DataConfig

KEYS = [f"image {i}" for i in range(20_000)]
names = st.lists(st.text(max_size=12), min_size=1, max_size=60)


def test_a_key_falls_where_its_blake2b_hash_says() -> None:
    got = splits.by_hash(KEYS[:2000], 0.2, 0.3)
    for key, split in zip(KEYS[:2000], got, strict=True):
        place = int(hashlib.blake2b(key.encode(), digest_size=8).hexdigest(), 16) / 2**64
        assert split == ("test" if place < 0.3 else "validation" if place < 0.5 else "train")


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.1), (0.3, 0.0), (0.0, 0.25), (0.05, 0.5)])
def test_shares_are_binomial(validation: float, test: float) -> None:
    split = splits.by_hash(KEYS, validation, test, salt="s")
    for name, share in (("validation", validation), ("test", test)):
        low, high = binom.interval(1 - 1e-6, len(KEYS), share)
        assert low <= np.count_nonzero(split == name) <= high


@settings(deadline=None)
@given(names, st.randoms(use_true_random=False))
def test_order_and_other_rows_change_nothing(keys: list[str], random) -> None:  # type: ignore[no-untyped-def]
    split = dict(zip(keys, splits.by_hash(keys, 0.3, 0.3), strict=True))
    more = keys + KEYS[:50]
    random.shuffle(more)
    again = dict(zip(more, splits.by_hash(more, 0.3, 0.3), strict=True))
    assert {k: again[k] for k in split} == split


def test_a_larger_validation_leaves_test_alone() -> None:
    small, large = splits.by_hash(KEYS, 0.1, 0.2), splits.by_hash(KEYS, 0.4, 0.2)
    assert np.array_equal(small == "test", large == "test")
    assert np.all(large[small == "validation"] == "validation")


def test_another_salt_is_another_split() -> None:
    a, b = (splits.by_hash(KEYS, 0.5, 0.0, salt=s) == "train" for s in "ab")
    low, high = binom.interval(1 - 1e-6, len(KEYS), 0.5)  # independent: half of them agree
    assert low <= np.count_nonzero(a == b) <= high


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.1), (0.9, 0.2), (float("nan"), 0.1)])
def test_impossible_shares(shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="not possible"):
        splits.by_hash(["a"], *shares)


def test_words() -> None:
    words = ["Train", "val", "valid", "dev", "validation", "test", "0", "1", "2"]
    expected = ["train", *["validation"] * 4, "test", "train", "validation", "test"]
    assert splits.read_words(words, where="t.csv").tolist() == expected


@pytest.mark.parametrize(("word", "said"), [("trian", "'trian'"), (None, "no split"), ("3", "'3'")])
def test_a_word_that_is_no_split_names_its_row(word: str | None, said: str) -> None:
    with pytest.raises(DataError, match=f"Row 2 of t.csv has .*{said}"):
        splits.read_words(["train", word], where="t.csv")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ({"train", "trian"}, True),
        ({"0", "1", "2"}, True),
        ({"0", "1", "2", "3", "4"}, False),
        ({"cat", "dog"}, False),
        ({""}, False),
    ],
)
def test_when_a_column_is_a_split(words: set[str], meant: bool) -> None:
    assert splits.are_words(words) is meant


def _complete(*present: str, n: int = 600) -> tuple[np.ndarray, set[str]]:
    given_split = np.array(present * (n // len(present))) if present else None
    keys = np.array(KEYS[: len(given_split) if given_split is not None else n])
    split, findings = splits.complete(given_split, keys, DataConfig())
    if given_split is not None and "test" in present:
        assert np.array_equal(split == "test", given_split == "test")
    return split, {f.code for f in findings}


def test_no_split_is_made_by_hash() -> None:
    split, codes = _complete()
    assert np.array_equal(split, splits.by_hash(KEYS[:600], 0.1, 0.1))
    assert codes == {"SPLIT-BY-HASH"}
    assert _complete("train")[1] == {"SPLIT-BY-HASH"}


def test_validation_comes_out_of_train_only() -> None:
    split, codes = _complete("train", "test")
    low, high = binom.interval(1 - 1e-6, 300, 0.1)
    assert low <= np.count_nonzero(split == "validation") <= high
    assert codes == {"VALIDATION-FROM-TRAIN"}


def test_what_the_data_says_stays() -> None:
    split, codes = _complete("train", "validation", "test")
    assert split.tolist() == ["train", "validation", "test"] * 200
    assert codes == set()
    split, codes = _complete("train", "validation")
    assert split.tolist() == ["train", "validation"] * 300
    assert codes == {"NO-TEST-SPLIT"}
