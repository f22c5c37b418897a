"""A network that frames for itself: it finds how a face lies in a picture, and undoes it.

Pictures from elsewhere show more of a person or less, stretched, shifted or turned. `Framing` looks
at a picture, estimates the frame (scale, aspect, shift, rotation) in which it would lie as the
training pictures do, reads the picture in that frame, and looks again at what is left. It learns
this from the training pictures alone, for who warps them knows the truth (`training.framing`).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from candid.models.networks import Deep, to_depth
from candid.models.warping import frame_matrices, halved, level_warp, to_pixels
from candid.models.weights import save_tensors
from candid.records.framing import DETAIL, LOOK_SIDE
from candid.runs import Run, is_framed
from candid.storage.files import reading, regular

PARAMETERS = ("scale", "aspect", "x", "y", "rotation")

_BLOCK = 250  # pictures at a time

# About how far each parameter of a frame varies in training; its outputs are in these units.
_UNITS = (0.5, 0.2, 0.4, 0.4, 0.15)


class Framing(nn.Module):
    """Brings pictures to the frame of the training pictures.

    `side` is pixels per side of what comes out, for the classifier, `input_side` of what should go
    in.
    """

    units: Tensor
    centre: Tensor
    precision: Tensor
    limit: Tensor
    far_limit: Tensor
    rest_limit: Tensor

    def __init__(self, side: int, *, width: int = 16, looks: int = 2) -> None:
        super().__init__()
        self.side, self.input_side, self.width, self.looks = side, DETAIL * side, width, looks
        self.look_side = min(LOOK_SIDE, side)
        self.padding = self.look_side % 2
        self.body = Deep(self.look_side, 1, width=width).body
        with torch.no_grad():
            size = self.body.eval()(torch.zeros(1, 12, *2 * [(self.look_side + 1) // 2]))[0].numel()
        self.body.train()
        self.head = nn.Linear(size, len(PARAMETERS))
        self.register_buffer("units", torch.tensor(_UNITS))
        # What frames the training pictures' own validation pictures are estimated to have; a
        # picture whose distance from that is at most `limit` is left as it is.
        self.register_buffer("centre", torch.zeros(len(PARAMETERS)))
        self.register_buffer("precision", torch.eye(len(PARAMETERS)))
        self.register_buffer("limit", torch.tensor(0.0))
        # Few of them are farther from it than this.
        self.register_buffer("far_limit", torch.tensor(torch.inf))
        # What is left at most after the last look but one, of nearly all warped pictures.
        self.register_buffer("rest_limit", torch.tensor(torch.inf))

    def estimate(self, seen: Tensor) -> Tensor:
        """(n, 5) frames of normalised images (n, 3, look_side, look_side), as `frame_matrices`."""
        found: Tensor = self.head(self.body(to_depth(seen, self.padding)).flatten(1))
        return found * self.units

    def see(self, planes: Tensor, matrices: Tensor) -> Tensor:
        """What `estimate` is shown of planes (n, 3, h, h) from 0 to 255, in some frames."""
        return _centred(level_warp(planes, matrices, self.look_side, "reflection"))

    def see_first(self, planes: Tensor, start: Tensor) -> Tensor:
        """What `estimate` is shown at the first look: `see` in one frame (3, 3) for all.

        At the detail of whole pictures, so that each is read once.
        """
        while planes.shape[2] >= math.sqrt(2) * self.look_side:
            planes = halved(planes)
        frames = start.expand(planes.shape[0], 3, 3)
        return _centred(level_warp(planes, frames, self.look_side, "reflection", levels=1))

    def distance(self, frames: Tensor) -> Tensor:
        """(n,) Mahalanobis distances of frames (n, 5) from the training pictures' own."""
        off = frames - self.centre
        return ((off @ self.precision) * off).sum(1).clamp(min=0).sqrt()

    def forward(
        self, pixels: Tensor, start: Tensor | None = None, limit: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Pictures in the frame of the training pictures, those frames, and how they were found.

        Parameters
        ----------
        pixels
            (n, h, h, 3) uint8, RGB; h is `side` or a multiple of it, best `input_side`.
        start
            (3, 3): the frame in which the first look is taken, and in which a picture stays where
            that look finds hardly more than in the training pictures' own; None: as they came.
        limit
            (): a picture stays where the first look finds at most this distance; None: the
            network's own.

        Returns
        -------
        Pixels (n, side, side, 3) uint8; matrices (n, 3, 3) from the frame to the picture, `start`
        where the picture was left there; distances (n,) of what the last look found, 0 where it was
        left; the matrices (n, 3, 3) and distances (n,) of what the first look found.
        """
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)
        framed, *found = self.frame(planes, start, limit)
        return to_pixels(framed), *found

    def frame(
        self, planes: Tensor, start: Tensor | None = None, limit: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """`forward` for planes (n, 3, h, h) from 0 to 255, without rounding."""
        came = torch.eye(3, device=planes.device)
        start = came if start is None else start
        limit = self.limit if limit is None else limit
        times = planes.shape[2] // self.side
        home = halved(planes) if times == 2 else F.avg_pool2d(planes, times)
        # A look that finds no more than it finds in validation pictures as they are has nothing to
        # undo: what it says is its own noise, and the picture stays as it is.
        off, found = self._look(self.see_first(home, start))
        settled = left = found <= limit
        frames = first = start @ frame_matrices(off)
        rest = found
        for _ in range(self.looks - 1):
            off, rest = self._look(self.see(planes, frames))
            settled = settled | (rest <= self.limit)
            frames = torch.where(settled[:, None, None], frames, frames @ frame_matrices(off))
        frames = torch.where(left[:, None, None], start, frames)
        moved = level_warp(planes, frames, self.side, "reflection")
        as_they_came = left & (start == came).all()
        framed = torch.where(as_they_came[:, None, None, None], home, moved)
        return framed, frames, torch.where(left, 0.0, rest), first, found

    def look(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """How planes (n, 3, look_side, look_side) from 0 to 255 lie against the training pictures.

        Frames (n, 5), and how far off they are (n,).
        """
        return self._look(_centred(planes))

    def _look(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        found = self.estimate(seen)
        return found - self.centre, self.distance(found)


def _centred(planes: Tensor) -> Tensor:
    """Planes from 0 to 255 as the network is shown them, from -2 to 2."""
    return planes * (4 / 255) - 2


class TorchFramer:
    """Runs a framing network as it is; several threads may ask at once."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self.rest_limit, self.far_limit = float(framing.rest_limit), float(framing.far_limit)

    def __call__(
        self,
        pixels: NDArray[np.uint8],
        start: NDArray[np.float32] | None = None,
        limit: float | None = None,
    ) -> tuple[NDArray[Any], ...]:
        """As `Framing.forward`, on arrays, block by block."""
        device = self._framing.centre.device
        at = None if start is None else torch.tensor(start, device=device)
        most = None if limit is None else torch.tensor(limit, device=device)
        blocks = np.split(pixels, range(_BLOCK, len(pixels), _BLOCK))
        with torch.inference_mode():
            # A copy, as pixels that are mapped from a file cannot be written to.
            found = [self._framing(torch.from_numpy(b.copy()).to(device), at, most) for b in blocks]
        return tuple(torch.cat(part).cpu().numpy() for part in zip(*found, strict=True))


# --- as a file -----------------------------------------------------------------------------------


def framing_of(run: Run) -> Framing | None:
    """The framing network of a run; None where it has none, or none that is used.

    Raises RunError where its files are damaged.
    """
    return load_framing(run.framing_weights) if is_framed(run) else None


def save_framing(path: Path, framing: Framing) -> None:
    """Write weights, limits and options, whole or not at all."""
    about = {"side": framing.side, "width": framing.width, "looks": framing.looks}
    tensors = {k: v.detach().cpu().contiguous() for k, v in framing.state_dict().items()}
    save_tensors(path, tensors, {"candid": json.dumps(about)})


def load_framing(path: Path) -> Framing:
    """What was written, in evaluation mode on the processor.

    Raises RunError where the file is missing, damaged, or holds NaN.
    """
    with reading(path, expected="the framing network of this run", todo="train it again"):
        with safe_open(regular(path), "pt") as file:
            about = json.loads(file.metadata()["candid"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not 1 <= about["side"] <= 4096 or not 1 <= about["looks"] <= 10:
            raise ValueError(f"impossible options: {about}")
        if about["width"] != tensors["body.0.weight"].shape[0]:
            raise ValueError(f"a width of {about['width']} does not fit the weights")
        framing = Framing(**about)
        framing.load_state_dict(tensors)
        if any(v.isnan().any() for v in tensors.values() if v.is_floating_point()):
            raise ValueError("weights that are not numbers")
    return framing.eval()
