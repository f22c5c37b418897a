"""What is done to pixels so that a network sees less of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def blurred(images: Tensor, sigma: float) -> Tensor:
    """(n, 3, height, width) after a Gaussian blur; borders are mirrored."""
    radius = max(1, math.ceil(2.5 * sigma))
    radius = min(radius, images.shape[-1] - 1, images.shape[-2] - 1)
    place = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-(place**2) / (2 * sigma**2)).to(images.dtype)
    kernel = kernel / kernel.sum()
    planes = images.flatten(0, 1)[:, None]
    planes = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
    planes = F.conv2d(planes, kernel[None, None, :, None])
    planes = F.conv2d(planes, kernel[None, None, None, :])
    return planes.reshape(images.shape)


def edges(images: Tensor) -> Tensor:
    """(n, height, width): how steep the brightness is at each pixel (Sobel's operator)."""
    across = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    kernels = torch.stack([across, across.T])[:, None].to(images.device)
    grey = F.pad(images.float().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    steep: Tensor = torch.linalg.vector_norm(F.conv2d(grey, kernels), dim=1)
    return steep


def shuffled(image: Tensor, generator: torch.Generator) -> Tensor:
    """(3, height, width): the image's own pixels in another order, so its colours and no shapes."""
    order = torch.randperm(image[0].numel(), generator=generator).to(image.device)
    return image.flatten(1)[:, order].reshape(image.shape)
