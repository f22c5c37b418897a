"""In which order pictures come: decoys among the suspects, some twice, pairs at the end."""

from __future__ import annotations

import numpy as np
import pytest

from candid.records.review import Showing, Why
from candid.reviewing.plan import plan_review
from candid.reviewing.suspects import Suspects

OTHERS = [f"o{i}" for i in range(2000)]


def suspects(n: int) -> dict[str, Why]:
    return {f"s{i}": "likely wrong" for i in range(n)}


def test_one_in_five_is_a_decoy_wherever_one_stops() -> None:
    shown = plan_review(Suspects(suspects(400)), OTHERS)
    first = [s for s in shown if s.time == 1]
    decoys = np.cumsum([s.why == "decoy" for s in first])
    assert decoys[-1] == 100
    for n in range(25, len(first)):
        assert abs(decoys[n - 1] - n / 5) <= 1
    # Suspects come in their own order, and where decoys stand cannot be told.
    assert [s.image for s in first if s.why != "decoy"] == [*suspects(400)]
    places = {i % 5 for i, s in enumerate(first) if s.why == "decoy"}
    assert places == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("seed", range(3))
def test_some_come_twice_and_not_at_once(seed: int) -> None:
    shown = plan_review(Suspects(suspects(400)), OTHERS, seed=seed)
    again = [i for i, s in enumerate(shown) if s.time == 2]
    assert 40 <= len(again) <= 50
    assert len({shown[i].image for i in again}) == len(again)
    for i in again:
        before = [j for j, s in enumerate(shown[:i]) if s.image == shown[i].image]
        assert len(before) == 1 and i - before[0] > 8
        assert shown[before[0]].why == shown[i].why


def test_the_same_seed_gives_the_same_and_another_other_decoys() -> None:
    some = Suspects(suspects(40))
    assert plan_review(some, OTHERS) == plan_review(some, OTHERS)
    drawn = [
        {s.image for s in plan_review(some, OTHERS, seed=seed) if s.why == "decoy"}
        for seed in (0, 1)
    ]
    assert drawn[0] != drawn[1] and len(drawn[0]) == len(drawn[1]) == 20


def test_no_suspect_is_a_decoy_and_few_images_are_enough() -> None:
    everything = dict.fromkeys(OTHERS[:9], "person")
    shown = plan_review(Suspects(everything), OTHERS[:10])  # type: ignore[arg-type]
    assert [s.image for s in shown if s.why == "decoy"] == ["o9"]
    assert plan_review(Suspects({}), []) == []
    only = plan_review(Suspects({}, pairs=(("a", "b"),)), [])
    assert [(s.image, s.other, s.why) for s in only] == [("a", "b", "copy")]


def test_decoys_are_drawn_alike_from_all_that_nobody_suspects() -> None:
    times = np.zeros(100)
    for seed in range(400):
        for s in plan_review(Suspects({}), OTHERS[:100], seed=seed):
            times[int(s.image[1:])] += s.why == "decoy" and s.time == 1
    assert times.sum() == 400 * 20
    assert abs(times - 80).max() < 5 * np.sqrt(80 * 0.8)


def on_pages(seed: int = 0) -> list[Showing]:
    images: dict[str, Why] = suspects(40)
    images |= {f"g{i}": "slice" for i in range(60)} | {f"o{i}": "strange" for i in range(40)}
    return plan_review(Suspects(images, (("a", "b"),), files=tuple("xyz")), OTHERS, seed=seed)


def suspects_of(shown: list[Showing]) -> list[str]:
    return [s.image for s in shown if s.time == 1 and s.why not in ("decoy", "copy", "unreadable")]


@pytest.mark.parametrize("seed", range(3))
def test_mistakes_of_a_group_and_strange_pictures_stand_on_pages_of_twelve(seed: int) -> None:
    shown = on_pages(seed)
    pages = [s.page for s in shown]
    alone = pages.index(1)
    pairs = next(i for i, s in enumerate(shown) if s.why == "copy")
    assert set(pages[:alone]) == {0} and all(pages[alone:pairs]) and pages[pairs] == 0
    # One page after the other, each full but the last.
    lengths = [pages.count(page) for page in range(1, pages[pairs - 1] + 1)]
    assert sum(lengths) == pairs - alone and set(lengths[:-1]) == {12} and 0 < lengths[-1] <= 12
    assert pages[alone:pairs] == sorted(pages[alone:pairs])
    for page in range(1, len(lengths) + 1):  # nothing twice on one page
        here = [s.image for s in shown if s.page == page]
        assert len({*here}) == len(here)
    grid = shown[alone:pairs]
    first = [s for s in grid if s.time == 1]
    assert sum(s.why == "decoy" for s in first) == 25 and len(first) == 125
    assert any(s.time == 2 for s in grid)
    # All suspects, those of the group first; nobody is a decoy twice.
    assert suspects_of(grid) == [*(f"g{i}" for i in range(60)), *(f"o{i}" for i in range(40))]
    drawn = [s.image for s in shown if s.why == "decoy" and s.time == 1]
    assert len({*drawn}) == len(drawn) == 20 + 25


def test_files_that_cannot_be_read_are_a_page_at_the_end() -> None:
    *_, x, y, z = on_pages()
    assert [(s.image, s.why) for s in (x, y, z)] == [(i, "unreadable") for i in "xyz"]
    assert x.page == y.page == z.page and x.page not in [s.page for s in on_pages()[:-3]]


def test_where_all_are_on_pages_the_fewest_decoys_are_there() -> None:
    few: dict[str, Why] = {f"s{i}": "strange" for i in range(5)}
    shown = plan_review(Suspects(few), OTHERS)
    assert all(s.page for s in shown)
    assert sum(s.why == "decoy" and s.time == 1 for s in shown) == 20
