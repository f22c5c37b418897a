"""The page in a real browser: nothing fails, nothing is fetched, nothing overlaps."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from reporting.axe import needs_axe, violations
from reporting.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with")

# Every pair of texts in a chart or drawing whose boxes share more than a hair.
OVERLAPS = """
(() => {
  const found = [];
  for (const svg of document.querySelectorAll(".live svg, svg.network")) {
    const texts = [...svg.querySelectorAll("text")].filter(t => t.textContent.trim()
      && getComputedStyle(t).opacity !== "0" && t.getBoundingClientRect().width);
    const boxes = texts.map(t => t.getBoundingClientRect());
    for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
      const a = boxes[i], b = boxes[j];
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 3) found.push(texts[i].textContent + " | " + texts[j].textContent);
    }
  }
  return found;
})()
"""
# Texts of charts that stick out of the page's column.
OUTSIDE = """
[...document.querySelectorAll(".live svg text")].filter(t => {
  const box = t.getBoundingClientRect();
  return box.width && (box.left < -1 || box.right > innerWidth + 1);
}).map(t => t.textContent)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, pages):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("pages")

    def file(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(pages(name), encoding="utf-8")
        return path

    return file


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *(("plain", width) for width in (390, 820, 1280)),
        *(("many", width) for width in (390, 820)),
        ("hostile", 390),
        ("bare", 1280),
    ],
)
def test_all_charts_stand_and_nothing_complains_or_overlaps(
    browser: Browser, files, name: str, width: int
) -> None:  # type: ignore[no-untyped-def]
    browser.messages.clear()
    browser.requests.clear()
    path = files(name)
    browser.open(path, width=width)
    browser.draw()
    charts = browser.value("document.querySelectorAll('.chart').length")
    assert charts > 3
    assert browser.value("document.querySelectorAll('.chart.drawn .live svg').length") == charts
    assert browser.messages == []
    assert [r for r in browser.requests if not r.startswith("data:")] == [path.as_uri()]
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value(OVERLAPS) == []
    assert browser.value(OUTSIDE) == []


def test_without_scripts_the_drawings_are_shown(browser: Browser, files) -> None:  # type: ignore[no-untyped-def]
    browser.open(files("plain"), scripts=False)
    browser.unfold()
    sizes = browser.value(
        "[...document.querySelectorAll('.static svg')].map(s => s.getBoundingClientRect().width)"
    )
    assert len(sizes) == 15 and min(sizes) > 200
    assert browser.value("getComputedStyle(document.getElementById('theme')).display") == "none"


@needs_axe
def test_axe_finds_nothing(browser: Browser, files) -> None:  # type: ignore[no-untyped-def]
    browser.open(files("plain"))
    assert violations(browser) == []
    browser.open(files("many"), width=390, dark=True)
    browser.unfold("#data details, #performance details")
    assert violations(browser, "#performance") == violations(browser, "#data") == []


def test_light_and_dark_follow_the_system_and_the_toggle(browser: Browser, files) -> None:  # type: ignore[no-untyped-def]
    paper = "getComputedStyle(document.body).backgroundColor"
    browser.open(files("plain"), dark=True)
    assert browser.value(paper) == "rgb(22, 23, 26)"
    browser.value("document.getElementById('theme').click()")
    assert browser.value(paper) == "rgb(255, 254, 251)"
    browser.open(files("plain"), dark=True)  # the choice is kept
    assert browser.value(paper) == "rgb(255, 254, 251)"
    browser.value("localStorage.clear()")
    browser.open(files("plain"), dark=False)
    assert browser.value(paper) == "rgb(255, 254, 251)"


def test_paper_is_white_whatever_the_screen(browser: Browser, files) -> None:  # type: ignore[no-untyped-def]
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    colours = "(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))"
    for chosen in ("", "dark"):
        browser.open(files("plain"), dark=True)
        browser.value(f"document.documentElement.dataset.theme = '{chosen}'")
        browser.call("Emulation.setEmulatedMedia", media="print", features=[dark])
        assert browser.value(colours) == ["rgb(255, 255, 255)", "rgb(17, 17, 17)"]
        browser.call("Emulation.setEmulatedMedia", media="", features=[dark])
        assert browser.value(colours)[0] == "rgb(22, 23, 26)"


