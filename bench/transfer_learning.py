"""What it is worth to begin with a trained network where there are few labels.

    python bench/transfer_learning.py DATA --target race --source runs/male --source runs/forty \
        --count 300 --steps 300 --seeds 0 1 2

Trains on so many of the training images: from fresh weights, and from each run `--source`, with all
layers at one learning rate, or as `--decay` and `--freeze` say. A seed draws the training images,
the fresh weights and the order. Prints weighted F1 on all images of validation and test, and the
paired difference from fresh weights with its interval over people where they are known, else over
images; then, over the seeds, the mean of each with Student's interval. Nothing is chosen on these
images.

2026-11-29, UTKFace (6,000 pictures), race, from runs on CelebA (`--set framing.steps=0`) on its
label Male and on all forty, 300 batches of 64 at 2e-3 for all, one core, 47 s of it each; 1,200
pictures judged, three seeds, intervals of 95% over the seeds:

    --count  beginning     F1                        less that of fresh
        300  fresh         0.6238 [0.6061, 0.6415]
             Male          0.6403 [0.6199, 0.6608]   +0.0165 [+0.0091, +0.0240]
             all forty     0.6575 [0.6330, 0.6821]   +0.0337 [+0.0210, +0.0464]
        900  fresh         0.7052 [0.6677, 0.7428]
             Male          0.7052 [0.6892, 0.7213]   -0.0000 [-0.0527, +0.0527]
             all forty     0.7139 [0.6739, 0.7539]   +0.0087 [-0.0011, +0.0185]

With 100 batches in place of 300 nothing was gained from Male; the log says more.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import candid
from candid.evaluation.comparison import compare_predictions
from candid.models.device import uses_bfloat16
from candid.models.forward import logits
from candid.pipeline.beginning import load_initial
from candid.pipeline.opening import Data, load_packed
from candid.pipeline.steps import build_predictions
from candid.pipeline.training import build_network, build_task, start_training
from candid.predictions import Predictions
from candid.records import Estimate
from candid.settings import Config
from candid.stats.intervals import mean_over_seeds
from candid.training.loop import train_in_steps


def main() -> None:
    """Print one line for each way to begin and each seed, then one for each way."""
    asked = _asked()
    first = candid.open_run(asked.source[0]).settings
    train = replace(
        first.train, steps=asked.steps, batch_size=64, learning_rate=asked.rate, evaluations=1
    )
    own = replace(first.data, target=asked.target, targets=(), layout="", class_names=())
    config = replace(first, data=own, train=train)
    data = load_packed(asked.data, config, quiet=True)
    ways = _ways(asked)
    figures: dict[str, list[float]] = {name: [] for name in ways}
    changes: dict[str, list[float]] = {name: [] for name in ways}
    judged = 0
    for seed in asked.seeds:
        fresh: Predictions | None = None
        for name, how in ways.items():
            began = time.process_time()
            here = replace(config, train=replace(train, seed=seed, **how))
            found = _predicted(data, here, asked.count)
            fresh = fresh or found
            both = compare_predictions(fresh, found).overall.metrics["weighted_f1"]
            figures[name].append(both.b)
            changes[name].append(both.difference.value)
            judged = both.difference.n
            spent = time.process_time() - began
            less = "" if found is fresh else f", less fresh {_change(both.difference)}"
            print(
                f"{name:28} seed {seed} F1 {both.b:.4f}{less}, {spent:.0f} s of processor",
                flush=True,
            )
    for name in ways:
        f1, change = (mean_over_seeds(of[name], judged) for of in (figures, changes))
        less = "" if name == "fresh" else f", less fresh {_change(change)}"
        print(
            f"{name:28} {len(asked.seeds)} seeds F1 {f1.value:.4f} [{f1.low:.4f}, {f1.high:.4f}]"
            f"{less}, n {judged:,}"
        )


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--source", type=Path, action="append", required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, nargs="*", default=[], help="train.depth_decay, too")
    parser.add_argument("--freeze", type=int, nargs="*", default=[], help="train.freeze, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    return parser.parse_args()


def _ways(asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What of the settings of training is different, by the name of each way to begin."""
    ways: dict[str, dict[str, Any]] = {"fresh": {}}
    for source in asked.source:
        start = {"initial": str(source)}
        ways[source.name] = start
        ways |= {
            f"{source.name}, depth_decay {d:g}": start | {"depth_decay": d} for d in asked.decay
        }
        ways |= {f"{source.name}, freeze {n}": start | {"freeze": n} for n in asked.freeze}
    return ways


def _change(difference: Estimate) -> str:
    return f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _predicted(data: Data, config: Config, count: int) -> Predictions:
    """What a network says of validation and test that learned from so many training images."""
    task = build_task(data, config)
    drawn = np.random.default_rng(config.train.seed).permutation(task.train)[:count]
    rest = np.concatenate(
        [data.dataset.rows(split, data.store.usable) for split in ("validation", "test")]
    )
    task = replace(task, train=np.sort(drawn), validation=task.validation[:64])
    network = build_network(task, config)
    load_initial(network, config, data.dataset, None)
    state = start_training(task, config, network)
    for _ in train_in_steps(task, state, config.train, config.augment, quiet=True):
        pass
    found: NDArray[np.float32] = logits(
        state.measured,
        task.images,
        rest,
        device=state.device,
        bfloat16=uses_bfloat16(config.train.precision, state.device),
        flip_tta=config.train.flip_tta,
    )
    odds = np.exp(found.astype(np.float64) - found.max(axis=1, keepdims=True))
    predictions = build_predictions(data, rest, odds / odds.sum(axis=1, keepdims=True))
    return replace(predictions, split=np.full(len(rest), "test"))


if __name__ == "__main__":
    main()
