"""How good predicted numbers and their intervals are, of any groups of images at once.

All figures follow from a few sums over images, so a bootstrap draw is a product of matrices, as for
classes. `mae`, `rmse` and `bias` (mean of prediction less truth) are in the number's own unit; `r2`
is 1 less the squared error as a share of that of the mean of the same images; `within` is the share
of images that are off by no more than a tolerance; `coverage` the share whose interval holds the
truth, and `width` its mean width. `median_mae`, `median_rmse` and `median_within` are what always
answering the training median gives on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from candid.arrays import BoolArray, FloatArray
from candid.records import Estimate
from candid.records.metrics import metric_named
from candid.stats.bootstrap import FigureSpec, Resample, estimate

NUMBER_METRICS = (
    *("mae", "median_mae", "rmse", "median_rmse", "r2", "within", "median_within"),
    *("bias", "coverage", "width"),
)


@dataclass(frozen=True, eq=False)
class NumberOutcomes:
    """True numbers and predictions of n images; all arrays are (n,).

    `baseline` is the training median, `tolerance` how far off an answer may be to count as near.
    """

    value: FloatArray
    predicted: FloatArray
    low: FloatArray
    high: FloatArray
    baseline: float
    tolerance: float

    @property
    def error(self) -> FloatArray:
        """(n,) prediction less truth."""
        return self.predicted - self.value

    @property
    def covered(self) -> BoolArray:
        """(n,) whether the interval holds the truth."""
        return (self.low <= self.value) & (self.value <= self.high)

    def cells(self) -> FloatArray:
        """(n, sums) what each image adds."""
        distance, blind = np.abs(self.error), np.abs(self.value - self.baseline)
        # From the middle, so that squares keep their digits in single precision.
        value = self.value - self.value.mean() if len(self.value) else self.value
        near = (distance <= self.tolerance, blind <= self.tolerance)
        return np.column_stack(
            [
                *(np.ones(len(distance)), distance, blind, distance**2, blind**2, value, value**2),
                *(*near, self.error, self.covered, self.high - self.low),
            ]
        )


def number_figures(sums: FloatArray) -> dict[str, FloatArray]:
    """Every figure (...) of sums (..., sums) of `NumberOutcomes.cells`; NaN without an image."""
    n = np.where(sums[..., 0] > 0, sums[..., 0], np.nan)
    distance, baseline, square, baseline_square, value, value_square, *rest = np.moveaxis(
        sums[..., 1:] / n[..., None], -1, 0
    )
    spread = value_square - value**2
    near, baseline_near, bias, covered, width = rest
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(spread > 1e-12 * value_square, 1 - square / spread, np.nan)
    return {
        "mae": distance,
        "median_mae": baseline,
        "rmse": np.sqrt(square),
        "median_rmse": np.sqrt(baseline_square),
        "r2": r2,
        "within": near,
        "median_within": baseline_near,
        "bias": bias,
        "coverage": covered,
        "width": width,
    }


def number_estimates(
    outcomes: NumberOutcomes,
    masks: Sequence[BoolArray],
    resampling: Resample,
    names: Sequence[str] = NUMBER_METRICS,
) -> list[dict[str, Estimate]]:
    """Figures with their intervals of each group of images, which (n,) masks mark."""
    cells, estimates = outcomes.cells(), []
    for mask in masks:
        of_group = np.where(mask[:, None], cells, 0.0)
        value, draws = resampling.evaluate_sums(of_group, number_figures)
        specs = {name: FigureSpec(metric_named(name).kind, (mask,)) for name in names}
        estimates.append({k: estimate(value[k], draws[k], s, resampling) for k, s in specs.items()})
    return estimates
