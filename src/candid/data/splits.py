"""Which images are for training, validation and test.

The data's own split wins. Where there is none, a hash of who it is (or of the image's name)
decides, so that the split is the same on every machine, in every order, and when other rows are
added.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from itertools import count

import numpy as np
from numpy.typing import NDArray

from candid.columns import SPLIT_WORDS
from candid.errors import ConfigError, DataError
from candid.records import SPLITS, Finding, Split
from candid.settings import DataConfig

WORDS = SPLIT_WORDS
CODES: dict[str, Split] = {"0": "train", "1": "validation", "2": "test"}  # as CelebA counts them

_NAMES = np.array(SPLITS)


def by_hash(
    keys: Iterable[str], validation_share: float, test_share: float, salt: str = ""
) -> NDArray[np.str_]:
    """Split by a hash of each key; equal keys always fall together.

    A key's place is the first eight bytes of BLAKE2b as a fraction of 2**64: test below
    `test_share`, validation in the `validation_share` above it, train from there on. So a changed
    validation share leaves the test set as it is.

    Parameters
    ----------
    keys
        (n,) who it is where that is known, otherwise the image's name.
    validation_share, test_share
        Expected shares of the distinct keys; at least 0, and below 1 together.
    salt
        Another salt gives another, independent split; at most 16 bytes.

    Returns
    -------
    (n,) str
        "train", "validation" or "test".

    Raises
    ------
    ConfigError
        Where the shares leave nothing for training.
    """
    if not (validation_share >= 0 and test_share >= 0 and validation_share + test_share < 1):
        raise ConfigError(
            f"Shares of {validation_share:g} for validation and {test_share:g} for test are not "
            "possible.",
            expected="two shares of at least 0 that leave something for training",
            todo="set data.validation_share and data.test_share",
        )
    words = list(keys)
    salted = blake2b(digest_size=8, salt=salt.encode())
    place = {}
    for word in words:
        if word not in place:
            hashed = salted.copy()
            hashed.update(word.encode("utf-8", "surrogateescape"))
            place[word] = int.from_bytes(hashed.digest(), "big")
    fraction = np.array([place[word] for word in words], dtype=np.uint64) / 2.0**64
    code = np.where(
        fraction < test_share, 2, np.where(fraction < test_share + validation_share, 1, 0)
    )
    return _NAMES[code]


def read_words(
    words: Iterable[str | None], *, where: str, rows: Iterable[int] | None = None
) -> NDArray[np.str_]:
    """(n,) the data's own words for its splits, in Candid's words.

    Parameters
    ----------
    words
        (n,) as written.
    where
        What to call the file in an error.
    rows
        (n,) the rows' places in that file, from 0, where some were left out.

    Raises
    ------
    DataError
        For a row without a split, or with a word that names none.
    """
    known = WORDS | CODES
    split = []
    for row, word in zip(count() if rows is None else rows, words, strict=False):
        name = known.get((word or "").strip().lower())
        if name is None:
            raise DataError(
                f"Row {row + 1} of {where} has the split {word!r}."
                if word
                else f"Row {row + 1} of {where} has no split.",
                expected="train, val or test in every row (or CelebA's 0, 1 and 2)",
                todo="mend the row, or name another column with data.split_column",
            )
        split.append(name)
    return np.array(split, dtype="<U10")


def are_words(words: Iterable[str]) -> bool:
    """Whether a column with these distinct values is meant as a split.

    One known word is enough, so that a misspelt one beside it is an error and not silently another
    split; but numbers are only a split where all of them are CelebA's (folds go to 4 or 9).
    """
    seen = {word.strip().lower() for word in words} - {""}
    return not seen.isdisjoint(WORDS) or (bool(seen) and seen <= CODES.keys())


def complete(
    split: NDArray[np.str_] | None, keys: NDArray[np.str_], config: DataConfig
) -> tuple[NDArray[np.str_], tuple[Finding, ...]]:
    """Fill in what the data does not say about its split, and tell so in findings.

    No split at all, or train alone: validation and test are taken by hash. Train and test alone:
    validation is taken out of train. No test beside validation: it stays so.

    Parameters
    ----------
    split
        (n,) "train", "validation" or "test", or None where the data has no split.
    keys
        (n,) see `by_hash`.
    config
        Its shares.
    """
    n = len(keys)
    present = set() if split is None else set(np.unique(split).tolist())
    shares = config.validation_share, config.test_share
    if split is None or present == {"train"}:
        made = by_hash(keys, *shares)
        was = "The data has no split" if split is None else "Everything in the data is for training"
        detail = (
            f"{was}; validation ({np.count_nonzero(made == 'validation'):,}) and test "
            f"({np.count_nonzero(made == 'test'):,} of {n:,} images) were chosen by a hash."
        )
        return made, (_note("SPLIT-BY-HASH", "Split by hash", detail, n, n),)
    if "train" in present and "validation" not in present:
        return _carve_validation(split, keys, config)
    if "test" not in present:
        detail = "Nothing is set aside for test, so every figure stems from validation images."
        return split, (_note("NO-TEST-SPLIT", "No test images", detail, 0, n),)
    return split, ()


def _carve_validation(
    split: NDArray[np.str_], keys: NDArray[np.str_], config: DataConfig
) -> tuple[NDArray[np.str_], tuple[Finding, ...]]:
    train = np.flatnonzero(split == "train")
    made = split.astype("<U10")  # a copy, wide enough for "validation"
    made[train] = by_hash(keys[train], config.validation_share, 0.0)
    taken = int(np.count_nonzero(made == "validation"))
    detail = (
        f"The data has train and test but no validation; {taken:,} of its {len(train):,} "
        "training images became validation, by a hash."
    )
    finding = _note("VALIDATION-FROM-TRAIN", "Validation from train", detail, taken, len(train))
    return made, (finding,)


def _note(code: str, title: str, detail: str, count: int, of: int) -> Finding:
    return Finding(code, title, "found", "note", detail, count, of)
