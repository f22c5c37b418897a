"""The whole way from pixels to probabilities as one torch module; needs torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.errors import DataError
from candid.models.model import load_network
from candid.records import ModelCard


class Whole(nn.Module):
    """A network with all that stands around it, as `candid.load_model` gives it and as exported.

    Normalisation, the average with the mirrored picture where the model was made so, the
    temperature and the softmax are inside. RGB pixels go in, as uint8 (n, side, side, 3) or as
    floating point from 0 to 1 (n, 3, side, side); calibrated probabilities (n, classes) come out.

    Attributes
    ----------
    classes
        The label's values, in the order of the probabilities.
    side
        Pixels per side of the square that it sees.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self.classes, self.side = card.classes, card.side
        self.mirrored = card.mirrored
        self.temperature = card.temperature
        mean, std = torch.tensor(card.mean), torch.tensor(card.std)
        self.register_buffer("scale", (1 / (255 * std))[:, None, None])
        self.register_buffer("shift", (mean / std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Probabilities (n, classes) of uint8 pixels (n, side, side, 3), or of floats.

        Raises
        ------
        DataError
            For pixels of another shape or type.
        """
        if pixels.dtype == torch.uint8:
            self._check(pixels, (self.side, self.side, 3))
            planes = pixels.permute(0, 3, 1, 2)
        else:
            self._check(pixels, (3, self.side, self.side))
            planes = 255 * pixels
        images = planes.to(torch.float32) * self.scale - self.shift
        logits: Tensor = self.network(images)
        if self.mirrored:
            logits = (logits + self.network(images.flip(3))) / 2
        return torch.softmax(logits / self.temperature, dim=1)

    def _check(self, pixels: Tensor, shape: tuple[int, int, int]) -> None:
        what = ""
        if pixels.dim() != 4 or pixels.shape[1:] != shape:
            what = f"have the shape {tuple(pixels.shape)} and the type {pixels.dtype}"
        elif pixels.dtype != torch.uint8 and not (abs(pixels - 0.5) <= 1).all():
            # A resampled picture overshoots a little; a normalised one, or one to 255, far.
            what = "are floating point and lie far outside 0 to 1"
        if what:
            raise DataError(
                f"The pixels {what}.",
                expected=f"uint8 (n, {self.side}, {self.side}, 3), or floating point from 0 to 1 "
                f"(n, 3, {self.side}, {self.side}), in the order RGB",
                todo="resize the picture, and do not normalise it: the model does",
            )


def load_whole(weights: Path, card: ModelCard, network: nn.Module | None = None) -> Whole:
    """The network that `card` describes with the weights of a file, on the processor.

    `network` is filled where it is given: a network of the user's own cannot be built by name.

    Raises
    ------
    RunError
        Where the file is missing, damaged, or belongs to another network.
    """
    return Whole(load_network(weights, card, torch.device("cpu"), network), card).eval()


class TorchEngine:
    """Runs the module as it is; several threads may ask at once."""

    name = "torch"

    def __init__(self, whole: Whole) -> None:
        self._whole = whole

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, classes) of pixels (n, side, side, 3)."""
        with torch.inference_mode():
            batch = torch.from_numpy(np.array(pixels, np.uint8))  # a copy: torch wants to own it
            out: NDArray[np.float32] = self._whole(batch).numpy()
        return out
