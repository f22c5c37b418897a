"""What is said of the check of all labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from candid.records import Estimate
from candid.records.label_check import DoubtedLabel, LabelCheck
from candid.text import words

_SHOWN = 5  # labels of each kind in the terminal


def notes(agreement: Estimate | None, counts: bool, people: int | None) -> Iterator[str]:
    """What a reader might not expect; `agreement` is within people, None where none is known."""
    others = "other people alone"
    if people is None:
        others = "other pictures alone, of which nobody knows whether they show the same person"
    yield (
        f"Each picture was judged by a network that learned from {others}. A mistake that "
        "annotators make again and again it has learned as well, and it will not show here."
    )
    if agreement is None:
        yield "Nobody has three labelled pictures, so that no person's pictures speak for a label."
    elif not counts:
        yield (
            f"Of pictures of people with three or more, {words.percent_interval(agreement)} are "
            "labelled like most of their person: too few to take their other pictures for "
            "a witness."
        )


def check_lines(check: LabelCheck, folder: str) -> Iterator[str]:
    """What a reader should know in a minute; `folder` is where it lies."""
    yield from check_said(check)
    yield from (f"note: {note}" for note in check.notes)
    yield f"check: {folder}"
    yield f"next:  candid review {folder}"


def check_said(check: LabelCheck) -> Iterator[str]:
    """How many labels are likely wrong, in which split, and the likeliest."""
    noise = check.noise
    yield (
        f"{check.data}: {words.images(check.n, check.people)}, every label of {check.target!r} "
        f"examined in {len(check.folds)} folds"
    )
    yield (
        f"networks that learned from others agree with {words.percent_interval(check.accuracy)} of "
        "the labels"
    )
    wrong = words.many(round(check.n * noise.rate.value), "label", "labels")
    low, high = (round(check.n * end) for end in (noise.rate.low, noise.rate.high))
    yield (
        f"confident learning takes about {wrong} for wrong "
        f"({low:,} to {high:,}): {words.percent_interval(noise.rate)}, {words.method(noise.rate)}"
    )
    where = ", ".join(
        f"{name} {check.wrong_in_split.get(name, 0):,} of {n:,}"
        for name, n in check.of_split.items()
    )
    found = check.found_by_both + check.found_by_model
    yield f"likely wrong: {words.many(found, 'label', 'labels')} ({where})"
    yield from _some(
        "the model and the person's other pictures speak against",
        check.found_by_both,
        check.by_both,
    )
    alone = "alone " if check.persons_count else ""
    yield from _some(f"the model {alone}speaks against", check.found_by_model, check.by_model)
    if check.persons_count:
        yield f"likely another person's picture: {check.found_by_person:,}"
        yield from _some(
            "the person's other pictures alone speak against",
            check.found_by_person,
            check.by_person,
        )


def _some(what: str, found: int, doubted: Sequence[DoubtedLabel]) -> Iterator[str]:
    if not found:
        return
    yield f"  {what} {found:,}:"
    yield from (f"    {_line(one)}" for one in doubted[:_SHOWN])
    if found > _SHOWN:
        yield f"    … and {found - _SHOWN:,} more"


def _line(one: DoubtedLabel) -> str:
    said = f"{one.id} ({one.split}): labelled {one.label}, the model says {one.answer} at "
    said += words.percent(one.answer_probability)
    if one.others:
        said += f", {one.agreeing:,} of {one.others:,} others of the person labelled {one.label}"
    return said
