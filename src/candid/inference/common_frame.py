"""The common frame of the images of one source.

The estimate of a single image's frame has an error that is mostly the person's (a large face looks
like a tight crop). Images that were cropped by one program or taken at one place have the same
frame, so the mean over many of them has hardly any error. Where hardly more of them are far from it
than validation images are, single estimates are noise, and all images are warped to it. Otherwise
each is framed by itself, starting from it.
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
from candid.records.framing import IDENTITY_FRAME, CommonFrame, corner_distance, upper_rows

MIN_IMAGES = 50  # images for a common frame; each of fewer is framed by itself
MAX_IMAGES = 256  # images that it is estimated on
_MAX_READ_AHEAD = 20_000  # images that these are drawn from, evenly
_MAX_BYTES = 128 << 20  # of images that are read in order
_PASSES = 4  # each starts from the estimate of the one before
_MIN_SHARE = 0.2  # of the images must be near, or the median is used
_MAX_FAR_SHARE = 0.1  # of the images may be far (of validation images 0.02 are)
_IDENTITY_TOLERANCE = 0.02  # of the side: a nearer frame is taken for the identity
_DIGITS = 4  # so that a job resumed elsewhere has the same frame to the last bit


def common_frame(framer: Framer, pixels: NDArray[np.uint8]) -> CommonFrame:
    """The common frame of images (n, input_side, input_side, 3).

    The fixed point of the mean estimate over near images: iterated from the median, by passes.
    """
    return estimate_frame(framer, pixels)[0]


def estimate_frame(
    framer: Framer, pixels: NDArray[np.uint8], passes: int = _PASSES
) -> tuple[CommonFrame, NDArray[np.float64], NDArray[np.bool_]]:
    """`common_frame`, the frames (n, 3, 3) estimated from there, and which (n,) are near it.

    More `passes` reach frames that are farther away.
    """
    start = IDENTITY_FRAME
    for i in range(passes):
        frames, near = _estimate(framer, pixels, start)
        has_majority = i > 0 and near.mean() >= _MIN_SHARE
        centre = frames[near].mean(axis=0) if has_majority else np.median(frames, axis=0)
        previous, start = start, round_frame(centre)
        if has_majority and (start == previous).all():
            break
    if is_near_identity(start):
        start = IDENTITY_FRAME
    frames, near = _estimate(framer, pixels, start)
    far = 1 - float(near.mean())
    common = CommonFrame(upper_rows(start), far <= _MAX_FAR_SHARE, far, len(pixels))
    return common, frames, near


def round_frame(frame: NDArray[np.floating]) -> NDArray[np.float32]:
    """A frame (3, 3) rounded as it is stored."""
    return frame.round(_DIGITS).astype(np.float32)


def is_near_identity(frame: NDArray[np.float32]) -> bool:
    """Whether a frame (3, 3) is taken for that of the training images."""
    return corner_distance(frame) < _IDENTITY_TOLERANCE


def _estimate(
    framer: Framer, pixels: NDArray[np.uint8], start: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The frames (n, 3, 3) estimated at a first look, and which are near `start`."""
    outputs = [framer(batch, start)[3:] for batch in batches_of(pixels)]
    frames, distances = (np.concatenate(part) for part in zip(*outputs, strict=True))
    return frames.astype(np.float64), distances <= framer.far_limit


def with_common_frame(labeller: Labeller, items: Iterable[Item]) -> tuple[Labeller, Iterator[Item]]:
    """A labeller with the common frame of these images, and all the images.

    The labeller is unchanged where it frames nothing, has a common frame already, or there are
    fewer than `MIN_IMAGES` images.
    """
    iterator = iter(items)
    framer = labeller.common_framer
    if framer is None:
        return labeller, iterator
    ahead = list(_read_ahead(iterator))
    rows = np.unique(
        np.linspace(0, len(ahead) - 1, min(MAX_IMAGES, len(ahead))).round().astype(int)
    )
    crops = [pixels for i in rows.tolist() for pixels in _crop_pixels(labeller, ahead[i])]
    if len(crops) >= MIN_IMAGES:
        labeller = labeller.with_frame(common_frame(framer, np.stack(crops[:MAX_IMAGES])))
    return labeller, chain(ahead, iterator)


def _read_ahead(coming: Iterator[Item]) -> Iterator[Item]:
    """The next thousands of images; of those that must be read in order, `MAX_IMAGES`.

    The latter are read here and keep their bytes.
    """
    n_read = size = 0
    for item in islice(coming, _MAX_READ_AHEAD):
        if not item.ordered:
            yield item
            continue
        try:
            data: bytes | ImageError = item.read()
        except ImageError as error:
            data = error
        n_read, size = n_read + 1, size + (len(data) if isinstance(data, bytes) else 0)
        yield replace(item, read=partial(_return_data, data))
        if n_read == MAX_IMAGES or size >= _MAX_BYTES:
            return


def _return_data(data: bytes | ImageError) -> bytes:
    if isinstance(data, ImageError):
        raise data
    return data


def _crop_pixels(labeller: Labeller, item: Item) -> list[NDArray[np.uint8]]:
    """The crops of an image; none where it cannot be read."""
    try:
        crops = labeller.crops(item.read())
    except ImageError:
        return []
    return [crop.pixels for crop in crops if crop.pixels is not None]
