"""The page of an audit in a real browser: charts, widths, axe-core, and what it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_browser import OUTSIDE, OVERLAPS

import candid
from candid.predictions.numbers import write_number_predictions
from evaluation.test_number_evaluation import made as made_numbers
from reporting.axe import needs_axe, violations
from reporting.browser import CHROMIUM, Browser
from test_audit_page import CLASSES, HOSTILE, MANY, QUICK, ages, drawn, forty, write

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with")

PAGES = ("binary", "hard", "hostile", "many", "forty", "numbers", "own numbers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of each kind of table."""
    place = tmp_path_factory.mktemp("pages")
    config = candid.load_config(overrides=QUICK[1::2])
    made = {name: drawn(600, classes) for name, classes in (("binary", CLASSES), ("many", MANY))}
    made["hostile"] = drawn(400, HOSTILE)
    made["hard"], made["forty"], made["numbers"] = made["binary"], drawn(600), ages(400)
    columns = {
        "binary": candid.Columns(label="label", prediction="p_Male", person="person"),
        "hard": candid.Columns(label="label", prediction="answer", groups="hat"),
        "hostile": candid.Columns(label="label", prediction="answer", groups=("hat", "smile")),
        "many": candid.Columns(label="label", prediction="p_*", groups=("hat", "smile")),
        "forty": candid.Columns(label="label", prediction="p_Male", groups="attribute_*"),
        "numbers": candid.Columns(label="age", prediction="said", number=True),
    }
    names = {"forty": forty(made["forty"])}
    for name, asked in columns.items():
        file = write(place / f"{name}.csv", made[name], *names.get(name, ()))
        candid.audit(file, config, columns=asked, page=place / f"{name}.html")
    write_number_predictions(place / "own.parquet", made_numbers())
    candid.audit(place / "own.parquet", config, page=place / "own numbers.html")
    return place


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_its_charts_stand_and_nothing_is_asked_for(
    browser: Browser, folder: Path, name: str, width: int
) -> None:
    browser.messages.clear()
    browser.requests.clear()
    browser.open(folder / f"{name}.html", width=width)
    browser.unfold("details:has(.chart)")
    browser.draw(unfold=False)
    assert browser.value("document.querySelectorAll('.chart').length") >= 2
    missing = "[...document.querySelectorAll('.chart:not(.drawn)')].map(c => c.parentElement.id)"
    assert browser.value(missing) == []
    assert browser.messages == []
    assert {url.split(":")[0] for url in browser.requests} <= {"file", "data"}
    assert sum(url.startswith("file") for url in browser.requests) == 1
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value(OVERLAPS) == []
    assert browser.value(OUTSIDE) == []


@needs_axe
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(browser: Browser, folder: Path, name: str) -> None:
    for dark, width in ((False, 1280), (True, 390)):
        browser.open(folder / f"{name}.html", dark=dark, width=width)
        browser.unfold()
        assert violations(browser) == []


def test_a_link_of_the_first_screen_unfolds_what_it_leads_to(
    browser: Browser, folder: Path
) -> None:
    browser.open(folder / "binary.html")
    assert browser.value("document.getElementById('every-group').open") is False
    browser.value("document.querySelector('.asked a[href=\"#every-group\"]').click()")
    browser.value("new Promise(done => setTimeout(() => done(true), 200))")
    assert browser.value("document.getElementById('every-group').open") is True


def test_the_table_of_groups_is_searched_and_sorted(browser: Browser, folder: Path) -> None:
    browser.open(folder / "binary.html")
    browser.unfold()
    shown = (
        "[...document.querySelectorAll('#audit-groups tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.cells[0].textContent.trim())"
    )
    all_of_them = browser.value(shown)
    assert all_of_them[0].startswith("hat: yes") and len(all_of_them) == 4 * 3
    browser.value(
        "(() => { const w = document.querySelector('.filter [type=search]'); w.value = 'smile';"
        " w.dispatchEvent(new Event('input')); })()"
    )
    found = browser.value(shown)
    assert len(found) == 6 and all("smile" in name for name in found)
