"""Fixed jobs give the figures that they gave when they were written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from golden import jobs

FIGURES = Path(__file__).parent / "figures"
# Sums of many numbers differ in their last digits from one kind of processor to the next.
TOLERANCE = 1e-6


@pytest.mark.parametrize("name", sorted(path.stem for path in FIGURES.glob("*.parquet")))
def test_figures_are_those_that_were_kept(name, tmp_path):
    kept, machine = jobs.read(FIGURES / f"{name}.parquet")
    if name in jobs.TRAINED and machine != jobs.machine():
        pytest.skip(f"trained weights are the same on like machines alone: {machine}")
    assert jobs.differences(kept, jobs.JOBS[name](tmp_path), TOLERANCE) == []


def test_a_difference_is_seen():
    was = {"a": 1.0, "b": "x", "c": float("nan"), "gone": 1.0}
    now = {"a": 1.0 + 1e-5, "b": "y", "c": float("nan"), "new": 1.0}
    found = jobs.differences(was, now, TOLERANCE)
    assert [line.split(":")[0] for line in found] == ["a", "b", "gone", "new"]
