"""Several data sets in the frame of one: how the pictures of each lie, and how they are moved."""

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
from candid.inference.common_frame import is_home, lying_of, rounded_frame
from candid.records import Estimate
from candid.records.files import to_plain
from candid.records.framing import AS_IT_CAME, DETAIL, SourceFrame, SourceFrames, corner_distance
from candid.settings import DataConfig
from candid.stats.differences import independent_difference
from candid.stats.intervals import ratios
from candid.storage.files import file_digest
from candid.storage.jobs import job_digest

if TYPE_CHECKING:
    from candid.models.framing import TorchFramer

# Part of every name of a pack: raise it when the same frames come out as other pixels.
_VERSION = 1

_PASSES = 8  # looks at the pictures of a data set, and as many at those of the reference
_CORRECTIONS = 6  # times that pictures of the reference are cut to lie as others do, at most
_SETTLED = 0.003  # of the side: until these look as the others do
_LEVELS = 3  # a picture that shows e times as much is a third of the size


# --- how they lie --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SomePictures:
    """Some pictures of a data set, as a network that frames takes them."""

    pixels: NDArray[np.uint8]  # (n, input_side, input_side, 3)
    person: NDArray[np.int64] | None = None  # (n,) who is in each; None where nobody is known


def source_frame(
    name: str, framer: Framer, pictures: SomePictures, home: SomePictures
) -> SourceFrame:
    """How most pictures of a data set lie against those of the reference, some of which are `home`.

    The network stops short where pictures lie far from those that it knows. So the frame is sought
    in which pictures of the reference, cut to lie so, look to it as these do: what is found in them
    beside what is true of them says how far it stops short (indirect inference: Gouriéroux,
    Monfort & Renault 1993).
    """
    seen, first, near = lying_of(framer, pictures.pixels, _PASSES)
    found = _measured(first, near, pictures.person)
    if seen.at_home:
        return SourceFrame(name, len(pictures.pixels), seen, seen, found)
    planted = seen.square()
    for _ in range(_CORRECTIONS):
        cut = _cut(home.pixels, planted)
        known, first, near = lying_of(framer, cut, _PASSES)
        off = seen.square() - known.square()
        at, of_home = planted, _measured(first, near, home.person)
        planted = rounded_frame(planted + off)
        if corner_distance(off + AS_IT_CAME) < _SETTLED:
            break
    # What was planted, and by how much what is seen in these pictures differs from what is then.
    means = {k: _moved(v, independent_difference(found[k], of_home[k])) for k, v in _of(at).items()}
    if is_home(planted):
        planted, seen = AS_IT_CAME, seen.at(AS_IT_CAME)
    return SourceFrame(name, len(pictures.pixels), seen.at(planted), seen, means)


def _measured(
    first: NDArray[np.float64], near: NDArray[np.bool_], person: NDArray[np.int64] | None
) -> dict[str, Estimate]:
    """The mean of each measure of the frames (n, 3, 3) that a look found, among those `near`."""
    values = _of(first)
    columns = np.where(near[:, None], np.column_stack([*values.values()]), np.nan)
    return dict(zip(values, ratios(columns, None, person), strict=True))


