"""The verdict on synthetic curves of each kind, over many seeds, and its rates of error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from candid.evaluation.convergence import judge_convergence
from candid.records import HistoryRow
from candid.text.convergence import RULE

STEPS, SEEDS = 160, 250


def curve(kind, t):
    """Validation loss at times 0 to 1 (level about 0.1 to 0.2 at the end)."""
    return {
        "falling": 0.1 + 0.6 * np.exp(-t / 0.35),
        "settled": 0.1 + 0.6 * np.exp(-t / 0.06),
        "overfitting": 0.1 + 0.6 * np.exp(-t / 0.06) + 0.1 * np.maximum(t - 0.4, 0),
    }[kind]


def history(kind, evaluations, noise, seed, *, train="falling"):
    rng = np.random.default_rng(seed)
    t = np.arange(1, STEPS + 1) / STEPS
    loss = curve(kind, t) * np.exp(rng.normal(0, noise, STEPS))
    batch = curve(train, t) * np.exp(rng.normal(0, 0.15, STEPS))
    measured = set(np.linspace(STEPS / evaluations, STEPS, evaluations).round().astype(int))
    return [
        HistoryRow(
            step=i + 1,
            images=256 * (i + 1),
            seconds=0.1 * i,
            learning_rate=1e-3,
            train_loss=float(batch[i]),
            train_f1=0.9,
            validation_loss=float(loss[i]) if i + 1 in measured else math.nan,
        )
        for i in range(STEPS)
    ]


def share(code, kind, evaluations, noise, **options):
    said = [
        judge_convergence(history(kind, evaluations, noise, seed, **options)).code
        for seed in range(SEEDS)
    ]
    return np.mean([c == code for c in said])


@pytest.mark.parametrize("evaluations", [10, 20, 40])
@pytest.mark.parametrize("noise", [0.01, 0.03, 0.05])
def test_level_curves_are_settled(evaluations, noise):
    """By design 2.5% are called falling, and few overfitting; a bound for 5% of error in all."""
    least = stats.binom.ppf(1e-4, SEEDS, 0.95) / SEEDS
    assert share("settled", "settled", evaluations, noise) >= least


@pytest.mark.parametrize("kind", ["falling", "overfitting"])
@pytest.mark.parametrize("evaluations", [20, 40])
@pytest.mark.parametrize("noise", [0.01, 0.03, 0.05])
def test_falling_and_rising_curves_are_recognised(kind, evaluations, noise):
    """Falls by 40% and rises by 60% of the loss: missed in under 2% with 20 evaluations."""
    code = {"falling": "still-falling", "overfitting": "overfitting"}[kind]
    least = stats.binom.ppf(1e-4, SEEDS, 0.98) / SEEDS
    assert share(code, kind, evaluations, noise) >= least


@pytest.mark.parametrize("evaluations", [10, 20, 40])
def test_wild_curves_are_unsteady(evaluations):
    least = stats.binom.ppf(1e-4, SEEDS, 0.80) / SEEDS
    assert share("unsteady", "settled", evaluations, 0.4) >= least


def test_a_rise_of_both_losses_is_not_overfitting():
    assert share("unsteady", "overfitting", 20, 0.02, train="overfitting") > 0.97


@pytest.mark.parametrize("evaluations", [1, 2, 7])
def test_too_short(evaluations):
    v = judge_convergence(history("falling", evaluations, 0.01, 0))
    assert v.code == "too-short" and v.figures["evaluations"] == evaluations


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_a_number(bad):
    rows = history("falling", 20, 0.01, 0)
    rows[149] = HistoryRow(150, 150 * 256, 60.0, 1e-3, bad, math.nan)
    assert judge_convergence(rows).code == "unsteady"


def test_nothing_measured_nothing_said():
    assert judge_convergence([]) is None
    assert judge_convergence([HistoryRow(1, 256, 0.1, 1e-3, 0.7, 0.5)]) is None


def test_figures_are_the_line_of_least_squares():
    rows = history("settled", 20, 0.05, 3)
    v = judge_convergence(rows)
    measured = [r for r in rows if not math.isnan(r.validation_loss)][-7:]
    x = np.array([r.step for r in measured])
    y = np.array([r.validation_loss for r in measured])
    line = stats.linregress(x, y)
    span = x[-1] - x[0]
    assert v.figures["fall_share"] == pytest.approx(-line.slope * span / y.mean())
    half = stats.t.ppf(0.975, 5) * line.stderr * span / y.mean()
    assert v.figures["fall_high"] - v.figures["fall_share"] == pytest.approx(half, rel=5e-3)
    assert v.rule == RULE and "%" in v.sentence


@pytest.mark.parametrize(("kind", "code"), [("falling", "still-falling"), ("settled", "settled")])
def test_a_trend_is_told_with_its_interval_and_number(kind, code):
    v = judge_convergence(history(kind, 20, 0.01, 1))
    assert v.code == code and "over the last 7 of 20 evaluations" in v.sentence
    ends = [v.figures["fall_low"], v.figures["fall_high"]]
    shown = [f"{x:.0%}" for x in ends] if kind == "falling" else [f"{-x:+.1%}" for x in ends[::-1]]
    assert f"95% interval {' to '.join(shown)}" in v.sentence


def test_scale_and_constant_loss():
    rows = history("falling", 20, 0.03, 1)
    scaled = [
        HistoryRow(r.step, r.images, r.seconds, r.learning_rate, 9 * r.train_loss, r.train_f1,
                   9 * r.validation_loss)
        for r in rows
    ]  # fmt: skip
    a, b = judge_convergence(rows), judge_convergence(scaled)
    assert a.code == b.code and a.figures == pytest.approx(b.figures)
    flat = [HistoryRow(i, i, i, 1e-3, 0.5, 0.5, 0.5) for i in range(1, 21)]
    assert judge_convergence(flat).code == "settled"
