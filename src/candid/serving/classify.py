"""What a thread does with the pictures of a batch: decode them, label them, tell strange ones.

A hand-over between threads and a call of a function on arrays cost as much as a small picture, so
all that can be done for a whole batch at once is done so. Only a picture that takes long to decode
is decoded before, in a thread of its own, so that it does not hold up the others of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candid.data.decode import decode
from candid.data.encoded import TOO_MANY_PIXELS, Budget
from candid.errors import ImageError
from candid.serving.served import Served

# A picture of more encoded bytes, or of more pixels, is decoded before it joins a batch.
QUICK_BYTES = 1 << 16
QUICK_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture as the model sees it (side, side, 3), and its own size."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model says of a picture.

    Attributes
    ----------
    probability
        (classes,), calibrated.
    unlike
        Why the picture does not look like the training pictures; "" where it does.
    width, height
        Of the picture in its file.
    """

    probability: NDArray[np.float64]
    unlike: str
    width: int
    height: int


class Large:
    """Stands for a picture that is to be decoded before it joins a batch."""


def look(
    served: Served, pictures: Sequence[bytes | Seen], *, max_pixels: int, budget: Budget
) -> list[Answer | ImageError | Large]:
    """What a model says of some pictures, why one cannot be read, or that one is large."""
    seen = [p if isinstance(p, Seen) else _quickly(served, p, max_pixels, budget) for p in pictures]
    good = [s for s in seen if isinstance(s, Seen)]
    answers = iter(_answers(served, good) if good else ())
    return [next(answers) if isinstance(s, Seen) else s for s in seen]


def _answers(served: Served, seen: Sequence[Seen]) -> list[Answer]:
    pixels = np.stack([s.pixels for s in seen])
    probability = served.classifier.probabilities(pixels)
    unlike = [""] * len(seen)
    if served.typical is not None:
        sizes = np.array([(s.width, s.height) for s in seen])
        unlike = served.typical.unlike(pixels, sizes[:, 0], sizes[:, 1])
    return [
        Answer(p, why, s.width, s.height)
        for p, why, s in zip(probability, unlike, seen, strict=True)
    ]


def _quickly(
    served: Served, data: bytes, max_pixels: int, budget: Budget
) -> Seen | ImageError | Large:
    found = see(served, data, max_pixels=min(max_pixels, QUICK_PIXELS), budget=budget)
    is_large = isinstance(found, ImageError) and found.code == TOO_MANY_PIXELS
    return Large() if is_large and max_pixels > QUICK_PIXELS else found


def see(served: Served, data: bytes, *, max_pixels: int, budget: Budget) -> Seen | ImageError:
    """An encoded picture as the model sees it, or why it cannot be read."""
    model = served.classifier
    try:
        found = decode(data, side=model.side, fit=model.fit, max_pixels=max_pixels, budget=budget)
    except ImageError as error:
        return error
    return Seen(found.pixels, found.width, found.height)
