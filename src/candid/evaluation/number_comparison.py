"""Two models of a number on the same images: what changed, for which groups, and how surely.

As for classes (`comparison`) everything is paired: images are matched by their ids, and both models
are judged on the same bootstrap draws of people. What counts is how far off each answer is; a
change is B's mean absolute error less A's, so that less than 0 is better. Intervals and p-values
are Student's, of the mean difference, with the draws' standard error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from candid.arrays import BoolArray, FloatArray
from candid.evaluation.comparison import (
    ComparedGroup,
    attribute_groups,
    build_change,
    build_comparison,
)
from candid.evaluation.numbers import named_ranges
from candid.evaluation.paired import PairedNumbers, match_numbers
from candid.predictions.numbers import NumberAnswers
from candid.records import Split
from candid.records.compare import Change, Comparison, GroupChange
from candid.stats.bootstrap import FigureSpec, Resample, estimate, resample, standard_error
from candid.stats.differences import Side, difference_p


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
    """What changed from A to B for every group of the images that both answer.

    `classes` are empty, and in the place of classes are the ranges of the true value. Else as
    `compare_predictions`.

    Raises PredictionsError where the two have no image in common.
    """
    pair = match_numbers(a, b, split)
    n = len(pair)
    resampling = resample(n, pair.person, draws=draws, seed=seed, confidence=confidence)
    everyone = ComparedGroup("", "", np.ones(n, np.bool_), np.zeros(n, np.bool_))
    ranges, groups = [*_iterate_ranges(pair)], attribute_groups(pair.cut_attributes())
    changes = [_compare_group(g, pair, resampling, least) for g in (everyone, *ranges, *groups)]
    return build_comparison(
        pair,
        changes,
        len(ranges),
        resampling,
        names=names,
        targets=(a.target, b.target),
        split=split,
        rate=rate,
    )


def _iterate_ranges(pair: PairedNumbers) -> Iterator[ComparedGroup]:
    empty = np.zeros(len(pair), np.bool_)
    for name, mask in named_ranges(pair.value):
        if mask.any() and not mask.all():
            yield ComparedGroup(pair.target, name, mask, empty)


def _compare_group(
    group: ComparedGroup, pair: PairedNumbers, resampling: Resample, least: int
) -> GroupChange:
    """What changed for a group, before p-values are adjusted."""
    value, replicates = _measure_figures(group, pair, resampling)
    metrics = {
        name: _measure_change(v[:, 0], replicates[name][:, :, 0], [group.mask], resampling)
        for name, v in value.items()
    }
    gap = None
    if group.rest.any():
        gaps, gap_replicates = (x["mae"][..., 0] - x["mae"][..., 1] for x in (value, replicates))
        gap = _measure_change(gaps, gap_replicates, [group.mask, group.rest], resampling)
    balance = (pair.error_a - pair.error_b)[group.mask]
    by_unit = np.bincount(resampling.unit[group.mask], balance, minlength=1)
    units = resampling.count_units(group.mask)
    error = standard_error(replicates["mae"][:, 1, 0] - replicates["mae"][:, 0, 0], units)
    p = _p_value(metrics["mae"].difference.value, error, units)
    return build_change(group, metrics, gap, balance, by_unit, p, resampling, least)


def _measure_figures(
    group: ComparedGroup, pair: PairedNumbers, resampling: Resample
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Each figure (2 models, 2 sides), and the same (draws, 2, 2) in every draw."""
    masks = np.stack([group.mask, group.rest], axis=1)  # (n, sides)
    errors = np.stack([pair.error_a, pair.error_b], axis=1)[:, :, None]  # (n, models, 1)
    powers = np.ones_like(errors), errors, errors**2
    cells = np.stack([masks[:, None] * power for power in powers], axis=1)

    def figures(sums: FloatArray) -> dict[str, FloatArray]:
        n, linear, square = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, 2, 2), -3, 0)
        n = np.where(n > 0, n, np.nan)
        return {"mae": linear / n, "rmse": np.sqrt(square / n)}

    return resampling.evaluate_sums(cells.reshape(len(cells), -1), figures)


def _measure_change(
    value: FloatArray, replicates: FloatArray, masks: list[BoolArray], resampling: Resample
) -> Change:
    """The change of a figure (2 models,) or a gap; `replicates` is (draws, 2 models)."""
    spec = FigureSpec("mean", tuple(masks))
    changes = replicates[:, 1] - replicates[:, 0]
    difference = estimate(value[1] - value[0], changes, spec, resampling)
    return Change(float(value[0]), float(value[1]), difference)


def _p_value(value: float, spread: float, units: int) -> float:
    """Two-sided, of "neither model is nearer"."""
    if spread == 0:  # neither moved anywhere, or all by as much
        return 1.0 if value == 0 else math.nan
    sides = (value, spread), (0.0, 0.0)
    side, zero = (Side(np.array([x]), np.array([s]), np.array([units])) for x, s in sides)
    return float(difference_p(side, zero, np.zeros(1), score=False)[0])
