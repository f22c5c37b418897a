"""Pages on a phone, enlarged to 200%, without motion; of forty labels and of a hundred classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_explanation
from test_audit_section import predictions, with_chance
from test_axe import search
from test_comparison import mended

from candid.auditing.audit import audit_groups
from candid.evaluation.comparison import compare_predictions
from candid.predictions import Attribute, Predictions
from candid.records.audit import Gap
from candid.records.targets import Overview, TargetSummary, WorstGroup
from candid.reporting.overview import render_overview
from candid.reporting.page import render, render_comparison
from candid.settings import AuditConfig, Config
from conftest import Words, around
from reporting.browser import CHROMIUM, Browser
from reporting.viewing import hanging_out, lost_names, motion, open_tables

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with")

QUICK = AuditConfig(draws=60, slices=0)


def report(make: Any) -> str:
    """One with every section."""
    whole = test_explanation.input_for("plain", make)
    return render(dataclasses.replace(whole, audit=audit_groups(predictions(), QUICK)))


def comparison(make: Any) -> str:
    p = predictions(n=300)
    return render_comparison(compare_predictions(p, mended(p), names=("a", "b"), draws=60), "1")


def forty_labels(make: Any) -> str:
    """The overview of a network with forty labels, some with long names."""
    given = make(n=200)
    rng = np.random.default_rng(0)

    def summary(i: int) -> TargetSummary:
        name = f"Label_{i}" + "_of_a_long_name" * (i % 4)
        n = int(rng.integers(100, 3000))
        gap = Gap(
            "accuracy", -0.1, -0.15, -0.05, 1e-4, 1e-3, 0.02, "found", n // 4, n, None, None, ""
        )
        keys = ("weighted_f1", "majority_f1", "accuracy", "calibration_error")
        return TargetSummary(
            name, name, ("no", "yes"), "test", n, n // 3,
            {key: around(float(rng.uniform(0.5, 0.9)), n, n // 3) for key in keys},
            True, i % 5, 200,
            WorstGroup(f"Wearing_Hat: yes, labelled {name}", gap) if i % 5 else None,
        )  # fmt: skip

    labels = tuple(summary(i) for i in range(40))
    found = Overview(labels, {"Blurry": "all images bear it"}, True, 1_000_000, "plain")
    return render_overview(found, given.provenance, Config(), exploration=given.exploration)


def forty_attributes(make: Any) -> str:
    """A report whose audit looked at forty annotations, as those of CelebA are."""
    p = with_chance(predictions("Wearing_Hat"), "Annotation_Number", 38)
    audited = audit_groups(p, QUICK)
    names = Words(attributes=("Wearing_Hat", "Young", *list(p.attributes)[-38:]))
    return render(dataclasses.replace(make(names, n=300), audit=audited))


def hundred_classes(make: Any) -> str:
    """A report of a hundred classes, with the audit of each."""
    classes = tuple(f"kind of face number {i}" for i in range(100))
    rng, n = np.random.default_rng(5), 4000
    label = rng.integers(0, 100, n)
    wrong = rng.random(n) < 0.2
    probability = rng.dirichlet(np.ones(100), n) * 0.3
    answer = np.where(wrong, rng.integers(0, 100, n), label)
    probability[np.arange(n), answer] += 0.7
    p = Predictions(
        "kind", classes, np.array([f"{i}.jpg" for i in range(n)]), np.full(n, "test"),
        label.astype(np.int16), probability, person=rng.integers(0, 900, n),
        attributes={"Hat": Attribute("Hat", "binary", ("no", "yes"),
                                     (rng.random(n) < 0.3).astype(np.int16))},
    )  # fmt: skip
    few = make(Words(classes=classes, target="kind"), n=2000)
    return render(dataclasses.replace(few, audit=audit_groups(p, QUICK)))


PAGES = {
    "report": report,
    "comparison": comparison,
    "search": lambda make: search(),
    "forty labels": forty_labels,
    "forty attributes": forty_attributes,
    "hundred classes": hundred_classes,
}


@pytest.fixture(scope="module", params=list(PAGES))
def page(
    request: pytest.FixtureRequest, make: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("viewed") / "page.html"
    path.write_text(PAGES[request.param](make), encoding="utf-8")
    return path


def test_nothing_hangs_out_and_tables_scroll_by_themselves(browser: Browser, page: Path) -> None:
    browser.messages.clear()
    for width, enlarged in ((390, 1), (1280, 1), (1280, 2)):
        browser.open(page, width=width)
        browser.unfold()
        assert hanging_out(browser, width, enlarged=enlarged) == [], (width, enlarged)
        assert open_tables(browser) == [], (width, enlarged)
        assert lost_names(browser) == [], (width, enlarged)
    assert browser.messages == []


def test_nothing_moves_where_that_is_not_wanted(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.unfold()
    before, asked, scrolls = motion(browser, reduced=False)
    assert before == 0 and asked > 0 and scrolls == "smooth"
    browser.open(page)
    browser.unfold()
    assert motion(browser, reduced=True) == (0, 0, "auto")
