"""Checks for what stands in the data more than once: pictures and people.

Each gives one Finding; `checks` calls them all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.data.duplicates import Copies, Pairs
from candid.data.findings import by_split, example_ids, finding, not_applicable
from candid.data.store import Store
from candid.records import SPLITS, Finding, Severity


def exact_within(dataset: Dataset, store: Store, groups: NDArray[np.intp]) -> Finding:
    """DUPLICATES-WITHIN-SPLITS: pictures with identical pixels in one split."""
    split = _split_codes(dataset)
    key = np.where(groups >= 0, groups * len(SPLITS) + split, -1)
    copied = _repeated(key)
    surplus = len(copied) - len(np.unique(key[copied]))
    return finding(
        "DUPLICATES-WITHIN-SPLITS",
        "Identical pictures within a split",
        count=len(copied),
        of=int(np.count_nonzero(store.usable)),
        severity="warning",
        found=f"{len(copied):,} images have an identical copy in their own split; {surplus:,} of "
        f"them are surplus{_byte_identical(store, copied)}.",
        absent="No two images of one split have identical pixels.",
        examples=example_ids(dataset, _in_groups(key, copied)),
        todo="keep one of each; copies count twice in training and in every figure",
    )


def exact_across(dataset: Dataset, store: Store, groups: NDArray[np.intp]) -> Finding:
    """DUPLICATES-ACROSS-SPLITS: pictures with identical pixels in two splits."""
    split = _split_codes(dataset)
    title = "Identical pictures in two splits"
    if len(np.unique(split)) < 2:
        return not_applicable("DUPLICATES-ACROSS-SPLITS", title, "There is only one split.")
    leaked = _spread(groups, split)
    return finding(
        "DUPLICATES-ACROSS-SPLITS",
        title,
        count=len(leaked),
        of=int(np.count_nonzero(store.usable)),
        severity="serious",
        found=f"{len(leaked):,} images have an identical copy in another split"
        f"{_byte_identical(store, leaked)} ({by_split(dataset, leaked)}).",
        absent="No picture of one split has an identical copy in another.",
        examples=example_ids(dataset, _in_groups(groups, leaked)),
        todo="remove the copies from train; a model can know them by heart",
    )


def near_within(dataset: Dataset, store: Store, pairs: Pairs) -> Finding:
    """NEAR-DUPLICATES-WITHIN-SPLITS: the same picture but for compression, size, tone or crop."""
    same = dataset.split[pairs.first] == dataset.split[pairs.second]
    return _near(
        dataset,
        store,
        pairs,
        same,
        code="NEAR-DUPLICATES-WITHIN-SPLITS",
        title="Near-identical pictures within a split",
        where="in their own split",
        severity="note",
        todo="look at the examples; where they are one picture, keep one of each",
    )


def near_across(dataset: Dataset, store: Store, pairs: Pairs) -> Finding:
    """NEAR-DUPLICATES-ACROSS-SPLITS: the same but for compression, size, tone or crop."""
    code, title = "NEAR-DUPLICATES-ACROSS-SPLITS", "Near-identical pictures in two splits"
    if len(np.unique(dataset.split)) < 2:
        return not_applicable(code, title, "There is only one split.")
    other = dataset.split[pairs.first] != dataset.split[pairs.second]
    return _near(
        dataset,
        store,
        pairs,
        other,
        code=code,
        title=title,
        where="in another split",
        severity="warning",
        todo="look at the examples; where they are one picture, remove it from train",
    )


def _near(
    dataset: Dataset,
    store: Store,
    pairs: Pairs,
    which: NDArray[np.bool_],
    *,
    code: str,
    title: str,
    where: str,
    severity: Severity,
    todo: str,
) -> Finding:
    usable = int(np.count_nonzero(store.usable))
    if usable < 2:
        return not_applicable(code, title, "There are fewer than two usable images.")
    images = np.unique(np.concatenate([pairs.first[which], pairs.second[which]]))
    more = "" if pairs.complete else "At least: the search ended at a million pairs. "
    return finding(
        code,
        title,
        count=len(images),
        of=usable,
        severity=severity,
        found=f"{len(images):,} images are near-identical to one {where} "
        f"({np.count_nonzero(which):,} pairs; {by_split(dataset, images)}), identical copies "
        f"aside. {more}{_chance(pairs)}",
        absent=f"No image is near-identical to one {where}, identical copies aside. Mirrored and "
        "much cropped copies are not looked for.",
        examples=example_ids(dataset, _surest(pairs, which)),
        todo=todo,
    )


def _chance(pairs: Pairs) -> str:
    if np.isnan(pairs.by_chance):
        return "How many of them chance brought together was not measured."
    return (
        f"A pair counts from a correlation of {pairs.threshold:.2f}; chance alone would bring "
        f"about {pairs.by_chance:.0f} of all {len(pairs.first):,} pairs together, counted with "
        "one picture of each mirrored."
    )


def contradictory_labels(dataset: Dataset, groups: NDArray[np.intp]) -> Finding:
    """CONTRADICTORY-LABELS: one picture twice, labelled differently."""
    labelled = np.where(dataset.label >= 0, groups, -1)
    torn = _spread(labelled, dataset.label)
    return finding(
        "CONTRADICTORY-LABELS",
        "One picture, two labels",
        count=len(torn),
        of=len(_repeated(labelled)),
        severity="serious",
        found=f"{len(torn):,} images have an identical copy with another {dataset.target}, of "
        f"{len(_repeated(labelled)):,} that have a labelled copy.",
        absent=f"Identical pictures have the same {dataset.target}.",
        examples=example_ids(dataset, _in_groups(labelled, torn)),
        todo="look at them and mend the labels; each such pair holds at least one error",
    )


def near_contradictory_labels(dataset: Dataset, pairs: Pairs) -> Finding:
    """NEAR-DUPLICATES-LABELLED-DIFFERENTLY: near-identical pictures with different labels."""
    first, second = dataset.label[pairs.first], dataset.label[pairs.second]
    both = (first >= 0) & (second >= 0)
    torn = both & (first != second)
    return finding(
        "NEAR-DUPLICATES-LABELLED-DIFFERENTLY",
        "Near-identical pictures, different labels",
        count=int(np.count_nonzero(torn)),
        of=int(np.count_nonzero(both)),
        severity="warning",
        found=f"{np.count_nonzero(torn):,} of {np.count_nonzero(both):,} near-identical pairs "
        f"have different values of {dataset.target}.",
        absent=f"Near-identical pictures have the same {dataset.target}.",
        examples=example_ids(dataset, _surest(pairs, torn)),
        todo="look at them; where they are one picture, mend the labels",
    )


# --- people --------------------------------------------------------------------------------------


def people_across(dataset: Dataset) -> Finding:
    """PEOPLE-ACROSS-SPLITS: people who stand in two splits."""
    code, title = "PEOPLE-ACROSS-SPLITS", "People in two splits"
    identity, split = dataset.identity, _split_codes(dataset)
    if identity is None or not np.any(identity >= 0):
        return not_applicable(code, title, "Nobody says who is in the pictures.")
    if len(np.unique(split)) < 2:
        return not_applicable(code, title, "There is only one split.")
    rows = _spread(identity, split)
    number, everyone = len(np.unique(identity[rows])), len(np.unique(identity[identity >= 0]))
    unknown = np.count_nonzero(identity < 0)
    aside = f" {unknown:,} images of unknown people aside." if unknown else ""
    return finding(
        code,
        title,
        count=number,
        of=everyone,
        severity="serious",
        found=f"{number:,} of {everyone:,} people stand in two splits or more, with {len(rows):,} "
        f"images ({by_split(dataset, rows)}).{aside}",
        absent=f"None of {everyone:,} people stands in two splits.{aside}",
        examples=example_ids(dataset, _in_groups(identity, rows)),
        todo="split by person; otherwise the test measures how well people are recognised",
    )


# --- image beside image --------------------------------------------------------------------------


def pairs_by_code(
    dataset: Dataset, copies: Copies
) -> dict[str, tuple[NDArray[np.intp], NDArray[np.intp], list[str]]]:
    """Of each finding about images that go together: (n,) rows, (n,) others, and words on both.

    Of exact copies and of people, each image that is affected stands beside one other.
    """
    groups, pairs, split = copies.groups, copies.pairs, _split_codes(dataset)
    first, second = pairs.first, pairs.second
    same = split[first] == split[second]
    torn = (dataset.label[first] >= 0) & (dataset.label[second] >= 0)
    torn &= dataset.label[first] != dataset.label[second]
    within = np.where(groups >= 0, groups * len(SPLITS) + split, -1)
    labelled = np.where(dataset.label >= 0, groups, -1)
    nobody = np.full(len(dataset), -1)
    person = nobody if dataset.identity is None else dataset.identity
    rows = {
        "DUPLICATES-WITHIN-SPLITS": _partners(within, np.arange(len(dataset))),
        "DUPLICATES-ACROSS-SPLITS": _partners(groups, split),
        "CONTRADICTORY-LABELS": _partners(labelled, dataset.label),
        "PEOPLE-ACROSS-SPLITS": _partners(person, split),
    }
    found = {code: (a, b, _on_both(dataset, a, b)) for code, (a, b) in rows.items()}
    for code, which in (
        ("NEAR-DUPLICATES-WITHIN-SPLITS", same),
        ("NEAR-DUPLICATES-ACROSS-SPLITS", ~same),
        ("NEAR-DUPLICATES-LABELLED-DIFFERENTLY", torn),
    ):
        both = zip(
            _on_both(dataset, first[which], second[which]), pairs.correlation[which], strict=True
        )
        words = [f"{word}, correlation {c:.3f}" for word, c in both]
        found[code] = first[which], second[which], words
    return found


def _partners(key: NDArray[Any], over: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows whose key stands under two values of `over`, each with one of its key under another."""
    rows = _in_groups(key, _spread(key, over))
    _, at, group = np.unique(key[rows], return_index=True, return_inverse=True)
    first = rows[at][group]
    other = over[rows] != over[first]
    second = rows[other][np.unique(key[rows[other]], return_index=True)[1]][group]
    return rows, np.where(other, first, second)


