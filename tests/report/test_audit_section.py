"""The audit's part of the page, from an audit that was really made."""

from __future__ import annotations

import dataclasses
import html
import math
from typing import Any

import numpy as np
import pytest

from candid.judge.audit import audit as judge
from candid.predictions import Attribute, Predictions
from candid.records.audit import Audit, undefined
from candid.report import audit as words_of
from candid.report.figures import audit as figures
from candid.report.figures.chart import Figure
from candid.report.page import render
from candid.settings import AuditConfig


def predictions(name: str = "Hat", n: int = 1200, worse: float = 0.35) -> Predictions:
    """Two classes; wrong for one in twenty, and for many more of those with a hat."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, n)
    hat, young = rng.random(n) < 0.2, rng.random(n) < 0.5
    wrong = rng.random(n) < np.where(hat, worse, 0.05)
    sure = rng.uniform(0.6, 0.99, n)
    second = np.where(label ^ wrong, sure, 1 - sure)
    return Predictions(
        target="Male",
        classes=("Female", "Male"),
        ids=np.array([f"{i}.jpg" for i in range(n)]),
        split=np.where(np.arange(n) % 2, "test", "validation"),
        label=label.astype(np.int16),
        probability=np.column_stack([1 - second, second]),
        identity=rng.integers(0, 300, n),
        attributes={
            a: Attribute(a, "binary", ("no", "yes"), codes.astype(np.int16))
            for a, codes in ((name, hat), ("Young", young))
        },
    )


def data_of(chart: Figure) -> list[dict[str, Any]]:
    """All rows that a chart's specification holds."""
    return [row for rows in chart.spec["datasets"].values() for row in rows]


@pytest.fixture(scope="module")
def audited() -> Audit:
    return judge(predictions(), AuditConfig(draws=200), source="run")


def test_the_planted_group_stands_first_in_summary_table_and_chart(plain, audited: Audit) -> None:  # type: ignore[no-untyped-def]
    page = render(dataclasses.replace(plain, audit=audited))
    rows = words_of.rows(audited.splits[0])
    assert rows[0].name == "Hat: yes"
    assert rows[0].gap.state == "found"
    assert "For whom it fails" in page
    summary = " ".join(words_of.lead(audited))
    assert html.escape(summary.split(". ")[0]) in html.escape(html.unescape(page))
    assert "Hat" in summary
    chart = figures.gaps(audited.splits[0])
    assert chart is not None
    values = [v for v in data_of(chart) if "low" in v]
    assert len(values) == len(rows)
    assert "Hat: yes" in chart.alt.split(";")[0]
    for value in values:
        assert value["low"] <= value["gap"] <= value["high"]
    assert f"{100 * rows[0].gap.value:.1f}".replace("-", "−") in chart.alt


def test_the_summary_says_what_could_not_be_seen(audited: Audit) -> None:
    split = dataclasses.replace(audited.splits[0], too_few=3, people=None, findings=())
    said = " ".join(words_of.lead(dataclasses.replace(audited, splits=(split,))))
    assert f"3 groups have fewer than {split.smallest_people} images" in said
    assert "“not found” does not mean equal" in said
    assert "No group that could be judged does worse" in said


def test_without_an_audit_there_is_no_such_section(plain) -> None:  # type: ignore[no-untyped-def]
    assert "For whom it fails" not in render(dataclasses.replace(plain, audit=None))


def test_hostile_names_are_shown_as_words(plain) -> None:  # type: ignore[no-untyped-def]
    name = "</script><script>alert(1)</script>"
    found = judge(predictions(name), AuditConfig(draws=200))
    page = render(dataclasses.replace(plain, audit=found))
    assert name not in page
    assert html.escape(name) in page


def test_undefined_is_said_and_never_zero(audited: Audit) -> None:
    row = words_of.rows(audited.splits[0])[0]
    gone = dataclasses.replace(row.gap, value=math.nan, low=math.nan, high=math.nan)
    group = dataclasses.replace(
        row.group, gaps={"accuracy": gone}, metrics={"accuracy": undefined()}
    )
    split = dataclasses.replace(audited.splits[0], groups=(group,), grid=None)
    assert figures.gaps(split) is None
    assert figures.pairs(split) is None
    assert words_of.points(math.nan) == "undefined"
    assert words_of.points_interval(gone) == "undefined to undefined"


def test_points_have_their_sign() -> None:
    assert [words_of.points(v) for v in (0.0123, -0.0456, 0.0)] == ["+1.2", "−4.6", "0.0"]


def test_curves_of_error_against_coverage_end_at_the_error_of_all(audited: Audit) -> None:
    assert audited.abstention is not None
    everyone = next(c for c in audited.abstention.curves if c.kind == "all")
    chart = figures.coverage(audited.abstention)
    assert chart is not None
    values = data_of(chart)
    last = [v for v in values if v["group"] == "all images"][-1]
    assert last["coverage"] == pytest.approx(1)
    assert last["error"] == pytest.approx(everyone.error[-1], rel=1e-4)
