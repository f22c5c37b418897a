"""What other pictures of a person say, beside brute force."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from candid.auditing.own_person import count_person_votes, find_outvoted_labels
from candid.table import Table


def table(label, person=None) -> Table:  # type: ignore[no-untyped-def]
    return Table.from_arrays(np.asarray(label), classes=[0, 1, 2], person=person)


@pytest.mark.parametrize("seed", range(5))
def test_whoever_stands_against_the_own_person(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label, person = rng.integers(0, 2, 200), rng.integers(0, 50, 200)
    people: dict[int, list[int]] = {}
    for k, who in zip(label.tolist(), person.tolist(), strict=True):
        people.setdefault(who, []).append(k)
    wanted = set()
    for row, (k, who) in enumerate(zip(label.tolist(), person.tolist(), strict=True)):
        (most, times), *_ = Counter(people[who]).most_common(1)
        if len(people[who]) >= 3 and 2 * times > len(people[who]) and k != most:
            wanted.add(row)
    found = find_outvoted_labels(table(label, person))
    assert wanted and set(found.tolist()) == wanted
    share = [max(Counter(people[person[r]]).values()) / len(people[person[r]]) for r in found]
    assert share == sorted(share, reverse=True)


def test_unknown_people_and_two_pictures_say_nothing() -> None:
    assert not len(find_outvoted_labels(table([0, 1, 1])))
    assert not len(find_outvoted_labels(table([0, 1, 0, 1], ["a", "a", "b", "b"])))


def test_votes_are_counted_person_by_person() -> None:
    rng = np.random.default_rng(0)
    t = table(rng.integers(0, 3, 120), rng.integers(0, 25, 120))
    t.label[::7], t.person[::11] = -1, -1  # type: ignore[index]
    votes = count_person_votes(t)
    for row, (k, who) in enumerate(zip(t.label.tolist(), t.person.tolist(), strict=True)):
        told = [
            other
            for other, whose in zip(t.label.tolist(), t.person.tolist(), strict=True)
            if whose == who and other >= 0
        ]
        if k < 0 or who < 0:
            assert (votes.majority[row], votes.pictures[row], votes.same[row]) == (-1, 0, 0)
            continue
        (most, times), *_ = Counter(told).most_common(1)
        clear = len(told) >= 3 and 2 * times > len(told)
        assert votes.majority[row] == (most if clear else -1)
        assert (votes.pictures[row], votes.same[row]) == (len(told), told.count(k))
        assert votes.share[row] == pytest.approx(times / len(told))
