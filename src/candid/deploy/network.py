"""The whole way from pixels to probabilities as one torch module; needs torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.learn.model import load_network
from candid.records import ModelCard


class Whole(nn.Module):
    """A network with all that stands around it: what is exported, and what the export is held to.

    Normalisation, the average with the mirrored picture where the model was made so, the
    temperature and the softmax are inside: uint8 RGB pixels (n, side, side, 3) go in, calibrated
    probabilities (n, classes) come out.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self.mirrored = card.mirrored
        self.temperature = card.temperature
        mean, std = torch.tensor(card.mean), torch.tensor(card.std)
        self.register_buffer("scale", (1 / (255 * std))[:, None, None])
        self.register_buffer("shift", (mean / std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Probabilities (n, classes) of uint8 pixels (n, side, side, 3)."""
        images = pixels.permute(0, 3, 1, 2).to(torch.float32) * self.scale - self.shift
        logits: Tensor = self.network(images)
        if self.mirrored:
            logits = (logits + self.network(images.flip(3))) / 2
        return torch.softmax(logits / self.temperature, dim=1)


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
