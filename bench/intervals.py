"""How often do 95% intervals hold the truth? Ours beside plain percentiles of the same draws.

People with 1 + Poisson(3) pictures each whose mistakes go together; the truth comes from 100,000
people. Run: `python bench/intervals.py [repetitions]` (10 minutes on one busy core). One row per
number of people and difficulty; a cell says how many per cent of the intervals held the truth, ours
and then percentiles, with a standard error of 1.1 points at 95%.

2026-11-24, 400 repetitions of 500 draws, numpy 2.4.6:

    people accuracy   ECE |  accuracy        F1       AUC        AP  log loss     Brier       ECE
        50    0.946 0.001 |     95/90     95/90     92/85     94/86     91/88     92/90      94/0
        50    0.978 0.000 |     96/88     96/88     94/76     95/77     86/84     89/86      92/0
        50    0.946 0.029 |     95/90     95/90     92/85     94/86     90/86     94/90    100/87
       300    0.946 0.001 |     96/94     96/94     93/92     94/92     94/93     93/92      98/0
       300    0.978 0.000 |     92/92     92/92     92/90     92/88     93/93     92/92      96/0
       300    0.946 0.029 |     96/94     96/94     93/92     94/92     94/94     94/92     98/89
      1000    0.946 0.001 |     95/94     95/94     95/95     95/94     96/96     96/95     100/0
      1000    0.978 0.000 |     95/95     95/95     95/94     94/94     96/95     96/96      98/0
      1000    0.946 0.029 |     95/94     95/94     95/95     95/94     96/95     95/94     98/93

Ours hold the truth in 92% to 97% of cases for scores. Log loss and Brier score are means of
values with a heavy tail: with 50 people the tail is seldom in the sample, and no bootstrap can know
of it (86% to 94%). The calibration error's percentiles never hold a true value near 0; ours are
cautious (92% to 100%).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from candid.stats import metrics
from candid.stats.bootstrap import FigureSpec, bootstrap, resample

NAMES = ("accuracy", "weighted_f1", "roc_auc", "average_precision", "log_loss", "brier_score")
CALIBRATION = "calibration_error"


def sample(
    people: int, distance: float, overconfidence: float, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Identity, label and probabilities; a person's pictures share their label and a deviation."""
    person = np.repeat(np.arange(people), 1 + rng.poisson(3, people))
    label = (rng.random(people) < 0.42).astype(int)[person]
    seen = (label - 0.5) * distance
    seen += rng.normal(0, 0.6, people)[person] + rng.normal(0, 0.8, len(person))
    p = 1 / (1 + np.exp(-overconfidence * (seen * distance + np.log(0.42 / 0.58))))
    return person, label, np.stack([1 - p, p], axis=1)


def statistic_of(
    label: NDArray[Any], probability: NDArray[Any]
) -> Callable[[NDArray[Any]], dict[str, NDArray[Any]]]:
    """Figures by name for rows of weights."""
    prediction = probability.argmax(axis=1)

    def statistic(weight: NDArray[Any]) -> dict[str, NDArray[Any]]:
        confusion = metrics.confusion_matrix(label, prediction, 2, weight)
        auc, ap = metrics.rank_scores(label == 1, probability[:, 1], weight)
        return {
            "accuracy": metrics.accuracy_score(confusion),
            "weighted_f1": metrics.weighted_f1_score(confusion),
            "roc_auc": auc,
            "average_precision": ap,
            "log_loss": metrics.log_loss_error(label, probability, weight),
            "brier_score": metrics.brier_error(label, probability, weight),
            CALIBRATION: metrics.bin_excess(label, probability, weight),
        }

    return statistic


def coverage(people: int, distance: float, overconfidence: float, repetitions: int) -> str:
    """One row of the table."""
    _, label, probability = sample(100_000, distance, overconfidence, np.random.default_rng(10**6))
    truth = {
        name: float(np.abs(value).sum())
        for name, value in statistic_of(label, probability)(np.ones((1, len(label)))).items()
    }
    ours, plain = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for seed in tqdm(range(repetitions), disable=None, leave=False):
        rng = np.random.default_rng(seed)
        person, label, probability = sample(people, distance, overconfidence, rng)
        everyone = (np.ones(len(label), dtype=bool),)
        both = (label == 1, label == 0)
        figures = dict.fromkeys(truth, FigureSpec("score", everyone))
        figures |= dict.fromkeys(("roc_auc", "average_precision"), FigureSpec("score", both))
        figures |= dict.fromkeys(("log_loss", "brier_score"), FigureSpec("error", everyone))
        figures[CALIBRATION] = FigureSpec("deviation", everyone)
        drawing = resample(len(label), person, draws=500, seed=seed)
        statistic = statistic_of(label, probability)
        draws = drawing.evaluate(statistic)
        for name, e in bootstrap(statistic, figures, drawing).items():
            ours[name] += e.low <= truth[name] <= e.high
            d = draws[name] if draws[name].ndim == 1 else np.abs(draws[name]).sum(axis=1)
            low, high = np.nanquantile(d, [0.025, 0.975])
            plain[name] += low <= truth[name] <= high
    cells = (f"{ours[n] / repetitions:.3f} / {plain[n] / repetitions:.3f}" for n in truth)
    setting = f"{people} people, accuracy {truth['accuracy']:.3f}, ECE {truth[CALIBRATION]:.3f}"
    return f"| {setting} | " + " | ".join(cells) + " |"


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    print("| people | " + " | ".join((*NAMES, CALIBRATION)) + " |")
    print("| --- |" + " --- |" * (len(NAMES) + 1))
    for people in (50, 300, 1000):
        for distance, overconfidence in ((3.2, 1.0), (4.0, 1.0), (3.2, 2.0)):
            print(coverage(people, distance, overconfidence, repetitions), flush=True)


if __name__ == "__main__":
    main()
