"""A network with other outputs: of several labels that it learned one, of a number its mean."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from candid.errors import RunError


class Outputs(nn.Module):
    """A network of which some outputs are given: (batch, total) becomes (batch, count).

    A network that gives another number of them is refused with a RunError.
    """

    def __init__(self, network: nn.Module, first: int, count: int, total: int) -> None:
        super().__init__()
        self.network = network
        self.first, self.count, self.total = first, count, total

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, count)."""
        logits: Tensor = self.network(images)
        if logits.shape[1] != self.total:
            raise RunError(
                f"The network gives {logits.shape[1]} numbers for an image.",
                expected=f"{self.total}: one for each class of each label",
                todo="hand in the network that was trained",
            )
        return logits[:, self.first : self.first + self.count]


class ExpectedValue(nn.Module):
    """A network that gives a distribution over bins, of which the mean is given: (batch, 1).

    `centres` are the values that the bins stand for.
    """

    def __init__(self, network: nn.Module, centres: Sequence[float]) -> None:
        super().__init__()
        self.network, self.centres = network, tuple(centres)

    def forward(self, images: Tensor) -> Tensor:
        """Means, in the number's own unit."""
        p = torch.softmax(self.network(images).float(), dim=1)
        # No product of matrices, whose factors would be rounded where products are in bfloat16.
        return (p * torch.tensor(self.centres, device=p.device)).sum(1, keepdim=True)


def with_outputs(network: nn.Module, first: int, count: int, total: int) -> nn.Module:
    """The network with `count` of its `total` outputs, from `first` on.

    One of this package ends in a linear layer, of which the rows of the others are dropped, in
    place: so it looks like one that learned a single label to whoever explains or exports it. Any
    other is wrapped.
    """
    if (first, count) == (0, total):
        return network
    name, last = [(n, m) for n, m in network.named_modules() if not list(m.children())][-1]
    ours = type(network).__module__.startswith("candid.models.")
    if not ours or type(last) is not nn.Linear or last.out_features != total:
        return Outputs(network, first, count, total)
    # Without drawing weights that are thrown away: the caller's random numbers stay as they were.
    rows = nn.Linear(last.in_features, count, last.bias is not None, device="meta")
    rows.weight = _rows(last.weight, first, count)
    if last.bias is not None:
        rows.bias = _rows(last.bias, first, count)
    network.set_submodule(name, rows.train(last.training))
    return network


def _rows(of: Tensor, first: int, count: int) -> nn.Parameter:
    with torch.no_grad():
        return nn.Parameter(of[first : first + count].clone(), of.requires_grad)
