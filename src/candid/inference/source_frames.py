"""Several data sets in the frame of one: estimating each one's frame, and warping its images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from candid.data import store
from candid.data.dataset import Dataset
from candid.data.splits import SOURCE
from candid.data.store import Store
from candid.errors import RunError
from candid.inference.classifier import Framer
from candid.inference.common_frame import estimate_frame, is_near_identity, round_frame
from candid.records import Estimate
from candid.records.files import to_plain
from candid.records.framing import (
    DETAIL,
    IDENTITY_FRAME,
    SourceFrame,
    SourceFrames,
    corner_distance,
)
from candid.settings import DataConfig
from candid.stats.differences import independent_difference
from candid.stats.intervals import ratios
from candid.storage.files import file_digest
from candid.storage.jobs import job_digest

if TYPE_CHECKING:
    from candid.models.framing import TorchFramer

# Part of every name of a pack: raise it when the same frames come out as other pixels.
_VERSION = 1

_PASSES = 8  # of `estimate_frame`
_MAX_CORRECTIONS = 6  # iterations of indirect inference
_TOLERANCE = 0.003  # of the side, of its convergence
_LEVELS = 3  # an image that shows e times as much is a third of the size


# --- estimating frames ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ImageSample:
    """A sample of a data set's images, as a framing network takes them."""

    pixels: NDArray[np.uint8]  # (n, input_side, input_side, 3)
    person: NDArray[np.int64] | None = None  # (n,) the person in each; None where unknown


def source_frame(
    name: str, framer: Framer, pictures: ImageSample, home: ImageSample
) -> SourceFrame:
    """The frame of a data set's images relative to those of the reference, sampled by `home`.

    The network underestimates frames far from the training images'. So images of the reference are
    cropped until the network estimates the same frame for them as for these: the crop's true frame
    is the result (indirect inference: Gouriéroux, Monfort & Renault 1993).
    """
    apparent, first, near = estimate_frame(framer, pictures.pixels, _PASSES)
    means = _mean_measures(first, near, pictures.person)
    if apparent.at_home:
        return SourceFrame(name, len(pictures.pixels), apparent, apparent, means)
    frame = apparent.square()
    for _ in range(_MAX_CORRECTIONS):
        crops = _crop(home.pixels, frame)
        estimate, first, near = estimate_frame(framer, crops, _PASSES)
        offset = apparent.square() - estimate.square()
        tested, home_means = frame, _mean_measures(first, near, home.person)
        frame = round_frame(frame + offset)
        if corner_distance(offset + IDENTITY_FRAME) < _TOLERANCE:
            break
    # The true frame of the crops, and the difference between the images' measures and the crops'.
    gaps = {k: independent_difference(e, home_means[k]) for k, e in means.items()}
    means = {k: _shift(v, gaps[k]) for k, v in _measures(tested).items()}
    if is_near_identity(frame):
        frame, apparent = IDENTITY_FRAME, apparent.at(IDENTITY_FRAME)
    return SourceFrame(name, len(pictures.pixels), apparent.at(frame), apparent, means)


def _mean_measures(
    first: NDArray[np.float64], near: NDArray[np.bool_], person: NDArray[np.int64] | None
) -> dict[str, Estimate]:
    """The mean of each measure of estimated frames (n, 3, 3), among those `near`."""
    values = _measures(first)
    columns = np.where(near[:, None], np.column_stack([*values.values()]), np.nan)
    return dict(zip(values, ratios(columns, None, person), strict=True))


