"""What is said of the check of all labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from candid.records import Estimate
from candid.records.label_check import DoubtedLabel, LabelCheck
from candid.text import words

_MOST_LABELS = 5  # labels of each kind in the terminal


def notes(agreement: Estimate | None, counts: bool, people: int | None) -> Iterator[str]:
    """What a reader might not expect; `agreement` is within people, None where none is known."""
    source = "other people alone"
    if people is None:
        source = "other pictures alone, of which nobody knows whether they show the same person"
    yield (
        f"Each picture was judged by a network that learned from {source}. A mistake that "
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
    yield from check_sentences(check)
    yield from (f"note: {note}" for note in check.notes)
    yield f"check: {folder}"
    yield f"next:  candid review {folder}"


def check_sentences(check: LabelCheck) -> Iterator[str]:
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
    by_split = ", ".join(
        f"{name} {check.wrong_in_split.get(name, 0):,} of {n:,}"
        for name, n in check.of_split.items()
    )
    total = check.found_by_both + check.found_by_model
    yield f"likely wrong: {words.many(total, 'label', 'labels')} ({by_split})"
    yield from _doubted_lines(
        "the model and the person's other pictures speak against",
        check.found_by_both,
        check.by_both,
    )
    subject = "the model alone" if check.persons_count else "the model"
    yield from _doubted_lines(f"{subject} speaks against", check.found_by_model, check.by_model)
    if check.persons_count:
        yield f"likely another person's picture: {check.found_by_person:,}"
        yield from _doubted_lines(
            "the person's other pictures alone speak against",
            check.found_by_person,
            check.by_person,
        )


def _doubted_lines(title: str, count: int, labels: Sequence[DoubtedLabel]) -> Iterator[str]:
    if not count:
        return
    yield f"  {title} {count:,}:"
    yield from (f"    {_doubted_line(label)}" for label in labels[:_MOST_LABELS])
    if count > _MOST_LABELS:
        yield f"    … and {count - _MOST_LABELS:,} more"


def _doubted_line(d: DoubtedLabel) -> str:
    text = (
        f"{d.id} ({d.split}): labelled {d.label}, the model says {d.answer} at "
        f"{words.percent(d.answer_probability)}"
    )
    if d.others:
        text += f", {d.agreeing:,} of {d.others:,} others of the person labelled {d.label}"
    return text
