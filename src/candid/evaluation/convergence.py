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

from candid.arrays import FloatArray
from candid.records import Convergence, HistoryRow
from candid.stats.intervals import student_quantile
from candid.stats.regression import fit_line
from candid.text import convergence as text

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


def judge_convergence(history: Sequence[HistoryRow]) -> Convergence | None:
    """Whether the validation loss was still falling, settled, rising or unsteady.

    `candid.text.convergence.RULE` says how that is decided.

    None without a single evaluation. Figures: `evaluations`; `fall_share`, `fall_low`, `fall_high`
    (how far the line through the last third falls, as a share of its mean loss, with its 95%
    interval); `scatter_share` (residual standard deviation about that line); `rise_share` (last 3
    above the best 3) and `best_step`, the middle of the best 3.
    """
    rows = [row for row in history if not math.isnan(row.validation_loss)]
    if not rows:
        return None
    loss = np.array([row.validation_loss for row in rows])
    figures = {"evaluations": float(len(rows))}
    if not np.isfinite([*loss, *(row.train_loss for row in history)]).all():
        code, sentence = "unsteady", text.BROKE_DOWN
    elif len(rows) < _FEWEST:
        code, sentence = "too-short", text.too_short(len(rows))
    else:
        steps = np.array([row.step for row in rows], dtype=np.float64)
        code, sentence = _judge(steps, loss, history, figures)
    return Convergence(code=code, sentence=sentence, rule=text.RULE, figures=figures)


def _judge(
    steps: FloatArray, loss: FloatArray, history: Sequence[HistoryRow], figures: dict[str, float]
) -> tuple[str, str]:
    """The code and a sentence, by the rule; writes down the figures."""
    n, tail = len(loss), max(5, math.ceil(len(loss) / 3))
    fall, error, level, scatter = fit_line(steps[-tail:], loss[-tail:])
    reach = float(student_quantile(_CONFIDENCE, tail - 2)) * error
    threes = np.convolve(loss, np.full(3, 1 / 3), mode="valid")
    lowest = int(np.argmin(threes))
    rise, best = float(threes[-1] - threes[lowest]), float(threes[lowest])
    low, high = (fall - reach) / level, (fall + reach) / level
    figures |= {
        "fall_share": fall / level,
        "fall_low": low,
        "fall_high": high,
        "scatter_share": scatter / level,
        "rise_share": rise / best,
        "best_step": float(steps[lowest + 1]),
    }
    if rise > _RISE * scatter * math.sqrt(2 / 3) and rise > _MATTERS * best:
        return _rising(history, steps[lowest + 1], rise / best)
    trend = (fall / level, (low, high), tail, n)
    if fall > reach and fall > _MATTERS * level:
        return "still-falling", text.still_falling(*trend)
    if scatter > _SCATTER * level:
        return "unsteady", text.jumps(scatter / level)
    return "settled", text.settled(*trend)


def _rising(history: Sequence[HistoryRow], best_step: Any, rise: float) -> tuple[str, str]:
    """The validation loss rose: on its own (overfitting) or with the training loss (unsteady)."""
    after = np.array([row.train_loss for row in history if row.step >= best_step])
    third = max(1, len(after) // 3)
    if after[-third:].mean() > after[:third].mean() * (1 + _MATTERS):
        return "unsteady", text.both_rose(best_step)
    return "overfitting", text.overfitted(rise, best_step)
