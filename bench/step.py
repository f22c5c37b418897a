"""What a training step of the plain network costs on a CPU, and what makes it cheaper.

Measures, each in a process of its own: one step (forward, backward, Adam) of batches of 256 at
64×64 pixels in float32 and bfloat16, in plain and channels-last memory, with and without keeping
freed memory (`candid.models.device.memory_kept`); beside it loading and augmentation of one batch,
and the network `deep` without and with weight gradients of images that lie side by side
(`candid.training.convolution`), which pay on processors with matrix tiles. The peer is the first
line: float32, plain memory, as a straightforward script would have it.

    python bench/step.py

Result, 2 cores of an AMD EPYC (AVX-512 with bfloat16), torch 2.13.0, medians of 5:

                                  memory returned        memory kept
    float32, plain memory         1.0x ( 2018 ms)    1.6x ( 1251 ms)
    float32, channels last        1.0x ( 1952 ms)    1.8x ( 1110 ms)
    bfloat16, plain memory        1.5x ( 1348 ms)    2.1x (  970 ms)
    bfloat16, channels last       1.8x ( 1130 ms)    3.1x (  647 ms)
    load and augment             55.4x (   36 ms)   90.5x (   22 ms)
    loading and augmentation: 3.4% of the fastest step

One core of an Intel Xeon with matrix tiles (AMX), memory kept, two turns: `deep` 407 and 416 ms,
with images side by side 343 and 340 ms.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from candid.config import load_config
from candid.models.device import memory_kept
from candid.models.forward import Images
from candid.models.networks import build
from candid.training.augment import augment
from candid.training.convolution import wide_gradients

BATCH, SIDE, TURNS = 256, 64, 5
AUGMENT = load_config(recipe="plain").augment


def stepper(
    channels_last: bool, bfloat16: bool, name: str = "plain", side_by_side: bool = False
) -> Callable[[], None]:
    network = build(name, side=SIDE, n_classes=2)
    order = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=order)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters())
    images = torch.rand(BATCH, 3, SIDE, SIDE).contiguous(memory_format=order)
    labels = torch.randint(0, 2, (BATCH,))

    def step() -> None:
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)
        with autocast, wide_gradients(side_by_side):
            output = network(images)
        loss = F.cross_entropy(output.float(), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def loader() -> Callable[[], None]:
    pixels = np.random.default_rng(0).integers(0, 256, (4096, SIDE, SIDE, 3), dtype=np.uint8)
    images = Images(pixels, (0.5, 0.4, 0.4), (0.3, 0.3, 0.3))
    generator = torch.Generator().manual_seed(0)
    rows = np.random.default_rng(1).choice(4096, BATCH, replace=False)

    def load() -> None:
        batch = images.batch(rows, torch.device("cpu"))
        augment(batch, AUGMENT, generator).contiguous(memory_format=torch.channels_last)

    return load


WORK: dict[str, Callable[[], Callable[[], None]]] = {
    "float32, plain memory": lambda: stepper(False, False),
    "float32, channels last": lambda: stepper(True, False),
    "bfloat16, plain memory": lambda: stepper(False, True),
    "bfloat16, channels last": lambda: stepper(True, True),
    "load and augment": loader,
    "deep, bfloat16": lambda: stepper(True, True, "deep"),
    "deep, side by side": lambda: stepper(True, True, "deep", True),
}


def measure(name: str, kept: bool) -> float:
    """Median seconds of one piece of work, as the only one in this process."""
    do = WORK[name]()
    seconds = []
    with memory_kept() if kept else contextlib.nullcontext():
        for _ in range(TURNS + 3):
            began = time.perf_counter()
            do()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[3:])  # the first ones warm up


def elsewhere(name: str, kept: bool) -> float:
    """The same in a process of its own: what one leaves in memory must not serve the next."""
    words = [sys.executable, __file__, name, "kept" if kept else "returned"]
    return float(subprocess.run(words, capture_output=True, check=True, text=True).stdout)


def main() -> None:
    if len(sys.argv) == 3:
        print(measure(sys.argv[1], sys.argv[2] == "kept"))
        return
    rows = {name: [elsewhere(name, kept) for kept in (False, True)] for name in WORK}
    peer = rows["float32, plain memory"][0]
    print(f"{'':26} {'memory returned':>18} {'memory kept':>18}")
    for name, seconds in rows.items():
        cells = [f"{peer / s:5.1f}x ({s * 1e3:5.0f} ms)" for s in seconds]
        print(f"{name:26} {cells[0]:>18} {cells[1]:>18}")
    share = rows["load and augment"][1] / rows["bfloat16, channels last"][1]
    print(f"loading and augmentation: {share:.1%} of the fastest step")


if __name__ == "__main__":
    main()
