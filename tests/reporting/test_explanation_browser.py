"""The explanation in a real browser: faces are picked, the slider moves, nothing complains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import explained as made
import pytest
from test_browser import OUTSIDE, OVERLAPS
from test_explanation import input_for

from candid.reporting.page import render
from reporting.axe import needs_axe, violations
from reporting.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with")

CHOSEN = "[...document.querySelectorAll('.panel')].filter(p => p.offsetHeight).map(p => p.id)"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, make: Any) -> Any:
    folder = tmp_path_factory.mktemp("pages")

    def file(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(render(input_for(name, make)), encoding="utf-8")
        return path

    return file


def press(browser: Browser, key: str, code: int) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
        )


def opacities(browser: Browser) -> list[float]:
    """Of the face and of the map over it."""
    return [
        float(browser.value(f"getComputedStyle(document.querySelector('{where}'), {part}).opacity"))
        for where, part in (
            ("#face-0 .stack", "'::before'"),
            ("#face-0 .stack img", "null"),
        )
    ]


@pytest.mark.parametrize(
    ("name", "width"), [("plain", 390), ("plain", 1280), ("hostile", 390), ("bare", 820)]
)
def test_nothing_complains_or_sticks_out(
    browser: Browser, files: Any, name: str, width: int
) -> None:
    browser.messages.clear()
    browser.requests.clear()
    path = files(name)
    browser.open(path, width=width)
    browser.draw()
    charts = browser.value("document.querySelectorAll('.chart').length")
    assert browser.value("document.querySelectorAll('.chart.drawn .live svg').length") == charts
    assert browser.messages == []
    assert [r for r in browser.requests if not r.startswith("data:")] == [path.as_uri()]
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value(OVERLAPS) == []
    assert browser.value(OUTSIDE) == []
    pictures = "[...document.querySelectorAll('#explanation img, #inside img')]"
    assert browser.value(f"{pictures}.every(i => i.complete && i.naturalWidth > 0)")


@needs_axe
def test_axe_finds_nothing(browser: Browser, files: Any) -> None:
    browser.open(files("plain"), width=390, dark=True)
    browser.unfold("#explanation details, #inside details")
    assert violations(browser, "#explanation") == violations(browser, "#inside") == []


def test_a_face_is_picked_with_the_mouse_and_with_the_keyboard(
    browser: Browser, files: Any
) -> None:
    browser.messages.clear()
    browser.open(files("plain"))
    browser.unfold()
    assert browser.value(CHOSEN) == ["face-0", "mean-1"]
    browser.value("document.querySelector('input[value=face-3]').click()")
    assert browser.value(CHOSEN) == ["face-3", "mean-1"]
    assert "000003.jpg" in browser.value("document.getElementById('face-3').innerText")
    browser.value("document.querySelector('input[value=face-3]').focus()")
    press(browser, "ArrowRight", 39)
    assert browser.value(CHOSEN) == ["face-4", "mean-1"]
    # The focus is to be seen: the radio itself is not.
    outline = "getComputedStyle(document.querySelector('input[value=face-4] + span')).outlineStyle"
    assert browser.value(outline) == "solid"
    browser.value("document.querySelector('input[value=mean-4]').click()")
    assert browser.value(CHOSEN) == ["face-4", "mean-4"]
    assert browser.messages == []


def test_the_slider_goes_from_the_face_to_the_map(browser: Browser, files: Any) -> None:
    browser.messages.clear()
    browser.open(files("plain"))
    browser.unfold()
    assert opacities(browser) == [1, 1]
    move = """(value) => {
        const slider = document.getElementById('strength-faces');
        slider.value = value;
        slider.dispatchEvent(new Event('input', { bubbles: true }));
    }"""
    for value, want in ((0, [1, 0]), (25, [1, 0.5]), (75, [0.5, 1]), (100, [0, 1])):
        browser.value(f"({move})({value})")
        assert opacities(browser) == want
        assert browser.value("document.getElementById('strength-means').value") == str(value)
    said = "document.getElementById('strength-faces').getAttribute('aria-valuetext')"
    assert browser.value(said) == "the map alone"
    browser.value("document.getElementById('strength-faces').focus()")
    press(browser, "ArrowLeft", 37)
    assert browser.value("document.getElementById('strength-faces').value") == "95"
    assert browser.value(said) == "map, face at 10%"
    # The template of the regions keeps its own.
    template = "getComputedStyle(document.querySelector('.template .stack img')).opacity"
    assert browser.value(template) == "1"
    assert browser.messages == []


def test_the_face_lies_under_its_map(browser: Browser, files: Any) -> None:
    browser.open(files("plain"))
    drawn = "getComputedStyle(document.querySelector('#face-0 .stack'), '::before').backgroundImage"
    assert browser.value(drawn).startswith('url("data:image/')
    other = drawn.replace("face-0", "face-1")
    assert browser.value(other) != browser.value(drawn)


def test_charts_lie_beside_each_other_row_by_row(browser: Browser, files: Any) -> None:
    browser.open(files("plain"))
    browser.draw()
    tops = browser.value(
        "['region-shares', 'region-masking'].map(id => "
        "document.getElementById(id).querySelector('.live').getBoundingClientRect().top)"
    )
    assert abs(tops[0] - tops[1]) < 1


def test_without_scripts_everything_is_shown(browser: Browser, files: Any) -> None:
    browser.open(files("plain"), scripts=False)
    browser.unfold()
    record = made.explanation()
    assert len(browser.value(CHOSEN)) == len(record.examples) + len(record.methods)
    hidden = (
        "[...document.querySelectorAll('.viewer fieldset, .strength')].map(x => x.offsetHeight)"
    )
    assert set(browser.value(hidden)) == {0}


def test_print_shows_the_chosen_face_and_no_controls(browser: Browser, files: Any) -> None:
    browser.open(files("plain"))
    browser.unfold()
    browser.value("document.querySelector('input[value=face-2]').click()")
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.value(CHOSEN) == ["face-2", "mean-1"]
    hidden = (
        "[...document.querySelectorAll('.viewer fieldset, .strength')].map(x => x.offsetHeight)"
    )
    assert set(browser.value(hidden)) == {0}
    browser.call("Emulation.setEmulatedMedia", media="")
