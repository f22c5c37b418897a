"""The audit's part of the page, from an audit that was really made."""

from __future__ import annotations

import dataclasses
import html
import math
from typing import Any

import numpy as np
import pytest

from auditing.audited import undefined
from candid.auditing.audit import audit_groups as judge
from candid.config import with_values
from candid.predictions import Attribute, Predictions
from candid.records.audit import Audit
from candid.reporting import audit_tables, markdown
from candid.reporting.card import card
from candid.reporting.figures import audit as figures
from candid.reporting.figures.chart import Figure
from candid.reporting.page import render
from candid.settings import AuditConfig
from candid.text import audit as words_of
from candid.text import words
from candid.text.stories import story_line


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
        person=rng.integers(0, 300, n),
        attributes={
            a: Attribute(a, "binary", ("no", "yes"), codes.astype(np.int16))
            for a, codes in ((name, hat), ("Young", young))
        },
    )


def with_chance(p: Predictions, name: str, count: int) -> Predictions:
    """The same with attributes name_0, name_1, … that three images in ten bear by chance."""
    rng = np.random.default_rng(2)
    more = {}
    for i in range(count):
        marks = (rng.random(len(p)) < 0.3).astype(np.int16)
        more[f"{name}_{i}"] = Attribute(f"{name}_{i}", "binary", ("no", "yes"), marks)
    return dataclasses.replace(p, attributes={**p.attributes, **more})


def data_of(chart: Figure) -> list[dict[str, Any]]:
    """All rows that a chart's specification holds."""
    return [row for rows in chart.spec["datasets"].values() for row in rows]


@pytest.fixture(scope="module")
def audited() -> Audit:
    return judge(predictions(), AuditConfig(draws=200), source="run")


def test_the_planted_group_stands_first_in_summary_table_and_chart(plain, audited: Audit) -> None:  # type: ignore[no-untyped-def]
    page = render(dataclasses.replace(plain, audit=audited))
    rows = audit_tables.gap_rows(audited.splits[0])
    assert rows[0].name == "Hat: yes"
    assert rows[0].gap.state == "found"
    assert "For whom it fails" in page
    said = words_of.audit_summary(audited)
    for sentence in (*said.findings, *said.certainty, *said.unseen):
        assert html.escape(sentence) in html.escape(html.unescape(page))
    gap = audited.splits[0].findings[0].gap
    assert said.findings[0].startswith("Wrong, in 100") and "Hat: yes" in said.findings[1]
    assert f"{100 * abs(gap.value):.1f} more in 100" in said.findings[1]
    chart = figures.gap_forest(audited.splits[0])
    assert chart is not None
    values = [v for v in data_of(chart) if "low" in v]
    # Of two opposite values only the one that fares worse is drawn.
    assert [v["group"] for v in values] == [r.name for r in rows if r.gap.value < 0]
    assert len(values) == len(rows) / 2
    assert "Hat: yes" in chart.alt.split(";")[0]
    for value in values:
        assert value["low"] <= value["gap"] <= value["high"]
    assert f"{100 * rows[0].gap.value:.1f}".replace("-", "−") in chart.alt


def test_a_long_table_ends_with_the_worst_and_says_how_many_there_are(  # type: ignore[no-untyped-def]
    plain, audited: Audit, monkeypatch
) -> None:
    monkeypatch.setattr(audit_tables, "MOST_GROUPS", 2)
    monkeypatch.setattr(audit_tables, "MOST_FAIRNESS", 1)
    page = render(dataclasses.replace(plain, audit=audited))
    split = audited.splits[0]
    rows = audit_tables.gap_rows(split, within=True)
    assert page.count("<tr data-group=") == 2 < len(rows)
    assert all(f'data-group="{r.name.lower()}"' in page for r in rows[:2])
    assert f"the 2 groups that fare worst, of {len(rows)}" in page
    assert f"{len(split.fairness) - 1} more are in audit.json" in page


def test_fairness_figures_stand_under_what_they_compare(audited: Audit) -> None:
    split = audited.splits[0]
    told = dict(audit_tables.fairness_by_attribute(split))
    assert list(told) == ["Hat", "Young"]
    assert sum(map(len, told.values())) == len(split.fairness)
    kind = next(f for f in split.fairness if f.about is not None)
    many = tuple(dataclasses.replace(kind, about=f"c{i}") for i in range(9))
    none = dataclasses.replace(kind, about=None)
    told = dict(
        audit_tables.fairness_by_attribute(dataclasses.replace(split, fairness=(*many, none)))
    )
    assert list(told) == [*(f"{kind.attribute}, c{i}" for i in range(9)), kind.attribute]


