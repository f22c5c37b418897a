"""What it is worth to begin with a trained network where there are few labels.

    python bench/transfer_learning.py DATA --target race --source runs/celeba --count 300

Trains on so many of the training images: from fresh weights, from the run `--source`, from it with
smaller learning rates towards the input, and from it with all layers but the last frozen. Prints
weighted F1 on all images of validation and test, with its interval over people where they are known
(else over images), and the paired difference from fresh weights. Nothing is chosen on these images.
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
