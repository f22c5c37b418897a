"""A network's last linear layer: found by what it gives, read before it, and put in anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.models.forward import Images, forward
from candid.progress import track

_BATCH = 256  # images at a time


def find_last_layer(network: nn.Module, image: Tensor) -> nn.Linear | None:
    """The linear layer, with a bias, whose output is the network's own; None where there is none.

    `image` is one normalised image (1, 3, side, side); the network is in evaluation mode.
    """
    seen: list[tuple[nn.Module, Tensor]] = []
    linear = [m for m in network.modules() if isinstance(m, nn.Linear) and m.bias is not None]
    hooks = [m.register_forward_hook(lambda m, _, out: seen.append((m, out))) for m in linear]
    try:
        with torch.no_grad():
            out = network(image)
    finally:
        for hook in hooks:
            hook.remove()
    same = [m for m, given in seen if given.shape == out.shape and torch.equal(given, out)]
    last = same[-1] if same else None
    return last if isinstance(last, nn.Linear) else None


@contextmanager
def _taken(layer: nn.Linear) -> Iterator[list[Tensor]]:
    """What the layer is given meanwhile."""
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].float()))
    try:
        yield seen
    finally:
        hook.remove()


@torch.no_grad()
def last_features(
    network: nn.Module,
    layer: nn.Linear,
    images: Images,
    rows: NDArray[np.intp],
    *,
    device: torch.device,
    bfloat16: bool,
    flip_tta: bool,
    quiet: bool = True,
) -> NDArray[np.float32]:
    """(rows, features) what the last layer takes, with `flip_tta` the mean with the mirror image.

    The layer is linear, so that of this mean it gives the mean of the logits.
    """
    chunks = [rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH)]
    parts = []
    with _taken(layer) as seen:
        for chunk in track(chunks, "features", unit="batches", quiet=quiet):
            batch = images.batch(chunk, device)
            for turned in (batch, batch.flip(3)) if flip_tta else (batch,):
                forward(network, turned, bfloat16)
            parts.append(torch.stack(seen).mean(dim=0).cpu().numpy())
            seen.clear()
    return np.concatenate(parts) if parts else np.zeros((0, layer.in_features), np.float32)


def set_last_layer(
    layer: nn.Linear, weight: NDArray[Any], bias: NDArray[Any], scale: float
) -> None:
    """Make a layer that gives z of x give scale · z + weight x + bias.

    `weight` is (classes, features), or (classes, 0) where it changes nothing.
    """
    own = layer.weight.detach().double().cpu().numpy()
    offset = layer.bias.detach().double().cpu().numpy()
    new = scale * own
    if weight.shape[1]:
        new = new + weight
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(new))
        layer.bias.copy_(torch.from_numpy(scale * offset + bias))
