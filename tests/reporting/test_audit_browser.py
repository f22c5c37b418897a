"""The audit's part of the page, and a comparison, in a real browser."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from test_audit_section import predictions, with_chance
from test_browser import OUTSIDE, OVERLAPS
from test_comparison import mended

from candid.auditing.audit import audit_groups as judge
from candid.evaluation.comparison import compare_predictions
from candid.predictions import Predictions
from candid.reporting.page import render, render_comparison
from candid.settings import AuditConfig
from reporting.axe import needs_axe, violations
from reporting.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with")


def wide() -> Predictions:
    """With many attributes of long names, as face data have."""
    return with_chance(predictions("Wearing_Hat"), "High_Attribute_Number", 12)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, plain) -> Path:  # type: ignore[no-untyped-def]
    p = wide()
    named = {"Hat": p.attributes["Wearing_Hat"], "Young": p.attributes["Young"]}
    other = dataclasses.replace(
        mended(dataclasses.replace(p, attributes=named)), attributes=p.attributes
    )
    found = compare_predictions(p, other, names=("plain", "balanced"), draws=100)
    audited = judge(p, AuditConfig(draws=100, slices=0))
    folder = tmp_path_factory.mktemp("audited")
    (folder / "compared.html").write_text(render_comparison(found, "1"), encoding="utf-8")
    path = folder / "report.html"
    whole = dataclasses.replace(plain, audit=dataclasses.replace(audited, comparison=found))
    path.write_text(render(whole), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "width"), [("report", 390), ("report", 1280), ("compared", 390), ("compared", 1280)]
)
def test_its_charts_stand_and_nothing_complains_or_overlaps(
    browser: Browser, page: Path, name: str, width: int
) -> None:
    browser.messages.clear()
    browser.open(page.with_name(f"{name}.html"), width=width)
    browser.unfold("details:has(.chart)")  # all pictures of mistakes are higher than any window
    browser.draw(unfold=False)
    charts = browser.value("document.querySelectorAll('.chart').length")
    assert charts >= 2
    missing = "[...document.querySelectorAll('.chart:not(.drawn)')].map(c => c.parentElement.id)"
    assert browser.value(missing) == []
    assert browser.messages == []
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value(OVERLAPS) == []
    assert browser.value(OUTSIDE) == []


@needs_axe
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, width=390 if dark else 1280, dark=dark)
    browser.unfold("#audit details")
    assert violations(browser, "#audit") == []
    browser.open(page.with_name("compared.html"), width=390 if dark else 1280, dark=dark)
    browser.unfold()
    assert violations(browser) == []


SHOWN = "[...document.querySelectorAll('#audit-groups tbody tr')].filter(r => !r.hidden).length"
LINES = (
    "document.querySelectorAll('#audit-gaps .live svg g.mark-symbol path[aria-label], "
    "#audit-gaps .live svg g.mark-symbol path').length"
)


def test_what_is_asked_for_decides_what_is_shown(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    browser.draw(unfold=False)
    ask = (
        "new Promise(done => {{ const f = document.querySelector('[data-chart=audit-gaps]');"
        "const w = f.querySelector('[type=search]'), c = f.querySelector('[type=checkbox]');"
        "w.value = {word!r}; c.checked = {only};"
        "w.dispatchEvent(new Event('input')); setTimeout(() => done(true), 400); }})"
    )
    # In the table each value of 14 attributes alone and within both labels, in the chart alone.
    assert browser.value(SHOWN) == 2 * 14 * 3 and browser.value(LINES) == 14
    assert browser.value(ask.format(word="HAT yes female", only="false"))
    assert browser.value(SHOWN) == 1
    assert browser.value(ask.format(word="HAT", only="false"))
    assert browser.value(SHOWN) == 6 and browser.value(LINES) == 1
    assert browser.value(ask.format(word="", only="true"))
    found = browser.value(
        "document.querySelectorAll('#audit-groups tbody tr[data-state=found]').length"
    )
    assert browser.value(SHOWN) == found
    assert 1 <= browser.value(LINES) <= found
    assert browser.value(ask.format(word="", only="false"))
    assert browser.value(SHOWN) == 2 * 14 * 3 and browser.value(LINES) == 14
