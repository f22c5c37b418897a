"""The weights of a linear classifier on fixed features, brought back to where they come from.

With eigenfaces the whole way from pixels to score is linear, so there is one map for all pictures
and it is exact: each pixel's weight. Histograms of oriented gradients (HOG) are not linear in the
pixels; there the weights say how much an edge of each direction counts in each cell, and a picture
shows these as the strokes that speak for the class. Both are arrays in, arrays out: whatever fitted
the weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candid.errors import DataError

Floats = NDArray[np.float64]


def pixel_weights(weight: Floats, components: Floats, side: int) -> Floats:
    """(classes, 3, side, side): how far each class's score rises with each pixel. Exact.

    The score of features (pixels - mean) @ components.T is weight @ components @ pixels, but for a
    constant.

    Parameters
    ----------
    weight
        (classes, k), of the components.
    components
        (k, 3 · side · side), such as scikit-learn's `PCA.components_`; colours before rows.
    side
        Pixels per side.

    Raises
    ------
    DataError
        Where the shapes do not go together.
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
    where neighbouring blocks hold as much contrast as each other.

    Parameters
    ----------
    weight
        (classes, blocks² · block² · orientations), in the order of `skimage.feature.hog`.
    side
        Pixels per side of the images.
    cell, block, orientations
        Pixels per side of a cell, cells per side of a block, parts of 180 degrees.

    Raises
    ------
    DataError
        Where the shapes do not go together.
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
    the class, where it is positive, and against it, where it is negative.

    Parameters
    ----------
    cells
        (classes, cells, cells, orientations) from `cell_weights`.
    side
        Pixels per side; pixels beyond the last whole cell stay 0.
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


def on_grey(maps: Floats) -> NDArray[np.uint8]:
    """(n, side, side, 3): each map on mid-grey, brighter where it speaks for the class.

    Parameters
    ----------
    maps
        (n, side, side) or (n, 3, side, side); each is drawn by its own largest value.
    """
    coloured = maps if maps.ndim == 4 else np.repeat(maps[:, None], 3, axis=1)
    most = np.abs(coloured).max(axis=(1, 2, 3), keepdims=True)
    scaled = coloured / np.where(most > 0, most, 1.0)
    return np.round(127.5 + 127.5 * scaled.transpose(0, 2, 3, 1)).astype(np.uint8)


def _mismatch(came: str, expected: str) -> DataError:
    return DataError(
        f"The shapes do not go together: {came}.",
        expected=expected,
        todo="pass the weights of these features, and the side of these images",
    )
