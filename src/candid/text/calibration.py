"""What is said of a calibration for one place: what it does there, and what it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from candid.records import Estimate
from candid.records.calibration import NumberCalibration, PlaceCalibration
from candid.text import words
from candid.text.console import with_interval


def calibration_lines(c: PlaceCalibration | NumberCalibration, file: str) -> Iterator[str]:
    """What was fitted on labelled pictures of one place, and what it does there."""
    yield from _number_lines(c) if isinstance(c, NumberCalibration) else _class_lines(c)
    yield from (f"note: {note}" for note in c.notes)
    yield f"in {file}; to use it: --calibration {c.name}"


def _class_lines(c: PlaceCalibration) -> Iterator[str]:
    pictures = words.many(c.fitted_n, "picture", "pictures")
    yield f"temperature {c.temperature:.3g} on the run's own, fitted on {pictures}"
    for name, bias, share in zip(c.classes, c.bias, c.shares, strict=True):
        yield f"  {name}: {share.value:.1%} ({share.low:.1%} to {share.high:.1%}), bias {bias:+.3g}"
    yield f"on the {c.n:,} others, before and after:"
    for name, before in c.before.items():
        yield f"  {name}: {before.value:.4f} → {with_interval(c.after[name])}"
    for name, difference in c.differences.items():
        yield f"  {name} changes by {words.with_ends(difference, 4)}"
    if c.rule is None:
        yield f"no promise: {c.sentence}"
    else:
        yield f"it answers at {c.rule.threshold:.4g} and above. {c.sentence}"


def _number_lines(c: NumberCalibration) -> Iterator[str]:
    on = words.many(c.fitted_n, "picture", "pictures")
    yield f"{c.target} is shifted by {c.shift:+.3g}, the median of what was missing on {on}"
    yield f"on the {c.n:,} others, before and after:"
    for name, before in c.before.items():
        yield f"  {name}: {before.value:.4g} → {with_interval(c.after[name])}"
    mae = c.differences["mae"]
    yield f"  mae changes by {words.with_ends(mae, 4)}"
    share = words.percent(c.card.coverage)
    yield f"intervals are made to hold {share} of the true values of pictures of this place"


def shift_effect(difference: Estimate) -> Iterator[str]:
    """A warning where shifted predictions are not surely nearer to the truth."""
    figure = "the mean absolute error"
    yield from _unless_better(
        "shifted predictions", "nearer to the truth there", figure, difference
    )


def effect(difference: Estimate) -> Iterator[str]:
    """A warning where the new probabilities are not surely better."""
    figure = "their log loss"
    yield from _unless_better(
        "these probabilities", "better there than the run's own", figure, difference
    )


def _unless_better(what: str, better: str, figure: str, difference: Estimate) -> Iterator[str]:
    """A warning where a figure that is better when it is low did not surely fall."""
    change = f"{figure} changes by {words.with_ends(difference, 4)}"
    if difference.low > 0:
        yield (
            f"{what.capitalize()} are worse for the other pictures than the run's own: {change}."
        )
    elif not difference.high < 0:  # undefined, too
        yield (
            f"Whether {what} are {better} cannot be told from "
            f"{words.images(difference.n, difference.people)}: {change}."
        )


def absent_from_the_fit(classes: Sequence[str]) -> Iterator[str]:
    """Which classes are absent from the fit."""
    if classes:
        yield (
            f"No picture of the fit is labelled {words.conjoin([*classes], 'or')}: it knows no "
            "more of this than that it was absent."
        )


def too_few_to_promise(n: int, possible: float, total: int, target: float, by_person: bool) -> str:
    """What so few images can promise at best, and how many the target takes."""
    support = words.persons(n) if by_person else words.images(n)
    unit = "people with labelled pictures" if by_person else "labelled pictures"
    return (
        f"From {support} nothing below {words.percent(possible)} wrong answers can be promised, "
        f"even if none is wrong; {words.percent(target)} takes {words.count(total)} {unit} of the "
        "place, two thirds of which find the threshold."
    )
