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
    on = words.many(c.fitted_n, "picture", "pictures")
    yield f"temperature {c.temperature:.3g} on the run's own, fitted on {on}"
    for name, bias, share in zip(c.classes, c.bias, c.shares, strict=True):
        yield f"  {name}: {share.value:.1%} ({share.low:.1%} to {share.high:.1%}), bias {bias:+.3g}"
    yield f"on the {c.n:,} others, before and after:"
    for name, before in c.before.items():
        yield f"  {name}: {before.value:.4f} → {with_interval(c.after[name])}"
    for name, apart in c.differences.items():
        yield f"  {name} changes by {words.with_ends(apart, 4)}"
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


def shift_effect(less: Estimate) -> Iterator[str]:
    """That predictions are not surely nearer to the truth there, where they are not."""
    if less.high < 0:
        return
    change = f"the mean absolute error changes by {words.with_ends(less, 4)}"
    if less.low > 0:
        yield f"Shifted predictions are worse for the other pictures than the run's own: {change}."
    else:
        yield (
            "Whether shifted predictions are nearer to the truth there cannot be told from "
            f"{words.images(less.n, less.people)}: {change}."
        )


def effect(apart: Estimate) -> Iterator[str]:
    """That the new probabilities are not surely better there, where they are not."""
    if apart.high < 0:
        return
    told = f"their log loss changes by {words.with_ends(apart, 4)}"
    if apart.low > 0:
        yield f"These probabilities are worse for the other pictures than the run's own: {told}."
    else:
        yield (
            f"Whether these probabilities are better there than the run's own cannot be told from "
            f"{words.images(apart.n, apart.people)}: {told}."
        )


def absent_from_the_fit(classes: Sequence[str]) -> Iterator[str]:
    """Which classes the fit saw no picture of."""
    if classes:
        yield (
            f"No picture of the fit is labelled {words.listed([*classes], 'or')}: it knows no more "
            "of this than that it was absent."
        )


def too_few_to_promise(n: int, possible: float, total: int, target: float, by_person: bool) -> str:
    """What so few could promise at best, and how many there should be for what was asked."""
    few = words.persons(n) if by_person else words.images(n)
    of = "people with labelled pictures" if by_person else "labelled pictures"
    return (
        f"From {few} nothing below {words.percent(possible)} wrong answers can be promised, even "
        f"if none is wrong; {words.percent(target)} takes {words.count(total)} {of} of the place, "
        "two thirds of which find the threshold."
    )