def test_chart_colours_follow_the_theme(browser: Browser, files) -> None:  # type: ignore[no-untyped-def]
    fills = []
    for dark in (False, True):
        browser.open(files("plain"), dark=dark)
        browser.draw()
        fills.append(
            browser.value(
                "getComputedStyle(document.querySelector('#balance .mark-rect path')).fill"
            )
        )
    assert fills == ["rgb(11, 102, 168)", "rgb(95, 180, 234)"]


def test_a_table_sorts_by_number_with_undefined_last(browser: Browser, files) -> None:  # type: ignore[no-untyped-def]
    browser.open(files("plain"))
    browser.unfold()
    table = "document.querySelector('#data table.sortable')"
    browser.value(f"{table}.tBodies[0].rows[0].cells[3].dataset.value = 'nan'")
    column = f"[...{table}.tBodies[0].rows].map(r => Number(r.cells[3].dataset.value))"
    for direction in ("descending", "ascending"):
        browser.value(f"{table}.tHead.rows[0].cells[3].querySelector('button').click()")
        *numbers, last = browser.value(f"({column}).map(x => isNaN(x) ? null : x)")
        assert last is None and len(numbers) == 4
        assert numbers == sorted(numbers, reverse=direction == "descending")
        got = browser.value(f"{table}.tHead.rows[0].cells[3].getAttribute('aria-sort')")
        assert got == direction


def test_contents_fold_on_a_phone_and_stand_open_on_a_desk(browser: Browser, files) -> None:  # type: ignore[no-untyped-def]
    for width, is_open in ((390, False), (820, False), (1280, True)):
        browser.open(files("plain"), width=width)
        assert browser.value("document.querySelector('nav details').open") is is_open


def pages_of(browser: Browser, pdf: Path) -> int:
    browser.pdf(pdf)
    return len(re.findall(rb"/Type\s*/Page[^s]", pdf.read_bytes()))


def test_print_is_short_unless_the_appendix_is_asked_for(
    browser: Browser, files, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    browser.open(files("plain"))
    browser.draw(unfold=False)
    opened = "document.querySelectorAll('main details[open]:not(.action)').length"
    browser.value("document.getElementById('every-metric').open = true")
    browser.call("Emulation.setEmulatedMedia", media="print")
    shown = "e => !e.offsetParent || e.getBoundingClientRect().height > 20"
    assert browser.value(f"[...document.querySelectorAll('.static')].every({shown})")
    live = "[...document.querySelectorAll('.live')].map(e => getComputedStyle(e).display)"
    assert set(browser.value(live)) == {"none"}
    browser.call("Emulation.setEmulatedMedia", media="")
    short = pages_of(browser, tmp_path / "short.pdf")
    assert 2 <= short <= 12
    assert browser.value(opened) == 1  # as it was before
    browser.call("Page.navigate", url=files("plain").resolve().as_uri() + "?appendix")
    until = time.monotonic() + 30
    while browser.value("document.readyState") != "complete" and time.monotonic() < until:
        time.sleep(0.05)
    assert pages_of(browser, tmp_path / "whole.pdf") >= short + 5
    assert browser.value(opened) == 0


def test_a_link_unfolds_what_it_leads_to(browser: Browser, files) -> None:  # type: ignore[no-untyped-def]
    browser.open(files("plain"))
    unfolded = "document.getElementById('every-metric').open"
    assert browser.value(unfolded) is False
    moved = "new Promise(done => { addEventListener('hashchange', () => done(true));"
    assert browser.value(f"{moved} location.hash = 'every-metric'; }})")
    assert browser.value(unfolded) is True


def test_the_verdict_fits_the_first_screen(browser: Browser, files) -> None:  # type: ignore[no-untyped-def]
    for width, height in ((1280, 800), (390, 844)):
        browser.open(files("plain"), width=width)
        end = "document.querySelector('{}').getBoundingClientRect().bottom".format
        assert 200 < browser.value(end(".answers")) <= height
        # What to do next; on a phone each thing unfolds where it is chosen.
        assert browser.value(end(".next")) <= height
        unfolded = "[...document.querySelectorAll('.action')].map((a) => a.open)"
        assert set(browser.value(unfolded)) == {width > 600}
