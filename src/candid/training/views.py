"""How well parts of the images predict the labels: one short training on several views.

One small network learns from all views at once: every batch is divided between the views. Its
losses on the validation images, view by view, compare the views at a fraction of the cost of a
network for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.models.device import uses_bfloat16
from candid.models.forward import logits
from candid.models.networks import build, crop_to_window, options
from candid.settings import AugmentConfig, NetworkConfig, TrainConfig
from candid.training.loop import start, train_in_steps
from candid.training.several import make_loss
from candid.training.state import Task


class Views(nn.Module):
    """A network that sees windows of the images: in training, each in its share of the batch.

    In evaluation it sees the first. Windows are as those of `windowed`.
    """

    def __init__(self, network: nn.Module, windows: Sequence[tuple[float, ...]]) -> None:
        super().__init__()
        self.network, self.windows = network, tuple(windows)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, outputs) of normalised images (batch, 3, side, side)."""
        windows = self.windows if self.training else self.windows[:1]
        crops = images.tensor_split(len(windows))
        inputs = [crop_to_window(part, w) for part, w in zip(crops, windows, strict=True)]
        logits: Tensor = self.network(torch.cat(inputs))
        return logits


def view_losses(
    task: Task,
    windows: Sequence[tuple[float, ...]],
    network: NetworkConfig,
    config: TrainConfig,
    augmentation: AugmentConfig,
    *,
    quiet: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The cross-entropy of each validation image and label, by view and of base rates, in nats.

    (views, images, labels), and (images, labels) for the base rates of train; NaN where an image
    lacks a label. A network learns for `config.steps` batches, from the training images that are
    packed; its own window must be the whole image.
    """
    task = replace(task, train=task.images.packed(task.train), streamed=None)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        module = build(
            network.name, side=task.images.side, n_classes=task.n_classes, **options(network)
        )
    state = start(Views(module, windows), config, task)
    for _ in train_in_steps(task, state, config, augmentation, title="views", quiet=quiet):
        pass
    loss = make_loss(task, config)
    label = torch.from_numpy(task.label[task.validation].astype(np.int64))
    losses = []
    for window in windows:
        output = logits(
            Views(state.measured.get_submodule("network"), [window]),
            task.images,
            task.validation,
            device=state.device,
            bfloat16=uses_bfloat16(config.precision, state.device),
        )
        losses.append(loss.cross_entropies(torch.from_numpy(output), label).double().numpy())
    rates = loss.base_rates().expand(len(label), -1)
    return np.stack(losses), loss.cross_entropies(rates, label).double().numpy()
