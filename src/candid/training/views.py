"""How well the labels can be told from parts of the pictures: one short training of several views.

One small network learns from all views at once: of every batch, each view is shown for its share of
the pictures. What it then says of the validation images from each view alone tells the views apart
at a fraction of what a network for each would take.
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
from candid.models.networks import build, options, windowed
from candid.settings import AugmentConfig, NetworkConfig, TrainConfig
from candid.training.loop import BatchLosses, start, train_in_steps
from candid.training.loss import Loss
from candid.training.several import SeveralLoss
from candid.training.state import Task


class Views(nn.Module):
    """A network that sees windows of the pictures: while it learns each in its share of a batch.

    Otherwise it sees the first. Windows are as those of `windowed`.
    """

    def __init__(self, network: nn.Module, windows: Sequence[tuple[float, ...]]) -> None:
        super().__init__()
        self.network, self.windows = network, tuple(windows)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, outputs) of normalised images (batch, 3, side, side)."""
        shown = self.windows if self.training else self.windows[:1]
        parts = images.tensor_split(len(shown))
        views = [windowed(part, w) for part, w in zip(parts, shown, strict=True)]
        answers: Tensor = self.network(torch.cat(views))
        return answers


def view_losses(
    task: Task,
    windows: Sequence[tuple[float, ...]],
    network: NetworkConfig,
    config: TrainConfig,
    augmentation: AugmentConfig,
    *,
    quiet: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The cross-entropy of each validation image and label, by view and without looking, in nats.

    (views, images, labels), and (images, labels) of always the base rates of train; NaN where an
    image lacks a label. A network learns for `config.steps` batches, from the training images that
    are packed; it must see all that it is given.
    """
    task = replace(task, train=task.images.packed(task.train), streamed=None)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        seeing = build(
            network.name, side=task.images.side, n_classes=task.n_classes, **options(network)
        )
    state = start(Views(seeing, windows), config, task)
    for _ in train_in_steps(task, state, config, augmentation, title="views", quiet=quiet):
        pass
    loss: BatchLosses = SeveralLoss(task, config) if task.is_several else Loss(task, config, None)
    label = torch.from_numpy(task.label[task.validation].astype(np.int64))
    measured, found = state.measured.get_submodule("network"), []
    for window in windows:
        output = logits(
            Views(measured, [window]),
            task.images,
            task.validation,
            device=state.device,
            bfloat16=uses_bfloat16(config.precision, state.device),
        )
        found.append(loss.each(torch.from_numpy(output), label).double().numpy())
    rates = loss.base_rates().expand(len(label), -1)
    return np.stack(found), loss.each(rates, label).double().numpy()
