"""What is known of the network that brings pictures to the frame of the training pictures."""

from __future__ import annotations

from dataclasses import dataclass

from candid.records import Estimate

DETAIL = 2  # times the classifier's side that a picture is read at, as little of it may be its face


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
