"""A network that learned several labels, with all its outputs and each label's calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from candid.models.model import Whole, load_network
from candid.records import ModelCard
from candid.records.targets import Targets


class WholeSeveral(Whole):
    """`Whole` for several labels: each label's probabilities sum to 1.

    The output is (n, outputs): the labels' classes, one label behind the other.
    """

    def __init__(self, network: nn.Module, targets: Targets, cards: Sequence[ModelCard]) -> None:
        super().__init__(network, targets.model)
        self.sizes = [len(card.classes) for card in cards]
        self.temperatures = [card.temperature for card in cards]

    def normalised(self, logits: Tensor) -> Tensor:
        """Probabilities of each label from its own logits, calibrated."""
        blocks = torch.split(logits, self.sizes, dim=1)
        pairs = zip(blocks, self.temperatures, strict=True)
        return torch.cat([torch.softmax(b / t, dim=1) for b, t in pairs], dim=1)


class SplitLabels(nn.Module):
    """`WholeSeveral` with a tuple of outputs, (n, classes) for each label."""

    def __init__(self, model: WholeSeveral) -> None:
        super().__init__()
        self.whole = model
        self.train(model.training)  # else an exporter that restores the mode would change it

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Probabilities, calibrated."""
        return tuple(torch.split(self.whole(pixels), self.whole.sizes, dim=1))


def load_several(
    weights: Path, targets: Targets, cards: Sequence[ModelCard], network: nn.Module | None = None
) -> WholeSeveral:
    """The whole network of a run with several labels, on the CPU.

    `cards` are the labels', with their temperatures; `network` is as for `load_network`. Raises
    RunError where the file is missing, damaged, or belongs to another network.
    """
    loaded = load_network(weights, targets.model, torch.device("cpu"), network)
    return WholeSeveral(loaded, targets, cards).eval()