def _of(frames: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
    """The measures of frames (…, 3, 3)."""
    return {
        "width": np.hypot(frames[..., 0, 0], frames[..., 1, 0]),
        "height": np.hypot(frames[..., 0, 1], frames[..., 1, 1]),
        "x": frames[..., 0, 2] / 2,
        "y": frames[..., 1, 2] / 2,
        "rotation": np.degrees(np.arctan2(frames[..., 1, 0], frames[..., 0, 0])),
    }


def _moved(by: NDArray[np.floating], e: Estimate) -> Estimate:
    value = float(by)
    return replace(e, value=value + e.value, low=value + e.low, high=value + e.high)


def _cut(pixels: NDArray[np.uint8], frame: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pictures (n, side, side, 3) cut so that those of the reference lie in a frame in them."""
    import torch

    from candid.models.warping import level_warp, to_pixels

    inverse = torch.from_numpy(np.linalg.inv(frame.astype(np.float64))).float()
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    frames = inverse.expand(len(planes), 3, 3)
    cut = level_warp(planes, frames, pixels.shape[1], "reflection", levels=_LEVELS)
    return to_pixels(cut).contiguous().numpy()


# --- how they are moved --------------------------------------------------------------------------


def frames_digest(frames: SourceFrames) -> str:
    """Of all that decides how pictures are moved; "" where none are."""
    moved = frames.moved
    if not moved:
        return ""
    known = {name: (to_plain(s.frame), to_plain(s.seen)) for name, s in moved.items()}
    job = {"frames": known, "version": _VERSION}
    if not all(s.frame is not None and s.frame.alike for s in moved.values()):
        job["framer"] = frames.framer
    return job_digest(job)


def in_one_frame(
    frames: SourceFrames,
    framer: Path,
    dataset: Dataset,
    came: Store,
    config: DataConfig,
    *,
    quiet: bool = True,
) -> Store:
    """The pack in which the pictures of every data set lie as those of the reference do.

    `framer` is the file of the network that they were framed by. What need not be moved is as it
    came, bit for bit.
    """
    moved, attribute = frames.moved, dataset.attributes.get(SOURCE)
    if not moved or attribute is None:
        return came
    codes = {code: moved[name] for code, name in enumerate(attribute.values) if name in moved}
    marks = np.isin(attribute.data, list(codes))
    reframe = SourceReframe(
        codes, attribute.data, came.side, framer, frames.framer, frames_digest(frames)
    )
    return store.repack(dataset, config, came, marks, reframe, quiet=quiet)


@dataclass(frozen=True, eq=False)
class SourceReframe:
    """Brings pictures to the frame of the reference; picklable.

    Those of a data set whose pictures lie alike are read in the frame that they have in common, the
    others are framed from there, one at a time: no picture depends on its company.
    """

    sources: Mapping[int, SourceFrame]  # by the number of the data set
    source: NDArray[np.int16]  # (n,) that number
    side: int  # pixels per side of what comes out
    framer: Path
    weights: str  # a digest of that file
    digest: str  # of all that decides what comes out
    detail: int = DETAIL

    def __call__(self, row: int, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(side, side, 3) of a row's square (detail · side, detail · side, 3)."""
        from candid.models.device import threads

        source = self.sources[int(self.source[row])]
        with threads(1):  # this is one of several processes, or hardly any work
            return _brought(source, pixels, self.side, self._framer)

    def _framer(self) -> TorchFramer:
        return _framer(self.framer, self.weights)


def _brought(
    source: SourceFrame, pixels: NDArray[np.uint8], side: int, framer: Callable[[], TorchFramer]
) -> NDArray[np.uint8]:
    """A picture in the frame of the reference."""
    import torch

    from candid.models.warping import level_warp, to_pixels

    if source.frame is None or source.seen is None:
        raise ValueError(f"the pictures of {source.name!r} stay as they came")
    frame = source.frame.square()
    if not source.frame.alike:
        # By itself from where the network sees the others; what it stops short by is theirs, too.
        own: NDArray[np.float32] = framer()(pixels[None], **source.seen.start())[1][0]
        frame = np.asarray(frame @ np.linalg.inv(source.seen.square()) @ own)
    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    matrix = torch.from_numpy(frame.astype(np.float32))[None]
    brought = level_warp(planes, matrix, side, "reflection")
    return to_pixels(brought)[0].contiguous().numpy()


@functools.lru_cache(maxsize=1)
def _framer(path: Path, digest: str) -> TorchFramer:
    """The network in a file, which has this digest."""
    from candid.models.framing import TorchFramer, load_framing

    framing = load_framing(path)
    if file_digest(path) != digest:
        raise RunError(
            f"{path} is not the network that the data sets were brought to one frame by.",
            expected="the file as the run wrote it",
            todo="put it back, or start a new run",
        )
    return TorchFramer(framing)
