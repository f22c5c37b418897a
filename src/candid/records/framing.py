"""What is known of the network that brings pictures to the frame of the training pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candid.records import Estimate

DETAIL = 2  # times the classifier's side that a picture is read at, as little of it may be its face

LOOK_SIDE = 48  # pixels per side at which the framing network looks, at most

# (3, 3), the frame of a picture that nothing is done to: from -1 to 1 per axis, as it came.
IDENTITY_FRAME: Final[NDArray[np.float32]] = np.eye(3, dtype=np.float32)

# (3, 4) corners of a square, from the upper left clockwise, for a homography.
CORNERS = ((-1.0, 1.0, 1.0, -1.0), (-1.0, -1.0, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0))


def upper_rows(frame: NDArray[np.floating]) -> tuple[float, ...]:
    """The first two rows of a frame (3, 3), one after the other, as records hold it."""
    return tuple(frame[:2].ravel().tolist())


def corner_distance(frame: NDArray[np.float32]) -> float:
    """How far the corners of a frame (3, 3) lie from those of the picture, in its sides, mean."""
    offsets = (frame - IDENTITY_FRAME) @ np.array(CORNERS)
    return float(np.linalg.norm(offsets[:2], axis=0).mean() / 2)


@dataclass(frozen=True, slots=True)
class CommonFrame:
    """How most of many pictures lie against the training pictures.

    Attributes
    ----------
    matrix
        The first two rows, one after the other, of the matrix (3, 3) from the frame of the training
        pictures to the pictures', where both are from -1 to 1: exactly those of the identity where
        they lie as the training pictures do.
    alike
        Whether hardly more of them than of the training pictures are far from it: then all are
        read in this frame, and none is moved on by what is found in it alone.
    far, pictures
        The share of the pictures looked at that are far from it, and how many were.
    """

    matrix: tuple[float, ...]
    alike: bool
    far: float
    pictures: int

    def start(self) -> dict[str, Any]:
        """The keyword arguments of a framing network, beside the pictures."""
        return {"start": self.square()} | ({"limit": math.inf} if self.alike else {})

    def at(self, square: NDArray[np.floating]) -> CommonFrame:
        """A copy with another matrix (3, 3)."""
        return replace(self, matrix=upper_rows(square))

    def square(self) -> NDArray[np.float32]:
        """The whole matrix (3, 3)."""
        return np.array([*self.matrix, 0, 0, 1], np.float32).reshape(3, 3)

    @property
    def at_home(self) -> bool:
        """Whether they lie as the training pictures do."""
        return self.matrix == upper_rows(IDENTITY_FRAME)

    def problem(self) -> str:
        """What no frame can be, in words; "" where all is possible."""
        if len(self.matrix) != 6 or not all(map(math.isfinite, self.matrix)):
            return f"the matrix of the frame is {self.matrix}"
        return ""


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


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """How the pictures of one of several data sets lie against those of the reference.

    Attributes
    ----------
    name
        The data set.
    pictures
        How many of its pictures were looked at.
    frame
        The frame that they have in common; None where they were too few to say. Pictures of the
        reference that are cut so look to the network that frames as these do.
    seen
        The frame in which that network finds no more in them, as it was found: where pictures lie
        far from the reference it stops short of the true one.
    measures
        Of `frame`: how many times as wide and high ("width", "height") the frame of the reference
        is as these pictures are, how far its centre lies to the right of theirs and below ("x",
        "y"), as shares of their sides, and by how many degrees it is turned ("rotation").
    """

    name: str
    pictures: int
    frame: CommonFrame | None = None
    seen: CommonFrame | None = None
    measures: dict[str, Estimate] = field(default_factory=dict)

    @property
    def moved(self) -> bool:
        """Whether its pictures are brought to the frame of the reference."""
        return self.frame is not None and not (self.frame.at_home and self.frame.alike)

    def problem(self) -> str:
        """What no frame can be, in words; "" where all is possible."""
        return next((p for f in (self.frame, self.seen) if f and (p := f.problem())), "")


@dataclass(frozen=True, slots=True)
class SourceFrames:
    """How several data sets were brought to the frame of one (`source_frames.json`).

    Attributes
    ----------
    reference
        The data set whose frame it is; "" where none has both training and validation pictures.
    card
        How the network that frames learned from its pictures alone; None where nothing did.
    framer
        A digest of its weights.
    sources
        The other data sets.
    """

    reference: str
    card: FramingCard | None = None
    framer: str = ""
    sources: tuple[SourceFrame, ...] = ()

    @property
    def moved(self) -> Mapping[str, SourceFrame]:
        """Each data set whose pictures are brought to the frame of the reference, by its name."""
        return {s.name: s for s in self.sources if s.moved}

    def problem(self) -> str:
        """What no frames can be, in words; "" where all is possible."""
        return next((p for s in self.sources if (p := s.problem())), "")
