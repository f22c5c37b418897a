"""Images of weights: the filters of a first layer, and the weights of a linear classifier.

The filters of a first layer are weighted sums of pixels. With eigenfaces the score is linear in the
pixels, so one exact map holds for all images: each pixel's weight. Histograms of oriented gradients
(HOG) are not linear in the pixels; their weights are those of edges by direction and cell, drawn as
strokes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.arrays import FloatArray
from candid.errors import DataError
from candid.explanation.hidden import holds_weights, match_weights
from candid.explanation.scoring import evaluating, watching
from candid.models.features import Features
from candid.records.inside import Filters


def on_grey(weights: NDArray[Any]) -> NDArray[np.uint8]:
    """(n, height, width, 3): maps scaled by their largest weights, 0 mid-grey, above 0 brighter.

    The channels of (n, 3, height, width) are red, green and blue; maps (n, height, width) and the
    mean of other numbers of channels are grey.
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

    The units of a convolution, or of a transformer's patch embedding, also behind a rearrangement
    of pixels, are weighted sums of the image. Their weights are the gradients of the units with
    respect to the image. `shape` is that of one input (channels, height, width); the `most` filters
    with the largest norms are returned.

    Returns the record, and (filters, channels, height, width) weights; None where the first layer
    is no fully connected layer or convolution, or its units are no weighted sums of pixels.
    """
    layer = _find_first_layer(network, shape)
    if layer is None:
        return None
    name, module = layer
    count = module.out_channels if isinstance(module, nn.Conv2d) else module.out_features
    image = torch.zeros(shape)
    # The gradient of a linear layer is the same at every image.
    other_image = torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5
    step = 16
    blocks = [range(i, min(i + step, count)) for i in range(0, count, step)]
    probe = list(blocks[0])
    a, b = (_unit_gradients(network, module, at, probe) for at in (image, other_image))
    if a is None or b is None or not torch.allclose(a, b, rtol=1e-3, atol=1e-6):
        return None
    gradients = [_unit_gradients(network, module, image, list(block)) for block in blocks]
    weights = torch.cat([part for part in gradients if part is not None])  # (count, channels, H, W)
    is_used = weights.abs().amax((0, 1)) > 0
    rows, columns = is_used.any(1).nonzero().flatten(), is_used.any(0).nonzero().flatten()
    if not len(rows):
        return None
    weights = weights[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    norms = weights.flatten(1).norm(dim=1)
    order = norms.argsort(descending=True, stable=True)[:most]
    height, width = weights.shape[2:]
    record = Filters(name, height, width, count, tuple(float(n) for n in norms[order]))
    return record, weights[order].numpy()


def _find_first_layer(
    network: nn.Module, shape: Sequence[int]
) -> tuple[str, nn.Conv2d | nn.Linear] | None:
    """The first layer with weights that an image passes, if its weights are filters."""
    modules = {name: m for name, m in network.named_modules() if holds_weights(m)}
    order: list[str] = []
    with (
        evaluating(network),
        torch.no_grad(),
        watching(modules, lambda name, *_: order.append(name)),
    ):
        network(match_weights(network, torch.zeros(1, *shape)))
    layer = modules[order[0]] if order else None
    return (order[0], layer) if isinstance(layer, nn.Conv2d | nn.Linear) else None


def _unit_gradients(
    network: nn.Module, module: nn.Module, picture: Tensor, units: list[int]
) -> Tensor | None:
    """(units, channels, height, width): each unit's gradient, at the middle, by the image.

    Every unit has its copy of the image in a batch, so that one backward pass is enough.
    """
    outputs: list[Tensor] = []

    def record(_: str, __: Any, output: Tensor) -> None:
        index = torch.arange(len(units), device=output.device), torch.tensor(units)
        if output.ndim == 4:  # (batch, units, height, width)
            outputs.append(output[(*index, output.shape[2] // 2, output.shape[3] // 2)])
        elif output.ndim == 3:  # (batch, tokens, units); with a square of tokens, in the middle
            side = math.isqrt(output.shape[1])
            outputs.append(output[index[0], (side // 2) * side + side // 2, index[1]])
        else:
            outputs.append(output[index])

    with (
        evaluating(network),
        torch.inference_mode(False),
        torch.enable_grad(),
        watching({"": module}, record),
    ):
        batch = match_weights(network, picture.expand(len(units), *picture.shape).clone())
        # In full precision, whatever the caller's autocast.
        with torch.autocast(batch.device.type, enabled=False):
            network(batch.requires_grad_())
            (gradient,) = torch.autograd.grad(outputs[0].sum(), batch, allow_unused=True)
    return None if gradient is None else gradient.float().cpu()


# --- the weights of a linear classifier on fixed features ----------------------------------------


def weight_images(
    network: nn.Module, classes: Sequence[str], side: int
) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """The weights of fixed features as images, and their titles; none for other networks.

    Of two classes, the weights for the second; of more, of each against the mean of all.
    """
    if not isinstance(network, Features):
        return (), np.zeros((0, side, side, 3), np.uint8)
    weight = network.head.weight.detach().cpu().double().numpy()
    is_binary = len(classes) == 2
    weight = weight[1:] - weight[:1] if is_binary else weight - weight.mean(axis=0, keepdims=True)
    names = classes[1:] if is_binary else classes
    hog, eigenfaces = network.hog, network.eigenfaces
    n_hog = 0 if hog is None else hog.length
    titles: list[str] = []
    images: list[NDArray[np.uint8]] = []
    if hog is not None:
        options = {"cell": hog.cell, "block": hog.block, "orientations": hog.orientations}
        images.append(on_grey(strokes(cell_weights(weight[:, :n_hog], side, **options), side)))
        titles += [f"Edges that speak for “{name}”, as strokes" for name in names]
    if eigenfaces is not None:
        components = eigenfaces.weight.detach().cpu().double().numpy()
        images.append(on_grey(pixel_weights(weight[:, n_hog:], components, side)))
        titles += [f"Pixels that speak for “{name}”, by way of eigenfaces" for name in names]
    return tuple(titles), np.concatenate(images)


def pixel_weights(weight: FloatArray, components: FloatArray, side: int) -> FloatArray:
    """(classes, 3, side, side): the exact derivative of each class's score by each pixel.

    The score of features (pixels - mean) @ components.T is weight @ components @ pixels, but for a
    constant: `weight` (classes, k) of `components` (k, 3 · side · side), such as scikit-learn's
    `PCA.components_`, colours before rows. A DataError where the shapes do not go together.
    """
    if weight.ndim != 2 or components.shape != (weight.shape[1], 3 * side * side):
        raise _shape_error(
            f"weights {weight.shape} and components {components.shape} for {side} × {side} pixels",
            "(classes, k) and (k, 3 · side · side)",
        )
    return (weight @ components).reshape(len(weight), 3, side, side)


def cell_weights(
    weight: FloatArray, side: int, *, cell: int, block: int, orientations: int
) -> FloatArray:
    """(classes, cells, cells, orientations): the weight of an edge by direction and cell.

    A cell is in up to `block`² blocks and has a weight in each; its weight is their sum, which is
    exact where the blocks' normalisations, their contrasts, are equal. `weight` (classes, blocks² ·
    block² · orientations) is in the order of `skimage.feature.hog`; `cell` is in pixels, `block` in
    cells per side. A DataError where the shapes do not go together.
    """
    cells = side // cell
    blocks = cells - block + 1
    if weight.ndim != 2 or blocks < 1 or weight.shape[1] != (blocks * block) ** 2 * orientations:
        raise _shape_error(
            f"weights {weight.shape} for {side} × {side} pixels in cells of {cell}",
            f"(classes, {max(0, blocks * block) ** 2 * orientations})",
        )
    by_block = weight.reshape(len(weight), blocks, blocks, block, block, orientations)
    out = np.zeros((len(weight), cells, cells, orientations))
    for row in range(block):
        for column in range(block):
            out[:, row : row + blocks, column : column + blocks] += by_block[:, :, :, row, column]
    return out


def strokes(cells: FloatArray, side: int) -> FloatArray:
    """(classes, side, side): in each cell a stroke per direction, as bright as its weight.

    A stroke is drawn along the edge, orthogonal to its gradient. Pixels beyond the last whole cell
    are 0.
    """
    classes, count, _, orientations = cells.shape
    size = side // count
    centres = np.arange(size) + 0.5 - size / 2
    # Part k of the half circle has its middle at (k + ½) · 180° / orientations.
    angle = np.pi * (np.arange(orientations) + 0.5) / orientations
    # How far each pixel of a cell lies from the line through its middle along the edge.
    distance = (
        centres[None, :, None] * np.sin(angle)[:, None, None]
        + centres[None, None, :] * np.cos(angle)[:, None, None]
    )
    stroke = np.clip(1 - np.abs(distance), 0, 1)  # (orientations, size, size)
    drawn = np.einsum("nijk,kyx->niyjx", cells, stroke)
    out = np.zeros((classes, side, side))
    out[:, : count * size, : count * size] = drawn.reshape(classes, count * size, count * size)
    return out


def _shape_error(got: str, expected: str) -> DataError:
    return DataError(
        f"The shapes do not go together: {got}.",
        expected=expected,
        todo="pass the weights of these features, and the side of these images",
    )
