"""Findings of an audit that rest on the same mistakes: one thing under several names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Story:
    """Findings that rest on the same mistakes.

    Attributes
    ----------
    findings
        Places among the findings of the split: the first tells the story, the others are its other
        names, the surest first.
    mistakes, people
        Images of the first that are classified otherwise than labelled; people in them, None where
        people are unknown.
    stands_for
        The class that the first finding's group is, in other words, so that its gap is that of the
        label; None where it is none.
    """

    findings: tuple[int, ...]
    mistakes: int
    people: int | None = None
    stands_for: str | None = None
