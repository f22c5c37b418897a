"""Which images are for training, validation and test.

The data's own split wins. Where there is none, a hash of who it is (or of the image's name) decides
in which order images go to test, to validation and to train, each class in the same shares. So the
split is the same in every order of the rows, and rows that are added or taken away move few others.

People stay together, and once all images are packed so do copies and near copies: what must stay on
one side is a group, and groups are split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.data.findings import make_finding
from candid.errors import ConfigError, DataError
from candid.records import SPLITS, Finding, Split
from candid.settings import DataConfig
from candid.tables.columns import SPLIT_WORDS
from candid.text import data_findings as text

if TYPE_CHECKING:
    from candid.data.duplicates import Copies

WORDS = SPLIT_WORDS
CODES: dict[str, Split] = {"0": "train", "1": "validation", "2": "test"}  # as CelebA counts them

SOURCE = "source"  # the attribute that says which of several data sets an image is from

_NAMES = np.array(SPLITS)


def hashed(keys: Iterable[str]) -> NDArray[np.uint64]:
    """(n,) the first eight bytes of BLAKE2b of each key, never 0."""
    encoded = (key.encode("utf-8", "surrogateescape") for key in keys)
    digests = (blake2b(key, digest_size=8).digest() for key in encoded)
    return np.array([int.from_bytes(digest, "big") or 1 for digest in digests], np.uint64)


def split_groups(
    group: NDArray[np.uint64], label: NDArray[np.int16], validation_share: float, test_share: float
) -> NDArray[np.str_]:
    """Split whole groups, stratified by label.

    The groups of each class stand in the order of their hashes, and a group's position there is the
    share of the class's images that come before its middle. In the order of these positions groups
    go to test, then to validation, then to train. So the splits have their shares of all images and
    of each class to within about a group; and a changed validation share leaves test as it is.

    Parameters
    ----------
    group
        (n,) the hash of the group that each image belongs to.
    label
        (n,) class of each image, -1 unknown. A group counts for the class of most of its images.
    validation_share, test_share
        Shares of the images; at least 0, and below 1 together.

    Returns
    -------
    (n,) str
        "train", "validation" or "test". With three groups or more, no split with a share is empty.

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
    member, order, middle = groups_in_order(group, label)
    test = int(np.count_nonzero(middle < test_share))
    test = max(test, int(test_share > 0 and len(order) > 2))
    end = int(np.count_nonzero(middle < test_share + validation_share))
    end = max(end, test + int(validation_share > 0))
    code = np.zeros(len(order), np.intp)
    code[order[:end]] = 1
    code[order[:test]] = 2
    return _NAMES[code[member]]


