"""What the report says of two models on the same images."""

from __future__ import annotations

import dataclasses
import html
import math
import re
from typing import Any

import numpy as np
import pytest
from test_audit_section import data_of, predictions

from candid.auditing.audit import audit_groups as judge
from candid.evaluation.comparison import compare_predictions
from candid.predictions import Predictions
from candid.records.compare import Comparison, GroupChange
from candid.reporting.card import card
from candid.reporting.figures import comparison as figures
from candid.reporting.page import render, render_comparison
from candid.settings import AuditConfig
from candid.text import comparison as words_of
from candid.text import words


def mended(p: Predictions) -> Predictions:
    """The same model, but right wherever there is a hat, and wrong for some of the young."""
    rng = np.random.default_rng(1)
    hat, young = p.attributes["Hat"].data == 1, p.attributes["Young"].data == 1
    right = np.column_stack([p.label == 0, p.label == 1])
    worse = young & ~hat & (rng.random(len(p)) < 0.15)
    probability = np.where(hat[:, None], 0.9 * right + 0.05, p.probability)
    return dataclasses.replace(
        p, probability=np.where(worse[:, None], 0.9 * ~right + 0.05, probability)
    )


@pytest.fixture(scope="module")
def compared() -> Comparison:
    before = predictions()
    return compare_predictions(before, mended(before), names=("plain", "balanced"), draws=200)


def group(compared: Comparison, value: str) -> GroupChange:
    wanted = ("Hat", value, None)
    return next(g for g in compared.groups if (g.attribute, g.value, g.label) == wanted)


def test_who_gained_and_who_paid_stand_first(compared: Comparison) -> None:
    said = words_of.comparison_summary(compared)
    better = next(
        g for g in compared.groups if (g.attribute, g.value, g.label) == ("Hat", "yes", None)
    )
    worse = group(compared, "no")
    assert said[0].startswith("Better for Hat: yes")
    assert any(s.startswith("Worse for") for s in said[1:6])
    assert compared.changed(-1)[0].state == "found"
    assert worse in compared.changed(-1) and better in compared.changed(1)
    told = next(s for s in said if s.startswith("Better for Hat: yes:"))
    assert better.gap is not None
    a, b = better.metrics["accuracy"].a, better.metrics["accuracy"].b
    assert f"{100 * a:.1f}% were right, now {100 * b:.1f}% are" in told
    assert words.points(better.gap.a) in told and words.points(better.gap.b) in told
    cost = words_of.cost_sentence(compared)
    assert f"{compared.overall.lost} images that were right became wrong" in cost
    assert f"{compared.overall.gained} that were wrong became right" in cost


def test_nothing_found_is_said_with_what_could_not_be_seen(compared: Comparison) -> None:
    before = predictions()
    same = compare_predictions(before, before, draws=50)
    said = words_of.comparison_summary(same)
    assert "changed by more than chance explains" in said[0]
    assert "no class and no group" in " ".join(said)
    assert "“not found” does not mean unchanged" in " ".join(said)
    assert "which could be chance" in words_of.overall_sentence(same)


def test_the_page_has_every_group_with_its_figures(compared: Comparison) -> None:
    page = render_comparison(compared, "1.2.3")
    assert "plain" in page and "balanced" in page and "Candid 1.2.3" in page
    rows = re.findall(r'<tr data-group="([^"]*)" data-state="([^"]*)">(.*?)</tr>', page, re.S)
    every = compared.every()
    assert [html.unescape(name) for name, _, _ in rows] == [
        words_of.change_name(g).lower() for g in every
    ]
    for (_, state, cells), g in zip(rows, every, strict=True):
        assert state == g.state
        values = re.findall(r'data-value="([^"]*)"', cells)
        e = g.change
        assert float(values[0]) == g.n and float(values[4]) == e.value
        assert words.points_interval(e) in html.unescape(cells)
        assert (values[5], values[6]) == (str(g.lost), str(g.gained))
        assert values[7] == ("NaN" if g.gap is None else str(g.gap.a))
    # Nothing is loaded from elsewhere.
    assert "http://" not in page.split("<script>")[0] and 'src="http' not in page


