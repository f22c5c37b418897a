"""What a reviewer is told: after each choice, and in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from candid.records import Estimate
from candid.records.review import ReviewSummary, Why
from candid.text import words

COMES_AGAIN = "This picture comes again later; what was written about it is told then."

CAPTION_AGAIN = "Comes again later."

_WHY: dict[Why, str] = {
    "likely wrong": "The model is sure of another class than the label.",
    "person": "The label is not that of most other pictures of this person.",
    "decoy": "Nobody suspected it: it was drawn at random.",
    "copy": "The two pictures look alike.",
    "unreadable": "The file cannot be read.",
}
_SUSPECTED: dict[Why, str] = {
    "likely wrong": "the model is sure of another class",
    "person": "most other pictures of the person are labelled otherwise",
    "slice": "the model is wrong, in the group where it is wrong most",
    "strange": "the picture is unlike the training pictures",
}


def suspicion_sentence(reason: Why, group: str = "", strange: str = "") -> str:
    """What spoke against the label of a picture."""
    if reason == "strange":
        return f"The picture is {strange}."
    if reason == "slice":
        return f"The model is wrong about it, in a group where it often is: {group}."
    return _WHY[reason]


def suspicion_caption(reason: Why, strange: str = "") -> str:
    """What spoke against a label in a few words, below a picture of a page."""
    if reason == "strange":
        return f"{strange[:1].upper()}{strange[1:]}."
    return "Drawn at random." if reason == "decoy" else ""


def decision_sentence(kind: str, now: str) -> str:
    """What a reviewer decided about a picture."""
    if kind == "label":
        return f"You wrote: {now}."
    return "You left it out." if kind == "leave out" else "You could not say."


def label_feedback(
    decision: str,
    label: str | None,
    answer: tuple[str, float] | None,
    reason: str,
) -> list[str]:
    """What annotators wrote about a picture, what the model says, and why it was shown."""
    lines = [decision, f"Annotators wrote: {label}."]
    if answer is not None:
        lines.append(f"The model says: {answer[0]}, at {words.percent(answer[1])}.")
    return [*lines, reason]


def nearest_line(labels: Sequence[str]) -> str:
    """How the training pictures are labelled that are nearest to one."""
    return f"The nearest training pictures are labelled: {_tally(labels)}."


def nearest_caption(labels: Sequence[str]) -> str:
    """The labels of the nearest training pictures, below a picture of a page."""
    return f"Nearest: {_tally(labels)}."


def page_feedback(
    kind: str, now: str, decided: int, labels: Sequence[str], group: str = ""
) -> list[str]:
    """What was decided about some pictures of a page, and what annotators wrote about them."""
    pictures = words.many(decided, "picture", "pictures")
    decisions = {"label": f"You wrote {now} about {pictures}."}
    decisions["leave out"] = f"You left {pictures} out."
    lines = [decisions.get(kind, f"You could not say of {pictures}.")]
    if labels:
        lines.append(f"Annotators wrote: {_tally(labels)}.")
    if repeats := decided - len(labels):
        lines.append(
            f"{words.count(repeats)} of them {words.plural(repeats, 'comes', 'come')} again "
            "later; what was written about them is told then."
            if repeats > 1
            else "One of them comes again later; what was written about it is told then."
        )
    if group:
        lines.append(f"The model is wrong about some, in a group where it often is: {group}.")
    return lines


def caption(label: str, answer: tuple[str, float] | None, reason: str) -> str:
    """The caption of one picture of a page: its label, the answer, why it was shown."""
    parts = [f"Annotators: {label}."]
    if answer is not None:
        parts.append(f"Model: {answer[0]}, {words.percent(answer[1])}.")
    return " ".join([*parts, reason] if reason else parts)


def file_feedback(kind: str, count: int) -> list[str]:
    """What was decided about files that cannot be read."""
    files = words.many(count, "file", "files")
    return [f"You left {files} out." if kind == "leave out" else f"You kept {files}."]


def _tally(labels: Sequence[str]) -> str:
    """Each label and how often it stands there: "Female 4, Male 1"."""
    return ", ".join(f"{label} {count:,}" for label, count in Counter(labels).most_common())


def pair_feedback(kind: str, first: str | None, second: str | None) -> list[str]:
    """What became of a pair of pictures, and what annotators wrote about each."""
    sentence = "You kept both." if kind == "not the same" else "You kept one of the two."
    if first == second:
        return [sentence, f"Annotators wrote {first} about both."]
    return [sentence, f"Annotators wrote {first} about the first and {second} about the second."]


# --- the end -------------------------------------------------------------------------------------


def summary_lines(s: ReviewSummary) -> Iterator[str]:
    """What the decisions of a reviewer amount to."""
    yield f"{s.decided:,} of {s.shown:,} decided by {s.who}."
    if s.suspects.n:
        yield (
            f"Of {_count_labels(s.suspects.n)} under suspicion ({s.suspected:,} in all), you would "
            f"write otherwise {_format_share(s.suspects)}."
        )
    judged = [reason for reason in s.reasons if reason.judged]
    for reason in judged if len(judged) > 1 else ():
        yield (
            f"Where {_SUSPECTED[reason.why]}: {reason.otherwise:,} of {reason.judged:,} otherwise."
        )
    if s.decoys.n:
        yield (
            f"Of {_count_labels(s.decoys.n)} that nobody suspected, drawn at random, you would "
            f"write otherwise {_format_share(s.decoys)}."
        )
        yield (
            f"So {_format_share(s.labels)} of all {s.suspected + s.unsuspected:,} labels are "
            "likely not what you would write."
        )
    if s.consistency.n:
        pictures = words.many(s.consistency.n, "picture", "pictures")
        yield (
            f"Of {pictures} that came twice, you said the same of {_format_share(s.consistency)}. "
            "The figures above hold no better than that."
        )
    if s.cannot_say or s.left_out or s.not_blind:
        yield (
            f"Not counted: {s.cannot_say:,} that you could not say, {s.left_out:,} left out, "
            f"{s.not_blind:,} decided with the label in view."
        )
    if s.copies or s.not_copies:
        yield f"Pairs: {s.copies:,} the same picture, {s.not_copies:,} not."
    if s.files_out or s.files_kept:
        yield f"Files that cannot be read: {s.files_out:,} left out, {s.files_kept:,} kept."


def _count_labels(count: int) -> str:
    return words.many(count, "label", "labels")


def _format_share(e: Estimate) -> str:
    ends = words.interval(e, share=True)
    return f"{words.share_of(e)} ({words.confidence(e.confidence)} {ends})"


def started_lines(url: str, shown: int, done: int, file: str) -> Iterator[str]:
    """Where the page is, and what it writes."""
    earlier = f", {done:,} of them decided before" if done else ""
    yield f"{shown:,} to look at{earlier}: {url} (Ctrl+C stops it)"
    yield f"every decision is a line in {file}"


def next_line(file: str) -> str:
    """What to do with the decisions."""
    return f"next:  candid run DATA --corrections {file}"


NOTHING = "Nothing is suspected, and there is no labelled image to draw at random."
