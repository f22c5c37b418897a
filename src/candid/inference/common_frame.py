"""The frame that the pictures of one place have in common.

How a single face lies in its picture is found with an error that most of all is that person's own
(a face that is large in any frame looks as if cut tightly). Pictures that were cut by one program
or taken at one place lie alike, so what is found in many of them, together, has hardly any error.
Where hardly more of them lie far from that frame than at home, what is found in one alone is noise,
and all are read in it. Elsewhere each is framed by itself, from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from candid.errors import ImageError
from candid.inference.classifier import Framer, batches_of
from candid.inference.classify import Labeller
from candid.inference.sources import Item
from candid.records.framing import AS_IT_CAME, CommonFrame, corner_distance, upper_rows

FEWEST = 50  # pictures that have a frame in common; each of fewer is framed by itself
SEEN = 256  # pictures that it is found in
_AHEAD = 20_000  # pictures that these are drawn from, evenly
_KEPT_BYTES = 128 << 20  # of such as are read in order, at most
_PASSES = 4  # each looks from the frame that the one before it found
_ENOUGH = 0.2  # of the pictures decide where most of them lie
_ALIKE = 0.1  # of the pictures may be far from there (at home 0.02 are), and all are read so
_HOME = 0.02  # of the side: what is nearer to the training pictures' own frame is taken for it
_DIGITS = 4  # so that a job that goes on elsewhere finds the same to the last bit


def common_frame(framer: Framer, pixels: NDArray[np.uint8]) -> CommonFrame:
    """How most of some pictures (n, input_side, input_side, 3) lie.

    The mean of what a first look finds in those that hardly lie otherwise, sought where it finds,
    in the mean, nothing more: from the median, by passes.
    """
    return lying_of(framer, pixels)[0]


def lying_of(
    framer: Framer, pixels: NDArray[np.uint8], passes: int = _PASSES
) -> tuple[CommonFrame, NDArray[np.float64], NDArray[np.bool_]]:
    """`common_frame`, what a last look from there finds in each, and which of them lie so.

    Frames are (n, 3, 3), marks (n,). More `passes` find what lies farther off.
    """
    start = AS_IT_CAME
    for i in range(passes):
        first, near = _look(framer, pixels, start)
        many = i > 0 and near.mean() >= _ENOUGH
        centre = first[near].mean(axis=0) if many else np.median(first, axis=0)
        before, start = start, rounded_frame(centre)
        if many and (start == before).all():
            break
    if is_home(start):
        start = AS_IT_CAME
    first, near = _look(framer, pixels, start)
    far = 1 - float(near.mean())
    common = CommonFrame(upper_rows(start), far <= _ALIKE, far, len(pixels))
    return common, first, near


def rounded_frame(frame: NDArray[np.floating]) -> NDArray[np.float32]:
    """A frame (3, 3) with the digits that it is written down with."""
    return frame.round(_DIGITS).astype(np.float32)


def is_home(frame: NDArray[np.float32]) -> bool:
    """Whether a frame (3, 3) is taken for the training pictures' own."""
    return corner_distance(frame) < _HOME


def _look(
    framer: Framer, pixels: NDArray[np.uint8], start: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The frames (n, 3, 3) that a first look finds, and which are near that where it looked."""
    parts = [framer(batch, start)[3:] for batch in batches_of(pixels)]
    first, found = (np.concatenate(part) for part in zip(*parts, strict=True))
    return first.astype(np.float64), found <= framer.far_limit


def framed_together(labeller: Labeller, items: Iterable[Item]) -> tuple[Labeller, Iterator[Item]]:
    """A labeller that begins from the frame of these pictures, and the pictures, none left out.

    The labeller as it is where it frames nothing, knows the place already, or finds fewer than
    `FEWEST` pictures.
    """
    coming = iter(items)
    framer = labeller.common_framer
    if framer is None:
        return labeller, coming
    ahead = list(_ahead(coming))
    drawn = np.unique(np.linspace(0, len(ahead) - 1, min(SEEN, len(ahead))).round().astype(int))
    crops = [pixels for i in drawn.tolist() for pixels in _pixels(labeller, ahead[i])]
    if len(crops) >= FEWEST:
        labeller = labeller.in_frame(common_frame(framer, np.stack(crops[:SEEN])))
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
