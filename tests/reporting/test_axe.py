"""The pages that no other test opens in a browser, before axe-core and on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

import test_cli_number
import test_cli_several
from candid.records import Estimate
from candid.records.tuning import Finalist, Trial, Tuning
from candid.reporting.page import render_search
from made_once import made_once
from reporting.axe import needs_axe, violations
from reporting.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with"),
    needs_axe,
]


def search() -> str:
    mean = Estimate(0.93, 0.9, 0.96, 300, "Student's t over 2 seeds")
    trials = tuple(
        Trial(i, "finished" if i else "stopped", 0.9 + i / 100, {"train.learning_rate": 10.0**-i},
              (0.8, 0.9 + i / 100), 640, 12.0, note="" if i else "it diverged", is_start=i == 1)
        for i in range(4)
    )  # fmt: skip
    finals = tuple(
        Finalist(i, i == 1, trials[i].settings, trials[i].f1, (1, 2), (0.92, 0.94), mean)
        for i in (3, 1)
    )
    share = Estimate(0.8, 0.6, 0.9, 4, "bootstrap over trees")
    return render_search(
        Tuning("search", "faces", "Male", ("Female", "Male"), 300, 640, 2, "tpe", "median",
               "4 trials are made", {"train.learning_rate": "1e-4 to 1e-1"}, trials, 0,
               {"train.learning_rate": share}, finals, 3, share, mean, mean, 48.0, 2560,
               "2026-01-01T00:00:00+00:00", "1")
    )  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A search made by hand, and two runs that other tests look at, too."""
    searched = tmp_path_factory.mktemp("search") / "report.html"
    searched.write_text(search(), encoding="utf-8")
    several = made_once(tmp_path_factory, "several", test_cli_several.make)
    number = made_once(tmp_path_factory, "number", test_cli_number.make)
    return {
        "search": searched,
        "several": several / "run" / "report.html",
        "number": number / "run" / "targets" / "stature" / "report.html",
    }


@pytest.mark.parametrize("name", ["search", "several", "number"])
def test_a_page_has_no_violation(browser: Browser, files: dict[str, Path], name: str) -> None:
    for dark, width in ((False, 1280), (True, 390)):
        browser.open(files[name], dark=dark, width=width)
        browser.unfold()
        assert browser.value("document.documentElement.scrollWidth") == width
        assert violations(browser) == []
