from __future__ import annotations

import dataclasses
import math
from typing import Any

import explained as made
import pytest

from candid.records.explanation import Explanation
from candid.reporting.figures.explanation import number_masking, region_masking, region_shares


def rows_of(figure: Any, key: str) -> list[dict[str, Any]]:
    """The rows of the data set that has such a column."""
    data = figure.spec["datasets"].values()
    return next(rows for rows in data if rows and key in rows[0])


@pytest.fixture(scope="module")
def e() -> Explanation:
    return made.explanation()


def test_shares_are_those_of_all_images_beside_the_area(e: Explanation) -> None:
    figure = region_shares(e)
    assert figure is not None
    rows = {(r["region"], r["method"]): r for r in rows_of(figure, "method")}
    titles = {m.name: m.title for m in e.methods}
    want = [s for s in e.shares if s.subset == "all"]
    assert len(rows) == len(want) == 54
    for s in want:
        row = rows[s.region, titles[s.method]]
        for key in ("value", "low", "high"):
            assert row[key] == pytest.approx(getattr(s.share, key), rel=1e-4)
        assert row["area"] == pytest.approx(s.area, rel=1e-4) and row["images"] == s.share.n
    areas = [
        rows for rows in figure.spec["datasets"].values() if set(rows[0]) == {"region", "area"}
    ]
    assert {r["region"]: r["area"] for r in areas[0]} == pytest.approx(
        {r.name: r.area for r in e.regions}, rel=1e-4
    )
    passed = {m.name for m in e.methods if m.state == "passed"}
    densest = sorted((s for s in want if s.method in passed), key=lambda s: -s.density.value)
    for place, s in enumerate(densest[:5]):
        told = f"{s.region} {100 * s.share.value:.1f}% of {titles[s.method]}"
        assert (told in figure.alt) == (place < 3)
    assert "over 400 images of 133 people" in figure.caption


def test_both_charts_list_the_costliest_region_first_at_one_height(e: Explanation) -> None:
    shares, masking = region_shares(e), region_masking(e)
    assert shares is not None and masking is not None
    assert shares.spec["height"] == masking.spec["height"]
    order = e.by_cost(r.name for r in e.regions)
    means = {
        r: sum(m.f1_loss.value for m in e.maskings if m.region == r)
        for r in (x.name for x in e.regions)
    }
    assert order == sorted(means, key=lambda r: -means[r]) and order[0] == "background"
    for figure in (shares, masking):
        axes = [
            layer["encoding"]["y"] for layer in figure.spec["layer"] if "y" in layer["encoding"]
        ]
        assert axes and all(a["scale"]["domain"] == order for a in axes)


def test_masking_stands_beside_its_control_in_points(e: Explanation) -> None:
    figure = region_masking(e)
    assert figure is not None
    rows = rows_of(figure, "fill")
    assert len(rows) == 2 * len(e.maskings)
    fills = {"mean colour": "mean", "blur": "blur", "another image": "other"}
    for row in rows:
        masking = next(m for m in e.maskings
                       if (m.region, m.fill) == (row["region"], fills[row["fill"]]))  # fmt: skip
        inside = row["what"] == "the region"
        want = masking.f1_loss if inside else masking.control_f1_loss
        for key in ("value", "low", "high"):
            assert row[key] == pytest.approx(100 * getattr(want, key), rel=1e-4)
        flips = masking.flips if inside else masking.control_flips
        assert row["flips"] == pytest.approx(flips.value, rel=1e-4)
    assert [k.name for k in figure.key] == list(fills)


def test_a_number_s_masking_is_in_its_own_unit(e: Explanation) -> None:
    number = made.of_number(e)
    assert number_masking(e) is None and region_masking(number) is None
    figure, shares = number_masking(number), region_shares(number)
    assert figure is not None and shares is not None and number.number is not None
    assert figure.spec["height"] == shares.spec["height"]
    rows = rows_of(figure, "fill")
    assert len(rows) == 2 * len(number.number.maskings) == 54
    fills = {"mean colour": "mean", "blur": "blur", "another image": "other"}
    for row in rows:
        m = next(m for m in number.number.maskings
                 if (m.region, m.fill) == (row["region"], fills[row["fill"]]))  # fmt: skip
        inside = row["what"] == "the region"
        want = (m.moved, m.shift, m.error_rise) if inside else (
            m.control_moved, m.control_shift, m.control_error_rise
        )  # fmt: skip
        for key in ("value", "low", "high"):
            assert row[key] == pytest.approx(getattr(want[0], key), rel=1e-4)
        assert (row["shift"], row["rise"]) == pytest.approx((want[1].value, want[2].value))
    assert "background with another image: 10.0" in figure.alt
    assert "all 400 images" in figure.caption


def test_a_method_without_a_passing_badge_is_hollow(e: Explanation) -> None:
    figure = region_shares(e)
    assert figure is not None
    hollow = {k.name for k in figure.key if k.is_open}
    assert hollow == {"Gradient", "RISE"}
    fills = next(layer["encoding"]["fill"]["scale"] for layer in figure.spec["layer"]
                 if "fill" in layer["encoding"])  # fmt: skip
    paper = {m for m, c in zip(fills["domain"], fills["range"], strict=True) if "paper" in c}
    assert paper == hollow


def test_nothing_to_draw_is_no_chart(e: Explanation) -> None:
    nothing = made.undefined()
    assert region_shares(made.explanation(regions=())) is None
    assert region_masking(made.explanation(masked=False)) is None
    undefined = dataclasses.replace(
        e,
        shares=tuple(dataclasses.replace(s, share=nothing) for s in e.shares),
        maskings=tuple(dataclasses.replace(m, f1_loss=nothing) for m in e.maskings),
    )
    assert region_shares(undefined) is None and region_masking(undefined) is None
    assert region_shares(dataclasses.replace(e, subsets=())) is None


def test_undefined_ends_and_areas_are_left_out(e: Explanation) -> None:
    first = e.maskings[0]
    lost = dataclasses.replace(first.f1_loss, low=math.nan)
    changed = dataclasses.replace(
        e,
        maskings=(dataclasses.replace(first, f1_loss=lost), *e.maskings[1:]),
        regions=(dataclasses.replace(e.regions[0], area=math.nan), *e.regions[1:]),
    )
    shares, masking = region_shares(changed), region_masking(changed)
    assert shares is not None and masking is not None
    assert rows_of(masking, "fill")[0]["low"] is None
    areas = [
        rows for rows in shares.spec["datasets"].values() if set(rows[0]) == {"region", "area"}
    ]
    assert len(areas[0]) == len(e.regions) - 1


def test_long_names_stay_distinct_and_markup_stays_text() -> None:
    names = ("x" * 60 + "1", "x" * 60 + "2", "</svg><script>alert(1)</script>")
    e = made.explanation(regions=names, methods=made.METHODS[:1])
    for figure in (region_shares(e), region_masking(e)):
        assert figure is not None and "<script>" not in figure.svg
        regions = {r["region"] for r in rows_of(figure, "value") if "region" in r}
        assert len(regions) in (0, 3)
