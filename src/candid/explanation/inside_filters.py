"""The filters of a first layer, as pictures."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.explanation.inside_layers import evaluating, like_weights
from candid.records.inside import Filters


def first_filters(
    network: nn.Module, shape: tuple[int, int, int], *, most: int = 64
) -> tuple[Filters, NDArray[np.float32]] | None:
    """The filters of the first layer with weights, in pixels of the network's input.

    A convolution, the patch embedding of a transformer, and either of them behind a rearrangement
    of pixels give weighted sums of the picture. Their weights are the gradient of one unit with
    respect to the picture, so one way serves all of them, in whatever order the layer holds them.

    Parameters
    ----------
    network
        Any module.
    shape
        (channels, height, width) of one input.
    most
        How many filters, the longest first.

    Returns
    -------
    tuple or None
        The record, and (filters, channels, height, width) weights. None where the first layer is
        no fully connected layer or convolution, or what it computes is no weighted sum of pixels.
    """
    found = _first_layer(network, shape)
    if found is None:
        return None
    name, module = found
    count = module.out_channels if isinstance(module, nn.Conv2d) else module.out_features
    blank = torch.zeros(shape)
    # Where the layer is linear, the gradient is the same wherever it is taken.
    elsewhere = torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5
    step = 16
    blocks = [range(i, min(i + step, count)) for i in range(0, count, step)]
    probe = list(blocks[0])
    here, there = (_responses(network, module, at, probe) for at in (blank, elsewhere))
    if here is None or there is None or not torch.allclose(here, there, rtol=1e-3, atol=1e-6):
        return None
    parts = [_responses(network, module, blank, list(block)) for block in blocks]
    weights = torch.cat([part for part in parts if part is not None])  # (count, channels, H, W)
    touched = weights.abs().amax((0, 1)) > 0
    rows, columns = touched.any(1).nonzero().flatten(), touched.any(0).nonzero().flatten()
    if not len(rows):
        return None
    weights = weights[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    norms = weights.flatten(1).norm(dim=1)
    order = norms.argsort(descending=True, stable=True)[:most]
    height, width = weights.shape[2:]
    record = Filters(name, height, width, count, tuple(float(n) for n in norms[order]))
    return record, weights[order].numpy()


def _first_layer(
    network: nn.Module, shape: tuple[int, int, int]
) -> tuple[str, nn.Conv2d | nn.Linear] | None:
    """The first layer with weights that an image passes, where its weights are filters."""
    order: list[tuple[str, nn.Module]] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating(network))
        stack.enter_context(torch.no_grad())
        for name, module in network.named_modules():
            if any(True for _ in module.parameters(recurse=False)):
                hook = module.register_forward_hook(
                    lambda m, *_, name=name: order.append((name, m))
                )
                stack.callback(hook.remove)
        network(like_weights(network, torch.zeros(1, *shape)))
    for name, module in order[:1]:
        if isinstance(module, nn.Conv2d | nn.Linear):
            return name, module
    return None


def _responses(
    network: nn.Module, module: nn.Module, picture: Tensor, units: list[int]
) -> Tensor | None:
    """(units, channels, height, width): gradient of each unit, at the middle, by the picture.

    Every unit has its own copy of the picture in one batch, so one pass backwards serves all.
    """
    chosen: list[Tensor] = []

    def choose(_: nn.Module, __: Any, output: Tensor) -> None:
        own = torch.arange(len(units), device=output.device), torch.tensor(units)
        if output.ndim == 4:  # (batch, units, height, width)
            chosen.append(output[(*own, output.shape[2] // 2, output.shape[3] // 2)])
        elif output.ndim == 3:  # (batch, tokens, units); with a square of tokens, in the middle
            side = math.isqrt(output.shape[1])
            chosen.append(output[own[0], (side // 2) * side + side // 2, own[1]])
        else:
            chosen.append(output[own])

    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating(network))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.callback(module.register_forward_hook(choose).remove)
        batch = like_weights(network, picture.expand(len(units), *picture.shape).clone())
        # Filters are shown as they are, not as rounded as a caller may want the rest.
        stack.enter_context(torch.autocast(batch.device.type, enabled=False))
        batch.requires_grad_()
        network(batch)
        (gradient,) = torch.autograd.grad(chosen[0].sum(), batch, allow_unused=True)
    return None if gradient is None else gradient.float().cpu()


def filter_pictures(weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(filters, height, width, 3) uint8: each filter by its own largest weight, zero mid-grey.

    Red, green and blue are the weights of the three channels; of a single channel, all are.
    """
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    scaled = weights / np.where(largest > 0, largest, 1)
    if scaled.shape[1] != 3:
        scaled = np.repeat(scaled.mean(axis=1, keepdims=True), 3, axis=1)
    return np.rint(127.5 + 127.5 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)
