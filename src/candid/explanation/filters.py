"""What a network's first weights look like: filters, and the weights of a linear classifier.

The filters of a first layer are weighted sums of pixels. With eigenfaces the whole way from pixels
to score is linear, so there is one map for all pictures and it is exact: each pixel's weight.
Histograms of oriented gradients (HOG) are not linear in the pixels; there the weights say how much
an edge of each direction counts in each cell, and a picture shows these as the strokes that speak
for the class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.arrays import Floats
from candid.errors import DataError
from candid.explanation.hidden import holds_weights, like_weights
from candid.explanation.scoring import evaluating, watching
from candid.models.features import Features
from candid.records.inside import Filters


def on_grey(weights: NDArray[Any]) -> NDArray[np.uint8]:
    """(n, height, width, 3): each map by its own largest weight, zero mid-grey, above 0 brighter.

    Of (n, 3, height, width) red, green and blue are the weights of the channels; of maps (n,
    height, width) and of other channels, their mean is all three.
    """
    planes = weights if weights.ndim == 4 else weights[:, None]
    largest = np.abs(planes).max(axis=(1, 2, 3), keepdims=True)
    scaled = planes / np.where(largest > 0, largest, 1)
    if scaled.shape[1] != 3:
        scaled = np.repeat(scaled.mean(axis=1, keepdims=True), 3, axis=1)
    return np.rint(127.5 + 127.5 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)


# --- the filters of a first layer ----------------------------------------------------------------


def first_filters(
    network: nn.Module, shape: Sequence[int], *, most: int = 64
) -> tuple[Filters, NDArray[np.float32]] | None:
    """The filters of the first layer with weights, in pixels of the network's input.

    A convolution, the patch embedding of a transformer, and either of them behind a rearrangement
    of pixels give weighted sums of the picture. Their weights are the gradient of one unit with
    respect to the picture, so one way serves all of them, in whatever order the layer holds them.
    `shape` is that of one input (channels, height, width); the `most` longest are kept.

    Returns the record, and (filters, channels, height, width) weights; None where the first layer
    is no fully connected layer or convolution, or what it computes is no weighted sum of pixels.
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
    network: nn.Module, shape: Sequence[int]
) -> tuple[str, nn.Conv2d | nn.Linear] | None:
    """The first layer with weights that an image passes, where its weights are filters."""
    weighted = {name: m for name, m in network.named_modules() if holds_weights(m)}
    order: list[str] = []
    with (
        evaluating(network),
        torch.no_grad(),
        watching(weighted, lambda name, *_: order.append(name)),
    ):
        network(like_weights(network, torch.zeros(1, *shape)))
    first = weighted[order[0]] if order else None
    return (order[0], first) if isinstance(first, nn.Conv2d | nn.Linear) else None


