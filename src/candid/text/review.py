"""What a reviewer is told: after each choice, and in the end."""

from __future__ import annotations

from collections.abc import Iterator

from candid.records import Estimate
from candid.records.review import ReviewSummary, Why
from candid.text import words

COMES_AGAIN = "This picture comes again later; what was written about it is told then."

_WHY: dict[Why, str] = {
    "likely wrong": "The model is sure of another class than the label.",
    "person": "The label is not that of most other pictures of this person.",
    "decoy": "Nobody suspected it: it was drawn at random.",
    "copy": "The two pictures look alike.",
}
_SUSPECTED: dict[Why, str] = {
    "likely wrong": "the model is sure of another class",
    "person": "most other pictures of the person are labelled otherwise",
    "slice": "the model is wrong, in the group where it is wrong most",
}


def why(reason: Why, group: str = "") -> str:
    """What spoke against the label of a picture."""
    if reason == "slice":
        return f"The model is wrong about it, in a group where it often is: {group}."
    return _WHY[reason]


def decided(kind: str, now: str) -> str:
    """What a reviewer decided about a picture."""
    if kind == "label":
        return f"You wrote: {now}."
    return "You left it out." if kind == "leave out" else "You could not say."


def told_label(
    decision: str, label: str | None, answer: tuple[str, float] | None, because: str
) -> list[str]:
    """What annotators wrote about a picture, what the model says, and why it was shown."""
    lines = [decision, f"Annotators wrote: {label}."]
    if answer is not None:
        lines.append(f"The model says: {answer[0]}, at {words.percent(answer[1])}.")
    return [*lines, because]


def told_pair(kind: str, first: str | None, second: str | None) -> list[str]:
    """What became of a pair of pictures, and what annotators wrote about each."""
    did = "You kept both." if kind == "not the same" else "You kept one of the two."
    if first == second:
        return [did, f"Annotators wrote {first} about both."]
    return [did, f"Annotators wrote {first} about the first and {second} about the second."]


# --- the end -------------------------------------------------------------------------------------


def summary_lines(s: ReviewSummary) -> Iterator[str]:
    """What the decisions of a reviewer amount to."""
    yield f"{s.decided:,} of {s.shown:,} decided by {s.who}."
    if s.suspects.n:
        yield (
            f"Of {_labels(s.suspects.n)} under suspicion ({s.suspected:,} in all), you would write "
            f"otherwise {_share(s.suspects)}."
        )
    judged = [reason for reason in s.reasons if reason.judged]
    for reason in judged if len(judged) > 1 else ():
        yield (
            f"Where {_SUSPECTED[reason.why]}: {reason.otherwise:,} of {reason.judged:,} otherwise."
        )
    if s.decoys.n:
        yield (
            f"Of {_labels(s.decoys.n)} that nobody suspected, drawn at random, you would write "
            f"otherwise {_share(s.decoys)}."
        )
        yield (
            f"So {_share(s.labels)} of all {s.suspected + s.unsuspected:,} labels are likely not "
            "what you would write."
        )
    if s.consistency.n:
        yield (
            f"Of {s.consistency.n:,} pictures that came twice, you said the same of "
            f"{_share(s.consistency)}. The figures above hold no better than that."
        )
    if s.cannot_say or s.left_out or s.not_blind:
        yield (
            f"Not counted: {s.cannot_say:,} that you could not say, {s.left_out:,} left out, "
            f"{s.not_blind:,} decided with the label in view."
        )
    if s.copies or s.not_copies:
        yield f"Pairs: {s.copies:,} the same picture, {s.not_copies:,} not."


def _labels(count: int) -> str:
    return f"{count:,} label{'' if count == 1 else 's'}"


def _share(e: Estimate) -> str:
    ends = words.interval(e, share=True)
    return f"{words.share_of(e)} ({words.confidence(e.confidence)} {ends})"


def started_lines(url: str, shown: int, done: int, file: str) -> Iterator[str]:
    """Where the page is, and what it writes."""
    before = f", {done:,} of them decided before" if done else ""
    yield f"{shown:,} to look at{before}: {url} (Ctrl+C stops it)"
    yield f"every decision is a line in {file}"


NOTHING = "Nothing is suspected, and there is no labelled image to draw at random."
