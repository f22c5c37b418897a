"""Splits into train, validation and test.

The data's own split wins. Where there is none, a hash of the person (or of the image's name) orders
the images for test, validation and train, each class in the same shares. So the split does not
depend on the order of rows, and adding or removing rows moves few others.

People stay together, and once all images are packed so do copies and near copies: these are groups,
and groups are split.
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
CODES: dict[str, Split] = {"0": "train", "1": "validation", "2": "test"}  # CelebA's

SOURCE = "source"  # the attribute with the data set of each image, of several

_NAMES = np.array(SPLITS)


def hash_keys(keys: Iterable[str]) -> NDArray[np.uint64]:
    """(n,) the first eight bytes of BLAKE2b of each key, never 0."""
    byte_keys = (key.encode("utf-8", "surrogateescape") for key in keys)
    digests = (blake2b(key, digest_size=8).digest() for key in byte_keys)
    return np.array([int.from_bytes(digest, "big") or 1 for digest in digests], np.uint64)


def split_groups(
    group: NDArray[np.uint64], label: NDArray[np.int16], validation_share: float, test_share: float
) -> NDArray[np.str_]:
    """Split the images by group, stratified by label.

    The groups of each class are ordered by hash, and a group's position is the share of the class's
    images before its middle. In the order of these positions groups go to test, then to validation,
    then to train. So the splits have their shares of all images and of each class to within about a
    group; and a changed validation share does not change test.

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
    group_of_image, order, middle = groups_in_order(group, label)
    test = int(np.count_nonzero(middle < test_share))
    test = max(test, int(test_share > 0 and len(order) > 2))
    end = int(np.count_nonzero(middle < test_share + validation_share))
    end = max(end, test + int(validation_share > 0))
    code = np.zeros(len(order), np.intp)
    code[order[:end]] = 1
    code[order[:test]] = 2
    return _NAMES[code[group_of_image]]


