"""Networks with a hidden layer, images to show to them, and all that they do, by plain hooks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.explanation.faces import Faces

SIDE = 12
CLASSES = ("no", "yes")


class Small(nn.Module):
    """Two convolutions, a hidden layer and a classifier; activation functions are no modules."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 7, 3, stride=2)
        self.drop = nn.Dropout(0.5)
        self.hidden = nn.Linear(7 * 25, 9)
        self.head = nn.Linear(9, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.norm(self.conv1(x)))
        x = self.drop(torch.relu_(self.conv2(x)).flatten(1))
        return self.head(torch.relu_(self.hidden(x)))


class Patches(nn.Module):
    """A transformer's beginning without a convolution: patches of 4 × 4, then a linear map."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(48, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Tensor:
        b = len(x)
        tiles = x.reshape(b, 3, 3, 4, 3, 4).permute(0, 2, 4, 3, 5, 1)  # channels last in a patch
        tokens = self.norm(torch.nn.functional.gelu(self.embed(tiles.reshape(b, 9, 48))))
        return self.head(tokens.mean(1))


def prepare(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5


def faces(n: int, seed: int, name: str = "v") -> Faces:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n + 5, SIDE, SIDE, 3), dtype=np.uint8)
    rows = rng.permutation(n + 5)[:n].astype(np.intp)
    labels = [CLASSES[i] for i in rng.integers(0, 2, n)]
    return Faces(pixels, rows, [f"{name}{i}" for i in range(n)], labels)


def made(kind: type[nn.Module], outputs: int = 2) -> nn.Module:
    """One of the networks, with weights that are drawn at random."""
    torch.manual_seed(3)
    network = kind(outputs)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.1, 0.4)
    return network.eval()


def everything(network: nn.Module, images: Faces, layer: str) -> tuple[Tensor, Tensor, Tensor]:
    """Activations, the classifier's input and the logits of all images, with plain hooks."""
    kept: dict[str, Tensor] = {}
    named = dict(network.named_modules())
    hooks = [
        named[layer].register_forward_hook(lambda m, i, o: kept.update(out=o.clone())),
        named["head"].register_forward_pre_hook(lambda m, i: kept.update(hidden=i[0].clone())),
    ]
    with torch.no_grad():
        logits = network(prepare(images.pixels[images.rows]))
    for hook in hooks:
        hook.remove()
    return kept["out"], kept["hidden"], logits
