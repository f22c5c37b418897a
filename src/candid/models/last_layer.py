"""A network's last linear layer: identified by its output, its inputs read, its weights set."""

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
    outputs: list[tuple[nn.Module, Tensor]] = []
    linear = [m for m in network.modules() if isinstance(m, nn.Linear) and m.bias is not None]
    hooks = [m.register_forward_hook(lambda m, _, out: outputs.append((m, out))) for m in linear]
    try:
        with torch.no_grad():
            out = network(image)
    finally:
        for hook in hooks:
            hook.remove()
    matches = [m for m, output in outputs if output.shape == out.shape and torch.equal(output, out)]
    last = matches[-1] if matches else None
    return last if isinstance(last, nn.Linear) else None


@contextmanager
def _capture_inputs(layer: nn.Linear) -> Iterator[list[Tensor]]:
    """Collect the layer's inputs inside the block."""
    inputs: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0].float()))
    try:
        yield inputs
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
    """(rows, features) inputs of the last layer, with `flip_tta` the mean with the mirror image.

    The layer is linear, so its output for this mean is the mean of the logits.
    """
    chunks = [rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH)]
    features = []
    with _capture_inputs(layer) as inputs:
        for chunk in track(chunks, "features", unit="batches", quiet=quiet):
            batch = images.batch(chunk, device)
            for view in (batch, batch.flip(3)) if flip_tta else (batch,):
                forward(network, view, bfloat16)
            features.append(torch.stack(inputs).mean(dim=0).cpu().numpy())
            inputs.clear()
    return np.concatenate(features) if features else np.zeros((0, layer.in_features), np.float32)


def set_last_layer(
    layer: nn.Linear, weight: NDArray[Any], bias: NDArray[Any], scale: float
) -> None:
    """Change a layer's output from z to scale · z + weight x + bias, for inputs x.

    `weight` is (classes, features), or (classes, 0) where it changes nothing.
    """
    old_weight = layer.weight.detach().double().cpu().numpy()
    old_bias = layer.bias.detach().double().cpu().numpy()
    new_weight = scale * old_weight
    if weight.shape[1]:
        new_weight = new_weight + weight
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(new_weight))
        layer.bias.copy_(torch.from_numpy(scale * old_bias + bias))