def test_the_charts_show_what_the_record_holds(compared: Comparison) -> None:
    changes, gaps = figures.changes(compared), figures.gap_changes(compared)
    assert changes is not None and gaps is not None
    shown: dict[str, Any] = {d["group"]: d for d in data_of(changes) if "low" in d}
    hat = next(
        g for g in compared.groups if (g.attribute, g.value, g.label) == ("Hat", "yes", None)
    )
    assert shown["Hat: yes"]["state"] == "better"
    assert shown["Hat: yes"]["change"] == pytest.approx(100 * hat.change.value, rel=1e-4)
    assert shown["all images"]["n"] == compared.n
    assert hat.gap is not None
    dots = {d["group"]: d for d in data_of(gaps) if "b" in d}
    assert dots["Hat: yes"]["a"] == pytest.approx(100 * hat.gap.a, rel=1e-4)
    assert dots["Hat: yes"]["b"] == pytest.approx(100 * hat.gap.b, rel=1e-4)
    # The group that was failed most stands first.
    assert min(dots.values(), key=lambda d: d["a"]) == next(iter(dots.values()))


def test_undefined_changes_are_not_drawn(compared: Comparison) -> None:
    metrics = compared.overall.metrics
    accuracy = dataclasses.replace(
        metrics["accuracy"],
        difference=dataclasses.replace(metrics["accuracy"].difference, value=math.nan),
    )
    gone = dataclasses.replace(compared.overall, metrics=metrics | {"accuracy": accuracy})
    empty = dataclasses.replace(compared, overall=gone, classes_changed=(), groups=())
    assert figures.changes(empty) is None and figures.gap_changes(empty) is None
    assert "undefined points" in words_of.overall_sentence(empty)


def test_a_run_tells_of_it_in_its_report_and_card(plain, compared: Comparison) -> None:  # type: ignore[no-untyped-def]
    audited = judge(predictions(), AuditConfig(draws=50, more=False, slices=0))
    alone = dataclasses.replace(plain, audit=audited)
    both = dataclasses.replace(plain, audit=dataclasses.replace(audited, comparison=compared))
    assert "What changed since" not in render(alone)
    assert "What changed since “plain”, and for whom" in render(both)
    assert "Beside another model" not in card(alone)
    assert "Better for Hat: yes" in card(both).split("Beside another model")[1]


def test_hostile_names_are_shown_as_words() -> None:
    name = "</script><script>alert(1)</script>"
    before = predictions(name)
    found = compare_predictions(before, before, names=(name, "<b>"), draws=20)
    page = render_comparison(found, "1")
    assert name not in page and "<b>" not in page
    assert html.escape(name) in page


def test_no_number_of_the_axis_is_left_out_for_want_of_room(compared: Comparison) -> None:
    """Numbers that stand too close for each other are dropped, which leaves uneven ones."""
    one = compared.overall
    accuracy = one.metrics["accuracy"]
    narrow = dataclasses.replace(accuracy.difference, value=0.022, low=-0.0095, high=0.0342)
    changed = dataclasses.replace(accuracy, difference=narrow)
    overall = dataclasses.replace(one, metrics=one.metrics | {"accuracy": changed})
    few = dataclasses.replace(compared, overall=overall, classes_changed=(), groups=())
    drawn = figures.changes(few)
    assert drawn is not None
    shown = re.findall(r'<text[^>]*opacity="1"[^>]*>([−-]?\d+(?:\.\d+)?)</text>', drawn.svg)
    steps = np.diff([float(number.replace("−", "-")) for number in shown])
    assert len(shown) > 3 and np.ptp(steps) < 1e-9, shown
