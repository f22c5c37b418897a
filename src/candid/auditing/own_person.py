"""Labels held against those of other pictures of the same person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candid.arrays import IndexArray
from candid.table import Table

FEWEST_PICTURES = 3  # labelled pictures of a person, of which one can stand against the others


@dataclass(frozen=True, eq=False)
class PersonVotes:
    """The labels of each image's person."""

    # (n,) the class of more than half of the person's labelled pictures; -1 where there is none,
    # where they are fewer than three, or where the person is unknown
    majority: IndexArray
    # (n,) the share of the person's commonest class among them; 0 without any
    share: NDArray[np.float64]
    # (n,) how many labelled pictures the person has; 0 where it is unknown
    pictures: NDArray[np.int64]
    same: NDArray[np.int64]  # (n,) how many of them have the image's own label; 0 where it has none


def count_person_votes(table: Table) -> PersonVotes:
    """How the labelled pictures of each image's person are labelled, that image among them."""
    n = len(table)
    majority, pictures, same = np.full(n, -1, np.intp), np.zeros(n, np.int64), np.zeros(n, np.int64)
    share = np.zeros(n)
    if table.person is None:
        return PersonVotes(majority, share, pictures, same)
    rows = np.flatnonzero((table.person >= 0) & (table.label >= 0))
    people, codes = np.unique(table.person[rows], return_inverse=True)
    codes = codes.reshape(-1)
    counts = np.zeros((len(people), len(table.classes)), np.int64)
    np.add.at(counts, (codes, table.label[rows]), 1)
    total, votes = counts.sum(axis=1), counts.max(axis=1, initial=0)
    has_majority = (total >= FEWEST_PICTURES) & (2 * votes > total)
    majority[rows] = np.where(has_majority, counts.argmax(axis=1), -1)[codes]
    share[rows] = (votes / np.maximum(total, 1))[codes]
    pictures[rows], same[rows] = total[codes], counts[codes, table.label[rows]]
    return PersonVotes(majority, share, pictures, same)


def find_outvoted_labels(table: Table) -> IndexArray:
    """Rows whose label is not that of most labelled pictures of the same person.

    Of people with three labelled pictures or more, of which more than half agree; the rows come in
    the order of that share, the largest first.
    """
    votes = count_person_votes(table)
    rows = np.flatnonzero((votes.majority >= 0) & (table.label != votes.majority))
    return rows[np.argsort(-votes.share[rows], kind="stable")]
