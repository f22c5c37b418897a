"""What each check of an explanation's maps found, in words."""

from __future__ import annotations

from collections.abc import Iterable

from candid.records import Estimate
from candid.text import words

NO_OTHER_METHOD = "There is no other method to compare with."
ONLY_GRADIENTS_ADD_UP = (
    "Only integrated gradients promise that a map's sum is the change of the score."
)
# The title of each check, by its code.
TITLES = {
    "RANDOMISATION": "Depends on what was learned",
    "DELETION": "Finds what the answer needs",
    "INSERTION": "Finds what is enough",
    "COMPLETENESS": "Adds up",
    "STABILITY": "Stays the same under noise",
    "AGREEMENT": "Other methods say the same",
}


def randomised(figure: Estimate, most: float) -> str:
    """How similar the maps of a randomised network are, and may be."""
    return (
        f"With every weight randomised, maps still correlate at {words.with_ends(figure, 2)} with "
        f"those of the trained network; above {most:g} a map shows the picture, not the network."
    )


def deletion_detail(
    code: str, figure: Estimate, baselines: Iterable[str], best: str, plotted: str = "probability"
) -> str:
    """How much sooner the answer falls (DELETION) or rises than in the best baseline's order.

    `plotted` is the answer's probability, a number, or the "distance" of a number from that of the
    whole picture.
    """
    action, change = ("Removing", "falls") if code == "DELETION" else ("Adding", "rises")
    subject, measure = "the answer's probability", "by an area of"
    if plotted != "probability":
        subject, measure = "the number", "by a mean on the way, in its own unit, of"
    if plotted == "distance":
        change = "moves away" if code == "DELETION" else "comes back"
    return (
        f"{action} what the map ranks first, {subject} {change} faster than in the order of the "
        f"best of three baselines ({', '.join(baselines)}) {measure} {words.with_ends(figure, 2)}: "
        f"that is {best!r}."
    )


def completeness_detail(gap: Estimate) -> str:
    """By how much the sums of maps miss what they should add up to."""
    return f"The sums of the maps miss the change of the score by {words.with_ends(gap, 2)} of it."


def under_noise(figure: Estimate, noise: float) -> str:
    """How similar maps stay under noise, a share of the image's range."""
    return (
        f"Noise of {noise:.0%} of the image's range leaves maps that correlate at "
        f"{words.with_ends(figure, 2)} with those of the image itself."
    )


def agrees(figure: Estimate, method: str, others: int) -> str:
    """How similar the map of the middle one of the other methods is."""
    return (
        f"In coarse cells, where it looks correlates at {words.with_ends(figure, 2)} with "
        f"{method}, the middle one of {others} other methods."
    )
