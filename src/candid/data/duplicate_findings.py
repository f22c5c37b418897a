"""Findings about duplicates: images, and people in several splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.data.duplicates import Copies
from candid.data.findings import Links, example_ids, make_finding, not_applicable, split_counts
from candid.data.store import Store
from candid.records import SPLITS, Finding, Severity
from candid.text.data_findings import WhyNot


@dataclass(frozen=True, slots=True)
class _Check:
    """The severity of a finding, and what it counts."""

    severity: Severity
    across: bool = False  # needs two splits
    counts: Literal["images", "pairs", "people"] = "images"


_CHECKS = {
    "DUPLICATES-WITHIN-SPLITS": _Check("warning"),
    "DUPLICATES-ACROSS-SPLITS": _Check("serious", across=True),
    # The same picture but for compression, size, tone or crop.
    "NEAR-DUPLICATES-WITHIN-SPLITS": _Check("note"),
    "NEAR-DUPLICATES-ACROSS-SPLITS": _Check("warning", across=True),
    "CONTRADICTORY-LABELS": _Check("serious"),
    "NEAR-DUPLICATES-LABELLED-DIFFERENTLY": _Check("warning", counts="pairs"),
    "PEOPLE-ACROSS-SPLITS": _Check("serious", across=True, counts="people"),
}
_NEAR_SPLITS = ("NEAR-DUPLICATES-WITHIN-SPLITS", "NEAR-DUPLICATES-ACROSS-SPLITS")


def duplicate_checks(dataset: Dataset, store: Store, copies: Copies) -> tuple[Finding, ...]:
    """A finding for each kind of duplicate."""
    person = _persons(dataset)
    everyone = len(np.unique(person[person >= 0]))
    usable = int(np.count_nonzero(store.usable))
    both_labelled = np.all(dataset.label[[copies.pairs.first, copies.pairs.second]] >= 0, axis=0)
    totals = dict.fromkeys(_CHECKS, usable) | {
        "CONTRADICTORY-LABELS": _labelled_copies(dataset, copies.groups),
        "NEAR-DUPLICATES-LABELLED-DIFFERENTLY": int(np.count_nonzero(both_labelled)),
        "PEOPLE-ACROSS-SPLITS": everyone,
    }
    facts = {
        "target": dataset.target,
        "threshold": float(copies.pairs.threshold),
        "complete": copies.pairs.complete,
        "by_chance": None if np.isnan(copies.pairs.by_chance) else float(copies.pairs.by_chance),
        "all_pairs": len(copies.pairs.first),
        "unknown": int(np.count_nonzero(person < 0)),
    }
    impossible, links = _not_applicable(dataset, usable, everyone), find_links(dataset, copies)
    return tuple(
        not_applicable(code, impossible[code])
        if code in impossible
        else _make(dataset, store, code, links[code], totals[code], facts)
        for code in _CHECKS
    )


def _not_applicable(dataset: Dataset, usable: int, people: int) -> dict[str, WhyNot]:
    """Why checks cannot be made, by code; later reasons replace earlier ones."""
    reasons: dict[str, WhyNot] = {}
    if usable < 2:
        reasons |= dict.fromkeys(_NEAR_SPLITS, "few-images")
    if len(np.unique(dataset.split)) < 2:
        across = [code for code, check in _CHECKS.items() if check.across]
        reasons |= dict.fromkeys(across, "one-split")
    if not people:
        reasons["PEOPLE-ACROSS-SPLITS"] = "no-people"
    return reasons


def _make(
    dataset: Dataset, store: Store, code: str, link: Links, of: int, facts: dict[str, Any]
) -> Finding:
    """The finding of one check."""
    check, images = _CHECKS[code], np.unique([link.first, link.second])
    figures: dict[str, Any] = {
        "images": len(images),
        "pairs": len(link.first),
        "people": len(np.unique(_persons(dataset)[images])),
        "surplus": len(images) - len(np.unique(link.key)),
    }
    return make_finding(
        code,
        count=figures[check.counts],
        of=of,
        severity=check.severity,
        examples=example_ids(dataset, link.examples()),
        splits=split_counts(dataset, images),
        same_bytes=_byte_identical(store, images),
        **facts,
        **figures,
    )


def _byte_identical(store: Store, rows: NDArray[np.intp]) -> int:
    """The number of rows whose file has the same bytes as another's."""
    _, counts = np.unique(store.digests[rows], return_counts=True)
    return int(counts[counts > 1].sum())


# --- pairs ---------------------------------------------------------------------------------------


def find_links(dataset: Dataset, copies: Copies) -> dict[str, Links]:
    """Pairs of duplicates, by the code of the finding about them."""
    groups, label = copies.groups, dataset.label
    split = np.select([dataset.split == name for name in SPLITS], range(len(SPLITS)))
    in_split = np.where(groups >= 0, groups * len(SPLITS) + split, -1)
    first, second = copies.pairs.first, copies.pairs.second
    same_split = split[first] == split[second]
    contradictory = (label[first] >= 0) & (label[second] >= 0) & (label[first] != label[second])

    def near(mask: NDArray[np.bool_]) -> Links:
        pairs = np.flatnonzero(mask)
        return Links(first[pairs], second[pairs], pairs, copies.pairs.correlation[pairs])

    return {
        "DUPLICATES-WITHIN-SPLITS": _link(in_split, np.arange(len(dataset))),
        "DUPLICATES-ACROSS-SPLITS": _link(groups, split),
        "CONTRADICTORY-LABELS": _link(np.where(label >= 0, groups, -1), label),
        "PEOPLE-ACROSS-SPLITS": _link(_persons(dataset), split),
        "NEAR-DUPLICATES-WITHIN-SPLITS": near(same_split),
        "NEAR-DUPLICATES-ACROSS-SPLITS": near(~same_split),
        "NEAR-DUPLICATES-LABELLED-DIFFERENTLY": near(contradictory),
    }


def _link(key: NDArray[Any], over: NDArray[Any]) -> Links:
    """Rows whose key (-1: none) has two values of `over`, each with a row of another value."""
    with_key = np.flatnonzero(key >= 0)
    _, inverse = np.unique(key[with_key], return_inverse=True)
    pairs = np.unique(np.stack([inverse, over[with_key]]), axis=1)
    values = np.bincount(pairs[0], minlength=int(inverse.max(initial=-1)) + 1)
    rows = with_key[values[inverse] > 1]
    rows = rows[np.argsort(key[rows], kind="stable")]  # equal keys side by side
    _, first_of_group, group = np.unique(key[rows], return_index=True, return_inverse=True)
    first = rows[first_of_group][group]
    differs = over[rows] != over[first]
    second = rows[differs][np.unique(key[rows[differs]], return_index=True)[1]][group]
    return Links(rows, np.where(differs, first, second), key[rows])


def _persons(dataset: Dataset) -> NDArray[Any]:
    """(n,) a number per person; -1 unknown."""
    return np.full(len(dataset), -1) if dataset.person is None else dataset.person


def _labelled_copies(dataset: Dataset, groups: NDArray[np.intp]) -> int:
    """The number of labelled images with a labelled copy of identical pixels."""
    labelled_groups = groups[(groups >= 0) & (dataset.label >= 0)]
    counts = np.unique(labelled_groups, return_counts=True)[1]
    return int(counts[counts > 1].sum())
