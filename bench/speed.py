"""What an image costs in training: a straightforward script, Candid's plain network, its default.

In one run, on the same machine and the same CelebA images: (a) `bench/straightforward.py`, a script
of the description as its user would write it; (b) `candid train --recipe plain`; (c) `candid train`
with the default recipe. Each trains a few dozen batches of 256 in processes of its own, (b) and (c)
on images that were packed before (`bench/pack.py` says what that costs). Printed: processor seconds
per batch, from reading to the optimiser's step and without evaluation; the ratio to (a); the share
of the processor's peak (a product of large matrices, in the same arithmetic) that the step's own
multiply-adds are; what loading and augmentation cost beside arithmetic; what an evaluation costs
beside the bare forward passes of the same images; peak memory.

    python bench/speed.py ../shared/data/celeba64 --steps 40

Result on 24,152 training images of CelebA at 64×64, 30 batches each (1 core of an AMD EPYC with
bfloat16, torch 2.13.0); the peak is 99 thousand million multiply-adds a second:

    straightforward script    14.72 ms per image,   1.0x, 1.4 GiB
    candid, plain              4.17 ms per image,   3.5x, 56% of the peak, loading 2.3%, 1.7 GiB
    candid, deep               2.74 ms per image,   5.4x, 82% of the peak, loading 3.8%, 0.9 GiB
    candid, vit               15.60 ms per image,   0.9x, 40% of the peak, loading 1.0%, 1.9 GiB

Evaluation costs 1.03 (plain), 1.03 (deep) and 0.98 (vit) times the forward passes alone, with
mirror images 1.99, 2.03 and 1.94 times. `deep` changes colours since: 2.79 ms per image (`--loop
deep`, alone), of which loading and augmentation are 4.8%; still 19% of the script. `vit` with
attention written out and 128 channels, as its recipe has them now: 5.1 ms per image.

The description's 635 batches then cost the script 2,393 s of the processor. `deep` first reaches
its F1 (0.9627 on validation) after 116 s (mean of three seeds, evaluated every 64 batches: the
`to` column of `bench/recipes.py`): 5% of that.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from candid.config import load_config
from candid.models.device import memory_kept, uses_bfloat16
from candid.models.forward import Images, forward, logits
from candid.models.networks import build, describe, options
from candid.training.augment import augment
from candid.training.loop import start, train_in_steps
from candid.training.state import Task

SIDE, CPU = 64, torch.device("cpu")


def loop_seconds(recipe: str, steps: int, seed: int = 0) -> dict[str, float]:
    """Processor seconds per batch of Candid's own loop, and of its loading and augmentation."""
    often = [f"train.steps={steps + WARM}", f"train.evaluations={steps + WARM}"]
    config = load_config(recipe=recipe, overrides=[*often, "train.progressive_side=0"])
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (24_000, SIDE, SIDE, 3), dtype=np.uint8)
    images = Images(pixels, (0.5, 0.4, 0.4), (0.3, 0.3, 0.3))
    label = rng.integers(0, 2, len(pixels)).astype(np.int16)
    rows = np.arange(len(pixels))
    network = build(config.network.name, side=SIDE, n_classes=2, **options(config.network))
    task = Task(images, label, 2, rows, rows[:1])  # one image: evaluation costs nothing
    with memory_kept():
        state = start(network, config.train)
        clock = []
        for _ in train_in_steps(task, state, config.train, config.augment, quiet=True):
            clock.append(time.process_time())
        loading = []
        for step in range(10):
            began = time.process_time()
            batch = images.batch(rng.choice(rows, config.train.batch_size), CPU)
            augment(batch, config.augment, torch.Generator().manual_seed(step))
            loading.append(time.process_time() - began)
        evaluating = evaluation(network, images, rows[:1024])
    size = config.train.batch_size
    _, multiply_adds = describe(network, SIDE)
    return {
        "seconds": statistics.median(np.diff(clock[WARM:]).tolist()) / size,
        "loading": statistics.median(loading) / size,
        "multiply_adds": 3 * multiply_adds,  # forward, and twice backward
        **evaluating,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def evaluation(network: nn.Module, images: Images, rows: NDArray[np.intp]) -> dict[str, float]:
    """Processor seconds per image of evaluation, with mirror images too, and of forward alone."""
    fast = uses_bfloat16("auto", CPU)
    batches = [images.batch(chunk, CPU) for chunk in np.split(rows, len(rows) // 256)]

    def alone() -> None:
        with torch.no_grad():
            for batch in batches:
                forward(network.eval(), batch, fast)

    def evaluated(flip_tta: bool) -> None:
        logits(network, images, rows, device=CPU, bfloat16=fast, flip_tta=flip_tta)

    ways: dict[str, Callable[[], None]] = {
        "forward": alone,
        "evaluation": lambda: evaluated(flip_tta=False),
        "mirrored": lambda: evaluated(flip_tta=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):
        for name, way in ways.items():  # in turns, so that a busy machine is so for all
            began = time.process_time()
            way()
            seconds[name].append(time.process_time() - began)
    return {name: statistics.median(s) / len(rows) for name, s in seconds.items()}


WARM = 3  # batches that do not count


def peak(dtype: torch.dtype, size: int = 2048, turns: int = 5) -> float:
    """Multiply-adds per processor second of a product of large matrices: the best of some."""
    a, b = torch.rand(size, size).to(dtype), torch.rand(size, size).to(dtype)
    seconds = []
    for _ in range(turns):
        began = time.process_time()
        a @ b
        seconds.append(time.process_time() - began)
    return size**3 / min(seconds)


def straightforward(data: Path, steps: int) -> dict[str, float]:
    """The same figures of the script, from its own report."""
    script = Path(__file__).with_name("straightforward.py")
    words = [sys.executable, str(script), str(data), "--steps", str(steps), "--json"]
    words += ["--evaluations", "0"]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    report = json.loads(out.splitlines()[-1])
    return {
        "seconds": report["cpu_seconds"] / (report["steps"] * report["batch_size"]),
        "memory": report["peak_memory_mib"]["process"] / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--loop", metavar="RECIPE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loop:
        print(json.dumps(loop_seconds(given.loop, given.steps)))
        return
    rows = {"straightforward script": straightforward(given.data, given.steps)}
    for recipe in ("plain", "deep", "vit"):
        words = [sys.executable, __file__, str(given.data), "--steps", str(given.steps)]
        out = subprocess.run(
            [*words, "--loop", recipe], check=True, capture_output=True, text=True
        ).stdout
        rows[f"candid, {recipe}"] = json.loads(out.splitlines()[-1])
    fast = torch.bfloat16 if uses_bfloat16("auto", CPU) else torch.float32
    top = peak(fast)
    base = rows["straightforward script"]["seconds"]
    print(f"peak: {top / 1e9:.0f} thousand million multiply-adds per processor second ({fast})")
    for name, row in rows.items():
        line = f"{name:24} {1e3 * row['seconds']:6.2f} ms per image, {base / row['seconds']:5.1f}x"
        if "loading" in row:
            used = row["multiply_adds"] / row["seconds"] / top
            line += f", {used:.0%} of the peak, loading {row['loading'] / row['seconds']:.1%}"
            alone = row["forward"]
            line += f", evaluation {row['evaluation'] / alone:.2f} times a forward pass"
            line += f" (mirrored {row['mirrored'] / alone:.2f})"
        print(f"{line}, {row['memory']:.1f} GiB")


if __name__ == "__main__":
    main()
