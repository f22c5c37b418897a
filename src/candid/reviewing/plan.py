"""In which order a reviewer sees what: suspects, decoys among them, some twice, then copies.

One label in five is a decoy, drawn at random from the images that nobody suspects. So whoever looks
cannot answer "wrong" by habit, and how many decoys are labelled otherwise says how many labels are
that nobody suspects. About one in ten comes twice, some time after, so that it shows how far the
reviewer says the same again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from candid.records.review import Showing, Why
from candid.reviewing.suspects import Suspects

_SUSPECTS_PER_DECOY = 4
_FEWEST_DECOYS = 20  # where there are so few suspects that fewer would say nothing
_ONE_TWICE_IN = 10
_APART = 8  # showings between the first time and the second


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
    labels = _with_decoys(suspects.images, others, rng)
    pairs = [Showing(image, "copy", other) for image, other in suspects.pairs]
    return [*_with_repeats(labels, rng), *pairs]


def _with_decoys(
    images: dict[str, Why], others: Sequence[str], rng: np.random.Generator
) -> list[Showing]:
    free = [image for image in others if image not in images]
    wanted = max(math.ceil(len(images) / _SUSPECTS_PER_DECOY), _FEWEST_DECOYS)
    drawn = [free[i] for i in rng.permutation(len(free))[:wanted].tolist()]
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


def _with_repeats(labels: Sequence[Showing], rng: np.random.Generator) -> list[Showing]:
    """The same, and some of them again later."""
    shown: list[Showing] = []
    fresh = 0  # places from which nothing came twice yet
    for number, showing in enumerate(labels, start=1):
        shown.append(showing)
        end = len(shown) - _APART
        if number % _ONE_TWICE_IN or end <= fresh:
            continue
        first = [s for s in shown[fresh:end] if s.time == 1]
        if first:
            again = first[int(rng.integers(len(first)))]
            shown.append(Showing(again.image, again.why, time=2))
            fresh = end
    return shown
