"""A transformer for small images, trained from scratch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candid.errors import ConfigError


class Attend(nn.Module):
    """Softmax of queries and keys, times values; no weights of its own."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Three times (batch, heads, tokens, channels) → the same shape."""
        if query.device.type != "cpu" or not torch.is_grad_enabled():
            return F.scaled_dot_product_attention(query, key, value)
        # Written out: for few tokens torch's is several times as slow in the backward pass.
        weights = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)
        return weights.to(value.dtype) @ value


class Positions(nn.Module):
    """Adds a learned position embedding to each token, and appends the registers."""

    def __init__(self, tokens: int, registers: int, channels: int) -> None:
        super().__init__()
        self.place = nn.Parameter(0.02 * torch.randn(1, tokens, channels))
        self.registers = nn.Parameter(0.02 * torch.randn(1, registers, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, channels) → (batch, tokens + registers, channels)."""
        return torch.cat([x + self.place, self.registers.expand(x.shape[0], -1, -1)], dim=1)


class Attention(nn.Module):
    """A pre-norm transformer block (Vaswani et al., 2017).

    In training, each of its two parts is dropped for whole images at random (stochastic depth:
    Huang et al., 2016).
    """

    def __init__(self, channels: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.heads, self.drop_path = heads, drop_path
        self.norm1 = nn.LayerNorm(channels)
        self.mix = nn.Linear(channels, 3 * channels)
        self.attend = Attend()
        self.out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.grow = nn.Linear(channels, 4 * channels)
        self.shrink = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, channels) → the same shape."""
        batch, tokens, channels = x.shape
        mixed = self.mix(self.norm1(x)).reshape(batch, tokens, 3, self.heads, -1)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, ·)
        attended = self.attend(query, key, value)
        x = x + self._drop_path(self.out(attended.transpose(1, 2).reshape(batch, tokens, channels)))
        return x + self._drop_path(self.shrink(F.gelu(self.grow(self.norm2(x)))))

    def _drop_path(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return x
        mask = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.drop_path
        return x * mask / (1 - self.drop_path)


class ViT(nn.Module):
    """A transformer for small images (Dosovitskiy et al., 2021), trained from scratch.

    Two strided convolutions after space to depth make one token of 8×8 pixels (Xiao et al., 2021,
    "Early convolutions help transformers see better"); position embeddings are learned; four
    registers (Darcet et al., 2024) hold global information. The mean of the image's tokens is
    classified. A token has `width` channels, one head for each 32; `drop_path` is the probability
    that the last of `depth` blocks is skipped; earlier ones less, linearly.
    """

    REGISTERS = 4

    def __init__(
        self, side: int, n_classes: int, *, width: int = 192, depth: int = 6, drop_path: float = 0.1
    ) -> None:
        super().__init__()
        self.padding = -side % 8
        self.stem = nn.Sequential(
            nn.Conv2d(12, width // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
        )
        tokens = ((side + self.padding) // 8) ** 2
        self.places = Positions(tokens, self.REGISTERS, width)
        rates = [drop_path * (i + 1) / depth for i in range(depth)]
        self.blocks = nn.Sequential(*(Attention(width, width // 32, d) for d in rates))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of normalised images (batch, 3, side, side)."""
        if self.padding:
            images = F.pad(images, (0, self.padding, 0, self.padding), mode="replicate")
        x = self.stem(F.pixel_unshuffle(images, 2))  # (batch, width, side / 8, side / 8)
        x = self.places(x.flatten(2).transpose(1, 2))
        x = self.blocks(x)[:, : -self.REGISTERS].mean(dim=1)
        logits: Tensor = self.head(self.norm(x))
        return logits


def vit(
    side: int, n_classes: int, *, width: int = 192, depth: int = 6, drop_path: float = 0.1
) -> nn.Module:
    """A `ViT`; a ConfigError is raised for a width that its heads cannot have."""
    if width % 32:
        raise ConfigError(
            f"The transformer cannot have {width} channels per token.",
            expected="a multiple of 32: one head for each 32",
            todo="set network.width",
        )
    return ViT(side, n_classes, width=width, depth=depth, drop_path=drop_path)
