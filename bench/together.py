"""Gender, race and age of UTKFace in one training, beside each in a training of its own.

For every seed: `candid train --target gender --target race --target age`, and the same with each
label alone, through the command line, on the same images and batches. Printed are, on test,
accuracy of gender and race and the mean absolute error of age, together and alone, and their
difference on the same pictures; of age also how many of the true values its 90% intervals hold,
over all, by race and by decade, and how wide they are. UTKFace names nobody, so every picture
stands for itself in the intervals. Runs that lie in --out already are not repeated.

    python bench/together.py ../shared/data/utkface --out runs/together
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
