"""The verdict on a training curve in words."""

from __future__ import annotations

RULE = (
    "On the validation loss of every evaluation. Fewer than 8: too short. A loss that is not a "
    "number: unsteady. Overfitting: the mean of the last 3 lies above the lowest mean of 3 in a "
    "row by more than 4 standard errors and 2%, while the training loss did not rise with it (else "
    "unsteady). Still falling: a straight line through the last third (at least 5) falls by more "
    "than 2%, and by more than Student's t allows a level curve in 97.5% of cases. Otherwise "
    "unsteady where they scatter about that line by more than 10% of the loss, else settled."
)
BROKE_DOWN = "The loss ceased to be a number: training broke down."


def too_short(evaluations: int) -> str:
    """Where there are too few evaluations."""
    return f"With {evaluations} evaluations on validation nothing can be said about a trend."


def still_falling(fall: float, ends: tuple[float, float], tail: int, n: int) -> str:
    """Where the last `tail` of n evaluations fell by a share of the loss, with its interval."""
    return (
        f"The validation loss still fell by {fall:.0%} (95% interval {ends[0]:.0%} to "
        f"{ends[1]:.0%}) over the last {tail} of {n} evaluations: longer training would probably "
        "help."
    )


def settled(fall: float, ends: tuple[float, float], tail: int, n: int) -> str:
    """Where they neither fell nor rose."""
    return (
        f"The validation loss no longer changes by more than its noise over the last {tail} of "
        f"{n} evaluations ({-fall:+.1%}, 95% interval {-ends[1]:+.1%} to {-ends[0]:+.1%})."
    )


def jumps(scatter: float) -> str:
    """Where the loss scatters by a share of itself."""
    return (
        f"The validation loss jumps by {scatter:.0%} from one evaluation to the next: "
        "too much to tell a trend."
    )


def both_rose(step: float) -> str:
    """Where the training loss rose as well, from a step on."""
    return (
        f"Training and validation loss both rose after step {step:.0f}: training "
        "came off its path; a smaller learning rate may help."
    )


def overfitted(rise: float, step: float) -> str:
    """Where only the validation loss rose, from a step on."""
    return (
        f"The validation loss ends {rise:.0%} above its best, around step {step:.0f}, and the "
        "training loss did not rise: the network began to learn its training images by heart."
    )
