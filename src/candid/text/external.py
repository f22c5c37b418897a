"""What the report says of pictures from elsewhere, in sentences and rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from candid.records import Estimate
from candid.records.external import (
    AskedPictures,
    ExternalFigures,
    ExternalSource,
    PromiseCheck,
    Transfer,
)
from candid.records.framing import FramingCard, SourceFrame, SourceFrames
from candid.text import words
from candid.text.labelling import common_frame_clause, framing_clause
from candid.text.stories import stories_of, story_line

HOME = "its own test images"
COMMAND = "candid evaluate RUN DATA"
NOBODY_LOOKED = (
    "Nobody looked: nothing was measured on pictures from another place, with other cameras, crops "
    f"and people, where a model usually does worse. {COMMAND} does it, with labelled pictures in "
    "any layout."
)
_MOST_GROUPS = 2  # stories of a source that are told


@dataclass(frozen=True)
class PlaceRow:
    """One line of the table: a data set, and how the model does on it."""

    name: str
    figures: ExternalFigures
    difference: Estimate | None

    @property
    def accuracy(self) -> Estimate:
        """Of the model there."""
        return self.figures.evaluation.metrics["accuracy"]


def place_rows(transfer: Transfer) -> list[PlaceRow]:
    """The run's own test images, then every source."""
    rows = [PlaceRow(s.name, s.figures, s.differences.get("accuracy")) for s in transfer.sources]
    return rows if transfer.home is None else [PlaceRow(HOME, transfer.home, None), *rows]


HEAD = (
    *("Pictures", "n", "Accuracy", "Weighted F1", "Accuracy less home, points"),
    *("Mean confidence", "Flagged", "Answered", "Wrong among the answers", "Promise"),
)


def cells(row: PlaceRow) -> list[str]:
    """The row as text under `HEAD`."""
    f, e = row.figures, row.figures.evaluation
    return [
        row.name,
        words.count(e.n) + words.of_people(e.people),
        words.share_with_ends(row.accuracy),
        words.with_ends(e.metrics["weighted_f1"]),
        "–" if row.difference is None else words.points_with_ends(row.difference),
        words.share_of(f.confidence),
        "–" if math.isnan(f.flagged.value) else words.share_with_ends(f.flagged),
        words.share_of(f.coverage),
        words.share_with_ends(f.wrong),
        promise_cell(f.promise),
    ]


def promise_cell(check: PromiseCheck | None) -> str:
    """The promise and its state, for a cell."""
    if check is None:
        return "none made"
    return f"at most {words.percent(check.target_error)}: {check.state}"


def transfer_sentences(transfer: Transfer | None) -> list[str]:
    """How the model does on every source, in short sentences."""
    if transfer is None or not transfer.sources:
        return [NOBODY_LOOKED]
    return [sentence for source in transfer.sources for sentence in source_sentences(source)]


def framing_sentences(card: FramingCard | None) -> list[str]:
    """How pictures that are framed unlike the training pictures are aligned, and how well."""
    if card is None:
        return []
    error = _warp_accuracy(card)
    if not card.used:
        return [
            "Pictures are taken as they come: the network that should bring them to the frame of "
            f"the training pictures did not learn to ({error})."
        ]
    return [
        "A picture that shows more of a person or less, or lies otherwise than the training "
        f"pictures, is brought to their frame first ({error}). Of the validation pictures as they "
        f"are, {words.share_with_ends(card.untouched)} are left as they are."
    ]


def _warp_accuracy(card: FramingCard) -> str:
    """How well a framing network undoes warps."""
    return (
        f"measured on {words.images(card.validation)} of validation, each warped at random: the "
        f"corners of the frame were off by {words.percent(card.before)} of the picture’s side "
        f"(median) and once framed by {words.percent(card.after)}"
    )


