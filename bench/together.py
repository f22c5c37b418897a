"""Gender, race and age of UTKFace in one training, beside each in a training of its own.

For every seed: `candid train --target gender --target race --target age`, and the same with each
label alone, through the command line, on the same images and batches. Printed are, on test,
accuracy of gender and race and the mean absolute error of age, together and alone, and their
difference on the same pictures; of age also how many of the true values its 90% intervals hold,
over all, by race and by decade, and how wide they are. UTKFace names nobody, so every picture
stands for itself in the intervals. Runs that lie in --out already are not repeated.

    python bench/together.py ../shared/data/utkface --out runs/together

Result for 4,800 training images at 48×48, seed 0 alone (one busy core of an AMD EPYC with bfloat16,
torch 2.13.0); test n = 600:

                                  together                   alone      together less alone
    gender, accuracy              0.872 (0.845 to 0.899)     0.872      0.000 (-0.020 to 0.020)
    race, accuracy                0.783 (0.750 to 0.816)     0.793     -0.010 (-0.051 to 0.031)
    age, mean absolute error      8.00 (7.24 to 8.76)        6.72      +1.28 (0.47 to 2.09)

The same with each label's loss weighing the same (--set train.target_weights=none):

    gender, accuracy              0.877 (0.850 to 0.903)     0.872      0.005 (-0.017 to 0.027)
    race, accuracy                0.790 (0.757 to 0.823)     0.793     -0.003 (-0.044 to 0.038)
    age, mean absolute error      7.30 (6.58 to 8.01)        6.72      +0.58 (-0.24 to 1.39)

Those above were weighted inversely to what base rates leave open, by which age was drowned: its are
more nats than those of two or five classes. Since then no label weighs less than two classes in
balance, by which these three weigh as in the second table, to 0.1%. Processor time together to
alone: 1.01 to 1.07.

What the 90% intervals of age hold, together; in the last column made for every range of the true
value (`predict.coverage_by=range`, the same weights): 16% wider in the median, 34.6 years of 29.8

    all                 0.897 (0.870 to 0.919, n = 600)      0.913 (0.888 to 0.933)
    White               0.899 (0.856 to 0.930, n = 257)      0.926 (0.887 to 0.952)
    Black               0.867 (0.798 to 0.915, n = 128)      0.883 (0.816 to 0.928)
    Asian               0.935 (0.857 to 0.972, n = 77)       0.961 (0.892 to 0.987)
    Indian              0.910 (0.833 to 0.954, n = 89)       0.899 (0.819 to 0.946)
    Other               0.878 (0.758 to 0.943, n = 49)       0.878 (0.758 to 0.943)
    0 to 9              0.900 (0.808 to 0.951, n = 70)       0.900 (0.808 to 0.951)
    10 to 19            0.756 (0.613 to 0.858, n = 45)       0.800 (0.662 to 0.891)
    20 to 29            0.982 (0.948 to 0.994, n = 166)      0.970 (0.931 to 0.987)
    30 to 39            0.975 (0.928 to 0.991, n = 118)      0.907 (0.841 to 0.947)
    40 to 49            0.937 (0.848 to 0.975, n = 63)       0.952 (0.869 to 0.984)
    50 to 59            0.845 (0.731 to 0.916, n = 58)       0.862 (0.751 to 0.928)
    60 to 69            0.857 (0.706 to 0.937, n = 35)       0.914 (0.776 to 0.970)
    70 to 79            0.708 (0.508 to 0.851, n = 24)       0.958 (0.798 to 0.993)
    80 on               0.381 (0.208 to 0.591, n = 21)       0.762 (0.549 to 0.894)

Ranges of the *predicted* value with a reach of their own did not bring the decades nearer (80 on:
0.43 with three or five of them, 0.57 with eight): given what it sees, the network is right already
to expect few so old.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from attributes import judged, right, told, trained
from numpy.typing import NDArray

from candid.predictions import read_predictions
from candid.predictions.numbers import NumberPredictions, read_number_predictions
from candid.records import Split
from candid.runs import Run
from candid.stats.intervals import mean, wilson_share

LABELS, NUMBER = ("gender", "race", "age"), "age"
SPLIT: Split = "test"
SETTINGS = [
    "data.side=48", "network.width=16", "train.steps=400", "train.batch_size=128",
    "train.threads=1",
]  # fmt: skip


def ages(run: Run) -> NumberPredictions:
    """What is said of the ages of test."""
    found = read_number_predictions(run.predictions_file)
    return found[found.split == SPLIT]


def off(run: Run, name: str) -> NDArray[np.float64]:
    """(n,) of each picture of test: the error of its age, or whether its class is right."""
    if name == NUMBER:
        return np.abs(ages(run).predicted - ages(run).value)
    return right(read_predictions(run.predictions_file), SPLIT)


def held(name: str, p: NumberPredictions, some: NDArray[np.bool_]) -> None:
    """Print how many true values the intervals of some pictures hold."""
    inside = (p.low <= p.value) & (p.value <= p.high) & some
    found, width = wilson_share(int(inside.sum()), int(some.sum())), (p.high - p.low)[some]
    print(f"    {name:8} {told(found)}; width {np.median(width):.1f} in the median")


def show_coverage(p: NumberPredictions) -> None:
    """By race and by decade."""
    held("all", p, np.ones(len(p), np.bool_))
    race = p.attributes["race"]
    for code, name in enumerate(race.values):
        held(name, p, race.data == code)
    for low in range(0, 90, 10):
        some = (p.value >= low) & ((p.value < low + 10) | (low == 80))
        held(f"{low} to {low + 9}" if low < 80 else "80 on", p, some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    given = parser.parse_args()
    overrides = [w for o in (*SETTINGS, *given.overrides) for w in ("--set", o)]
    for seed in given.seeds:
        whole = Run(given.out / f"all-{seed}")
        spent = trained(given.data, whole, LABELS, seed, overrides)
        together = dict(zip(LABELS, judged(whole), strict=True))
        for name in LABELS:
            run = Run(given.out / f"{name}-{seed}")
            own = trained(given.data, run, [name], seed, overrides)
            (alone,) = judged(run)
            pair = off(together[name], name), off(alone, name)
            what = "mean absolute error" if name == NUMBER else "accuracy"
            print(
                f"seed {seed}: {name}, {what}, processor time together to alone {spent / own:.2f}"
            )
            print(f"    together {told(mean(pair[0], None))}")
            print(f"    alone    {told(mean(pair[1], None))}")
            print(f"    together less alone {told(mean(pair[0] - pair[1], None))}", flush=True)
        print(f"seed {seed}: what the 90% intervals of age hold, together")
        show_coverage(ages(together[NUMBER]))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
