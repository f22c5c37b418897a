"""What it is worth to begin with a trained network where there are few labels.

    python bench/transfer_learning.py DATA --target race --source runs/celeba --count 300

Trains on so many of the training images: from fresh weights, from the run `--source`, from it with
smaller learning rates towards the input, and from it with all layers but the last frozen. Prints
weighted F1 on all images of validation and test, with its interval over people where they are known
(else over images), and the paired difference from fresh weights. Nothing is chosen on these images.

2026-11-29, UTKFace (6,000 pictures), race, from a run on CelebA's Male (`--target Male --set
framing.steps=0`), one seed, one core; 1,200 pictures judged, intervals of 95% over pictures: they
hold nothing of how another seed or another draw of the training pictures would differ.

    --count --steps   fresh  beginning            F1 less that of fresh
        300     100  0.6027  from the run         +0.0002 [-0.0235, +0.0240]
                             depth_decay 0.8      -0.0775 [-0.1040, -0.0510]
                             frozen but the last  -0.2990 [-0.3310, -0.2670]
        900     150  0.6869  from the run         -0.0303 [-0.0528, -0.0077]
                             depth_decay 0.8      -0.1025 [-0.1289, -0.0761]
                             frozen but the last  -0.4135 [-0.4471, -0.3798]
      3,000     240  0.7277  from the run         -0.0004 [-0.0186, +0.0179]
                             depth_decay 0.8      -0.0698 [-0.0920, -0.0476]
                             frozen but the last  -0.4602 [-0.4931, -0.4272]

No way of beginning with that run was measurably better than fresh weights, at any of these sizes.
The same steps and learning rate (2e-3) for all; neither was tuned for any of them.
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
from candid.pipeline.beginning import take_initial
from candid.pipeline.opening import Data, load_packed
from candid.pipeline.steps import predictions_of
from candid.pipeline.training import begun, fresh_network, task_of
from candid.predictions import Predictions
from candid.settings import Config
from candid.training.loop import train_in_steps

_WAYS: dict[str, dict[str, Any]] = {
    "fresh": {},
    "from the run": {"initial": True},
    "from the run, depth_decay 0.8": {"initial": True, "depth_decay": 0.8},
    "from the run, frozen but the last": {"initial": True, "freeze": -1},
}


def main() -> None:
    """Print one line for each way to begin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rate", type=float, default=2e-3)
    asked = parser.parse_args()
    source = candid.open_run(asked.source).settings
    train = replace(
        source.train, steps=asked.steps, batch_size=64, learning_rate=asked.rate, evaluations=1
    )
    data_config = replace(source.data, target=asked.target, targets=(), layout="", class_names=())
    config = replace(source, data=data_config, train=train)
    data = load_packed(asked.data, config, quiet=True)
    first: Predictions | None = None
    for name, how in _WAYS.items():
        began = time.monotonic()
        settings = how | ({"initial": str(asked.source)} if "initial" in how else {})
        found = _predicted(data, replace(config, train=replace(train, **settings)), asked.count)
        first = first or found
        both = compare_predictions(first, found).overall.metrics["weighted_f1"]
        change, f1 = both.difference, both.b
        print(
            f"{name:36} F1 {f1:.4f}, {change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}] "
            f"n {change.n:,}, {time.monotonic() - began:.0f} s",
            flush=True,
        )


def _predicted(data: Data, config: Config, count: int) -> Predictions:
    """What a network says of validation and test that learned from so many training images."""
    task = task_of(data, config)
    few = np.sort(np.random.default_rng(0).permutation(task.train)[:count])
    rest = np.concatenate(
        [data.dataset.rows(split, data.store.usable) for split in ("validation", "test")]
    )
    task = replace(task, train=few, validation=task.validation[:64])
    network = fresh_network(task, config)
    take_initial(network, config, data.dataset, None)
    state = begun(task, config, network)
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
    predictions = predictions_of(data, rest, odds / odds.sum(axis=1, keepdims=True))
    return replace(predictions, split=np.full(len(rest), "test"))


if __name__ == "__main__":
    main()