def test_the_summary_says_what_could_not_be_seen(audited: Audit) -> None:
    split = dataclasses.replace(audited.splits[0], too_few=3, people=None, findings=(), stories=())
    summary = words_of.audit_summary(dataclasses.replace(audited, splits=(split,)))
    said = " ".join((*summary.findings, *summary.unseen))
    assert f"3 groups or their rests have fewer than {split.smallest_people} images" in said
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
    row = audit_tables.gap_rows(audited.splits[0])[0]
    gone = dataclasses.replace(row.gap, value=math.nan, low=math.nan, high=math.nan)
    group = dataclasses.replace(
        row.group, gaps={"accuracy": gone}, metrics={"accuracy": undefined()}
    )
    split = dataclasses.replace(audited.splits[0], groups=(group,), grid=None)
    assert figures.gap_forest(split) is None
    assert figures.pairs(split) is None
    assert words.points(math.nan) == "undefined"
    assert words.points_interval(gone) == "undefined"


def test_curves_of_error_against_coverage_end_at_the_error_of_all(audited: Audit) -> None:
    assert audited.abstention is not None
    everyone = next(c for c in audited.abstention.curves if c.kind == "all")
    chart = figures.coverage(audited.abstention)
    assert chart is not None
    values = data_of(chart)
    last = [v for v in values if v["group"] == "all images"][-1]
    assert last["coverage"] == pytest.approx(1)
    assert last["error"] == pytest.approx(everyone.error[-1], rel=1e-4)


def test_the_words_of_the_curves_have_the_intervals_of_their_ends(audited: Audit) -> None:
    assert audited.abstention is not None
    chart = figures.coverage(audited.abstention)
    assert chart is not None
    everyone = audited.abstention.targets[0].groups[0]
    c = next(c for c in audited.abstention.curves if c.kind == "all")
    split = audited.splits[0]
    # Where all are answered, the error is 1 less the accuracy, from another part of the records.
    assert c.error[-1] == pytest.approx(1 - split.metrics["accuracy"].value)
    assert c.low[-1] < c.error[-1] < c.high[-1] and c.n == everyone.n == split.n
    low, high = (f"{100 * end:.1f}" for end in (c.low[-1], c.high[-1]))
    assert f"all images {100 * c.error[-1]:.1f}% ({low} to {high}; n = {c.n:,})" in chart.alt
    assert chart.alt.count("; n = ") == len({v["group"] for v in data_of(chart)})


def test_the_words_of_the_pairs_have_the_intervals_of_their_gaps(audited: Audit) -> None:
    split = audited.splits[0]
    chart, grid = figures.pairs(split), split.grid
    assert chart is not None and grid is not None
    of = {g.conditions: g.gaps["accuracy"] for g in (*split.groups, *split.intersections)
          if g.label is None}  # fmt: skip
    for i, one in enumerate(grid.conditions):
        for j, two in enumerate(grid.conditions):
            gap = of.get((one,) if i == j else (one, two))
            if gap is not None and i <= j:
                ends = grid.low[i][j], grid.high[i][j], grid.low[j][i], grid.high[j][i]
                assert ends == pytest.approx((gap.low, gap.high) * 2, abs=6e-6, nan_ok=True)
    hat = of[next(c for c in of if [(x.attribute, x.value) for x in c] == [("Hat", "yes")])]
    assert hat.state == "found"
    points = "{:+.1f} points ({:+.1f} to {:+.1f}; n = {:,})".format(
        *(100 * x for x in (hat.value, hat.low, hat.high)), hat.n
    )
    assert f"Hat: yes {points}".replace("-", "−") in chart.alt
    old = dataclasses.replace(split, grid=dataclasses.replace(grid, low=(), high=()))
    told = figures.pairs(old)
    assert told is not None and "points (no interval was kept; n = " in told.alt


def test_the_chart_obeys_the_filter_of_the_page(audited: Audit) -> None:
    chart = figures.gap_forest(audited.splits[0])
    assert chart is not None
    assert {p["name"] for p in chart.spec["params"]} == {"asked", "only_found"}
    layers = [layer for layer in chart.spec["layer"] if "transform" in layer]
    assert len(layers) == 2  # whiskers and dots, not the line at 0
    asked = [v["asked"] for v in data_of(chart) if "asked" in v]
    assert asked == [a.lower() for a in asked] and all(v.get("shown", True) for v in data_of(chart))


