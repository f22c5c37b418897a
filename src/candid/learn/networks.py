"""Networks as plain modules, smallest first, and a dict of their builders.

Every network takes normalised images (batch, 3, side, side) and gives logits (batch, classes).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candid.errors import ConfigError
from candid.records import Layer


class Plain(nn.Module):
    """The description's network: two convolutions, one pooling, two fully connected layers.

    Convolutions are 3×3 without padding, as in the MNIST example of PyTorch's own collection, whose
    shape the description follows.
    """

    def __init__(self, side: int, classes: int) -> None:
        super().__init__()
        pooled = (side - 4) // 2
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.pool = nn.MaxPool2d(2)
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Linear(64 * pooled * pooled, 128)
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of normalised images (batch, 3, side, side)."""
        x = F.relu(self.conv1(images))  # (batch, 32, side - 2, side - 2)
        x = F.relu(self.conv2(x))  # (batch, 64, side - 4, side - 4)
        x = self.dropout1(self.pool(x)).flatten(1)  # (batch, 64 · pooled²)
        x = self.dropout2(F.relu(self.fc1(x)))  # (batch, 128)
        logits: Tensor = self.fc2(x)
        return logits


BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {"plain": Plain}


def build(name: str, *, side: int, classes: int) -> nn.Module:
    """A network with fresh weights for images of `side` × `side` pixels.

    Raises
    ------
    ConfigError
        For a name that is not in `BUILDERS`.
    """
    if name not in BUILDERS:
        raise ConfigError(
            f"There is no network {name!r}.",
            expected="one of: " + ", ".join(BUILDERS),
            todo="set network.name",
        )
    return BUILDERS[name](side, classes)


def describe(network: nn.Module, side: int) -> tuple[tuple[Layer, ...], int]:
    """The layers in the order in which an image passes them, and the multiply-adds for one image.

    Multiply-adds are those of convolutions and fully connected layers; the rest is small beside
    them. The network is left in the mode it was in.
    """
    layers: list[Layer] = []
    multiply_adds = 0

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        nonlocal multiply_adds
        shape = tuple(output.shape[1:])
        match module:
            case nn.Conv2d():
                each = module.in_channels // module.groups * prod(module.kernel_size)
                multiply_adds += prod(shape) * each
            case nn.Linear():
                multiply_adds += prod(shape) * module.in_features
            case _:
                pass
        parameters = sum(p.numel() for p in module.parameters(recurse=False))
        layers.append(Layer(name, type(module).__name__, shape, parameters, module.extra_repr()))

    leaves = [(n, m) for n, m in network.named_modules() if not list(m.children())]
    hooks = [
        module.register_forward_hook(lambda m, _, out, name=name: note(name, m, out))
        for name, module in leaves
    ]
    was_training = network.training
    device = next(network.parameters()).device
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, side, side, device=device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return tuple(layers), multiply_adds