def alignment_sentences(frames: SourceFrames | None) -> list[str]:
    """How data sets with frames of their own were aligned."""
    if frames is None:
        return []
    if frames.card is None:
        return [
            "The pictures of every data set stayed as they came: none has both training and "
            "validation pictures to learn a frame from."
        ]
    if not frames.card.used:
        return [
            "The pictures of every data set stayed as they came: the network that should bring "
            f"them to the frame of “{frames.reference}” did not learn to "
            f"({_warp_accuracy(frames.card)})."
        ]
    return [
        f"The pictures of the other data sets were held against those of “{frames.reference}” "
        "before anything was trained, by a network that learned from these alone "
        f"({_warp_accuracy(frames.card)}).",
        *(_source_frame_sentence(source, frames.reference) for source in frames.sources),
    ]


def _source_frame_sentence(source: SourceFrame, reference: str) -> str:
    """How the pictures of one data set are framed, and whether they were aligned."""
    frame, m = source.frame, source.measures
    if frame is None:
        images = words.images(source.pictures)
        return (
            f"“{source.name}”: as it came, since {images} are too few to say how most of them lie."
        )
    width = m["width"]
    x, y = (words.points_with_ends(m[axis]) for axis in ("x", "y"))
    position = (
        f"the frame of “{reference}” is {_format_ratio(m['width'])} times as wide and "
        f"{_format_ratio(m['height'])} times as high as its pictures, with its centre at {x} and "
        f"{y} hundredths of their sides from theirs to the right and below, turned by "
        f"{words.number(m['rotation'].value, 1)}° ({words.interval(m['rotation'], 1)}; "
        f"{words.method(width)}, {words.support(width)} that lie so, of "
        f"{words.count(source.pictures)} looked at; what the network itself errs by comes on top)"
    )
    if not source.moved:
        return (
            f"“{source.name}”: as it came, since most of it lies as “{reference}” does: {position}."
        )
    return f"“{source.name}”: {position}{framing_clause(frame)}."


def _format_ratio(e: Estimate) -> str:
    return f"{words.number(e.value, 2)} ({words.interval(e, 2)})"


def source_sentences(source: ExternalSource) -> list[str]:
    """One source: accuracy, difference from home, confidence, flags, and the promise."""
    figures = source.figures
    accuracy = figures.evaluation.metrics["accuracy"]
    only, home = figures.evaluation.only_class, HOME
    split = f" ({source.split})" if source.split else ""
    images = words.images(figures.evaluation.n, figures.evaluation.people)
    if only is not None:
        images += f", all labelled {only.name}"
        home = f"those labelled {only.name} of {HOME}"
    difference = source.differences.get("accuracy" if only is None else "recall")
    return [
        f"{source.name}{split}: right in {words.share_with_ends(accuracy)} of {images}"
        f"{_difference_clause(difference, home)}.",
        *([] if only is None else [only_class_sentence(only.name)]),
        *_confidence_sentences(figures),
        *_flagged_sentences(figures),
        *promise_sentences(figures),
        *uncounted_sentences(source),
        *_group_sentences(source),
        *frame_sentences(source),
        *source.notes,
    ]


def only_class_sentence(name: str) -> str:
    """What is undefined where all images are labelled with one class."""
    return (
        f"That is the recall of {name} alone: what needs pictures with another label, such as ROC "
        "AUC and the recall of the other classes, is undefined there."
    )


def promise_sentences(figures: ExternalFigures) -> list[str]:
    """Whether the promise of few wrong answers was kept."""
    sentence = (
        f"It answered {words.share_of(figures.coverage)}, and "
        f"{words.share_with_ends(figures.wrong)} of these answers are wrong"
    )
    check = figures.promise
    if check is None:
        return [f"{sentence}; nothing was promised of them."]
    units = "people with an answer, one picture of each" if check.by_person else "answers"
    bound = {
        "broken": f"at least {words.percent(check.low)}",
        "kept": f"at most {words.percent(check.high)}",
        "too few to say": f"between {words.percent(check.low)} and {words.percent(check.high)}",
    }[check.state]
    verdict = {
        "broken": "is broken here",
        "kept": "is kept here",
        "too few to say": "can be neither confirmed nor refuted with so few",
    }[check.state]
    return [
        f"{sentence}. The promise that at most {words.percent(check.target_error)} are, made for "
        f"pictures like the validation images, {verdict}: {words.count(check.mistakes)} mistakes "
        f"among {words.count(check.n)} {units}, {bound} by an exact one-sided "
        f"{100 * check.confidence:g}% bound."
    ]


