"""A learning curve: what the number of training images is worth, and what their pixels are.

The recipe, with the same batches and passes, on people drawn at random until there are so many
training images; larger sets hold the smaller ones. Validation is always all of it, and test is not
looked at. Beside each F1, the share of wrong answers with its interval by person (design-effect
Wilson, `candid.stats.intervals.clustered_shares`) and the mean log loss of temperature-free
probabilities, which tells networks apart where F1 counts a few pictures more or less. At the end
the slope: by what factor twice as many images divide the share of wrong answers.

With `--sides`, the same for all images, packed with fewer pixels per side.

    python bench/curve.py ../shared/data/celeba64 --images 1000 3000 8000
    python bench/curve.py ../shared/data/celeba64 --images --sides 32 48

Result on CelebA's Male label at 64×64, `deep` (before it changed colours), 635 batches of 256, seed
0, of 2,945 validation images of 874 people:

     1,000 images of   315 people: F1 0.9309, wrong 6.89% (5.82% to 8.15%), log loss 0.1943
     3,000 images of   903 people: F1 0.9568, wrong 4.31% (3.50% to 5.30%), log loss 0.1399; 1.34
     8,000 images of 2,402 people: F1 0.9664, wrong 3.36% (2.68% to 4.21%), log loss 0.1154; 1.19
    24,152 images (the mean of three seeds of `bench/recipes.py`): F1 0.9757, wrong 2.43%; 1.22

The last figure: twice as many images divide the share of wrong answers by it. At 1.2 for every
doubling, an F1 of 0.982 (1.8% wrong) takes about 70,000 images, and 0.977 about 30,000.

All images with fewer pixels, seed 0: so 64 pixels are not what limits it.

    32 pixels per side: F1 0.9670, wrong 3.29% (2.64% to 4.10%), log loss 0.1209
    48 pixels per side: F1 0.9742, wrong 2.58% (1.99% to 3.35%), log loss 0.1075
    64 pixels per side: F1 0.9749, wrong 2.51%, log loss 0.1029 (`bench/recipes.py`, then)
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candid.config import load_config
from candid.models.device import memory_kept, pick_device, threads, uses_bfloat16
from candid.models.forward import logits
from candid.pipeline.opening import load_packed
from candid.pipeline.training import build_task, start_training
from candid.settings import Config
from candid.stats.intervals import clustered_shares
from candid.table import known_persons
from candid.training.loop import train_in_steps
from candid.training.state import Task


def some_people(
    train: NDArray[np.intp], person: NDArray[np.int64], images: int, seed: int
) -> NDArray[np.intp]:
    """Rows of as many person_numbers, in one order for all sizes, as have about so many images."""
    who = person[train]
    order = np.random.default_rng(seed).permutation(np.unique(who))
    place = np.empty(order.max() + 1, np.intp)
    place[order] = np.arange(len(order))
    sorted_rows = train[np.argsort(place[who], kind="stable")]
    return np.sort(sorted_rows[:images])


def measured(task: Task, person: NDArray[np.int64], config: Config) -> tuple[float, str]:
    """Share of wrong answers on validation after training on the task, and a line about it."""
    device = pick_device(config.train.device)
    began = time.process_time()
    with threads(config.train.threads), memory_kept():
        state = start_training(task, config)
        last = list(train_in_steps(task, state, config.train, config.augment))[-1]
        output = logits(
            state.measured,
            task.images,
            task.validation,
            device=device,
            bfloat16=uses_bfloat16(config.train.precision, device),
            flip_tta=config.train.flip_tta,
        )
    seconds = time.process_time() - began
    shares = clustered_shares(
        output.argmax(1) != task.label[task.validation], person=person[task.validation]
    )
    wrong, low, high = (float(x[0]) for x in (shares.value, shares.low, shares.high))
    return wrong, (
        f"F1 {last.validation_f1:.4f}, wrong {wrong:.2%} ({low:.2%} to {high:.2%}, "
        f"n = {len(task.validation):,}), log loss {last.validation_loss:.4f}, "
        f"{seconds:.0f} s of the processor"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, nargs="*", default=[1000, 3000, 8000, 24152])
    parser.add_argument("--sides", type=int, nargs="*", default=[])
    parser.add_argument("--recipe", default="deep")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    overrides = ["data.target=Male", f"train.seed={options.seed}", "train.evaluations=1"]
    overrides += ["train.keep=last", *options.overrides]
    config = load_config(recipe=options.recipe, overrides=overrides)
    data = load_packed(options.data, config, cache=options.cache)
    person = known_persons(data.dataset.person)
    if person is None:
        raise SystemExit("These data do not say who is in which picture.")
    whole = build_task(data, config)
    before: tuple[int, float] | None = None
    for images in options.images:
        some = some_people(whole.train, person, images, options.seed)
        wrong, found = measured(replace(whole, train=some), person, config)
        line = f"{len(some):,} images of {len(np.unique(person[some])):,} people: {found}"
        if before is not None:
            slope = math.log(before[1] / wrong) / math.log(len(some) / before[0])
            line += f"; twice as many images divide the wrong by {2**slope:.2f}"
        print(line, flush=True)
        before = len(some), wrong
    for side in options.sides:
        smaller = load_config(recipe=options.recipe, overrides=[*overrides, f"data.side={side}"])
        task = build_task(load_packed(options.data, smaller, cache=options.cache), smaller)
        print(f"{side} pixels per side: {measured(task, person, smaller)[1]}", flush=True)


if __name__ == "__main__":
    main()