def groups_in_order(
    group: NDArray[np.uint64], label: NDArray[np.int16]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Each image's group; the groups in the order in which they are dealt out; their middles.

    A middle is the share of all images that come before that of the group, in this order.
    """
    key, member, size = np.unique(group, return_inverse=True, return_counts=True)
    stratum = _commonest(member, label)
    total = np.bincount(stratum, size)
    order = np.lexsort((key, stratum))
    position = np.empty(len(key))
    before = (np.cumsum(total) - total)[stratum[order]]
    position[order] = (_middle(size[order]) - before) / total[stratum[order]]
    order = np.lexsort((key, position))
    return member, order, _middle(size[order]) / len(group)


def _middle(size: NDArray[np.intp]) -> NDArray[np.float64]:
    """How many images come before the middle of each group."""
    return np.cumsum(size) - size / 2


def _commonest(member: NDArray[np.intp], label: NDArray[np.int16]) -> NDArray[np.intp]:
    """(groups,) 1 + the class of most of a group's images, the first of equals; 0 for no class."""
    width = int(label.max(initial=-1)) + 2
    pair, count = np.unique(member * width + label + 1, return_counts=True)
    owner, word = np.divmod(pair, width)
    order = np.lexsort((word, -count, word == 0, owner))
    commonest: NDArray[np.intp] = word[order[np.unique(owner[order], return_index=True)[1]]]
    return commonest


def join_groups(
    group: NDArray[np.uint64], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.uint64]:
    """(n,) the groups where the two images of each pair are in one: by union and find.

    A joined group has the hash of one of its parts: of the part whose hash is the least when read
    backwards, so that large groups do not come earlier in the order of the hashes.
    """
    key, member = np.unique(group.byteswap(), return_inverse=True)
    return key.byteswap()[_components(member, first, second)]


def _components(
    member: NDArray[np.intp], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.intp]:
    """(n,) the least of the groups 0, 1, … that each image's group is linked to."""
    root = list(range(int(member.max(initial=-1)) + 1))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, j in zip(member[first].tolist(), member[second].tolist(), strict=True):
        low, high = sorted((find(i), find(j)))
        root[high] = low
    roots = np.array([find(i) for i in range(len(root))], dtype=np.intp)
    return roots[member]


def read_splits(
    words: Iterable[str | None], *, where: str, rows: Iterable[int] | None = None
) -> NDArray[np.str_]:
    """(n,) the data's own words for its splits, in Candid's words.

    `where` names the file in an error; `rows` are the places there, where some were left out.
    Raises DataError for a row without a split, or with a word that names none.
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
    split: NDArray[np.str_] | None,
    keys: NDArray[np.str_],
    label: NDArray[np.int16],
    config: DataConfig,
) -> tuple[NDArray[np.str_], NDArray[np.uint64] | None, tuple[Finding, ...]]:
    """Fill in what the data does not say about its split, and tell so in findings.

    No split at all, or train alone: validation and test are chosen. Train and test alone:
    validation is taken out of train. No test beside validation: it stays so. Of (n,) images, `keys`
    say who it is where that is known, otherwise the image's name; `label` is -1 where unknown.

    Returns the (n,) split; for `keep_together`, the (n,) hashes by which it was chosen (0 where the
    data says it itself), or None where the data says it everywhere; and the findings.
    """
    n = len(keys)
    present = set() if split is None else set(np.unique(split).tolist())
    if split is None or present == {"train"}:
        mine = np.ones(n, np.bool_)
    elif "train" in present and "validation" not in present:
        mine = split == "train"
    elif "test" in present:
        return split, None, ()
    else:
        return split, None, (make_finding("NO-TEST-SPLIT", count=0, of=n, state="found"),)
    group = np.zeros(n, np.uint64)
    group[mine] = hashed(keys[mine])
    made = _chosen(group, label, config)
    return made, group, (_how_chosen(made, group),)


def keep_together(
    dataset: Dataset, usable: NDArray[np.bool_], copies: Copies, config: DataConfig
) -> Dataset:
    """The data set with copies and near copies on one side, where Candid chose its split.

    Near copies count unless there were so many that the search for them ended early.
    """
    group = dataset.split_hash
    if group is None:
        return dataset
    first, second = copies.links()
    if dataset.parts:
        return _keep_sources_together(dataset, usable, copies, config)
    both = (group[first] > 0) & (group[second] > 0)
    mine = np.flatnonzero(group)
    place = np.cumsum(group > 0) - 1  # among these
    joined = group.copy()
    joined[mine] = join_groups(group[mine], place[first[both]], place[second[both]])
    split = _chosen(joined, np.where(usable, dataset.annotated, -1).astype(np.int16), config)
    moved = int(np.count_nonzero(joined != group))
    told = _how_chosen(split, group, moved, copies)
    return replace(dataset, split=split, findings=_instead(dataset.findings, [told]))


def _keep_sources_together(
    dataset: Dataset, usable: NDArray[np.bool_], copies: Copies, config: DataConfig
) -> Dataset:
    """`keep_together` of data sets that were joined.

    Each is split by its own hashes into its own shares, as if it were alone; but images with a copy
    in another data set go where that went before, or where that data set itself puts it.
    """
    group, source = dataset.split_hash, dataset.attributes[SOURCE].data
    if group is None:
        return dataset
    component, joined = _linked_sources(group, source, copies)
    split = dataset.split.copy()
    code = np.select([split == name for name in SPLITS], range(len(SPLITS)))
    gone = _gone(component, code, source, group > 0, copies)
    told = []
    for number, part in enumerate(dataset.parts):
        mine = np.flatnonzero(source == number)
        rows = mine[group[mine] > 0]
        if not len(rows):
            continue
        along = gone[component[rows]] >= 0
        split[rows[along]] = _NAMES[gone[component[rows[along]]]]
        rest = rows[~along]
        if len(rest):
            alone = len(rows) == len(mine)
            label = np.where(usable[rest], dataset.annotated[rest], -1).astype(np.int16)
            shares = config.validation_share, config.test_share if alone else 0.0
            split[rest] = split_groups(joined[rest], label, *shares)
        went = np.select([split[rows] == name for name in SPLITS], range(len(SPLITS)))
        gone[component[rows]] = went
        moved = int(np.count_nonzero(along | (joined[rows] != group[rows])))
        how = _how_chosen(split[mine], group[mine], moved, copies)
        told.append(of_source(how, part.name))
    return replace(dataset, split=split, findings=_instead(dataset.findings, told))


def _linked_sources(
    group: NDArray[np.uint64], source: NDArray[np.int16], copies: Copies
) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """(n,) what each image must stay together with, as a number, and the hash to split it by.

    The hash is one of its own data set, the least when read backwards, as in `join`. Equal hashes
    in two data sets are nothing to each other: names and persons are numbered in each anew.
    """
    key, member = np.unique(group.byteswap(), return_inverse=True)
    units, unit = np.unique(source.astype(np.int64) * len(key) + member, return_inverse=True)
    first, second = copies.links()
    both = (group[first] > 0) & (group[second] > 0)
    component = _components(unit, first[both], second[both])
    _, within = np.unique(source.astype(np.int64) * len(units) + component, return_inverse=True)
    least = np.full(len(group), len(units), np.intp)
    np.minimum.at(least, within, unit)
    joined: NDArray[np.uint64] = key.byteswap()[units[least[within]] % len(key)]
    return component, joined


def _gone(
    component: NDArray[np.intp],
    code: NDArray[Any],
    source: NDArray[np.int16],
    free: NDArray[np.bool_],
    copies: Copies,
) -> NDArray[np.intp]:
    """(components,) the split, counted in `SPLITS`, where another data set itself has a copy.

    Of several the last, so that nothing tested was trained on; -1 where there is none.
    """
    gone = np.full(int(component.max(initial=-1)) + 1, -1, np.intp)
    rows, ends = np.unique(copies.links(), return_inverse=True)
    first, second = ends.reshape(2, -1)
    picture = _components(np.arange(len(rows)), first, second)
    fixed, own = ~free[rows], source[rows]
    best = np.full((len(rows), int(source.max(initial=0)) + 1), -1, np.intp)
    np.maximum.at(best, (picture[fixed], own[fixed]), code[rows[fixed]])
    elsewhere = best[picture]  # (linked rows, sources)
    elsewhere[np.arange(len(rows)), own] = -1
    mine = free[rows]
    np.maximum.at(gone, component[rows[mine]], elsewhere.max(axis=1)[mine])
    return gone


def _instead(findings: Sequence[Finding], told: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings with those about a split that was chosen replaced, each by the next one told."""
    codes, fresh = {f.code for f in told}, iter(told)
    return tuple(next(fresh) if f.code in codes else f for f in findings)


def of_source(finding: Finding, name: str) -> Finding:
    """A finding about one of several data sets: it says which, and its images have their ids."""
    examples = tuple(f"{name}/{example}" for example in finding.examples)
    detail, values = text.source_detail(finding.detail, name), finding.values | {"source": name}
    return replace(finding, detail=detail, examples=examples, values=values)


def _chosen(
    group: NDArray[np.uint64], label: NDArray[np.int16], config: DataConfig
) -> NDArray[np.str_]:
    """A split of the images with a group; the others are the data's own test."""
    mine = group > 0
    split = np.full(len(group), "test", "<U10")
    split[mine] = split_groups(
        group[mine], label[mine], config.validation_share, config.test_share if mine.all() else 0.0
    )
    return split


def _how_chosen(
    split: NDArray[np.str_],
    group: NDArray[np.uint64],
    moved: int | None = None,
    copies: Copies | None = None,
) -> Finding:
    """How a split was chosen; so many images moved with their copies, where these are known."""
    n, mine = len(group), int(np.count_nonzero(group))
    validation, test = (int(np.count_nonzero(split == name)) for name in ("validation", "test"))
    went: dict[str, Any] = {"moved": moved, "near": copies is not None and copies.pairs.complete}
    if mine < n:
        return make_finding(
            "VALIDATION-FROM-TRAIN", count=validation, of=mine, state="found", **went
        )
    return make_finding(
        "SPLIT-BY-HASH", count=n, of=n, state="found", validation=validation, test=test, **went
    )