def _responses(
    network: nn.Module, module: nn.Module, picture: Tensor, units: list[int]
) -> Tensor | None:
    """(units, channels, height, width): gradient of each unit, at the middle, by the picture.

    Every unit has its own copy of the picture in one batch, so one pass backwards serves all.
    """
    chosen: list[Tensor] = []

    def choose(_: str, __: Any, output: Tensor) -> None:
        own = torch.arange(len(units), device=output.device), torch.tensor(units)
        if output.ndim == 4:  # (batch, units, height, width)
            chosen.append(output[(*own, output.shape[2] // 2, output.shape[3] // 2)])
        elif output.ndim == 3:  # (batch, tokens, units); with a square of tokens, in the middle
            side = math.isqrt(output.shape[1])
            chosen.append(output[own[0], (side // 2) * side + side // 2, own[1]])
        else:
            chosen.append(output[own])

    with (
        evaluating(network),
        torch.inference_mode(False),
        torch.enable_grad(),
        watching({"": module}, choose),
    ):
        batch = like_weights(network, picture.expand(len(units), *picture.shape).clone())
        # Filters are shown as they are, not as rounded as a caller may want the rest.
        with torch.autocast(batch.device.type, enabled=False):
            network(batch.requires_grad_())
            (gradient,) = torch.autograd.grad(chosen[0].sum(), batch, allow_unused=True)
    return None if gradient is None else gradient.float().cpu()


# --- the weights of a linear classifier on fixed features ----------------------------------------


def weight_pictures(
    network: nn.Module, classes: Sequence[str], side: int
) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """The weights behind fixed features as pictures, and what each shows; none of other networks.

    Of two classes, what speaks for the second; of more, for each against the mean of all.
    """
    if not isinstance(network, Features):
        return (), np.zeros((0, side, side, 3), np.uint8)
    weight = network.head.weight.detach().cpu().double().numpy()
    two = len(classes) == 2
    weight = weight[1:] - weight[:1] if two else weight - weight.mean(axis=0, keepdims=True)
    named = classes[1:] if two else classes
    hog, eigenfaces = network.hog, network.eigenfaces
    length = 0 if hog is None else hog.length
    titles: list[str] = []
    pictures: list[NDArray[np.uint8]] = []
    if hog is not None:
        how = {"cell": hog.cell, "block": hog.block, "orientations": hog.orientations}
        pictures.append(on_grey(strokes(cell_weights(weight[:, :length], side, **how), side)))
        titles += [f"Edges that speak for “{name}”, as strokes" for name in named]
    if eigenfaces is not None:
        components = eigenfaces.weight.detach().cpu().double().numpy()
        pictures.append(on_grey(pixel_weights(weight[:, length:], components, side)))
        titles += [f"Pixels that speak for “{name}”, by way of eigenfaces" for name in named]
    return tuple(titles), np.concatenate(pictures)


def pixel_weights(weight: Floats, components: Floats, side: int) -> Floats:
    """(classes, 3, side, side): how far each class's score rises with each pixel. Exact.

    The score of features (pixels - mean) @ components.T is weight @ components @ pixels, but for a
    constant: `weight` (classes, k) of `components` (k, 3 · side · side), such as scikit-learn's
    `PCA.components_`, colours before rows. A DataError where the shapes do not go together.
    """
    if weight.ndim != 2 or components.shape != (weight.shape[1], 3 * side * side):
        raise _mismatch(
            f"weights {weight.shape} and components {components.shape} for {side} × {side} pixels",
            "(classes, k) and (k, 3 · side · side)",
        )
    return (weight @ components).reshape(len(weight), 3, side, side)


def cell_weights(weight: Floats, side: int, *, cell: int, block: int, orientations: int) -> Floats:
    """(classes, cells, cells, orientations): how much an edge of each direction counts, and where.

    A cell is in up to `block`² blocks and has a weight in each; what it adds to the score is the
    sum over them, were each block's normalisation the same. That is the approximation: it is exact
    where neighbouring blocks hold as much contrast as each other. `weight` (classes, blocks² ·
    block² · orientations) is in the order of `skimage.feature.hog`; `cell` is in pixels, `block` in
    cells per side. A DataError where the shapes do not go together.
    """
    cells = side // cell
    blocks = cells - block + 1
    if weight.ndim != 2 or blocks < 1 or weight.shape[1] != (blocks * block) ** 2 * orientations:
        raise _mismatch(
            f"weights {weight.shape} for {side} × {side} pixels in cells of {cell}",
            f"(classes, {max(0, blocks * block) ** 2 * orientations})",
        )
    each = weight.reshape(len(weight), blocks, blocks, block, block, orientations)
    out = np.zeros((len(weight), cells, cells, orientations))
    for row in range(block):
        for column in range(block):
            out[:, row : row + blocks, column : column + blocks] += each[:, :, :, row, column]
    return out


def strokes(cells: Floats, side: int) -> Floats:
    """(classes, side, side): in each cell the edges of each direction, as bright as their weight.

    An edge is drawn along itself, at right angles to its gradient: the picture that speaks most for
    the class, where it is positive, and against it, where it is negative. Pixels beyond the last
    whole cell stay 0.
    """
    classes, count, _, orientations = cells.shape
    size = side // count
    at = np.arange(size) + 0.5 - size / 2
    # Part k of the half circle has its middle at (k + ½) · 180° / orientations.
    angle = np.pi * (np.arange(orientations) + 0.5) / orientations
    # How far each pixel of a cell lies from the line through its middle along the edge.
    off = (
        at[None, :, None] * np.sin(angle)[:, None, None]
        + at[None, None, :] * np.cos(angle)[:, None, None]
    )
    stroke = np.clip(1 - np.abs(off), 0, 1)  # (orientations, size, size)
    drawn = np.einsum("nijk,kyx->niyjx", cells, stroke)
    out = np.zeros((classes, side, side))
    out[:, : count * size, : count * size] = drawn.reshape(classes, count * size, count * size)
    return out


def _mismatch(came: str, expected: str) -> DataError:
    return DataError(
        f"The shapes do not go together: {came}.",
        expected=expected,
        todo="pass the weights of these features, and the side of these images",
    )
