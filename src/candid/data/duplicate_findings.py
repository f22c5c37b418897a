"""What stands in the data more than once: images and people, each with who else is concerned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.data.duplicates import Copies, Pairs
from candid.data.findings import Links, by_split, example_ids, make_finding, not_applicable
from candid.data.store import Store
from candid.records import SPLITS, Finding, Severity


@dataclass(frozen=True, slots=True)
class _Check:
    """One finding's words; those in braces are figures."""

    title: str
    severity: Severity
    found: str
    absent: str
    todo: str
    across: bool = False  # needs two splits
    counts: Literal["images", "pairs", "people"] = "images"


_NEAR_FOUND = (
    "{images:,} images are near-identical to one in {where} ({pairs:,} pairs; {by_split}), "
    "identical copies aside. {search}"
)
_NEAR_ABSENT = (
    "No image is near-identical to one in {where}, identical copies aside. Mirrored and much "
    "cropped copies are not looked for."
)
_CHECKS = {
    "DUPLICATES-WITHIN-SPLITS": _Check(
        "Identical pictures within a split",
        "warning",
        "{images:,} images have an identical copy in their own split; {surplus:,} of them are "
        "surplus{same_bytes}.",
        "No two images of one split have identical pixels.",
        "keep one of each; copies count twice in training and in every figure",
    ),
    "DUPLICATES-ACROSS-SPLITS": _Check(
        "Identical pictures in two splits",
        "serious",
        "{images:,} images have an identical copy in another split{same_bytes} ({by_split}).",
        "No picture of one split has an identical copy in another.",
        "remove the copies from train; a model can know them by heart",
        across=True,
    ),
    # The same picture but for compression, size, tone or crop.
    "NEAR-DUPLICATES-WITHIN-SPLITS": _Check(
        "Near-identical pictures within a split",
        "note",
        _NEAR_FOUND.replace("{where}", "their own split"),
        _NEAR_ABSENT.replace("{where}", "their own split"),
        "look at the examples; where they are one picture, keep one of each",
    ),
    "NEAR-DUPLICATES-ACROSS-SPLITS": _Check(
        "Near-identical pictures in two splits",
        "warning",
        _NEAR_FOUND.replace("{where}", "another split"),
        _NEAR_ABSENT.replace("{where}", "another split"),
        "look at the examples; where they are one picture, remove it from train",
        across=True,
    ),
    "CONTRADICTORY-LABELS": _Check(
        "One picture, two labels",
        "serious",
        "{images:,} images have an identical copy with another {target}, of {of:,} that have a "
        "labelled copy.",
        "Identical pictures have the same {target}.",
        "look at them and mend the labels; each such pair holds at least one error",
    ),
    "NEAR-DUPLICATES-LABELLED-DIFFERENTLY": _Check(
        "Near-identical pictures, different labels",
        "warning",
        "{pairs:,} of {of:,} near-identical pairs have different values of {target}.",
        "Near-identical pictures have the same {target}.",
        "look at them; where they are one picture, mend the labels",
        counts="pairs",
    ),
    "PEOPLE-ACROSS-SPLITS": _Check(
        "People in two splits",
        "serious",
        "{people:,} of {of:,} people stand in two splits or more, with {images:,} images "
        "({by_split}).{aside}",
        "None of {of:,} people stands in two splits.{aside}",
        "split by person; otherwise the test measures how well people are recognised",
        across=True,
        counts="people",
    ),
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
    unknown = np.count_nonzero(person < 0)
    facts = {
        "target": dataset.target,
        "search": _search(copies.pairs),
        "aside": f" {unknown:,} images of unknown people aside." if unknown else "",
    }
    impossible, links = _impossible(dataset, usable, everyone), find_links(dataset, copies)
    return tuple(
        not_applicable(code, check.title, impossible[code])
        if code in impossible
        else _look(dataset, store, code, links[code], of[code], facts)
        for code, check in _CHECKS.items()
    )


def _impossible(dataset: Dataset, usable: int, people: int) -> dict[str, str]:
    """By its code, why a check cannot be made; the last reason given is the one that counts."""
    why: dict[str, str] = {}
    if usable < 2:
        why |= dict.fromkeys(_NEAR_SPLITS, "There are fewer than two usable images.")
    if len(np.unique(dataset.split)) < 2:
        across = [code for code, check in _CHECKS.items() if check.across]
        why |= dict.fromkeys(across, "There is only one split.")
    if not people:
        why["PEOPLE-ACROSS-SPLITS"] = "Nobody says who is in the pictures."
    return why


def _look(
    dataset: Dataset, store: Store, code: str, link: Links, of: int, facts: dict[str, str]
) -> Finding:
    """What one check has to say of the images that go together."""
    check, images = _CHECKS[code], np.unique([link.first, link.second])
    figures = {
        "images": len(images),
        "pairs": len(link.first),
        "people": len(np.unique(_people(dataset)[images])),
        "surplus": len(images) - len(np.unique(link.key)),
    }
    words: dict[str, Any] = {
        **facts,
        **figures,
        "of": of,
        "by_split": by_split(dataset, images),
        "same_bytes": _byte_identical(store, images),
    }
    return make_finding(
        code,
        check.title,
        count=figures[check.counts],
        of=of,
        severity=check.severity,
        found=check.found.format(**words),
        absent=check.absent.format(**words),
        examples=example_ids(dataset, link.examples()),
        todo=check.todo,
    )


def _search(pairs: Pairs) -> str:
    """How sure near duplicates are, in a sentence or two."""
    more = "" if pairs.complete else "At least: the search ended at a million pairs. "
    if np.isnan(pairs.by_chance):
        return f"{more}How many of them chance brought together was not measured."
    return (
        f"{more}A pair counts from a correlation of {pairs.threshold:.2f}; chance alone would "
        f"bring about {pairs.by_chance:.0f} of all {len(pairs.first):,} pairs together, counted "
        "with one picture of each mirrored."
    )


def _byte_identical(store: Store, rows: NDArray[np.intp]) -> str:
    _, counts = np.unique(store.digests[rows], return_counts=True)
    number = int(counts[counts > 1].sum())
    return f"; {number:,} are copies byte for byte" if number else ""


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
