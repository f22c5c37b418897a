"""Maps of a framed picture, drawn back onto the picture as it came.

A run that frames shows its classifier a square of its own finding, warped out of the square that
the picture was made into. A map belongs to what the classifier saw; a person wants to see it on the
picture that he knows.

Coordinates are as in `candid.models.warping`: from -1 to 1 between the outer edges, y down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from candid.explanation.regions import fitted
from candid.models.warping import inside_mask, warp
from candid.records.framing import CORNERS

Matrix = NDArray[np.float64]  # (3, 3) homography


def onto_picture(frame: NDArray[Any], width: int, height: int, fit: str) -> Matrix:
    """(3, 3) from what the network saw to the picture as it came, each from -1 to 1.

    Parameters
    ----------
    frame
        (3, 3) from what the network saw to the square that the picture was made into, as
        `candid.models.framing.Framing.forward` gives it.
    width, height
        Of the picture as it came; only their ratio matters.
    fit
        How it was made a square: "stretch", "crop" or "pad".
    """
    first, last = fitted(np.array([[0.0, 0.0], [1.0, 1.0]]), width, height, fit)
    return np.diag([*(1 / (last - first)), 1.0]) @ np.asarray(frame, np.float64)


def projected(
    maps: NDArray[np.float32], matrix: Matrix, height: int, width: int
) -> NDArray[np.float32]:
    """Maps (m, side, side) of what a network saw, on a picture's grid (m, height, width).

    Each pixel is the mean of four bilinear readings; what lies outside the frame is 0.
    """
    back = torch.from_numpy(np.linalg.inv(matrix)[None]).float()
    fine = (2 * height, 2 * width)
    read = warp(torch.from_numpy(maps)[None], back, fine) * inside_mask(back, fine)
    return F.avg_pool2d(read, 2)[0].numpy()


def frame_corners(matrix: Matrix) -> NDArray[np.float64]:
    """(4, 2) corners of what the network saw, x and y in shares of the picture's width and height.

    From the upper left clockwise, as the network saw it.
    """
    x, y, w = matrix @ np.array(CORNERS)
    return (np.stack([x / w, y / w], 1) + 1) / 2
