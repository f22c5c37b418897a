"""What a training step of the plain network costs on a CPU, and what makes it cheaper.

Measures, in one process and in turns: one step (forward, backward, Adam) of batches of 256 at
64×64 pixels in float32 and bfloat16, in plain and channels-last memory, with and without keeping
freed memory (`candid.learn.device.memory_kept`); beside it loading and augmentation of one batch.
The peer is the first line: float32, plain memory, as a straightforward script would have it.

    python bench/step.py

Result, 2 cores of an AMD EPYC (AVX-512 with bfloat16), torch 2.13.0, medians of 7 in turns:

RESULT
"""

from __future__ import annotations

import contextlib
import statistics
import time

import numpy as np
import torch
from torch.nn import functional as F

from candid.config import AugmentConfig
from candid.learn.augment import augment
from candid.learn.device import memory_kept
from candid.learn.forward import Images
from candid.learn.networks import build

BATCH, SIDE, TURNS = 256, 64, 7


def stepper(channels_last: bool, bfloat16: bool):
    network = build("plain", side=SIDE, classes=2)
    order = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=order)
    optimizer = torch.optim.Adam(network.parameters())
    images = torch.rand(BATCH, 3, SIDE, SIDE).contiguous(memory_format=order)
    labels = torch.randint(0, 2, (BATCH,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            output = network(images)
        loss = F.cross_entropy(output.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def loader():
    pixels = np.random.default_rng(0).integers(0, 256, (4096, SIDE, SIDE, 3), dtype=np.uint8)
    images = Images(pixels, (0.5, 0.4, 0.4), (0.3, 0.3, 0.3))
    generator = torch.Generator().manual_seed(0)
    rows = np.random.default_rng(1).choice(4096, BATCH, replace=False)

    def load() -> None:
        batch = images.batch(rows, torch.device("cpu"))
        augment(batch, AugmentConfig(), generator).contiguous(memory_format=torch.channels_last)

    return load


def measure(kept: bool) -> dict[str, float]:
    work = {
        "float32, plain memory": stepper(False, False),
        "float32, channels last": stepper(True, False),
        "bfloat16, plain memory": stepper(False, True),
        "bfloat16, channels last": stepper(True, True),
        "load and augment": loader(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    with memory_kept() if kept else contextlib.nullcontext():
        for turn in range(TURNS + 2):
            for name, do in work.items():
                began = time.perf_counter()
                do()
                if turn >= 2:  # the first two warm up
                    seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(s) for name, s in seconds.items()}


def main() -> None:
    rows = {k: measure(k) for k in (False, True)}
    peer = rows[False]["float32, plain memory"]
    print(f"{'':26} {'memory returned':>18} {'memory kept':>18}")
    for name in rows[False]:
        cells = [f"{peer / rows[k][name]:5.1f}x ({rows[k][name] * 1e3:5.0f} ms)" for k in rows]
        print(f"{name:26} {cells[0]:>18} {cells[1]:>18}")
    share = rows[True]["load and augment"] / rows[True]["bfloat16, channels last"]
    print(f"loading and augmentation: {share:.1%} of the fastest step")


if __name__ == "__main__":
    main()
