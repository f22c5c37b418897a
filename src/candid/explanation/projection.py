"""Maps of a framed image, projected to the original image.

In a run that frames, the classifier's input is warped from the square that the image was made into.
A map is one of that input, and is shown on the original image.

Coordinates are as in `candid.models.warping`: from -1 to 1 between the outer edges, y down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from candid.explanation.regions import fit_points
from candid.models.warping import inside_mask, warp
from candid.records.framing import CORNERS

Matrix = NDArray[np.float64]  # (3, 3) homography


def onto_picture(frame: NDArray[Any], width: int, height: int, fit: str) -> Matrix:
    """(3, 3) from the network's input to the original image, each from -1 to 1.

    Parameters
    ----------
    frame
        (3, 3) from the network's input to the square that the image was made into, as returned by
        `candid.models.framing.Framing.forward`.
    width, height
        Of the original image; only their ratio matters.
    fit
        How it was made a square: "stretch", "crop" or "pad".
    """
    first, last = fit_points(np.array([[0.0, 0.0], [1.0, 1.0]]), width, height, fit)
    return np.diag([*(1 / (last - first)), 1.0]) @ np.asarray(frame, np.float64)


def projected(
    maps: NDArray[np.float32], matrix: Matrix, height: int, width: int
) -> NDArray[np.float32]:
    """Maps (m, side, side) of a network's input, on an image's grid (m, height, width).

    Each pixel is the mean of four bilinear samples; outside the frame it is 0.
    """
    inverse = torch.from_numpy(np.linalg.inv(matrix)[None]).float()
    size = (2 * height, 2 * width)
    sampled = warp(torch.from_numpy(maps)[None], inverse, size) * inside_mask(inverse, size)
    return F.avg_pool2d(sampled, 2)[0].numpy()


def frame_corners(matrix: Matrix) -> NDArray[np.float64]:
    """(4, 2) corners of the network's input, x and y in shares of the image's width and height.

    Clockwise from the input's upper left.
    """
    x, y, w = matrix @ np.array(CORNERS)
    return (np.stack([x / w, y / w], 1) + 1) / 2
