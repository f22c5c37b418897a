"""Where a map is strongest, against counting pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from candid.text import places


@pytest.mark.parametrize("shape", [(9, 9), (16, 16), (7, 11), (64, 96)])
def test_the_strongest_fields_hold_the_largest_sums(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(4).normal(0, 1, shape) ** 3
    values[1, 1] = np.nan
    sums: dict[str, float] = {}
    for y in range(shape[0]):
        for x in range(shape[1]):
            down = "upper" if 3 * y < shape[0] else "central" if 3 * y < 2 * shape[0] else "lower"
            across = "left" if 3 * x < shape[1] else "middle" if 3 * x < 2 * shape[1] else "right"
            if not np.isnan(values[y, x]):
                name = f"{down} {across}"
                sums[name] = sums.get(name, 0) + abs(values[y, x])
    total = sum(sums.values())
    top = sorted(sums, key=lambda name: -sums[name])[:3]
    told = ", ".join(f"{name} {100 * sums[name] / total:.0f}%" for name in top)
    assert places.strongest_fields(values) == told
    assert f"lies in: {told}." in places.map_in_words(values)


def test_signs_are_told_apart_and_nothing_is_called_so() -> None:
    values = np.zeros((6, 6))
    values[0, 0], values[5, 5], values[3, 5] = 2, -3, -1
    said = places.signed_fields(values, "for", "against")
    assert said == "for: upper left 100%; against: lower right 75%, central right 25%"
    assert places.signed_fields(abs(values), "for", "against").endswith("against: nothing")
    assert places.strongest_fields(0 * values) == ""
    assert places.map_in_words(0 * values) == places.EMPTY_MAP


def test_light_and_dark_fields() -> None:
    luma = np.full((9, 9), 0.5)
    luma[3:6, 3:6], luma[6:, :3] = 0.8, 0.2
    said = places.describe_light(luma)
    assert said == "luma 0.50 on average, lightest central middle, darkest lower left"


def test_a_place_lies_in_one_field() -> None:
    corners = [places.field_at(row, column) for row in (0, 0.5, 1) for column in (0, 0.5, 1)]
    assert corners == list(places.FIELDS)
