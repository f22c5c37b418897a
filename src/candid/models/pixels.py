"""A network with framing, normalisation, flip averaging and temperature."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


class FramesPlanes(Protocol):
    """Warps images to the frame of the training images, as `Framing` does."""

    def frame(self, planes: Tensor) -> tuple[Tensor, ...]:
        """Planes (n, 3, side, side) from 0 to 255, in that frame, and more."""
        ...


class PixelNetwork(nn.Module):
    """A network that takes unnormalised pixels, framed first where `framing` is given.

    `mean` and `std` are per channel, of pixels scaled to 0…1. With `flip_tta`, logits are the mean
    of those of an image and of its mirror image.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        temperature: float,
        flip_tta: bool,
        framing: FramesPlanes | None = None,
    ) -> None:
        super().__init__()
        self.network, self.framing = network, framing
        self.temperature, self.flip_tta = temperature, flip_tta
        mean_tensor, std_tensor = torch.tensor(mean), torch.tensor(std)
        self.register_buffer("scale", (1 / (255 * std_tensor))[:, None, None])
        self.register_buffer("shift", (mean_tensor / std_tensor)[:, None, None])

    def logits(self, planes: Tensor) -> Tensor:
        """Calibrated logits (n, classes) of planes (n, 3, side, side) from 0 to 255, RGB."""
        if self.framing is not None:
            planes = self.framing.frame(planes.to(torch.float32))[0].round()
        images = planes.to(torch.float32) * self.scale - self.shift
        logits: Tensor = self.network(images)
        if self.flip_tta:
            logits = (logits + self.network(images.flip(3))) / 2
        return logits / self.temperature
