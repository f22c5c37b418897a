"""Training on mixtures of two images: mixup and cutmix, and the loss of a mixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from candid.settings import TrainConfig


@dataclass(frozen=True, eq=False)
class Mixture:
    """Which two labels each image of a batch has, and how much of the first.

    `first` and `second` hold (batch,) classes; `share` (batch,) that of the first, 1 where nothing
    was mixed.
    """

    first: Tensor
    second: Tensor
    share: Tensor


def mix(
    images: Tensor, labels: Tensor, config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, Mixture]:
    """Mix each image with another of the batch, as the settings ask.

    Mixup (Zhang et al., 2018) blends two images; cutmix (Yun et al., 2019) lays a patch of one on
    the other. Where both are set, each batch has one of them, by the toss of a coin. Shares
    are drawn per image from a beta distribution. `images` are (batch, channels, height, width),
    `labels` (batch,) classes; the same state of `generator`, one of the CPU, mixes the same.
    """
    batch = len(images)
    if not (config.mixup or config.cutmix):
        return images, identity_mixture(labels)
    coin = torch.rand((), generator=generator).item()
    cut = bool(config.cutmix) and (not config.mixup or coin < 0.5)
    seed = int(torch.randint(2**62, (), generator=generator))
    alpha = config.cutmix if cut else config.mixup
    share = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, batch)).float()
    order = torch.randperm(batch, generator=generator).to(images.device)
    if cut:
        patch, share = _patches(share, images.shape[2], images.shape[3], generator)
        mixed = torch.where(patch.to(images.device)[:, None], images[order], images)
    else:
        mixed = torch.lerp(images[order], images, share.to(images.device)[:, None, None, None])
    return mixed, Mixture(labels, labels[order], share.to(images.device))


def identity_mixture(labels: Tensor) -> Mixture:
    """(batch,) labels of unmixed images."""
    return Mixture(labels, labels, torch.ones(len(labels), device=labels.device))


def _patches(
    share: Tensor, height: int, width: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(batch, height, width) bool: the other image's patch; and the share of the first image."""
    side = (1 - share).sqrt()
    tall, wide = (side * height).round(), (side * width).round()
    top = (torch.rand(len(share), generator=generator) * (height - tall + 1)).floor()
    left = (torch.rand(len(share), generator=generator) * (width - wide + 1)).floor()
    ys, xs = torch.arange(height), torch.arange(width)
    in_rows = (ys >= top[:, None]) & (ys < (top + tall)[:, None])
    in_columns = (xs >= left[:, None]) & (xs < (left + wide)[:, None])
    return in_rows[:, :, None] & in_columns[:, None, :], 1 - tall * wide / (height * width)


def mean_over_mixture(
    loss: Callable[[Tensor], Tensor], mixture: Mixture, weights: Tensor
) -> Tensor:
    """The weighted mean of the losses (batch,) that `loss` returns for (batch,) labels."""
    parts = [(mixture.first, mixture.share)]
    if mixture.first is not mixture.second:
        parts.append((mixture.second, 1 - mixture.share))
    shares = [weights[labels] * share for labels, share in parts]
    losses = [loss(labels) * share for (labels, _), share in zip(parts, shares, strict=True)]
    return torch.cat(losses).sum() / torch.cat(shares).sum()


def mixture_loss(output: Tensor, mixture: Mixture, weights: Tensor, smoothing: float) -> Tensor:
    """Weighted cross-entropy of a mixture, averaged over the weights of its labels.

    Where nothing is mixed, `torch.nn.functional.cross_entropy` with its own mean.
    """

    def weighted_sum(labels: Tensor, share: Tensor) -> Tensor:
        losses = F.cross_entropy(
            output, labels, weight=weights, label_smoothing=smoothing, reduction="none"
        )
        return (losses * share).sum()

    first, second, share = mixture.first, mixture.second, mixture.share
    if first is second:
        return F.cross_entropy(output, first, weight=weights, label_smoothing=smoothing)
    total = (weights[first] * share + weights[second] * (1 - share)).sum()
    return (weighted_sum(first, share) + weighted_sum(second, 1 - share)) / total
