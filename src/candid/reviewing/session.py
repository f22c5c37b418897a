"""One reviewer's session: what comes next, what was decided, what is answered to a decision."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from candid.errors import ConfigError
from candid.records.review import ReviewSummary, Showing
from candid.reviewing.summary import Review, group_decisions, is_decided, summarise
from candid.tables.corrections import Correction, CorrectionsLog, Kind, active_corrections
from candid.text import review as text

# What may be sent of one picture, of some of a page, of two, and of files that cannot be read.
_LABEL: tuple[Kind, ...] = ("label", "cannot say", "leave out", "person")
_PAGE: tuple[Kind, ...] = ("label", "cannot say", "leave out")
_PAIR = ("first", "second", "both")
_FILES = ("leave out", "keep")
_TICK = datetime.timedelta(milliseconds=1)


@dataclass(frozen=True, eq=False)
class Known:
    """Facts about the images that a reviewer sees after the choice."""

    target: str  # the label
    classes: tuple[str, ...]  # its values
    label: Mapping[str, str]  # image → the class that annotators wrote
    # image → the class that the model gives, and its probability
    answer: Mapping[str, tuple[str, float]]
    # image → other pictures that are said to be of the same person
    companions: Mapping[str, Sequence[str]]
    group: str = ""  # of which group the model's mistakes are among the suspects, in words
    # gives image → the pictures that the model finds the nearest to it, and their labels; None
    # while they are being sought
    neighbours: Callable[[], Mapping[str, Sequence[tuple[str, str]]] | None] = dict
    # image → in what it is unlike the training pictures
    strange: Mapping[str, str] = field(default_factory=dict)
    # image → why its file cannot be read
    unreadable: Mapping[str, str] = field(default_factory=dict)


class Session:
    """Decisions of one reviewer, each a line of a file before the next picture is shown.

    Where the file holds some already, the session goes on after them.
    """

    def __init__(
        self,
        review: Review,
        known: Known,
        log: CorrectionsLog,
        who: str,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self.review, self.known, self.log, self.who = review, known, log, who
        self._now, self._latest = now, datetime.datetime.min.replace(tzinfo=datetime.UTC)
        self._twice = {s.image for s in review.showings if s.time > 1}
        images = [i for s in review.showings for i in (s.image, s.other) if i]
        images += [i for image in images for i in known.companions.get(image, ())]
        self._number_by_image = {image: place for place, image in enumerate(dict.fromkeys(images))}
        self._images = list(self._number_by_image)

    def image_at(self, place: int) -> str | None:
        """The image with that number; its name may give the label away."""
        return self._images[place] if 0 <= place < len(self._images) else None

    def state(self) -> dict[str, Any]:
        """The progress, what is shown and what comes next, without any label."""
        undecided = self._undecided()
        current = self._same_page(undecided)
        following = self._same_page(undecided[len(current) :])
        total = len(self.review.showings)
        return {
            "done": total - len(undecided),
            "total": total,
            "showing": self._build_view(current) if current else None,
            "next": self._build_view(following) if following else None,
            "undo": bool(self._last_decision()),
            "summary": [] if current else self.lines(),
        }

    def _undecided(self) -> list[int]:
        """The numbers of the showings that are not decided."""
        images, pairs = group_decisions(self.log.rows, self.who)
        return [
            number
            for number, showing in enumerate(self.review.showings)
            if not is_decided(showing, images, pairs)
        ]

    def _same_page(self, undecided: Sequence[int]) -> list[int]:
        """The first of these showings, and the others on its page."""
        page = self.review.showings[undecided[0]].page if undecided else 0
        if not page:
            return list(undecided[:1])
        return list(takewhile(lambda n: self.review.showings[n].page == page, undecided))

    def _build_view(self, numbers: Sequence[int]) -> dict[str, Any]:
        showing = self.review.showings[numbers[0]]
        view: dict[str, Any] = {"number": numbers[0], "pictures": [], "companions": []}
        if showing.page:
            view["numbers"] = list(numbers)
        images = [self.review.showings[number].image for number in numbers]
        if showing.why == "unreadable":
            return view | {"files": [[i, self.known.unreadable.get(i, "")] for i in images]}
        if not showing.page and not showing.other:
            view["companions"] = self._image_numbers(*self.known.companions.get(showing.image, ()))
        return view | {"pictures": self._image_numbers(*images, showing.other)}

    # --- decisions -------------------------------------------------------------------------------

    def decide(
        self, number: int, kind: str, now: str, seconds: float, chosen: Sequence[int] = ()
    ) -> dict[str, Any] | None:
        """Write down a decision about what is shown; the answer to it, None for "person".

        All lines of it are in the file, or none.

        Raises ConfigError where it cannot be decided so, or another showing is the one that is
        shown.

        Parameters
        ----------
        number
            Of the showing, or the first of a page; it must be the one that is shown.
        kind, now
            "label" and a class; "cannot say"; "leave out"; "person" (of whom the picture shows
            nobody knows); of two pictures "first" or "second" (the one that is kept) or "both"; of
            files that cannot be read "leave out" or "keep".
        seconds
            How long it took; each of several has its share.
        chosen
            Of a page, the numbers of those that are decided so.
        """
        current = self._same_page(self._undecided())
        if current[:1] != [number] or {*chosen} - {*current} or len({*chosen}) < len(chosen):
            raise ConfigError(
                "This picture is not the one that is shown.",
                expected="a decision about the picture that is shown",
                todo="load the page again",
                code="not-shown",
            )
        showing = self.review.showings[number]
        if bool(showing.page) != bool(chosen):
            raise ConfigError(
                f"The number of pictures that were chosen is {len(chosen)}.",
                expected="at least one of a page, and none where one is shown alone",
                todo="load the page again",
                code="no-decision",
            )
        showings = [self.review.showings[n] for n in sorted(chosen)] or [showing]
        timestamp, seconds_each = self._timestamp(), max(0.0, seconds) / len(showings)
        corrections = [self._correction(s, kind, now, seconds_each, timestamp) for s in showings]
        self.log.add(*corrections)
        if showing.why == "unreadable":
            return {"pictures": [], "lines": text.file_feedback(kind, len(showings))}
        if showing.page:
            return self._describe_page(showings, corrections)
        return None if kind == "person" else self._describe_decision(showing, corrections[0])

    def _timestamp(self) -> str:
        """The time, later than that of the decision before: lines of one decision share theirs."""
        self._latest = max(self._now(), self._latest + _TICK)
        return self._latest.isoformat(timespec="milliseconds")

    def _correction(
        self, showing: Showing, kind: str, now: str, seconds: float, when: str
    ) -> Correction:
        image, old_label = showing.image, self.known.label.get(showing.image, "")
        _check_kind(showing, kind, now, self.known.classes)
        if showing.other:
            other, kept = (image, showing.other) if kind == "second" else (showing.other, image)
            pair_kind: Kind = "not the same" if kind == "both" else "same image"
            return Correction(other, "", kept, pair_kind, self.who, when, seconds, True)
        # To keep a file that cannot be read changes nothing.
        label_kind: Kind = next((k for k in _LABEL if k == kind), "cannot say")
        blind = self._is_blind(image)
        return Correction(image, old_label, now, label_kind, self.who, when, seconds, blind)

    def _is_blind(self, image: str) -> bool:
        """Whether this reviewer was never told of the image, as before an undo."""
        return not any(
            c.kind == "undo" and c.id == image and c.who == self.who for c in self.log.rows
        )

    def _last_decision(self) -> list[Correction]:
        """The reviewer's last decision that stands: one line, or several of a page."""
        decisions = [c for c in active_corrections(self.log.rows) if c.who == self.who]
        if not decisions or not decisions[-1].when:
            return decisions[-1:]
        return list(takewhile(lambda c: c.when == decisions[-1].when, reversed(decisions)))

    def undo(self) -> bool:
        """Undo the last decision, on a page for all pictures; whether there was one."""
        if not (decisions := self._last_decision()):
            return False
        timestamp = self._timestamp()
        self.log.add(*(Correction(c.id, "", "", "undo", self.who, timestamp) for c in decisions))
        return True

    # --- answers to decisions --------------------------------------------------------------------

    def _describe_decision(self, showing: Showing, correction: Correction) -> dict[str, Any]:
        """What annotators wrote and what the model says, once the choice is made."""
        known, sentence = self.known, text.decision_sentence(correction.kind, correction.now)
        if showing.other:
            lines = text.pair_feedback(
                correction.kind, known.label.get(showing.image), known.label.get(showing.other)
            )
        elif self._is_repeated(showing):
            lines = [sentence, text.COMES_AGAIN]
        else:
            lines = text.label_feedback(
                sentence,
                known.label.get(showing.image),
                known.answer.get(showing.image),
                text.suspicion_sentence(
                    showing.why, known.group, known.strange.get(showing.image, "")
                ),
            )
        return {"pictures": self._image_numbers(showing.image, showing.other), "lines": lines}

    def _describe_page(
        self, showings: Sequence[Showing], corrections: Sequence[Correction]
    ) -> dict[str, Any]:
        """The same for pictures of a page."""
        known, captions, labels = self.known, [], []
        for showing in showings:
            image = showing.image
            if self._is_repeated(showing):
                captions.append(text.CAPTION_AGAIN)
                continue
            labels.append(known.label.get(image, ""))
            reason = text.suspicion_caption(showing.why, known.strange.get(image, ""))
            captions.append(text.caption(labels[-1], known.answer.get(image), reason))
        kind, now = corrections[0].kind, corrections[0].now
        group = known.group if any(s.why == "slice" for s in showings) else ""
        return {
            "pictures": self._image_numbers(*(s.image for s in showings)),
            "captions": captions,
            "lines": text.page_feedback(kind, now, len(showings), labels, group),
        }

    def near(self, numbers: Sequence[int]) -> list[dict[str, Any]] | None:
        """The pictures nearest to some that are decided; None while they are being sought.

        Of a picture that is not decided, or comes again, there are none: they tell the label.
        """
        if (neighbours := self.known.neighbours()) is None:
            return None
        showings, undecided = self.review.showings, {*self._undecided()}
        views = []
        for number in numbers:
            nearest: Sequence[tuple[str, str]] = ()
            if 0 <= number < len(showings) and number not in undecided:
                showing = showings[number]
                if not (self._is_repeated(showing) or showing.other):
                    nearest = neighbours.get(showing.image, ())
            labels = [label for _, label in nearest]
            views.append(
                {
                    "line": text.nearest_line(labels) if labels else "",
                    "caption": text.nearest_caption(labels) if labels else "",
                    "pictures": [[self._image_number(i), label] for i, label in nearest],
                }
            )
        return views

    def _image_number(self, image: str) -> int:
        """The image's number on the page; a new one where it has none."""
        if image not in self._number_by_image:
            self._number_by_image[image] = len(self._images)
            self._images.append(image)
        return self._number_by_image[image]

    def _is_repeated(self, showing: Showing) -> bool:
        return showing.image in self._twice and showing.time == 1

    def _image_numbers(self, *images: str) -> list[int]:
        return [self._number_by_image[image] for image in images if image]

    def summary(self) -> ReviewSummary:
        """The figures so far."""
        return summarise(self.review, self.log.rows, self.who)

    def lines(self) -> list[str]:
        """The figures in words."""
        return list(text.summary_lines(self.summary()))


def _check_kind(showing: Showing, kind: str, now: str, classes: Iterable[str]) -> None:
    """Raise ConfigError where the decision does not fit the showing."""
    allowed: Sequence[str] = _PAIR if showing.other else _PAGE if showing.page else _LABEL
    allowed = _FILES if showing.why == "unreadable" else allowed
    if kind not in allowed or (now not in classes if kind == "label" else bool(now)):
        raise ConfigError(
            f"{kind!r} with {now!r} is no decision about this picture.",
            expected=f"one of: {', '.join(allowed)}",
            todo="load the page again",
            code="no-decision",
        )
