"""Why a picture gets no prediction, and what is known of the look of pictures."""

from __future__ import annotations

import math
from typing import Literal

from candid.records import Estimate
from candid.records.framing import CommonFrame
from candid.text import words

# Why there is no prediction, without figures: by these rows are counted.
Reason = Literal["no face found", "unlike the training data", "not sure"]
NO_FACE: Reason = "no face found"
UNLIKE: Reason = "unlike the training data"
NOT_SURE: Reason = "not sure"


def not_sure(reason: str) -> str:
    """Where the model is not sure enough, for a table."""
    return f"{NOT_SURE}: {reason}"


def below_threshold(threshold: float) -> str:
    """Why the model is not sure enough."""
    return f"the highest probability is below {threshold:.4g}"


# --- what does not look like the training pictures -----------------------------------------------

ANOTHER_KIND = f"{UNLIKE}: another kind of picture"
NO_CONTRAST = f"{UNLIKE}: hardly any contrast"
NO_FRAME = f"{UNLIKE}: no frame found in which it looks like it"


def another_shape(width: float, height: float) -> str:
    """Where a picture's sides stand in another proportion."""
    return f"{UNLIKE}: another shape ({width:.0f} × {height:.0f})"


def too_small(width: float, height: float) -> str:
    """Where a picture has too few pixels."""
    return f"{UNLIKE}: too small ({width:.0f} × {height:.0f})"


def common_frame_clause(frame: CommonFrame) -> str:
    """The frame that most of the pictures have in common."""
    a, b, x, c, d, y = frame.matrix
    shows = 1 / math.sqrt(abs(a * d - b * c))
    moved, turned = math.hypot(x, y) / 2, math.degrees(math.atan2(c - b, a + d))
    return (
        f"most of these pictures show {shows:.2f} times as much to a side as the training pictures "
        f"do, moved by {moved:.0%} of it and turned by {words.number(turned, 0)}°"
    )


def perhaps_photographs(unlike: int, answers: int) -> str:
    """What to do where most pictures are unlike the training data; "" where most are not.

    To be said where nobody looked for faces in them.
    """
    if 2 * unlike <= answers:
        return ""
    return "if these are photographs rather than crops of one face, --crop looks for the faces"


def framed_from(frame: CommonFrame | None) -> str:
    """How many pictures were framed, for a summary; "" where each was by itself."""
    if frame is None:
        return ""
    position = "most of these pictures lie as the training pictures do"
    if not frame.at_home:
        position = common_frame_clause(frame)
    return f"framing: {position}{framing_clause(frame)}"


def framing_clause(frame: CommonFrame) -> str:
    """How pictures with a common frame were aligned, to stand after it."""
    note = f"{frame.far:.0%} of {frame.pictures:,} looked at lie otherwise than most"
    if frame.alike:
        return f", and all were read so ({note})"
    return f"; each was framed by itself from there ({note})"


def look_check(false_alarms: float, limit: float, checked: int, power: Estimate) -> str:
    """What a check of the look promises and what it does, to stand after "predict".

    Parameters
    ----------
    false_alarms, checked, limit
        The share of pictures like so many validation pictures that is flagged at most, and the
        distance above which they are; infinite where there were too few.
    power
        The share of displaced validation pictures that is caught.
    """
    if not math.isfinite(limit):
        pictures = words.many(checked, "validation picture is", "validation pictures are")
        return (
            f"checks shapes alone: {pictures} too few to say "
            f"what is far at {false_alarms:.1%} false alarms"
        )
    return (
        f"flags at most {false_alarms:.1%} of pictures like the {checked:,} "
        f"validation pictures, and {power.value:.1%} ({power.low:.1%} to {power.high:.1%}) of "
        f"{power.n:,} of them that were turned, shifted, zoomed, cut up, blurred, inverted or noisy"
    )
