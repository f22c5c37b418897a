"""Candid on a GPU, in one script that ends within six minutes.

Needs this checkout, PyTorch 2.11 or later with NumPy, and nothing else: it draws its own pictures.
It says, line by line:

- agreement: logits and gradients of each network on processor and GPU, in float32 and bfloat16;
- peak: what a product of large matrices reaches in bfloat16;
- training: 635 batches of 256 of each recipe, images resident, the network's passes as they come
  and captured as CUDA graphs (as `train.compile = "auto"` does); the share of the peak that the
  step's own multiply-adds are;
- bounds: how long each part of a step takes by itself, and the kernels that take longest;
- predict: pictures per second, both ways round; maps per second by each method;
- seeds: several networks trained side by side in one pass (`torch.func.vmap`), against one.

    PYTHONPATH=src python bench/gpu.py              # on the first GPU
    PYTHONPATH=src python bench/gpu.py --self-check # tiny sizes on the processor, a minute

Without a GPU it says so and does the self-check, which runs every line but those that only CUDA
has (synchronising, capture, the profiler's kernels).

**Not run on a GPU yet**: none was at hand. The self-check passes on a processor; no figure of it
means anything.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
import types
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

if importlib.util.find_spec("tqdm") is None:  # Candid's only import here that may be missing
    stand_in = types.ModuleType("tqdm")
    stand_in.tqdm = lambda some=None, *_, **__: some  # type: ignore[attr-defined]
    sys.modules["tqdm"] = stand_in

from candid.config import load_config
from candid.explanation.attribution import METHODS, saliency_maps
from candid.models.device import compile_network, to_device
from candid.models.forward import Images, forward
from candid.models.networks import build, options
from candid.settings import Config, ExplainConfig
from candid.training.augment import augment
from candid.training.optimizers import learning_rate, optimizer_of

LIMIT = 330.0  # seconds after which nothing more is begun
MEAN, STD = (0.5, 0.45, 0.4), (0.27, 0.26, 0.25)


@dataclass
class Bench:
    """Where it runs, how large everything is, and what was found so far."""

    device: torch.device
    tiny: bool
    began: float = field(default_factory=time.perf_counter)
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def side(self) -> int:
        """Pixels per side."""
        return 24 if self.tiny else 64

    @property
    def batch(self) -> int:
        """Images per batch."""
        return 4 if self.tiny else 256

    @property
    def steps(self) -> int:
        """Batches to train on."""
        return 2 if self.tiny else 635

    def say(self, what: str, **figures: Any) -> None:
        """One line, kept for --json, too."""
        self.found[what] = figures
        told = ", ".join(
            f"{name.replace('_', ' ')} {value:.4g}"
            if isinstance(value, float)
            else f"{name.replace('_', ' ')} {value}"
            for name, value in figures.items()
        )
        print(f"{what:32} {told}", flush=True)

    def is_over(self, what: str) -> bool:
        """Whether the time is used up; what is left out is said."""
        if over := time.perf_counter() - self.began > LIMIT:
            print(f"{what:32} left out: the time is used up", flush=True)
        return over

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], times: int = 5) -> float:
        """Median seconds of some work, after a first time that is not counted."""
        taken = []
        for i in range(1 + (1 if self.tiny else times)):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            if i:
                taken.append(time.perf_counter() - start)
        return statistics.median(taken)


def draw_pictures(n: int, side: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(n, side, side, 3) uint8 ellipses before two colours, and (n,) whether each is wide."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randint(0, 2, (n,), generator=generator)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    pixels = torch.empty(n, side, side, 3, dtype=torch.uint8)
    for start in range(0, n, 1024):
        some = wide[start : start + 1024]
        b = len(some)
        colours = torch.rand(3, b, 1, 1, 3, generator=generator) * 255
        cx, cy, size = (torch.rand(3, b, 1, 1, generator=generator) - 0.5).unbind(0)
        ratio = torch.where(some == 1, 1.25, 0.8)[:, None, None]
        inside = ((x - 0.4 * cx) / ratio) ** 2 + ((y - 0.4 * cy) * ratio) ** 2 < 0.4 + 0.2 * size
        ground = colours[0] + (colours[1] - colours[0]) * (y[None, :, :, None] + 1) / 2
        picture = torch.where(inside[..., None], colours[2], ground)
        picture += 12 * torch.randn(picture.shape, generator=generator)
        pixels[start : start + b] = picture.clamp(0, 255).to(torch.uint8)
    return pixels, wide


def network_of(config: Config, side: int, device: torch.device, seed: int = 0) -> nn.Module:
    """A fresh network of a recipe, its weights from the seed."""
    torch.manual_seed(seed)
    made = build(config.network.name, side=side, n_classes=2, **options(config.network))
    return to_device(made, device)


def recipes() -> dict[str, Config]:
    """The recipes that are timed, as far as there are such."""
    folder = Path(__file__).parents[1] / "src" / "candid" / "recipes"
    names = [n for n in ("plain", "deep", "fast") if (folder / f"{n}.toml").is_file()]
    return {name: load_config(recipe=name) for name in names}


# --- does it compute the same? -------------------------------------------------------------------


def agreement(bench: Bench, name: str, config: Config) -> None:
    """Largest differences between processor and device, as shares of the largest value."""
    pixels, label = draw_pictures(4 if bench.tiny else 64, bench.side, seed=1)
    tf32, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    conv, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False

    def answers(device: torch.device, bfloat16: bool) -> tuple[Tensor, Tensor]:
        network = network_of(config, bench.side, device).eval()  # no dropout: one answer
        images = Images(pixels.to(device), MEAN, STD).normalised(pixels.to(device))
        logits = forward(network, images, bfloat16)
        F.cross_entropy(logits, label.to(device)).backward()  # type: ignore[no-untyped-call]
        slopes = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        return logits.detach().cpu(), torch.cat(slopes).cpu()

    def apart(one: Tensor, other: Tensor) -> float:
        return float((one - other).abs().max() / other.abs().max().clamp_min(1e-12))

    truth = answers(torch.device("cpu"), False)
    exact, rounded = answers(bench.device, False), answers(bench.device, True)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32, conv
    figures = {
        "logits_float32": apart(exact[0], truth[0]),
        "gradient_float32": apart(exact[1], truth[1]),
        "logits_bfloat16": apart(rounded[0], truth[0]),
        "gradient_bfloat16": apart(rounded[1], truth[1]),
    }
    good = figures["logits_float32"] < 1e-3 and figures["logits_bfloat16"] < 0.1
    bench.say(f"agreement, {name}", agrees="yes" if good else "NO", **figures)


def measured_peak(bench: Bench) -> float:
    """Multiply-adds per second of a product of large matrices in bfloat16."""
    size = 256 if bench.tiny else 8192
    a, b = (torch.randn(size, size, device=bench.device).bfloat16() for _ in range(2))
    peak = size**3 / bench.seconds(lambda: a @ b)
    bench.say("peak, bfloat16", teraflops=2 * peak / 1e12)
    return peak


# --- training ------------------------------------------------------------------------------------


class Trainer:
    """A recipe's training step, with the images where the network is."""

    def __init__(self, bench: Bench, config: Config, *, capture: bool) -> None:
        self.bench, self.config = bench, config
        pixels, label = draw_pictures(8 if bench.tiny else 24_000, bench.side)
        self.images = Images(pixels.to(bench.device), MEAN, STD)
        self.pixels, self.label = pixels.to(bench.device), label.to(bench.device)
        self.network = network_of(config, bench.side, bench.device).train()
        choice = "auto" if capture else "never"
        self.passes = compile_network(self.network, choice, bench.device)
        self.optimizer = optimizer_of(self.network, config.train)
        self.generator = torch.Generator().manual_seed(0)

    def batch(self) -> tuple[Tensor, Tensor]:
        """A batch of normalised, augmented images, and its labels."""
        size = (self.bench.batch,)
        rows = torch.randint(0, len(self.label), size, generator=self.generator)
        rows = rows.to(self.bench.device, non_blocking=True)
        images = self.images.normalised(self.pixels[rows])
        return augment(images, self.config.augment, self.generator), self.label[rows]

    def loss(self, images: Tensor, label: Tensor) -> Tensor:
        """Of a batch, with its graph."""
        output = forward(self.passes, images, True)
        return F.cross_entropy(output, label, label_smoothing=self.config.train.label_smoothing)

    def descend(self, step: int) -> None:
        """A step of the optimiser."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.config.train)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def train(self, steps: int) -> list[Tensor]:
        """So many steps; the losses stay on the device."""
        losses = []
        for step in range(steps):
            loss = self.loss(*self.batch())
            loss.backward()  # type: ignore[no-untyped-call]
            self.descend(step)
            losses.append(loss.detach().clone())
        return losses

    def multiply_adds(self) -> float:
        """Of one step: forwards, and twice as many backwards."""
        images, _ = self.batch()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            self.network(images.contiguous(memory_format=torch.channels_last))
        return 3 * counter.get_total_flops() / 2


def training(bench: Bench, name: str, config: Config, peak: float) -> None:
    """635 batches, as they come and captured."""
    for capture in (False, True):
        title = f"training, {name}, {'captured' if capture else 'as it comes'}"
        if bench.is_over(title):
            return
        trainer = Trainer(bench, config, capture=capture)
        work = trainer.multiply_adds()
        start = time.perf_counter()
        trainer.train(1 if bench.tiny else 20)  # compiles, and finds the fastest convolutions
        bench.wait()
        warm_up = time.perf_counter() - start
        start = time.perf_counter()
        losses = trainer.train(bench.steps)
        bench.wait()
        seconds = time.perf_counter() - start
        told = torch.stack(losses).float().cpu()
        bench.say(
            title,
            seconds=seconds,
            warm_up_seconds=warm_up,
            images_per_second=bench.steps * bench.batch / seconds,
            share_of_peak=work * bench.steps / seconds / peak,
            first_loss=float(told[0]),
            last_loss=float(told[-min(20, len(told)) :].mean()),
        )


def bounds(bench: Bench, name: str, config: Config) -> None:
    """What each part of a step takes by itself, and what the device is busy with meanwhile."""
    if bench.is_over(f"bounds, {name}"):
        return
    trainer = Trainer(bench, config, capture=False)
    images, label = trainer.batch()

    def backward() -> None:
        trainer.loss(images, label).backward()  # type: ignore[no-untyped-call]

    backward()
    parts = {
        "batch": bench.seconds(trainer.batch),
        "forward": bench.seconds(lambda: trainer.loss(images, label)),
        "both_passes": bench.seconds(backward),
        "optimiser": bench.seconds(trainer.optimizer.step),
        "whole_step": bench.seconds(lambda: trainer.train(1)),
    }
    bench.say(f"bounds, {name}, ms", **{part: 1000 * s for part, s in parts.items()})
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if bench.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    steps = 1 if bench.tiny else 10
    start = time.perf_counter()
    with torch.profiler.profile(activities=kinds) as profile:
        trainer.train(steps)
        bench.wait()
    wall = time.perf_counter() - start

    def own(event: Any) -> float:
        device = getattr(event, "self_device_time_total", 0.0)
        return device if bench.device.type == "cuda" else event.self_cpu_time_total

    events = sorted(profile.key_averages(), key=own, reverse=True)
    busy = sum(map(own, events)) / 1e6
    # Below 1 the device waits for the processor's launches; near 1 it is bound by its own work.
    bench.say(f"bounds, {name}, busy share", busy=busy / wall)
    for event in events[:6]:
        print(f"    {own(event) / 1e6 / busy:6.1%}  {event.key[:90]}", flush=True)


# --- answers -------------------------------------------------------------------------------------


def predicting(bench: Bench, name: str, config: Config) -> None:
    """Pictures per second, each looked at both ways round, from bytes to probabilities."""
    if bench.is_over(f"predict, {name}"):
        return
    network = network_of(config, bench.side, bench.device).eval()
    pixels, _ = draw_pictures(8 if bench.tiny else 16_384, bench.side)
    images = Images(pixels.to(bench.device), MEAN, STD)
    size = 4 if bench.tiny else 2048

    @torch.no_grad()
    def answer() -> Tensor:
        parts = []
        for start in range(0, len(pixels), size):
            batch = images.normalised(images.pixels[start : start + size])  # type: ignore[arg-type]
            both = forward(network, batch, True) + forward(network, batch.flip(3), True)
            parts.append((both / 2).softmax(1))
        return torch.cat(parts).cpu()

    bench.say(f"predict, {name}", pictures_per_second=len(pixels) / bench.seconds(answer))


def mapping(bench: Bench, config: Config) -> None:
    """Maps per second by each method, of the default network."""
    network = network_of(config, bench.side, bench.device).eval()
    n = 1 if bench.tiny else 256
    pixels, _ = draw_pictures(n, bench.side)
    images = Images(pixels, MEAN, STD).normalised(pixels)
    how = ExplainConfig(rise_masks=4, integration_steps=2) if bench.tiny else ExplainConfig()
    for method in METHODS:
        if bench.is_over(f"maps, {method}"):
            return

        def maps(method: str = method) -> np.ndarray:
            return saliency_maps(
                network, images, np.zeros(n, np.int64), method=method, config=how, bfloat16=True
            )

        bench.say(f"maps, {method}", per_second=n / bench.seconds(maps, times=3))


def seeds(bench: Bench, name: str, config: Config) -> None:
    """Networks of several seeds that see the same batches, in one pass, against one network."""
    if bench.is_over(f"seeds, {name}"):
        return
    count = 2 if bench.tiny else 8
    trainer = Trainer(bench, config, capture=False)
    images, label = trainer.batch()
    images = images.contiguous(memory_format=torch.channels_last)
    networks = [network_of(config, bench.side, bench.device, seed) for seed in range(count)]
    weights, buffers = torch.func.stack_module_state([n.train() for n in networks])
    shape = networks[0]
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-3)

    def loss_of(own: dict[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        output = torch.func.functional_call(shape, (own, state), (images,))
        return F.cross_entropy(output.float(), label)

    def together() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            losses = torch.func.vmap(loss_of, randomness="different")(weights, buffers)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def alone() -> None:
        trainer.loss(images, label).backward()  # type: ignore[no-untyped-call]
        trainer.descend(0)

    one, all_of_them = bench.seconds(alone, times=10), bench.seconds(together, times=10)
    bench.say(
        f"seeds, {name}",
        seeds=count,
        ms_per_step_of_one=1000 * one,
        ms_per_step_of_all=1000 * all_of_them,
        times_as_fast_as_in_turn=count * one / all_of_them,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-check", action="store_true", help="tiny sizes on the processor")
    parser.add_argument("--json", type=Path, help="write all figures there, too")
    options = parser.parse_args()
    is_there = torch.cuda.is_available()
    if not is_there and not options.self_check:
        print("There is no GPU here: a self-check on the processor instead.", flush=True)
    tiny = options.self_check or not is_there
    bench = Bench(torch.device("cpu" if tiny else "cuda"), tiny)
    card = "processor, figures mean nothing" if tiny else torch.cuda.get_device_name()
    bench.say("where", card=card, torch=torch.__version__, cuda=torch.version.cuda or "none")
    torch.backends.cudnn.benchmark = True
    known = recipes()
    for name, config in known.items():
        agreement(bench, name, config)
    peak = measured_peak(bench)
    with nullcontext() if tiny else torch.cuda.device(0):
        for name, config in known.items():
            training(bench, name, config, peak)
        for name, config in known.items():
            bounds(bench, name, config)
            predicting(bench, name, config)
        mapping(bench, known["deep"])
        for name, config in known.items():
            seeds(bench, name, config)
    bench.say("all of it", seconds=time.perf_counter() - bench.began)
    if options.json:
        options.json.write_text(json.dumps(bench.found, indent=1))


if __name__ == "__main__":
    main()