def _on_both(dataset: Dataset, a: NDArray[np.intp], b: NDArray[np.intp]) -> list[str]:
    """Where two images stand, and how they are labelled."""
    labels = np.array([*dataset.classes, "unlabelled"])[dataset.label]  # -1 is the last
    columns = (
        words.tolist() for words in (dataset.split[a], dataset.split[b], labels[a], labels[b])
    )
    return [f"{s} and {t}: {x} and {y}" for s, t, x, y in zip(*columns, strict=True)]


# --- shared pieces -------------------------------------------------------------------------------


def _split_codes(dataset: Dataset) -> NDArray[np.intp]:
    codes: NDArray[np.intp] = sum(
        (np.where(dataset.split == split, i, 0) for i, split in enumerate(SPLITS)),
        np.zeros(len(dataset), np.intp),
    )
    return codes


def _repeated(key: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows whose key (-1: none) some other row shares, ascending."""
    known = np.flatnonzero(key >= 0)
    _, inverse, counts = np.unique(key[known], return_inverse=True, return_counts=True)
    return known[counts[inverse] > 1]


def _spread(key: NDArray[Any], over: NDArray[Any]) -> NDArray[np.intp]:
    """Rows whose key (-1: none) stands under two values of `over` or more, ascending."""
    known = np.flatnonzero(key >= 0)
    _, inverse = np.unique(key[known], return_inverse=True)
    both = np.unique(np.stack([inverse, over[known]]), axis=1)
    values = np.bincount(both[0], minlength=int(inverse.max(initial=-1)) + 1)
    return known[values[inverse] > 1]


def _in_groups(key: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The rows with equal keys side by side."""
    return rows[np.argsort(key[rows], kind="stable")]


def _surest(pairs: Pairs, which: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Both rows of each pair, the most alike first."""
    order = np.flatnonzero(which)[np.argsort(-pairs.correlation[which], kind="stable")]
    rows: NDArray[np.intp] = np.stack([pairs.first[order], pairs.second[order]], axis=1).ravel()
    return rows


def _byte_identical(store: Store, rows: NDArray[np.intp]) -> str:
    _, counts = np.unique(store.digests[rows], return_counts=True)
    number = int(counts[counts > 1].sum())
    return f"; {number:,} are copies byte for byte" if number else ""
