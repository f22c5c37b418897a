"""Networks with other outputs: one of several labels, or the mean of a number's distribution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from candid.errors import RunError


class Outputs(nn.Module):
    """A network with some of its outputs: (batch, total) becomes (batch, count).

    Raises a RunError where the network has another number of outputs.
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
    """The mean of a network's distribution over bins: (batch, 1).

    `centres` are the bins' values.
    """

    def __init__(self, network: nn.Module, centres: Sequence[float]) -> None:
        super().__init__()
        self.network, self.centres = network, tuple(centres)

    def forward(self, images: Tensor) -> Tensor:
        """Means, in the number's unit."""
        p = torch.softmax(self.network(images).float(), dim=1)
        # No matrix product, which autocast would compute in bfloat16.
        return (p * torch.tensor(self.centres, device=p.device)).sum(1, keepdim=True)


def with_outputs(network: nn.Module, first: int, count: int, total: int) -> nn.Module:
    """The network with `count` of its `total` outputs, from `first` on.

    In a network of this package the last linear layer's other rows are dropped, in place, so that
    explanations and exports see a network of a single label. Any other network is wrapped.
    """
    if (first, count) == (0, total):
        return network
    name, last = [(n, m) for n, m in network.named_modules() if not list(m.children())][-1]
    is_builtin = type(network).__module__.startswith("candid.models.")
    if not is_builtin or type(last) is not nn.Linear or last.out_features != total:
        return Outputs(network, first, count, total)
    # On the meta device, so that the caller's random numbers are not used.
    rows = nn.Linear(last.in_features, count, last.bias is not None, device="meta")
    rows.weight = _rows(last.weight, first, count)
    if last.bias is not None:
        rows.bias = _rows(last.bias, first, count)
    network.set_submodule(name, rows.train(last.training))
    return network


def _rows(tensor: Tensor, first: int, count: int) -> nn.Parameter:
    with torch.no_grad():
        return nn.Parameter(tensor[first : first + count].clone(), tensor.requires_grad)