def groups_in_order(
    group: NDArray[np.uint64], label: NDArray[np.int16]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Each image's group; the order of the groups; their middles.

    A middle is the share of all images before the middle of the group, in this order.
    """
    key, group_of_image, size = np.unique(group, return_inverse=True, return_counts=True)
    stratum = _commonest(group_of_image, label)
    total = np.bincount(stratum, size)
    order = np.lexsort((key, stratum))
    position = np.empty(len(key))
    n_before = (np.cumsum(total) - total)[stratum[order]]
    position[order] = (_middle(size[order]) - n_before) / total[stratum[order]]
    order = np.lexsort((key, position))
    return group_of_image, order, _middle(size[order]) / len(group)


def _middle(size: NDArray[np.intp]) -> NDArray[np.float64]:
    """The number of images before the middle of each group."""
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
    """(n,) the groups after joining those of each pair of images.

    A joined group has the hash of the part whose reversed bytes are least, so that large groups do
    not come earlier in the order of the hashes.
    """
    key, member = np.unique(group.byteswap(), return_inverse=True)
    return key.byteswap()[_components(member, first, second)]


def _components(
    member: NDArray[np.intp], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.intp]:
    """(n,) the least of the groups 0, 1, … that each image's group is linked to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = int(member.max(initial=-1)) + 1
    links = coo_array((np.ones(len(first)), (member[first], member[second])), (n, n))
    component = connected_components(links, directed=False)[1]
    least = np.unique(component, return_index=True)[1]
    result: NDArray[np.intp] = least[component[member]]
    return result


def read_splits(
    words: Iterable[str | None], *, file: str, rows: Iterable[int] | None = None
) -> NDArray[np.str_]:
    """(n,) the splits of the data's own words.

    `file` is its name for errors; `rows` are the rows in it, if some were left out. Raises
    DataError for a row without a split, or with an unknown word.
    """
    split_words = WORDS | CODES
    split = []
    for row, word in zip(count() if rows is None else rows, words, strict=False):
        name = split_words.get((word or "").strip().lower())
        if name is None:
            raise DataError(
                f"Row {row + 1} of {file} has the split {word!r}."
                if word
                else f"Row {row + 1} of {file} has no split.",
                expected="train, val or test in every row (or CelebA's 0, 1 and 2)",
                todo="mend the row, or name another column with data.split_column",
            )
        split.append(name)
    return np.array(split, dtype="<U10")


def is_split(words: Iterable[str]) -> bool:
    """Whether a column with these distinct values is a split.

    One known word is enough, so that another misspelt one is an error; but numbers are a split only
    where all of them are CelebA's (folds go to 4 or 9).
    """
    distinct = {word.strip().lower() for word in words} - {""}
    return not distinct.isdisjoint(WORDS) or (bool(distinct) and distinct <= CODES.keys())


def fill_split(
    split: NDArray[np.str_] | None,
    keys: NDArray[np.str_],
    label: NDArray[np.int16],
    config: DataConfig,
) -> tuple[NDArray[np.str_], NDArray[np.uint64] | None, tuple[Finding, ...]]:
    """Complete the data's split, with findings.

    No split at all, or train alone: validation and test are chosen. Train and test alone:
    validation is taken out of train. Validation without test: it stays so. `keys` (n,) are the
    persons where known, otherwise the images' names; `label` is -1 where unknown.

    Returns the (n,) split; for `keep_together`, the (n,) hashes by which it was chosen (0 for the
    data's own), or None where all of it is the data's own; and the findings.
    """
    n = len(keys)
    present = set() if split is None else set(np.unique(split).tolist())
    if split is None or present == {"train"}:
        mask = np.ones(n, np.bool_)
    elif "train" in present and "validation" not in present:
        mask = split == "train"
    elif "test" in present:
        return split, None, ()
    else:
        return split, None, (make_finding("NO-TEST-SPLIT", count=0, of=n, state="found"),)
    group = np.zeros(n, np.uint64)
    group[mask] = hash_keys(keys[mask])
    chosen = _split_by_hash(group, label, config)
    return chosen, group, (_describe_split(chosen, group),)


def keep_together(
    dataset: Dataset, usable: NDArray[np.bool_], copies: Copies, config: DataConfig
) -> Dataset:
    """Move copies and near copies to one split, where Candid chose it.

    Near copies count only if the search for them was complete.
    """
    group = dataset.split_hash
    if group is None:
        return dataset
    first, second = copies.links()
    if dataset.parts:
        return _keep_joined_together(dataset, usable, copies, config)
    both = (group[first] > 0) & (group[second] > 0)
    rows = np.flatnonzero(group)
    index = np.cumsum(group > 0) - 1  # among these
    groups = group.copy()
    groups[rows] = join_groups(group[rows], index[first[both]], index[second[both]])
    split = _split_by_hash(groups, np.where(usable, dataset.annotated, -1).astype(np.int16), config)
    n_moved = int(np.count_nonzero(groups != group))
    finding = _describe_split(split, group, n_moved, copies)
    return replace(dataset, split=split, findings=_replace_findings(dataset.findings, [finding]))


def _keep_joined_together(
    dataset: Dataset, usable: NDArray[np.bool_], copies: Copies, config: DataConfig
) -> Dataset:
    """`keep_together` of data sets that were joined.

    Each is split separately by its own hashes; but images with a copy in another data set follow
    that, if it was split before or has its own split.
    """
    group, source = dataset.split_hash, dataset.attributes[SOURCE].data
    if group is None:
        return dataset
    component, hashes = _link_sources(group, source, copies)
    split = dataset.split.copy()
    code = np.select([split == name for name in SPLITS], range(len(SPLITS)))
    target_split = _splits_of_copies(component, code, source, group > 0, copies)
    new_findings = []
    for number, part in enumerate(dataset.parts):
        members = np.flatnonzero(source == number)
        rows = members[group[members] > 0]
        if not len(rows):
            continue
        follows = target_split[component[rows]] >= 0
        split[rows[follows]] = _NAMES[target_split[component[rows[follows]]]]
        rest = rows[~follows]
        if len(rest):
            no_own_split = len(rows) == len(members)
            label = np.where(usable[rest], dataset.annotated[rest], -1).astype(np.int16)
            shares = config.validation_share, config.test_share if no_own_split else 0.0
            split[rest] = split_groups(hashes[rest], label, *shares)
        codes = np.select([split[rows] == name for name in SPLITS], range(len(SPLITS)))
        target_split[component[rows]] = codes
        n_moved = int(np.count_nonzero(follows | (hashes[rows] != group[rows])))
        finding = _describe_split(split[members], group[members], n_moved, copies)
        new_findings.append(of_source(finding, part.name))
    return replace(dataset, split=split, findings=_replace_findings(dataset.findings, new_findings))


def _link_sources(
    group: NDArray[np.uint64], source: NDArray[np.int16], copies: Copies
) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """(n,) the number of each image's component, and the hash to split it by.

    The hash is one of its own data set, the least by reversed bytes, as in `join_groups`. Equal
    hashes in two data sets are not related: names and persons are numbered in each anew.
    """
    key, member = np.unique(group.byteswap(), return_inverse=True)
    units, unit = np.unique(source.astype(np.int64) * len(key) + member, return_inverse=True)
    first, second = copies.links()
    both = (group[first] > 0) & (group[second] > 0)
    component = _components(unit, first[both], second[both])
    _, within = np.unique(source.astype(np.int64) * len(units) + component, return_inverse=True)
    least = np.full(len(group), len(units), np.intp)
    np.minimum.at(least, within, unit)
    hashes: NDArray[np.uint64] = key.byteswap()[units[least[within]] % len(key)]
    return component, hashes


def _splits_of_copies(
    component: NDArray[np.intp],
    code: NDArray[Any],
    source: NDArray[np.int16],
    free: NDArray[np.bool_],
    copies: Copies,
) -> NDArray[np.intp]:
    """(components,) the index in `SPLITS` of a copy that is fixed by another data set's own split.

    Of several the last, so that no test image is trained on; -1 where there is none.
    """
    result = np.full(int(component.max(initial=-1)) + 1, -1, np.intp)
    rows, ends = np.unique(copies.links(), return_inverse=True)
    first, second = ends.reshape(2, -1)
    image = _components(np.arange(len(rows)), first, second)
    is_fixed, own_source = ~free[rows], source[rows]
    best = np.full((len(rows), int(source.max(initial=0)) + 1), -1, np.intp)
    np.maximum.at(best, (image[is_fixed], own_source[is_fixed]), code[rows[is_fixed]])
    elsewhere = best[image]  # (linked rows, sources)
    elsewhere[np.arange(len(rows)), own_source] = -1
    is_free = free[rows]
    np.maximum.at(result, component[rows[is_free]], elsewhere.max(axis=1)[is_free])
    return result


def _replace_findings(findings: Sequence[Finding], new: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings, where those with the code of a `new` one are replaced by these in order."""
    codes, replacements = {f.code for f in new}, iter(new)
    return tuple(next(replacements) if f.code in codes else f for f in findings)


def of_source(finding: Finding, name: str) -> Finding:
    """A finding about one of several data sets, with its name in the detail and the ids."""
    examples = tuple(f"{name}/{example}" for example in finding.examples)
    detail, values = text.source_detail(finding.detail, name), finding.values | {"source": name}
    return replace(finding, detail=detail, examples=examples, values=values)


def _split_by_hash(
    group: NDArray[np.uint64], label: NDArray[np.int16], config: DataConfig
) -> NDArray[np.str_]:
    """Split the images with a group; the others are the data's own test."""
    mask = group > 0
    split = np.full(len(group), "test", "<U10")
    split[mask] = split_groups(
        group[mask], label[mask], config.validation_share, config.test_share if mask.all() else 0.0
    )
    return split


def _describe_split(
    split: NDArray[np.str_],
    group: NDArray[np.uint64],
    moved: int | None = None,
    copies: Copies | None = None,
) -> Finding:
    """The finding about a chosen split; `moved` images followed their copies, if known."""
    n, n_chosen = len(group), int(np.count_nonzero(group))
    validation, test = (int(np.count_nonzero(split == name)) for name in ("validation", "test"))
    values: dict[str, Any] = {"moved": moved, "near": copies is not None and copies.pairs.complete}
    if n_chosen < n:
        return make_finding(
            "VALIDATION-FROM-TRAIN", count=validation, of=n_chosen, state="found", **values
        )
    return make_finding(
        "SPLIT-BY-HASH", count=n, of=n, state="found", validation=validation, test=test, **values
    )
