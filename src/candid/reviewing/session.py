"""One reviewer in front of the showings: what comes next, what was decided, what is told after."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from candid.errors import ConfigError
from candid.records.review import ReviewSummary, Showing
from candid.reviewing.summary import Review, decisions_by_image, is_decided, summarise
from candid.tables.corrections import Correction, CorrectionsLog, Kind, standing
from candid.text import review as text

# What a page may send, of one picture and of two.
_LABEL: tuple[Kind, ...] = ("label", "cannot say", "leave out", "person")
_PAIR = ("first", "second", "both")


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of the images, which a reviewer is told after the choice.

    Attributes
    ----------
    target, classes
        The label, and its values.
    label
        Image → the class that annotators wrote.
    answer
        Image → the class that the model gives, and its probability.
    companions
        Image → other pictures that are said to be of the same person.
    group
        Of which group the model's mistakes are among the suspects, in words.
    """

    target: str
    classes: tuple[str, ...]
    label: Mapping[str, str]
    answer: Mapping[str, tuple[str, float]]
    companions: Mapping[str, Sequence[str]]
    group: str = ""


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
        self._now = now
        self._twice = {s.image for s in review.showings if s.time > 1}
        every = [i for s in review.showings for i in (s.image, s.other) if i]
        every += [i for image in every for i in known.companions.get(image, ())]
        self._place = {image: place for place, image in enumerate(dict.fromkeys(every))}
        self._images = list(self._place)

    def image_at(self, place: int) -> str | None:
        """The image with that number, as in what is shown; a name may tell the label."""
        return self._images[place] if 0 <= place < len(self._images) else None

    def state(self) -> dict[str, Any]:
        """Where the reviewer is: what is shown, what comes next, and no word of any label."""
        images, pairs = decisions_by_image(self.log.rows, self.who)
        open_ = [
            number
            for number, showing in enumerate(self.review.showings)
            if not is_decided(showing, images, pairs)
        ]
        shown = [self._view(number) for number in open_[:2]]
        total = len(self.review.showings)
        return {
            "done": total - len(open_),
            "total": total,
            "showing": shown[0] if shown else None,
            "next": shown[1] if len(shown) > 1 else None,
            "undo": bool(self._mine()),
            "summary": [] if shown else self.lines(),
        }

    def _view(self, number: int) -> dict[str, Any]:
        showing = self.review.showings[number]
        others = [] if showing.other else self.known.companions.get(showing.image, ())
        return {
            "number": number,
            "pictures": self._places(showing.image, showing.other),
            "companions": self._places(*others),
        }

    # --- decisions -------------------------------------------------------------------------------

    def decide(self, number: int, kind: str, now: str, seconds: float) -> dict[str, Any] | None:
        """Write a decision about a showing down; what is told of it, None for "person".

        Parameters
        ----------
        number
            Of the showing; it must be the one that is shown.
        kind, now
            "label" and a class; "cannot say"; "leave out"; "person" (of whom the picture shows
            nobody knows); of two pictures "first" or "second" (the one that is kept) or "both".
        seconds
            How long it took.

        Raises
        ------
        ConfigError
            Where it cannot be decided so, or another showing is the one that is shown.
        """
        shown = self.state()["showing"]
        if shown is None or shown["number"] != number:
            raise ConfigError(
                "This picture is not the one that is shown.",
                expected="a decision about the picture that is shown",
                todo="load the page again",
                code="not-shown",
            )
        showing = self.review.showings[number]
        correction = self._correction(showing, kind, now, max(0.0, seconds))
        self.log.add(correction)
        return None if kind == "person" else self._told(showing, correction)

    def _correction(self, showing: Showing, kind: str, now: str, seconds: float) -> Correction:
        when = self._now().isoformat(timespec="milliseconds")
        image, was = showing.image, self.known.label.get(showing.image, "")
        pair = bool(showing.other)
        fits = kind in (_PAIR if pair else _LABEL) and (
            now in self.known.classes if kind == "label" else not now
        )
        if not fits:
            raise ConfigError(
                f"{kind!r} with {now!r} is no decision about this picture.",
                expected=f"one of: {', '.join(_PAIR if pair else _LABEL)}",
                todo="load the page again",
                code="no-decision",
            )
        if pair:
            gone, kept = (image, showing.other) if kind == "second" else (showing.other, image)
            what: Kind = "not the same" if kind == "both" else "same image"
            return Correction(gone, "", kept, what, self.who, when, seconds, True)
        made: Kind = next(k for k in _LABEL if k == kind)
        return Correction(image, was, now, made, self.who, when, seconds, self._is_blind(image))

    def _is_blind(self, image: str) -> bool:
        """Whether this reviewer was never told of the image: an undo comes after one was."""
        return not any(
            c.kind == "undo" and c.id == image and c.who == self.who for c in self.log.rows
        )

    def _mine(self) -> list[Correction]:
        return [c for c in standing(self.log.rows) if c.who == self.who]

    def undo(self) -> bool:
        """Take the last decision back; whether there was one."""
        if not (mine := self._mine()):
            return False
        when = self._now().isoformat(timespec="milliseconds")
        self.log.add(Correction(mine[-1].id, "", "", "undo", self.who, when))
        return True

    # --- what is told ----------------------------------------------------------------------------

    def _told(self, showing: Showing, correction: Correction) -> dict[str, Any]:
        """What annotators wrote and what the model says, once the choice is made."""
        known, said = self.known, text.decided(correction.kind, correction.now)
        if showing.other:
            told = text.told_pair(
                correction.kind, known.label.get(showing.image), known.label.get(showing.other)
            )
        elif showing.image in self._twice and showing.time == 1:
            told = [said, text.COMES_AGAIN]
        else:
            told = text.told_label(
                said,
                known.label.get(showing.image),
                known.answer.get(showing.image),
                text.why(showing.why, known.group),
            )
        return {"pictures": self._places(showing.image, showing.other), "lines": told}

    def _places(self, *images: str) -> list[int]:
        return [self._place[image] for image in images if image]

    def summary(self) -> ReviewSummary:
        """The figures so far."""
        return summarise(self.review, self.log.rows, self.who)

    def lines(self) -> list[str]:
        """The same in words."""
        return list(text.summary_lines(self.summary()))
