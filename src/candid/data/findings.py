"""Pieces that every check puts its finding together from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.records import SPLITS, Finding, Severity, State


def finding(
    code: str,
    title: str,
    *,
    count: int,
    of: int,
    severity: Severity,
    found: str,
    absent: str,
    examples: tuple[str, ...] = (),
    todo: str,
    state: State | None = None,
) -> Finding:
    """A finding that says `found` or `absent`, as the count (or `state`) has it."""
    state = state or ("found" if count else "not found")
    if state == "found":
        return Finding(code, title, state, severity, found, count, of, examples, todo)
    return Finding(code, title, state, severity, absent, count, of)


def not_applicable(code: str, title: str, why: str) -> Finding:
    """A check that could not be made, and why."""
    return Finding(code, title, "not applicable", "note", why)


def example_ids(dataset: Dataset, rows: NDArray[np.intp]) -> tuple[str, ...]:
    """The ids of the rows: all of them, as `affected` shortens a finding once it is written."""
    return tuple(dataset.ids[rows].tolist())


def by_split(dataset: Dataset, rows: NDArray[np.intp]) -> str:
    """How many of the rows each split has: "12 in train, 3 in test"."""
    counts = [(split, int(np.count_nonzero(dataset.split[rows] == split))) for split in SPLITS]
    return ", ".join(f"{count:,} in {split}" for split, count in counts if count)


def listed(words: Sequence[str], most: int = 6) -> str:
    """The first few words, and how many more there are."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
