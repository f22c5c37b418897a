"""Which part of the pictures a network sees, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence

from candid.records import ModelCard
from candid.records.model import MOST_LOST, MOST_LOST_OF_A_CLASS, TriedView
from candid.settings.network import window_edges
from candid.text import words


def part_seen(card: ModelCard) -> str:
    """The part of the pictures that the network sees; "" for all of them."""
    window = str(card.options.get("window", ""))
    if not window:
        return ""
    left, top, right, bottom = (words.percent(edge, 0) for edge in window_edges(window))
    return (
        f"The network sees a part of each picture alone, from {left} to {right} of its width and "
        f"from {top} to {bottom} of its height; what lies outside decides nothing."
    )


def view_sentence(card: ModelCard) -> str:
    """Which part of the pictures the network sees, and how it was chosen; "" for all, untried."""
    if not (text := part_seen(card)):
        return _full_view_sentence(card.views)
    window = card.options["window"]
    views = [view for view in card.views if view.window == window]
    if not views:
        return text
    worst = max(views, key=lambda view: view.high)
    label = f", of “{worst.target}”," if len(views) > 1 else ""
    loss = f"at most {words.percent(worst.high)}" if worst.high > 0 else "nothing"
    return (
        f"{text} It was chosen since a short training lost {loss}{label} of what it told of "
        f"{words.images(worst.n)} of validation from the whole (upper limit, 95%; "
        f"{words.percent(MOST_LOST, 0)} are allowed)."
    )


def _full_view_sentence(views: Sequence[TriedView]) -> str:
    if not views:
        return ""
    largest = [view for view in views if view.window == views[-1].window]  # the largest part
    insufficient = [view for view in largest if not view.suffices]
    first = max(insufficient, key=lambda view: (math.isfinite(view.high), view.high))
    label = "the label" if len(largest) == 1 else f"“{first.target}”"
    lost_little = first.high <= MOST_LOST
    if not math.isfinite(first.high) or (lost_little and not first.lost_class):
        return (
            f"The network sees all of each picture: a short training told too little of {label} to "
            "say whether the face alone would do."
        )
    if lost_little:
        return (
            f"The network sees all of each picture: from the face alone a short training on "
            f"{words.images(first.n)} of validation surely lost more than "
            f"{words.percent(MOST_LOST_OF_A_CLASS, 0)} of what the whole tells of those labelled "
            f"“{first.lost_class}”{'' if len(largest) == 1 else f' ({label})'}."
        )
    return (
        f"The network sees all of each picture: from the face alone a short training on "
        f"{words.images(first.n)} of validation lost {words.percent(first.lost, 0)} (at most "
        f"{words.percent(first.high, 0)}; upper limit, 95%) of what the whole tells of {label}."
    )