def _measures(frames: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
    """The measures of frames (…, 3, 3)."""
    return {
        "width": np.hypot(frames[..., 0, 0], frames[..., 1, 0]),
        "height": np.hypot(frames[..., 0, 1], frames[..., 1, 1]),
        "x": frames[..., 0, 2] / 2,
        "y": frames[..., 1, 2] / 2,
        "rotation": np.degrees(np.arctan2(frames[..., 1, 0], frames[..., 0, 0])),
    }


def _shift(offset: NDArray[np.floating], e: Estimate) -> Estimate:
    value = float(offset)
    return replace(e, value=value + e.value, low=value + e.low, high=value + e.high)


def _crop(pixels: NDArray[np.uint8], frame: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Warp reference images (n, side, side, 3) so that they have a frame."""
    import torch

    from candid.models.warping import level_warp, to_pixels

    inverse = torch.from_numpy(np.linalg.inv(frame.astype(np.float64))).float()
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    frames = inverse.expand(len(planes), 3, 3)
    cropped = level_warp(planes, frames, pixels.shape[1], "reflection", levels=_LEVELS)
    return to_pixels(cropped).contiguous().numpy()


# --- warping images ------------------------------------------------------------------------------


def frames_digest(frames: SourceFrames) -> str:
    """A digest of all that determines the warps; "" where there are none."""
    moved = frames.moved
    if not moved:
        return ""
    plain = {name: (to_plain(s.frame), to_plain(s.seen)) for name, s in moved.items()}
    job = {"frames": plain, "version": _VERSION}
    if not all(s.frame is not None and s.frame.alike for s in moved.values()):
        job["framer"] = frames.framer
    return job_digest(job)


def in_one_frame(
    frames: SourceFrames,
    framer: Path,
    dataset: Dataset,
    original: Store,
    config: DataConfig,
    *,
    quiet: bool = True,
) -> Store:
    """The pack in which the images of every data set have the frame of the reference.

    `framer` is the file of the framing network. Images that need no warp are unchanged, bit for
    bit.
    """
    moved, attribute = frames.moved, dataset.attributes.get(SOURCE)
    if not moved or attribute is None:
        return original
    codes = {code: moved[name] for code, name in enumerate(attribute.values) if name in moved}
    mask = np.isin(attribute.data, list(codes))
    reframe = SourceReframe(
        codes, attribute.data, original.side, framer, frames.framer, frames_digest(frames)
    )
    return store.repack(dataset, config, original, mask, reframe, quiet=quiet)


@dataclass(frozen=True, eq=False)
class SourceReframe:
    """Warps images to the frame of the reference; picklable.

    Images of a data set with a common frame are warped by it, others are framed from there, one at
    a time: no image depends on others.
    """

    sources: Mapping[int, SourceFrame]  # by the number of the data set
    source: NDArray[np.int16]  # (n,) that number
    side: int  # pixels per side of the output
    framer: Path
    weights: str  # a digest of that file
    digest: str  # of all that determines the output
    detail: int = DETAIL

    def __call__(self, row: int, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(side, side, 3) of a row's square (detail · side, detail · side, 3)."""
        from candid.models.device import threads

        source = self.sources[int(self.source[row])]
        with threads(1):  # one of several processes, or hardly any work
            return _reframe(source, pixels, self.side, self._framer)

    def _framer(self) -> TorchFramer:
        return _load_framer(self.framer, self.weights)


def _reframe(
    source: SourceFrame, pixels: NDArray[np.uint8], side: int, framer: Callable[[], TorchFramer]
) -> NDArray[np.uint8]:
    """An image in the frame of the reference."""
    import torch

    from candid.models.warping import level_warp, to_pixels

    if source.frame is None or source.seen is None:
        raise ValueError(f"the pictures of {source.name!r} stay as they came")
    frame = source.frame.square()
    if not source.frame.alike:
        # Estimated by itself, from the data set's apparent frame, and corrected as that.
        estimate: NDArray[np.float32] = framer()(pixels[None], **source.seen.start())[1][0]
        frame = np.asarray(frame @ np.linalg.inv(source.seen.square()) @ estimate)
    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    matrix = torch.from_numpy(frame.astype(np.float32))[None]
    warped = level_warp(planes, matrix, side, "reflection")
    return to_pixels(warped)[0].contiguous().numpy()


@functools.lru_cache(maxsize=1)
def _load_framer(path: Path, digest: str) -> TorchFramer:
    """The framing network in a file with this digest."""
    from candid.models.framing import TorchFramer, load_framing

    framing = load_framing(path)
    if file_digest(path) != digest:
        raise RunError(
            f"{path} is not the network that the data sets were brought to one frame by.",
            expected="the file as the run wrote it",
            todo="put it back, or start a new run",
        )
    return TorchFramer(framing)
