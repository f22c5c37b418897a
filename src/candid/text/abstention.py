"""The sentences of abstention: promises, what came of them, and notes."""

from __future__ import annotations

from candid.records.abstention import GroupAbstention, GroupKind
from candid.text import words

NOT_VERIFIED = (
    "There are no labelled images in test, so no promise was measured. Validation chose "
    "thresholds, weights and temperature, so its own answers are right too often."
)
KEPT_BEST = (
    "Validation also chose the weights that were kept, so its answers are right a little "
    "too often, and the promise is a little too good; test shows by how much."
)


def abstention_guarantee(
    kind: GroupKind, attribute: str, value: str, target: float, confidence: float, by_person: bool
) -> str:
    """What a threshold promises, and what that assumes."""
    whom = {
        "all": "",
        "label": f" to images labelled {value}",
        "answer": f" that say {value}",
        "group": f" to images annotated {attribute}: {value}",
    }[kind]
    assumption = (
        "for a new person and one of their images, if people come as those in the calibration did"
        if by_person
        else "if images are independent and come as those in the calibration did"
    )
    return (
        f"With a probability of {confidence:.0%}, at most {100 * target:.3g}% of the answers{whom} "
        f"are wrong, {assumption}, and if less sure answers are wrong no less often."
    )


def conformal_guarantee(target: float, by_person: bool) -> str:
    """What prediction sets promise."""
    source, unit = ("a new person's", "people") if by_person else ("a new", "images")
    return (
        f"The set holds the label of {source} image with a probability of at least "
        f"{1 - target:.3g}, on average over draws of the calibration images, if "
        f"{unit} come as those in the calibration did. This says nothing of the error among sets "
        "of one class."
    )


def no_promise(target: float, n: int, needed: int, surest: int, by_person: bool) -> str:
    """Why there is no threshold; `surest`: how many answers the first test takes, 0 for none."""
    start = f"At most {100 * target:.3g}% wrong answers cannot be promised"
    if not surest:
        support = words.persons(n) if by_person else words.images(n)
        return f"{start} from {support}: that takes {needed:,} at the least."
    unit = "people" if by_person else "images"
    return (
        f"{start}: among the surest {surest:,} answers to {n:,} {unit} there are too many "
        f"mistakes, or there are too few {unit} to tell."
    )


def not_measured(target: float, threshold: float) -> str:
    """A threshold, where nothing is left to measure it on."""
    rule = f"where the probability is at least {threshold:.4g}" if threshold > 0 else "every image"
    return (
        f"For at most {100 * target:.3g}% wrong answers it answers {rule}. How many of these "
        "answers are wrong was not measured: there are no labelled images in test, and the "
        "threshold was found on validation."
    )


def promise_kept(target: float, everyone: GroupAbstention, least: GroupAbstention | None) -> str:
    """What a threshold does to all images, and to the group that it answers least."""
    sentence = (
        f"For at most {100 * target:.3g}% wrong answers it answers "
        f"{words.percent_interval(everyone.coverage)} of the images; of these answers "
        f"{words.percent_interval(everyone.error)} are wrong"
    )
    if least is None:
        return sentence + "."
    return (
        f"{sentence}. Of those annotated {least.attribute}: {least.value} it answers "
        f"{words.percent_interval(least.coverage)}, the least of all groups that are large enough "
        "to tell."
    )


# --- notes ---------------------------------------------------------------------------------------


def halved_test(calibrated_on: str, verified_on: str) -> str:
    """Where validation has no labels."""
    return (
        f"Thresholds were found on {calibrated_on} and verified on {verified_on}, as there are no "
        "labelled images in validation."
    )


def one_of_each(images: int, people: int | None) -> str:
    """What counts where people are known, and where they are not."""
    if people is None:
        return "Nobody knows who is in the images: the promises take each for another person's."
    return (
        f"Of the {images:,} calibration images one of each of {people:,} people counts, drawn at "
        "random: the images of one person are not independent."
    )


def each_by_itself(confidence: float) -> str:
    """Where there are several promises."""
    return (
        f"Each promise holds with a probability of {confidence:.0%} by itself, not all of them "
        "together; so do those of groups."
    )
