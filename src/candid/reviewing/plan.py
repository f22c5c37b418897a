"""In which order a reviewer sees what: suspects, decoys among them, some twice, then copies.

First come the pictures that are looked at one by one; then, on pages of several, mistakes in the
worst group and strange pictures; then pairs of copies, and files that cannot be read.

One label in five is a decoy, drawn at random from the images that nobody suspects. So whoever looks
cannot answer "wrong" by habit, and how many decoys are labelled otherwise says how many labels are
that nobody suspects. About one in ten comes twice, some time after, so that it shows how far the
reviewer says the same again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np

from candid.records.review import Showing, Why
from candid.reviewing.suspects import Suspects

_SUSPECTS_PER_DECOY = 4
_FEWEST_DECOYS = 20  # where there are so few suspects that fewer would say nothing
_ONE_TWICE_IN = 10
_APART = 8  # showings between the first time and the second
PAGE = 12  # pictures on a page of several
_ON_PAGES: tuple[Why, ...] = ("slice", "strange")


def plan_review(suspects: Suspects, others: Sequence[str], *, seed: int = 0) -> list[Showing]:
    """All showings in their order; the same for the same suspects, images and seed.

    Parameters
    ----------
    suspects
        What is worth a look.
    others
        The labelled images, suspects among them or not, that decoys are drawn from.
    seed
        Decides which are drawn, and where they stand.
    """
    rng = np.random.default_rng(seed)
    pages = {image: why for image, why in suspects.images.items() if why in _ON_PAGES}
    alone = {image: why for image, why in suspects.images.items() if image not in pages}
    free = [image for image in others if image not in suspects.images]
    decoys = iter([free[i] for i in rng.permutation(len(free)).tolist()])
    few = _FEWEST_DECOYS if alone or not pages else 0
    singles = _with_repeats(_with_decoys(alone, _some(decoys, alone, few), rng), rng, _APART)
    drawn = _some(decoys, pages, _FEWEST_DECOYS - few) if pages else []
    # Nothing stands on one page twice.
    grid = _on_pages(_with_repeats(_with_decoys(pages, drawn, rng), rng, PAGE))
    pairs = [Showing(image, "copy", other) for image, other in suspects.pairs]
    last = grid[-1].page if grid else 0
    files = _on_pages([Showing(image, "unreadable") for image in suspects.files], last)
    return [*singles, *grid, *pairs, *files]


def _some(decoys: Iterator[str], images: dict[str, Why], fewest: int) -> list[str]:
    """As many decoys as these suspects need, or those that are left."""
    return list(islice(decoys, max(math.ceil(len(images) / _SUSPECTS_PER_DECOY), fewest)))


def _on_pages(showings: Sequence[Showing], before: int = 0) -> list[Showing]:
    """The same on pages that are numbered after so many."""
    return [replace(s, page=before + 1 + i // PAGE) for i, s in enumerate(showings)]


def _with_decoys(
    images: dict[str, Why], drawn: Sequence[str], rng: np.random.Generator
) -> list[Showing]:
    # Spread over all places alike, each somewhere in its stretch: whoever stops early has seen as
    # many in five as whoever goes to the end, and none can be told by its place.
    total = len(images) + len(drawn)
    edges = np.linspace(0, total, len(drawn) + 1).astype(int).tolist()
    places = {int(rng.integers(a, b)) for a, b in pairwise(edges)}
    suspects, decoys = iter(images.items()), iter(drawn)
    return [
        Showing(next(decoys), "decoy") if place in places else Showing(*next(suspects))
        for place in range(total)
    ]


def _with_repeats(labels: Sequence[Showing], rng: np.random.Generator, apart: int) -> list[Showing]:
    """The same, and some of them again when so many others were shown."""
    shown: list[Showing] = []
    fresh = 0  # places from which nothing came twice yet
    for number, showing in enumerate(labels, start=1):
        shown.append(showing)
        end = len(shown) - apart
        if number % _ONE_TWICE_IN or end <= fresh:
            continue
        first = [s for s in shown[fresh:end] if s.time == 1]
        if first:
            again = first[int(rng.integers(len(first)))]
            shown.append(Showing(again.image, again.why, time=2))
            fresh = end
    return shown