def test_gaps_that_are_worse_when_high_are_turned_round(audited: Audit) -> None:
    split = audited.splits[0]
    place = split.stories[0].findings[0]
    for metric, value, low, high in (
        ("accuracy", -0.1, -0.15, -0.05),
        ("error:Male", 0.1, 0.05, 0.15),
        ("standardised_error", 0.1, 0.05, 0.15),
    ):
        gap = dataclasses.replace(
            split.findings[place].gap, metric=metric, value=value, low=low, high=high
        )
        found = [*split.findings]
        found[place] = dataclasses.replace(found[place], gap=gap)
        said = story_line(dataclasses.replace(split, findings=tuple(found)), split.stories[0])
        assert ": 10.0 more in 100 (95% interval 5.0 to 15.0; " in said


def test_the_summary_leads_with_the_labels_and_tells_three_stories(audited: Audit) -> None:
    split = audited.splits[0]
    told = dataclasses.replace(split, stories=split.stories[:1] * 5)
    said = words_of.audit_summary(dataclasses.replace(audited, splits=(told,))).findings
    assert said[0].startswith("Wrong, in 100 pictures of each label: ")
    assert said[1:4] == (story_line(split, split.stories[0]),) * 3
    assert said[4] == "2 more are told below." and len(said) == 5


def test_values_held_constant_are_those_at_a_disadvantage(audited: Audit) -> None:
    assert audited.confounding is not None
    told = audit_tables.widest_adjusted(audited.confounding)
    assert (told[0].attribute, told[0].value) == ("Hat", "yes")
    assert all(g.raw.value > 0 for g in told)


def test_the_card_tells_of_the_audit_and_only_where_there_is_one(plain, audited: Audit) -> None:  # type: ignore[no-untyped-def]
    assert "For whom it fails" not in card(plain)
    text = card(dataclasses.replace(plain, audit=audited))
    part = text.split("## For whom it fails")[1].split("\n## ")[0]
    split = audited.splits[0]
    assert f"{split.gaps_looked_at:,} gaps in all" in part
    row = next(line for line in part.splitlines() if line.startswith("| Worse for Hat: yes"))
    gap = split.findings[0].gap
    assert f"{gap.n:,} | {gap.people:,} | +{100 * abs(gap.value):.1f} (" in row
    assert audited.abstention is not None and audited.noise is not None
    for said in (
        "“not found” does not mean equal",
        audited.abstention.targets[1].sentence[:30],
        f"{audited.noise.found:,} of {audited.noise.n:,} labels are likely wrong",
        "train.balance = none",
    ):
        assert markdown.text(said) in part
    for balance, said in (
        ("group", "Every combination of the label and Hat weighed the same"),
        ("reweighing", "the label is as frequent in every group of Hat as in all"),
    ):
        settings = {"train": {"balance": balance, "balance_attributes": ["Hat"]}}
        balanced = with_values(plain.config, settings)
        assert said in card(dataclasses.replace(plain, audit=audited, config=balanced))


def test_a_promise_that_was_not_measured_is_called_so(plain) -> None:  # type: ignore[no-untyped-def]
    p = predictions(worse=0.0)
    wrong = p.prediction != p.label
    p = dataclasses.replace(p, label=p.prediction, split=np.full(len(p), "validation"))
    assert wrong.any()  # it would be wrong on others, which nobody can see here
    found = dataclasses.replace(plain, audit=judge(p, AuditConfig(draws=100)))
    page, text = html.unescape(render(found)), card(found)
    for said in (page, text):
        assert "How many of these answers are wrong was not measured" in said
        assert "of these answers 0" not in said
    assert "no promise was measured" in page
    assert "wrong: group by group" not in page
    assert found.audit.abstention.targets[1].rule is not None


def test_undefined_gaps_are_called_so_in_the_card(plain, audited: Audit) -> None:  # type: ignore[no-untyped-def]
    found = audited.splits[0].findings[0]
    gone = dataclasses.replace(
        found.gap, value=math.nan, low=math.nan, high=math.nan, adjusted_p=math.nan
    )
    split = dataclasses.replace(
        audited.splits[0], findings=(dataclasses.replace(found, gap=gone),), shortcuts=()
    )
    rows = words_of.card_rows(split)
    assert rows[0][4:] == ["undefined (undefined to undefined)", "undefined"]
    assert words_of.shortcut_sentences(split) == []
