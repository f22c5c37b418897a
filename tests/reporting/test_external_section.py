"""What the report and the card say of pictures from elsewhere."""

from __future__ import annotations

import dataclasses
import html
import math
import re

import numpy as np
import pytest

from candid.evaluation.external import GivenAnswers, differences_to_home, external_figures
from candid.predictions import Predictions
from candid.records.external import ExternalSource, Transfer, Unread
from candid.reporting import markdown
from candid.reporting.card import card
from candid.reporting.figures.external import accuracy_by_confidence
from candid.reporting.page import render
from candid.settings import EvaluateConfig
from candid.text import external

QUICK = EvaluateConfig(draws=60)


def figures(right: float, seed: int, target_error: float | None = 0.01):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    n = 800
    label = rng.integers(0, 2, n)
    answer = np.where(rng.random(n) < right, label, 1 - label)
    p = np.where(answer == 1, 0.9, 0.1)
    unlike = rng.random(n) < 0.2
    told = Predictions.from_arrays(label, p, person=rng.integers(0, 500, n))
    return external_figures(told, GivenAnswers(np.ones(n, np.bool_), unlike, target_error), QUICK)


def source(name: str, right: float, home, seed: int = 1, **more) -> ExternalSource:  # type: ignore[no-untyped-def]
    found = figures(right, seed)
    about = {
        "name": name, "data": f"/data/{name}", "layout": "folder", "target": "Male", "split": "",
        "evaluated": "2026-11-28T10:00:00+00:00", "cropped": False, "engine": "onnx",
        "calibration": "", "pictures": 810, "unlabelled": 0,
        "unread": (Unread("a.jpg", "truncated"),), "unread_count": 1, "no_face": 9,
        "figures": found, "differences": differences_to_home(found.evaluation, home.evaluation),
        "paired": False, "audit": None,
    }  # fmt: skip
    return ExternalSource(**(about | more))


@pytest.fixture(scope="module")
def transfer() -> Transfer:
    home = figures(0.999, 2)
    far, near = source("lfw", 0.7, home), source("utk", 0.999, home, 3, unread_count=0, no_face=0)
    return Transfer("Male", ("Female", "Male"), "digest", home, (far, near))


def test_nobody_looked(plain) -> None:  # type: ignore[no-untyped-def]
    assert external.transfer_sentences(None) == [external.NOBODY_LOOKED]
    assert external.COMMAND in external.NOBODY_LOOKED
    assert "nothing here says by how much" in render(plain)


def test_the_chart_is_drawn_as_the_schema_has_it(transfer) -> None:  # type: ignore[no-untyped-def]
    drawn = accuracy_by_confidence(transfer)
    assert drawn is not None and drawn.svg.startswith("<svg")
    rows = [row for rows in drawn.spec["datasets"].values() for row in rows]
    assert {row["source"] for row in rows if "source" in row} >= {"lfw", "utk"}


def test_the_sentences_say_the_figures(transfer) -> None:  # type: ignore[no-untyped-def]
    far, near = (" ".join(external.source_sentences(s)) for s in transfer.sources)
    accuracy = transfer.sources[0].figures.evaluation.metrics["accuracy"]
    assert f"lfw: right in {100 * accuracy.value:.1f}%" in far
    less = -100 * transfer.sources[0].differences["accuracy"].value
    assert f"{less:.1f} points less than on its own test images" in far
    assert re.search(r"too sure of itself \(\d[\d.]* points above its accuracy; \+", far)
    assert re.search(r"less sure .* \(\d[\d.]* points below its accuracy; −", near)
    assert "is broken here" in far
    assert "no face was found in 9 of 810 and 1 could not be read" in far
    assert "unlike its training data" in far
    assert re.search(r"not surely another share than .* \(−\d.* to \+\d.* points\)", near)
    assert "Not counted" not in near
    assert "is kept here" in near or "can be neither confirmed nor refuted" in near


def test_without_a_promise_none_is_told(transfer) -> None:  # type: ignore[no-untyped-def]
    told = external.promise_sentences(figures(0.8, 5, None))
    assert told[0].endswith("nothing was promised of them.")


def test_page_and_card_show_every_source(plain, transfer) -> None:  # type: ignore[no-untyped-def]
    inputs = dataclasses.replace(plain, transfer=transfer)
    page, text = render(inputs), card(inputs)
    section = page[page.index('<section id="transfer">') :]
    section = section[: section.index("</section>")]
    for row in external.place_rows(transfer):
        for cell in external.cells(row):
            assert html.escape(cell) in section
            assert markdown.text(cell) in text
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "Nobody looked" not in section + text
    assert "how it does on “lfw” and “utk” was measured" in page
    assert "Nothing was measured on images from outside" not in page + text


def test_its_own_pictures_are_not_elsewhere(plain, transfer) -> None:  # type: ignore[no-untyped-def]
    own = dataclasses.replace(transfer.sources[0], paired=True)
    inputs = dataclasses.replace(plain, transfer=dataclasses.replace(transfer, sources=(own,)))
    assert "Nothing was measured on images from outside" in render(inputs)


def test_names_are_text(hostile, transfer) -> None:  # type: ignore[no-untyped-def]
    odd = dataclasses.replace(transfer.sources[0], name="<script>alert(9)</script>|*x*")
    inputs = dataclasses.replace(hostile, transfer=dataclasses.replace(transfer, sources=(odd,)))
    assert "<script>alert(9)" not in render(inputs)
    lines = [line for line in card(inputs).splitlines() if "alert(9)" in line]
    assert lines and all("<script>" not in line for line in lines)


def test_undefined_figures_stay_so(transfer) -> None:  # type: ignore[no-untyped-def]
    nothing = dataclasses.replace(
        transfer.sources[0].figures.wrong, value=math.nan, low=math.nan, high=math.nan, n=0
    )
    none = dataclasses.replace(transfer.sources[0].figures, wrong=nothing, flagged=nothing)
    row = dataclasses.replace(external.place_rows(transfer)[1], figures=none)
    assert "undefined (undefined)" in external.cells(row)
    assert not any("nan" in cell for cell in external.cells(row))
