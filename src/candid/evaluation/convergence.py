"""Was the training long enough, or too long? A rule that is stated and whose errors are known.

The tests hold the rule to synthetic curves of each kind, several hundred each, with noise of 1% to
5% of the loss from one evaluation to the next; the rates are in
`tests/evaluation/test_convergence.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.records import Convergence, HistoryRow
from candid.stats.intervals import student_quantile

Floats = NDArray[np.float64]

# Fewer evaluations than these say too little about a trend.
_FEWEST = 8
# A fall or a rise smaller than this share of the loss does not matter.
_MATTERS = 0.02
# Scatter above this share of the loss hides falls that would matter.
_SCATTER = 0.10
# How many standard errors a rise from the best must have; the best is the luckiest of many.
_RISE = 4.0
# Chance alone calls a level curve falling in half of the rest, 2.5%.
_CONFIDENCE = 0.95

RULE = (
    "On the validation loss of every evaluation. Fewer than 8: too short. A loss that is not a "
    "number: unsteady. Overfitting: the mean of the last 3 lies above the lowest mean of 3 in a "
    "row by more than 4 standard errors and 2%, while the training loss did not rise with it (else "
    "unsteady). Still falling: a straight line through the last third (at least 5) falls by more "
    "than 2%, and by more than Student's t allows a level curve in 97.5% of cases. Otherwise "
    "unsteady where they scatter about that line by more than 10% of the loss, else settled."
)


def verdict(history: Sequence[HistoryRow]) -> Convergence | None:
    """Whether the validation loss was still falling, settled, rising or unsteady; `RULE` says how.

    Returns
    -------
    None without a single evaluation. Figures: `evaluations`; `fall_share`, `fall_low`, `fall_high`
    (how far the line through the last third falls, as a share of its mean loss, with its 95%
    interval); `scatter_share` (residual standard deviation about that line); `rise_share` (last 3
    above the best 3) and `best_step`, the middle of the best 3.
    """
    rows = [row for row in history if not math.isnan(row.validation_loss)]
    if not rows:
        return None
    loss = np.array([row.validation_loss for row in rows])
    train = np.array([row.train_loss for row in history])
    if not (np.isfinite(loss).all() and np.isfinite(train).all()):
        return _convergence(
            "unsteady",
            "The loss ceased to be a number: training broke down.",
            {"evaluations": float(len(rows))},
        )
    if len(rows) < _FEWEST:
        return _convergence(
            "too-short",
            f"With {len(rows)} evaluations on validation nothing can be said about a trend.",
            {"evaluations": float(len(rows))},
        )
    steps = np.array([row.step for row in rows], dtype=np.float64)
    tail = max(5, math.ceil(len(rows) / 3))
    fall, error, level, scatter = _trend(steps[-tail:], loss[-tail:])
    rise, best, at = _rise(loss)
    quantile = float(student_quantile(_CONFIDENCE, tail - 2))
    figures = {
        "evaluations": float(len(rows)),
        "fall_share": fall / level,
        "fall_low": (fall - quantile * error) / level,
        "fall_high": (fall + quantile * error) / level,
        "scatter_share": scatter / level,
        "rise_share": rise / best,
        "best_step": float(steps[at]),
    }
    if rise > _RISE * scatter * math.sqrt(2 / 3) and rise > _MATTERS * best:
        return _rising(history, steps[at], rise / best, figures)
    if fall > quantile * error and fall > _MATTERS * level:
        return _convergence(
            "still-falling",
            f"The validation loss still fell by {fall / level:.0%} (95% interval "
            f"{figures['fall_low']:.0%} to {figures['fall_high']:.0%}) over the last {tail} of "
            f"{len(rows)} evaluations: longer training would probably help.",
            figures,
        )
    if scatter > _SCATTER * level:
        return _convergence(
            "unsteady",
            f"The validation loss jumps by {scatter / level:.0%} from one evaluation to the next: "
            "too much to tell a trend.",
            figures,
        )
    return _convergence(
        "settled",
        f"The validation loss no longer changes by more than its noise over the last {tail} of "
        f"{len(rows)} evaluations ({-fall / level:+.1%}, 95% interval "
        f"{-figures['fall_high']:+.1%} to {-figures['fall_low']:+.1%}).",
        figures,
    )


def _rising(
    history: Sequence[HistoryRow], best_step: Any, rise: float, figures: dict[str, float]
) -> Convergence:
    """The validation loss rose: on its own (overfitting) or with the training loss (unsteady)."""
    after = np.array([row.train_loss for row in history if row.step >= best_step])
    third = max(1, len(after) // 3)
    if after[-third:].mean() > after[:third].mean() * (1 + _MATTERS):
        sentence = (
            f"Training and validation loss both rose after step {best_step:.0f}: training "
            "came off its path; a smaller learning rate may help."
        )
        return _convergence("unsteady", sentence, figures)
    sentence = (
        f"The validation loss ends {rise:.0%} above its best, around step {best_step:.0f}, and the "
        "training loss did not rise: the network began to learn its training images by heart."
    )
    return _convergence("overfitting", sentence, figures)


def _convergence(code: str, sentence: str, figures: dict[str, float]) -> Convergence:
    return Convergence(code=code, sentence=sentence, rule=RULE, figures=figures)


def _trend(x: Floats, y: Floats) -> tuple[float, float, float, float]:
    """Least squares line: its fall from end to end, that fall's error, mean, residual deviation."""
    centred = x - x.mean()
    squares = float(centred @ centred)
    slope = float(centred @ y) / squares
    residual = y - y.mean() - slope * centred
    scatter = math.sqrt(float(residual @ residual) / (len(x) - 2))
    span = float(x[-1] - x[0])
    return -slope * span, scatter / math.sqrt(squares) * span, float(y.mean()), scatter


def _rise(y: Floats) -> tuple[float, float, int]:
    """How far the mean of the last 3 lies above the lowest mean of 3; that mean; its middle."""
    means = np.convolve(y, np.full(3, 1 / 3), mode="valid")
    at = int(np.argmin(means))
    return float(means[-1] - means[at]), float(means[at]), at + 1