def _confidence_sentences(figures: ExternalFigures) -> list[str]:
    over, sure = figures.overconfidence, words.share_of(figures.confidence)
    if math.isnan(over.value):
        return []
    verdict = "neither too sure of itself nor too little, as far as this tells"
    if over.low > 0:
        verdict = "too sure of itself"
    elif over.high < 0:
        verdict = "less sure of itself than it might be"
    side = "below" if over.value < 0 else "above"
    return [
        f"Its mean confidence is {sure}: {verdict} ({words.size_in_points(over)} points {side} its "
        f"accuracy; {words.points_interval(over)})."
    ]


def _flagged_sentences(figures: ExternalFigures) -> list[str]:
    e, flagged, rest = figures.flagged, figures.flagged_accuracy, figures.unflagged_accuracy
    if math.isnan(e.value):
        return []
    sentence = f"It called {words.share_with_ends(e)} unlike its training data"
    if not flagged.n or not rest.n:
        return [f"{sentence}."]
    return [
        f"{sentence}; it is right in {words.share_with_ends(flagged)} of those "
        f"(n = {words.count(flagged.n)}) and in {words.share_with_ends(rest)} of the others "
        f"(n = {words.count(rest.n)})."
    ]


def uncounted_sentences(source: AskedPictures) -> list[str]:
    """Which pictures are in no figure, if any are not."""
    reasons = []
    if source.no_face:
        reasons.append(
            f"no face was found in {words.count(source.no_face)} of {words.count(source.pictures)}"
        )
    if source.unread_count:
        reasons.append(f"{words.count(source.unread_count)} could not be read")
    return [f"Not counted: {words.conjoin(reasons)}."] if reasons else []


def frame_sentences(source: AskedPictures) -> list[str]:
    """How most of the pictures are framed, where that is not as at home."""
    frame = source.frame
    if frame is None or frame.at_home:
        return []
    sentence = common_frame_clause(frame)
    return [f"{sentence[0].upper()}{sentence[1:]}{framing_clause(frame)}."]


def _group_sentences(source: ExternalSource) -> list[str]:
    if source.audit is None:
        return []
    return [story_line(source.audit, s) for s in stories_of(source.audit)[:_MOST_GROUPS]]


def _difference_clause(e: Estimate | None, home: str) -> str:
    """The difference from home, for a sentence's end; "" where it is undefined."""
    if e is None or math.isnan(e.value):
        return ""
    ends = words.points_interval(e)
    if e.high < 0:
        return f", {words.size_in_points(e)} points less than on {home} ({ends})"
    if e.low > 0:
        return f", {words.hundredths_of(e)} points more than on {home} ({ends})"
    return f", not surely another share than on {home} ({ends} points)"


def interval_methods(transfer: Transfer) -> list[str]:
    """How the intervals were computed, each method once."""
    texts = [words.method(r.accuracy) for r in place_rows(transfer)]
    texts += [words.method(r.difference) for r in place_rows(transfer) if r.difference is not None]
    return list(dict.fromkeys(texts))


def tried_sources(transfer: Transfer | None) -> str:
    """Which sources it was measured on, for a sentence's end; "" where there are none."""
    sources = () if transfer is None else transfer.sources
    names = [f"“{s.name}”" for s in sources if not s.paired]
    return f"how it does on {words.conjoin(names)} was measured" if names else ""
