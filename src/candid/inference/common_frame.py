"""The frame that the pictures of one place have in common.

How a single face lies in its picture is found with an error that most of all is that person's own
(a face that is large in any frame looks as if cut tightly). Pictures that were cut by one program
or taken at one place lie alike, so what is found in many of them, together, has hardly any error.
Framing then begins from that frame, and moves a picture on only where it finds more than noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from candid.errors import ImageError
from candid.inference.classifier import BATCH, Frames
from candid.inference.classify import Labeller
from candid.inference.sources import Item
from candid.records.framing import AS_IT_CAME, corner_distance

FEWEST = 50  # pictures that have a frame in common; each of fewer is framed by itself
SEEN = 256  # pictures that it is found in
_AHEAD = 20_000  # pictures that these are drawn from, evenly
_KEPT_BYTES = 128 << 20  # of such as are read in order, at most
_PASSES = 3  # each begins in the frame that the one before it found
_STEPS = 10  # of concentration, which settles in fewer
_HOME = 0.02  # of the side: what is nearer to the training pictures' own frame is taken for it
_DIGITS = 4  # so that a job that goes on elsewhere finds the same to the last bit


def common_frame(framer: Frames, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(3, 3) from the frame of the training pictures to how most of some pictures lie.

    Exactly the identity where that is how the training pictures lie. `pixels` are (n, input_side,
    input_side, 3).
    """
    start = AS_IT_CAME
    for _ in range(_PASSES):
        found = [
            framer(np.ascontiguousarray(pixels[i : i + BATCH]), start)[1]
            for i in range(0, len(pixels), BATCH)
        ]
        start = _centre(np.concatenate(found))
    return AS_IT_CAME if corner_distance(start) < _HOME else start


def _centre(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the half of some frames (n, 3, 3) that lie closest together.

    Found by concentration from the median (Rousseeuw & Van Driessen, 1999, "A fast algorithm for
    the minimum covariance determinant estimator", Technometrics 41), so that pictures of another
    kind, fewer than half, do not move it.
    """
    flat = frames.reshape(len(frames), 9)[:, :6].astype(np.float64)
    centre = np.median(flat, axis=0)
    spread = np.maximum(np.median(np.abs(flat - centre), axis=0), 1e-6)
    half = np.zeros(0, np.intp)
    for _ in range(_STEPS):
        far = (((flat - centre) / spread) ** 2).sum(axis=1)
        nearest = np.sort(np.argsort(far, kind="stable")[: (len(flat) + 1) // 2])
        if np.array_equal(nearest, half):
            break
        half, centre = nearest, flat[nearest].mean(axis=0)
        spread = np.maximum(flat[nearest].std(axis=0), 1e-6)
    return np.vstack([centre.reshape(2, 3).round(_DIGITS), [0, 0, 1]]).astype(np.float32)


def framed_together(labeller: Labeller, items: Iterable[Item]) -> tuple[Labeller, Iterator[Item]]:
    """A labeller that begins from the frame of these pictures, and the pictures, none left out.

    The labeller as it is where it frames nothing, knows the place already, or finds fewer than
    `FEWEST` pictures.
    """
    coming = iter(items)
    classifier = labeller.classifier
    if classifier.framer is None or classifier.start is not None or not labeller.together:
        return labeller, coming
    ahead = list(_ahead(coming))
    drawn = np.unique(np.linspace(0, len(ahead) - 1, min(SEEN, len(ahead))).round().astype(int))
    crops = [pixels for i in drawn.tolist() for pixels in _pixels(labeller, ahead[i])]
    if len(crops) >= FEWEST:
        start = common_frame(classifier.framer, np.stack(crops[:SEEN]))
        labeller = replace(labeller, classifier=replace(classifier, start=start))
    return labeller, chain(ahead, coming)


def _ahead(coming: Iterator[Item]) -> Iterator[Item]:
    """The next pictures, some thousands; of those that are read in order, as many as are seen.

    These are read here, and keep what was read.
    """
    read = size = 0
    for item in islice(coming, _AHEAD):
        if not item.ordered:
            yield item
            continue
        try:
            data: bytes | ImageError = item.read()
        except ImageError as error:
            data = error
        read, size = read + 1, size + (len(data) if isinstance(data, bytes) else 0)
        yield replace(item, read=partial(_kept, data))
        if read == SEEN or size >= _KEPT_BYTES:
            return


def _kept(data: bytes | ImageError) -> bytes:
    if isinstance(data, ImageError):
        raise data
    return data


def _pixels(labeller: Labeller, item: Item) -> list[NDArray[np.uint8]]:
    """What is to be framed of a picture; nothing where it cannot be read."""
    try:
        crops = labeller.crops(item.read())
    except ImageError:
        return []
    return [crop.pixels for crop in crops if crop.pixels is not None]
