"""What stands in the data more than once: images and people, each with who else is concerned."""

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
    """How grave one finding is, and what it counts."""

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
    """A finding about each thing that may stand in the data more than once."""
    person = _people(dataset)
    everyone = len(np.unique(person[person >= 0]))
    usable = int(np.count_nonzero(store.usable))
    both_labelled = np.all(dataset.label[[copies.pairs.first, copies.pairs.second]] >= 0, axis=0)
    of = dict.fromkeys(_CHECKS, usable) | {
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
    impossible, links = _impossible(dataset, usable, everyone), find_links(dataset, copies)
    return tuple(
        not_applicable(code, impossible[code])
        if code in impossible
        else _look(dataset, store, code, links[code], of[code], facts)
        for code in _CHECKS
    )


def _impossible(dataset: Dataset, usable: int, people: int) -> dict[str, WhyNot]:
    """By its code, why a check cannot be made; the last reason given is the one that counts."""
    why: dict[str, WhyNot] = {}
    if usable < 2:
        why |= dict.fromkeys(_NEAR_SPLITS, "few-images")
    if len(np.unique(dataset.split)) < 2:
        across = [code for code, check in _CHECKS.items() if check.across]
        why |= dict.fromkeys(across, "one-split")
    if not people:
        why["PEOPLE-ACROSS-SPLITS"] = "no-people"
    return why


def _look(
    dataset: Dataset, store: Store, code: str, link: Links, of: int, facts: dict[str, Any]
) -> Finding:
    """What one check has to say of the images that go together."""
    check, images = _CHECKS[code], np.unique([link.first, link.second])
    figures: dict[str, Any] = {
        "images": len(images),
        "pairs": len(link.first),
        "people": len(np.unique(_people(dataset)[images])),
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
    """How many of the rows' files have the same bytes as another."""
    _, counts = np.unique(store.digests[rows], return_counts=True)
    return int(counts[counts > 1].sum())


# --- image beside image --------------------------------------------------------------------------


def find_links(dataset: Dataset, copies: Copies) -> dict[str, Links]:
    """The images that go together, by the code of the finding about them."""
    groups, label = copies.groups, dataset.label
    split = np.select([dataset.split == name for name in SPLITS], range(len(SPLITS)))
    in_split = np.where(groups >= 0, groups * len(SPLITS) + split, -1)
    first, second = copies.pairs.first, copies.pairs.second
    same_split = split[first] == split[second]
    torn = (label[first] >= 0) & (label[second] >= 0) & (label[first] != label[second])

    def near(which: NDArray[np.bool_]) -> Links:
        at = np.flatnonzero(which)
        return Links(first[at], second[at], at, copies.pairs.correlation[at])

    return {
        "DUPLICATES-WITHIN-SPLITS": _linked(in_split, np.arange(len(dataset))),
        "DUPLICATES-ACROSS-SPLITS": _linked(groups, split),
        "CONTRADICTORY-LABELS": _linked(np.where(label >= 0, groups, -1), label),
        "PEOPLE-ACROSS-SPLITS": _linked(_people(dataset), split),
        "NEAR-DUPLICATES-WITHIN-SPLITS": near(same_split),
        "NEAR-DUPLICATES-ACROSS-SPLITS": near(~same_split),
        "NEAR-DUPLICATES-LABELLED-DIFFERENTLY": near(torn),
    }


def _linked(key: NDArray[Any], over: NDArray[Any]) -> Links:
    """Rows whose key (-1: none) stands under two values of `over`, each with one of another."""
    known = np.flatnonzero(key >= 0)
    _, inverse = np.unique(key[known], return_inverse=True)
    both = np.unique(np.stack([inverse, over[known]]), axis=1)
    values = np.bincount(both[0], minlength=int(inverse.max(initial=-1)) + 1)
    rows = known[values[inverse] > 1]
    rows = rows[np.argsort(key[rows], kind="stable")]  # equal keys side by side
    _, at, group = np.unique(key[rows], return_index=True, return_inverse=True)
    first = rows[at][group]
    other = over[rows] != over[first]
    second = rows[other][np.unique(key[rows[other]], return_index=True)[1]][group]
    return Links(rows, np.where(other, first, second), key[rows])


def _people(dataset: Dataset) -> NDArray[Any]:
    """(n,) a number per person; -1 where nobody says who it is."""
    return np.full(len(dataset), -1) if dataset.person is None else dataset.person


def _labelled_copies(dataset: Dataset, groups: NDArray[np.intp]) -> int:
    """Images with a label that some other image with identical pixels has, too."""
    known = groups[(groups >= 0) & (dataset.label >= 0)]
    counts = np.unique(known, return_counts=True)[1]
    return int(counts[counts > 1].sum())
