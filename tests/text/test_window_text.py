"""What is said of the part of the pictures that a network sees."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

from candid.records.model import TriedView
from candid.text.window import view_sentence


def said(window: str, *views: TriedView) -> str:
    return view_sentence(SimpleNamespace(options={"window": window}, views=views))


def view(high: float, target: str = "Hat", window: str = "0.25 0.25 0.75 0.86") -> TriedView:
    return TriedView(window, target, 400, 0.69, 0.3, 0.31, high - 0.02, high)


def test_of_all_of_it_nothing_is_said_where_nothing_was_tried() -> None:
    assert said("") == ""


def test_a_part_is_named_and_why_it_was_chosen() -> None:
    named = said("0.25 0.25 0.75 0.86")
    assert "from 25% to 75% of its width and from 25% to 86% of its height" in named
    assert "chosen" not in named  # somebody set it
    chosen = said("0.25 0.25 0.75 0.86", view(0.04), view(0.4, window="0.25 0.35 0.75 0.86"))
    assert "lost at most 4.0% of what it told of 400 images" in chosen
    assert "lost at most 40" not in chosen  # of the part that was not chosen
    assert "lost nothing of what" in said("0.25 0.25 0.75 0.86", view(-0.03))
    two = said("0.25 0.25 0.75 0.86", view(0.01), view(0.03, "Smiling"))
    assert "lost at most 3.0%, of “Smiling”, of what" in two


def test_the_label_that_needs_all_of_it_is_named() -> None:
    assert "lost 38% (at most 40%; upper limit, 95%) of what the whole tells of the label" in said(
        "", view(0.9, window="0.25 0.35 0.75 0.86"), view(0.4)
    )
    two = said("", view(0.01), view(0.4, "Necktie"))
    assert "tells of “Necktie”." in two and "Hat" not in two
    assert "too little of the label to say" in said("", view(math.nan))


def test_the_class_that_needs_all_of_it_is_named() -> None:
    bald = dataclasses.replace(view(0.04), lost_class="bald")
    assert not bald.suffices and view(0.04).suffices
    assert "surely lost more than 25% of what the whole tells of those labelled “bald”." in said(
        "", bald
    )
    assert "labelled “bald” (“Hat”)." in said("", bald, view(0.01, "Smiling"))


def test_what_is_hardly_learned_yet_may_stand_anywhere() -> None:
    early = dataclasses.replace(view(-0.04), whole=0.6, part=0.59)
    assert not early.suffices and early.skill < 0.5 < view(-0.04).skill
    assert "told too little of the label to say" in said("", early)
