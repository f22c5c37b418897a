"""The order of a review: suspects, decoys among them, some twice, then copies.

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
_REPEAT_EVERY = 10
_REPEAT_GAP = 8  # showings between the first time and the second
PAGE = 12  # pictures on a page of several
_PAGE_REASONS: tuple[Why, ...] = ("slice", "strange")


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
    pages = {image: why for image, why in suspects.images.items() if why in _PAGE_REASONS}
    singly = {image: why for image, why in suspects.images.items() if image not in pages}
    unsuspected = [image for image in others if image not in suspects.images]
    decoys = iter([unsuspected[i] for i in rng.permutation(len(unsuspected)).tolist()])
    fewest = _FEWEST_DECOYS if singly or not pages else 0
    singles = _mix_decoys(singly, _take_decoys(decoys, singly, fewest), rng)
    singles = _add_repeats(singles, rng, _REPEAT_GAP)
    page_decoys = _take_decoys(decoys, pages, _FEWEST_DECOYS - fewest) if pages else []
    # Nothing stands on one page twice.
    paged = _paginate(_add_repeats(_mix_decoys(pages, page_decoys, rng), rng, PAGE))
    pairs = [Showing(image, "copy", other) for image, other in suspects.pairs]
    last = paged[-1].page if paged else 0
    files = _paginate([Showing(image, "unreadable") for image in suspects.files], last)
    return [*singles, *paged, *pairs, *files]


def _take_decoys(decoys: Iterator[str], images: dict[str, Why], fewest: int) -> list[str]:
    """As many decoys as these suspects need, or those that are left."""
    return list(islice(decoys, max(math.ceil(len(images) / _SUSPECTS_PER_DECOY), fewest)))


def _paginate(showings: Sequence[Showing], before: int = 0) -> list[Showing]:
    """The showings on pages, numbered from `before` + 1."""
    return [replace(s, page=before + 1 + i // PAGE) for i, s in enumerate(showings)]


def _mix_decoys(
    images: dict[str, Why], chosen: Sequence[str], rng: np.random.Generator
) -> list[Showing]:
    # Spread over all places alike, each somewhere in its stretch: whoever stops early has seen as
    # many in five as whoever goes to the end, and none can be told by its place.
    total = len(images) + len(chosen)
    edges = np.linspace(0, total, len(chosen) + 1).astype(int).tolist()
    positions = {int(rng.integers(a, b)) for a, b in pairwise(edges)}
    suspects, remaining = iter(images.items()), iter(chosen)
    return [
        Showing(next(remaining), "decoy") if position in positions else Showing(*next(suspects))
        for position in range(total)
    ]


def _add_repeats(labels: Sequence[Showing], rng: np.random.Generator, gap: int) -> list[Showing]:
    """The showings with some of them again, at least `gap` later."""
    showings: list[Showing] = []
    start = 0  # from here on nothing came twice yet
    for number, showing in enumerate(labels, start=1):
        showings.append(showing)
        end = len(showings) - gap
        if number % _REPEAT_EVERY or end <= start:
            continue
        first = [s for s in showings[start:end] if s.time == 1]
        if first:
            repeat = first[int(rng.integers(len(first)))]
            showings.append(Showing(repeat.image, repeat.why, time=2))
            start = end
    return showings
