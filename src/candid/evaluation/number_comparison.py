"""Two models of a number on the same images: what changed, for whom, and how sure that is.

As for classes (`comparison`) everything is paired: images are matched by their ids, and both models
are judged on the same bootstrap draws of people. What counts is how far off each answer is; a
change is B's mean absolute error less A's, so that less than 0 is better. Intervals and p-values
are Student's, of the mean difference, with the draws' standard error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from candid.arrays import Floats, Marks
from candid.evaluation.comparison import comparison_of
from candid.evaluation.numbers import named_ranges
from candid.evaluation.paired import PairedNumbers, match_numbers
from candid.predictions.numbers import NumberAnswers
from candid.records import Split
from candid.records.compare import Change, Comparison, GroupChange
from candid.stats.bootstrap import FigureSpec, Resample, estimate, resample, standard_error
from candid.stats.differences import Side, difference_p

_FIGURES = ("mae", "rmse")


def compare_numbers(
    a: NumberAnswers,
    b: NumberAnswers,
    *,
    names: tuple[str, str] = ("A", "B"),
    split: Split = "test",
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    rate: float = 0.05,
    least: int = 20,
) -> Comparison:
    """What changed from A to B for every group of the images that both speak of.

    `classes` are empty, and in the place of classes are the ranges of the true value. Else as
    `compare_predictions`.

    Raises
    ------
    PredictionsError
        Where the two have no image in common.
    """
    pair = match_numbers(a, b, split)
    n = len(pair)
    drawing = resample(n, pair.person, draws=draws, seed=seed, confidence=confidence)
    everyone = _Group("", "", np.ones(n, np.bool_), np.zeros(n, np.bool_))
    ranges, groups = [*_ranges(pair)], [*_groups(pair)]
    changes = [_change(g, pair, drawing, least) for g in (everyone, *ranges, *groups)]
    return comparison_of(
        pair,
        changes,
        len(ranges),
        drawing,
        names=names,
        targets=(a.target, b.target),
        split=split,
        rate=rate,
    )


@dataclass(frozen=True, eq=False)
class _Group:
    """Images that share something, and the rest of those whose value is known."""

    attribute: str
    value: str
    mask: Marks
    rest: Marks


def _ranges(pair: PairedNumbers) -> Iterator[_Group]:
    nobody = np.zeros(len(pair), np.bool_)
    for name, mask in named_ranges(pair.value):
        if mask.any() and not mask.all():
            yield _Group(pair.target, name, mask, nobody)


def _groups(pair: PairedNumbers) -> Iterator[_Group]:
    for attribute in pair.cut_attributes():
        for code, value in enumerate(attribute.values):
            mask = attribute.data == code
            if mask.any():
                yield _Group(attribute.name, value, mask, (attribute.data >= 0) & ~mask)


def _change(group: _Group, pair: PairedNumbers, drawing: Resample, least: int) -> GroupChange:
    """What changed for a group, before p-values are adjusted."""
    value, drawn = _figures(group, pair, drawing)
    metrics = {
        name: _paired(value[name][:, 0], drawn[name][:, :, 0], [group.mask], drawing)
        for name in _FIGURES
    }
    gap = None
    if group.rest.any():
        gaps, drawn_gaps = (x["mae"][..., 0] - x["mae"][..., 1] for x in (value, drawn))
        gap = _paired(gaps, drawn_gaps, [group.mask, group.rest], drawing)
    moved = np.sign(pair.off_before - pair.off)[group.mask].astype(np.int64)
    balance = (pair.off_before - pair.off)[group.mask]
    by_unit = np.bincount(drawing.unit[group.mask], balance, minlength=1)
    units = drawing.units_in(group.mask)
    change = drawn["mae"][:, 1, 0] - drawn["mae"][:, 0, 0]
    return GroupChange(
        attribute=group.attribute,
        value=group.value,
        n=int(np.count_nonzero(group.mask)),
        people=drawing.people_in(group.mask),
        metrics=metrics,
        lost=int(np.count_nonzero(moved < 0)),
        gained=int(np.count_nonzero(moved > 0)),
        lost_people=int(np.count_nonzero(by_unit < 0)),
        gained_people=int(np.count_nonzero(by_unit > 0)),
        p=_p(metrics["mae"].difference.value, standard_error(change, units), units),
        adjusted_p=math.nan,
        smallest_visible=math.nan,
        state="too few to say" if units < least else "not found",
        gap=gap,
    )


def _figures(
    group: _Group, pair: PairedNumbers, drawing: Resample
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Each figure (2 models, 2 sides), and the same (draws, 2, 2) in every draw."""
    masks = np.stack([group.mask, group.rest], axis=1)  # (n, sides)
    off = np.stack([pair.off_before, pair.off], axis=1)[:, :, None]  # (n, models, 1)
    cells = np.stack([masks[:, None] * x for x in (np.ones_like(off), off, off**2)], axis=1)

    def figures(sums: Floats) -> dict[str, Floats]:
        n, linear, square = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, 2, 2), -3, 0)
        n = np.where(n > 0, n, np.nan)
        return {"mae": linear / n, "rmse": np.sqrt(square / n)}

    return drawing.of_sums(cells.reshape(len(cells), -1), figures)


def _paired(value: Floats, drawn: Floats, masks: list[Marks], drawing: Resample) -> Change:
    """How a figure (2 models,) or a gap changed; `drawn` is (draws, 2 models)."""
    spec = FigureSpec("mean", tuple(masks))
    found = estimate(value[1] - value[0], drawn[:, 1] - drawn[:, 0], spec, drawing)
    return Change(float(value[0]), float(value[1]), found)


def _p(value: float, spread: float, units: int) -> float:
    """Two-sided, of "neither model is nearer"."""
    if spread == 0:  # neither moved anywhere, or all by as much
        return 1.0 if value == 0 else math.nan
    one, none = (
        Side(np.array([x]), np.array([s]), np.array([units]))
        for x, s in ((value, spread), (0.0, 0.0))
    )
    return float(difference_p(one, none, np.zeros(1), score=False)[0])
