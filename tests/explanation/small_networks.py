"""Small networks whose every number is known or cheap."""

import torch
from torch import nn
from torch.nn import functional as F


class Linear(nn.Module):
    """logits = (0, weight · image + bias): what every method must say is known."""

    def __init__(self, weight: torch.Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, images):
        score = (images * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([torch.zeros_like(score), score], 1)


class Small(nn.Module):
    """Two convolutions, with dropout, batch normalisation and activations in place."""

    def __init__(self, n_classes: int = 2, side: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.act2 = nn.Tanh()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8 * (side // 2) ** 2, n_classes)

    def forward(self, images):
        x = self.act1(self.norm(self.conv1(images)))
        x = self.act2(self.conv2(x))
        return self.head(self.drop(x).flatten(1))


class Tokens(nn.Module):
    """A transformer; the answer is read from a class token, or from the mean of all places."""

    def __init__(self, side: int = 16, *, token: bool, registers: int = 0) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 12, 4, 4)
        self.extra = nn.Parameter(torch.randn(1, int(token) + registers, 12))
        self.place = nn.Parameter(torch.randn(1, (side // 4) ** 2, 12) * 0.1)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(12, 2, 24, dropout=0.1, batch_first=True) for _ in range(2)
        )
        self.token = token
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 2)

    def forward(self, images):
        x = self.embed(images).flatten(2).transpose(1, 2) + self.place
        first = self.extra.shape[1]
        x = torch.cat([self.extra.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, 0] if self.token else x[:, first:].mean(1))


class Bright(nn.Module):
    """The second class is the one whose mean brightness in a window is above 0."""

    def __init__(self, top: int, left: int, size: int) -> None:
        super().__init__()
        self.window = (slice(top, top + size), slice(left, left + size))
        self.gain = nn.Parameter(torch.tensor(8.0))

    def forward(self, images):
        score = self.gain * images[:, :, self.window[0], self.window[1]].mean((1, 2, 3))
        return torch.stack([-score, score], 1)


def chequered(size: int) -> torch.Tensor:
    """(size, size) of 1 and -1 in turns: what neither its mean nor a blur gives away."""
    place = torch.arange(size)
    return 1.0 - 2.0 * ((place[:, None] + place) % 2)


def window(top: int, left: int, size: int, side: int = 16) -> Linear:
    """Looks for that pattern in a window, and nowhere else."""
    weight = torch.zeros(3, side, side)
    weight[:, top : top + size, left : left + size] = 16 / (3 * size**2) * chequered(size)
    return Linear(weight)


class OneLogit(nn.Module):
    """A single logit per image, as of a sigmoid."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images):
        logits = self.inner(images)
        return logits[:, 1] - logits[:, 0]


class Convolutions(nn.Sequential):
    """A few convolutions and a mean: quick to train."""

    def __init__(self, n_classes: int = 2) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(),
            nn.Flatten(), nn.LazyLinear(n_classes),
        )  # fmt: skip


def train(images, labels, *, steps: int, seed: int = 0) -> Convolutions:
    """A few steps of AdamW on tensors in memory."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Convolutions()
        network(images[:2])  # lazy layers learn their size
        optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.01)
        for _ in range(steps):
            rows = torch.randint(0, len(images), (64,))
            loss = F.cross_entropy(network(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()
