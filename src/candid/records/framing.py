"""What is known of the network that brings pictures to the frame of the training pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candid.records import Estimate

DETAIL = 2  # times the classifier's side that a picture is read at, as little of it may be its face

# (3, 3), the frame of a picture that nothing is done to: from -1 to 1 per axis, as it came.
AS_IT_CAME: Final[NDArray[np.float32]] = np.eye(3, dtype=np.float32)

# (3, 4) corners of a square, from the upper left clockwise, for a homography.
CORNERS = ((-1.0, 1.0, 1.0, -1.0), (-1.0, -1.0, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0))


def corner_distance(frame: NDArray[np.float32]) -> float:
    """How far the corners of a frame (3, 3) lie from those of the picture, in its sides, mean."""
    off = (frame - AS_IT_CAME) @ np.array(CORNERS)
    return float(np.linalg.norm(off[:2], axis=0).mean() / 2)


def to_values(frame: NDArray[np.float32] | None) -> tuple[float, ...]:
    """A frame (3, 3) as the six numbers that decide it, row by row; () for None."""
    return () if frame is None else tuple(frame[:2].ravel().tolist())


def lies_otherwise(values: tuple[float, ...]) -> bool:
    """Whether pictures with this frame in common lie otherwise than the training pictures."""
    return values not in ((), to_values(AS_IT_CAME))


def from_values(values: tuple[float, ...]) -> NDArray[np.float32] | None:
    """The frame that `to_values` gave."""
    if not values:
        return None
    return np.array([*values, 0, 0, 1], np.float32).reshape(3, 3)


@dataclass(frozen=True, slots=True)
class FramingCard:
    """How a framing network was made, and how well it undoes warps (`framing.json`).

    Attributes
    ----------
    steps, side, width, looks, parameters
        Batches that it was trained on, pixels per side of what comes out, channels of its first
        stage, how often it looks, and how many weights it has.
    validation
        Validation pictures that it was measured on, each warped once at random.
    before, after
        How far a frame's corners lie from where they belong, as a share of the side: the median
        over those pictures as they were warped, and once framed.
    nearer
        Share of them that lie less than half as far off once framed.
    untouched
        Share of them, not warped, that are left as they are.
    used
        Whether it is used: not where it brings pictures hardly nearer.
    """

    steps: int
    side: int
    width: int
    looks: int
    parameters: int
    validation: int
    before: float
    after: float
    nearer: Estimate
    untouched: Estimate
    used: bool
