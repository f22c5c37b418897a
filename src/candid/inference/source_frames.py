"""Several data sets in the frame of one: how the pictures of each lie, and how they are moved."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.data import store
from candid.data.splits import SOURCE
from candid.inference.classifier import Frames
from candid.inference.common_frame import looked_at
from candid.records.files import to_plain
from candid.records.framing import DETAIL, CommonFrame, SourceFrame, SourceFrames
from candid.settings import DataConfig
from candid.stats.intervals import ratios
from candid.storage.jobs import job_digest

if TYPE_CHECKING:
    from candid.data.dataset import Dataset
    from candid.data.store import Store
    from candid.models.framing import TorchFramer

# Part of every name of a pack: raise it when the same frames come out as other pixels.
_VERSION = 1

_MEASURES = ("width", "height", "x", "y", "rotation")


# --- how they lie --------------------------------------------------------------------------------


def source_frame(
    name: str, framer: Frames, pixels: NDArray[np.uint8], person: NDArray[np.int64] | None
) -> SourceFrame:
    """How most of the pictures (n, input_side, input_side, 3) of a data set lie.

    `person` (n,) is who is in each, where that is known.
    """
    common, first, near = looked_at(framer, pixels)
    values = np.column_stack(
        [
            np.hypot(first[:, 0, 0], first[:, 1, 0]),
            np.hypot(first[:, 0, 1], first[:, 1, 1]),
            first[:, 0, 2] / 2,
            first[:, 1, 2] / 2,
            np.degrees(np.arctan2(first[:, 1, 0], first[:, 0, 0])),
        ]
    )
    found = ratios(np.where(near[:, None], values, np.nan), None, person)
    return SourceFrame(name, len(pixels), common, dict(zip(_MEASURES, found, strict=True)))


# --- how they are moved --------------------------------------------------------------------------


def frames_digest(frames: SourceFrames) -> str:
    """Of all that decides how pictures are moved; "" where none are."""
    moved = frames.moved
    if not moved:
        return ""
    job: dict[str, Any] = {name: to_plain(frame) for name, frame in moved.items()}
    job = {"frames": job, "version": _VERSION}
    if not all(frame.alike for frame in moved.values()):
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
    known = [moved.get(name) for name in attribute.values]
    marks = np.array([frame is not None for frame in known])[attribute.data]
    reframe = SourceReframe(
        {code: frame for code, frame in enumerate(known) if frame is not None},
        attribute.data,
        came.side,
        framer,
        frames_digest(frames),
    )
    return store.repack(dataset, config, came, marks, reframe, quiet=quiet)


@dataclass(frozen=True, eq=False)
class SourceReframe:
    """Brings pictures to the frame of the reference; picklable.

    Those of a data set whose pictures lie alike are read in the frame that they have in common, the
    others are framed from there, one at a time: no picture depends on its company.
    """

    frames: Mapping[int, CommonFrame]  # by the number of the data set
    source: NDArray[np.int16]  # (n,) that number
    side: int  # pixels per side of what comes out
    framer: Path
    digest: str
    detail: int = DETAIL

    def stamp(self) -> str:
        """A digest of all that decides what comes out."""
        return self.digest

    def __call__(self, row: int, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(side, side, 3) of a row's square (detail · side, detail · side, 3)."""
        from candid.models.device import threads

        frame = self.frames[int(self.source[row])]
        with threads(1):  # this is one of several processes, or hardly any work
            if frame.alike:
                return _read_in(frame, pixels, self.side)
            framed: NDArray[np.uint8] = _framer(self.framer)(pixels[None], **frame.start())[0][0]
            return framed


def _read_in(frame: CommonFrame, pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    import torch

    from candid.models.warping import level_warp

    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    matrix = torch.from_numpy(frame.start()["start"])[None]
    found = level_warp(planes, matrix, side, "reflection")
    seen: NDArray[np.uint8] = (
        found[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    )
    return seen


@functools.lru_cache(maxsize=1)
def _framer(path: Path) -> TorchFramer:
    from candid.models.framing import TorchFramer, load_framing

    return TorchFramer(load_framing(path))
