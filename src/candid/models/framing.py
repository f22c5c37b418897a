"""The framing network: it estimates how a face is placed in an image, and normalises it.

Images from elsewhere show more of a person or less, stretched, shifted or turned. `Framing`
estimates the frame (scale, aspect, shift, rotation) in which an image is aligned as the training
images are, warps the image to that frame, and looks again at the rest. It learns this from randomly
warped training images (`training.framing`).
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
from candid.models.warping import frame_matrices, halve, level_warp, to_pixels
from candid.models.weights import save_tensors
from candid.records.framing import DETAIL, LOOK_SIDE
from candid.runs import Run, has_framing
from candid.storage.files import reading, regular

PARAMETERS = ("scale", "aspect", "x", "y", "rotation")

_BLOCK = 250  # images at a time

# About the range of each parameter of a frame in training: the unit of the outputs.
_UNITS = (0.5, 0.2, 0.4, 0.4, 0.15)


class Framing(nn.Module):
    """Warps images to the frame of the training images.

    `side` is pixels per side of the output, for the classifier, `input_side` of the best input.
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
        # Mean and precision of the estimated frames of validation images; an image whose distance
        # from these is at most `limit` is not warped.
        self.register_buffer("centre", torch.zeros(len(PARAMETERS)))
        self.register_buffer("precision", torch.eye(len(PARAMETERS)))
        self.register_buffer("limit", torch.tensor(0.0))
        # Few validation images are farther away than this.
        self.register_buffer("far_limit", torch.tensor(torch.inf))
        # Nearly all warped images are at most so far away after the last look but one.
        self.register_buffer("rest_limit", torch.tensor(torch.inf))

    def estimate(self, inputs: Tensor) -> Tensor:
        """(n, 5) frames of normalised images (n, 3, look_side, look_side), as `frame_matrices`."""
        outputs: Tensor = self.head(self.body(to_depth(inputs, self.padding)).flatten(1))
        return outputs * self.units

    def make_input(self, planes: Tensor, matrices: Tensor) -> Tensor:
        """The input of `estimate` for planes (n, 3, h, h) from 0 to 255, in frames (n, 3, 3)."""
        return _scale_pixels(level_warp(planes, matrices, self.look_side, "reflection"))

    def make_first_input(self, planes: Tensor, start: Tensor) -> Tensor:
        """The input of `estimate` at the first look: `make_input` in one frame (3, 3) for all.

        At the detail of whole images, so that each is sampled once.
        """
        while planes.shape[2] >= math.sqrt(2) * self.look_side:
            planes = halve(planes)
        frames = start.expand(planes.shape[0], 3, 3)
        return _scale_pixels(level_warp(planes, frames, self.look_side, "reflection", levels=1))

    def distance(self, frames: Tensor) -> Tensor:
        """(n,) Mahalanobis distances of frames (n, 5) from those of the training images."""
        offset = frames - self.centre
        return ((offset @ self.precision) * offset).sum(1).clamp(min=0).sqrt()

    def forward(
        self, pixels: Tensor, start: Tensor | None = None, limit: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Images in the frame of the training images, the frames, and distances.

        Parameters
        ----------
        pixels
            (n, h, h, 3) uint8, RGB; h is `side` or a multiple of it, best `input_side`.
        start
            (3, 3): the frame of the first look, and of images that it estimates to be aligned as
            training images are; None: the identity.
        limit
            (): the distance at the first look up to which an image keeps the frame `start`; None:
            the network's `limit`.

        Returns
        -------
        Pixels (n, side, side, 3) uint8; matrices (n, 3, 3) from the frame to the image; distances
        (n,) at the last look, 0 where the frame is `start`; matrices (n, 3, 3) and distances (n,)
        at the first look.
        """
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)
        framed, *statistics = self.frame(planes, start, limit)
        return to_pixels(framed), *statistics

    def frame(
        self, planes: Tensor, start: Tensor | None = None, limit: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """`forward` for planes (n, 3, h, h) from 0 to 255, without rounding."""
        identity = torch.eye(3, device=planes.device)
        start = identity if start is None else start
        limit = self.limit if limit is None else limit
        factor = planes.shape[2] // self.side
        unframed = halve(planes) if factor == 2 else F.avg_pool2d(planes, factor)
        # Below the limit, which unwarped validation images set, an estimate is noise: the image
        # keeps its frame.
        offset, first_distances = self._look(self.make_first_input(unframed, start))
        settled = stays = first_distances <= limit
        matrices = first_frames = start @ frame_matrices(offset)
        distances = first_distances
        for _ in range(self.looks - 1):
            offset, distances = self._look(self.make_input(planes, matrices))
            settled = settled | (distances <= self.limit)
            moved = matrices @ frame_matrices(offset)
            matrices = torch.where(settled[:, None, None], matrices, moved)
        matrices = torch.where(stays[:, None, None], start, matrices)
        warped = level_warp(planes, matrices, self.side, "reflection")
        is_unchanged = stays & (start == identity).all()
        framed = torch.where(is_unchanged[:, None, None, None], unframed, warped)
        return framed, matrices, torch.where(stays, 0.0, distances), first_frames, first_distances

    def look(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (n, 5) of planes (n, 3, look_side, look_side) from 0 to 255, and distances (n,).

        Frames are relative to the mean of the training images.
        """
        return self._look(_scale_pixels(planes))

    def _look(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.estimate(inputs)
        return frames - self.centre, self.distance(frames)


def _scale_pixels(planes: Tensor) -> Tensor:
    """Planes from 0 to 255 as the network's input, from -2 to 2."""
    return planes * (4 / 255) - 2


class TorchFramer:
    """Runs a framing network in torch; thread-safe."""

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
        start_tensor = None if start is None else torch.tensor(start, device=device)
        limit_tensor = None if limit is None else torch.tensor(limit, device=device)
        blocks = np.split(pixels, range(_BLOCK, len(pixels), _BLOCK))
        with torch.inference_mode():
            # A copy, as pixels that are mapped from a file cannot be written to.
            planes = (torch.from_numpy(block.copy()).to(device) for block in blocks)
            results = [self._framing(block, start_tensor, limit_tensor) for block in planes]
        return tuple(torch.cat(outputs).cpu().numpy() for outputs in zip(*results, strict=True))


# --- as a file -----------------------------------------------------------------------------------


def framing_of(run: Run) -> Framing | None:
    """The framing network of a run; None where it has none, or none that is used.

    Raises RunError where its files are damaged.
    """
    return load_framing(run.framing_weights) if has_framing(run) else None


def save_framing(path: Path, framing: Framing) -> None:
    """Write weights, limits and options atomically."""
    options = {"side": framing.side, "width": framing.width, "looks": framing.looks}
    tensors = {k: v.detach().cpu().contiguous() for k, v in framing.state_dict().items()}
    save_tensors(path, tensors, {"candid": json.dumps(options)})


def load_framing(path: Path) -> Framing:
    """The framing network in a file, in evaluation mode on the CPU.

    Raises RunError where the file is missing, damaged, or holds NaN.
    """
    with reading(path, expected="the framing network of this run", todo="train it again"):
        with safe_open(regular(path), "pt") as file:
            options = json.loads(file.metadata()["candid"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not 1 <= options["side"] <= 4096 or not 1 <= options["looks"] <= 10:
            raise ValueError(f"impossible options: {options}")
        if options["width"] != tensors["body.0.weight"].shape[0]:
            raise ValueError(f"a width of {options['width']} does not fit the weights")
        framing = Framing(**options)
        framing.load_state_dict(tensors)
        if any(v.isnan().any() for v in tensors.values() if v.is_floating_point()):
            raise ValueError("weights that are not numbers")
    return framing.eval()
