"""How many maps per second, against a straightforward loop over images with Captum.

The peer is what a script would do: the network in float32 as it comes, one image after another,
Captum's classes with their defaults (Captum has no RISE: there the peer is the loop of the paper,
one mask after the other). Ours are `candid.saliency_maps` on the same network and the same
images with the same numbers of steps, windows, noises and masks. "float32" shows that the maps are
the same: the largest difference, as a share of the largest value of the map. "bfloat16" is what
`candid explain` uses where the processor has instructions for it: its maps' mean rank correlation
with the peer's stands beside it. Both sides take turns, in medians of three rounds, and the C
library keeps freed memory for both, as it does for all of `candid explain`. (A bench that lets go
of it after each call makes ours pay for every page anew: gradient 4.4 and Grad-CAM 4.4 times.)

    python bench/explain.py --run RUN           # the network of a run
    python bench/explain.py --small             # a fresh network, few images
    python bench/explain.py --run RUN --steps   # how near few steps of integration come

Result for the default network of a run (deep, width 32, each image once) at 64 pixels, on drawn
faces, 16 to 128 of ours beside 2 to 16 of the peer's (`COUNTS`); one core of an AMD EPYC (AVX-512
with bfloat16) that other work shared, so maps per second of processor; torch 2.13.0, Captum 0.9.0:

    maps per second of processor      peer  float32         bfloat16        difference  correlation
    gradient                        108.86  320.4 (2.9x)    604.2 (5.6x)    2.3e-07     0.997
    smoothgrad                       20.82   26.3 (1.3x)     48.3 (2.3x)    0.0e+00     0.999
    integrated_gradients             16.22   20.1 (1.2x)     37.6 (2.3x)    5.7e-08     0.998
    integrated_gradients, 50 steps    6.04   20.3 (3.4x)     37.3 (6.2x)    1.6e-02     0.996
    grad_cam                        182.25  645.9 (3.5x)   1138.5 (6.2x)    8.7e-07     1.000
    occlusion                         4.19   13.4 (3.2x)     24.4 (5.8x)    1.0e-06     0.999
    rise                              2.21    6.6 (3.0x)     11.8 (5.3x)    5.1e-07     1.000

For `plain` (one round, bfloat16): gradient 4.1, SmoothGrad 2.1, integrated gradients 2.1 (5.8),
Grad-CAM 6.3, occlusion 5.3, RISE 4.8 times; correlations 0.988 to 1.000.

Five times was the aim. Four of six reach it: gradient, Grad-CAM, occlusion and RISE, all in
bfloat16 and with the default network; in float32 none does. **SmoothGrad and integrated gradients
cannot.** Captum sends the 12 noisy copies of an image, or its 16 steps, through in one batch. A
look forwards and backwards is 149 million multiply-adds; a core makes 58 thousand million per
second in float32 and 115 in bfloat16, measured with the instruction alone. At 20.8 maps the peer
does 37.1 thousand million, 64% of that peak, so nothing that looks 12 times can be more than 1.6
times as fast in float32 and 3.1 times in bfloat16; for 16 steps 1.5 and 3.0. Ours are at 75% and
78% of the peak in bfloat16.

**Fewer steps are no way out.** The line of 50 steps holds our 16 against Captum's default, and
these are not the same maps. The size of the error over that of the map, against 500 steps (12
images, float32):

    steps   error of the map (largest)   gap of the sum (median)   correlation of both
        8               6.0% (7.5%)              4.1%                  0.23
       16               3.0% (4.0%)              1.9%                  0.43
       24               2.0% (2.8%)              1.4%                  0.21
       32               1.5% (2.0%)              0.8%                  0.21
       50               1.0% (1.4%)              0.8%                  0.19

The error falls as one over the steps, and nearly alike for every image. By how much the sums miss
says little of it, so raising the steps of the images with a large gap buys nothing: maps as near as
those of 50 steps take about 50 (by the midpoint rule 41, with 20 faces of CelebA).

What else was tried, default network, 128 images per pass: folding the batch normalisation into the
convolutions takes 4% off a gradient (1.61 to 1.55 ms; 8% with 32 images per pass) and 3% off a look
(0.74 to 0.72), and weights cast once to bfloat16 another 2%: left out, because it changes no answer
to the question above and needs a copy of the module and a proof that folding it is exact. The
convolutions alone take 0.63 ms forwards and 0.67 backwards.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from candid.data.synthetic import FaceWorld, draw_faces
from candid.explanation.attribution import Noise, random_masks, saliency_maps
from candid.explanation.layers import find_hook
from candid.explanation.scoring import log_odds, scoring
from candid.models.device import memory_kept
from candid.models.model import load_network
from candid.models.networks import build
from candid.records import ModelCard, read_record
from candid.runs import Run
from candid.settings import ExplainConfig
from candid.stats.associations import rank_correlations

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from captum.attr import (
        IntegratedGradients,
        LayerAttribution,
        LayerGradCam,
        Occlusion,
        Saliency,
    )

Peer = Callable[[torch.Tensor, int], torch.Tensor]


def peers(network: torch.nn.Module, config: ExplainConfig, side: int) -> dict[str, Peer]:
    """One image in, one map out."""

    def odds(x: torch.Tensor) -> torch.Tensor:
        logits = network(x)
        classes = torch.arange(logits.shape[1])
        return torch.stack([log_odds(logits, c.expand(len(x))) for c in classes], 1)

    with scoring(network) as scorer:
        hook = find_hook(scorer, torch.randn(1, 3, side, side))
    if hook is None:
        raise SystemExit("the network has no layer for Grad-CAM")
    window = round(config.occlusion_window * side)
    stride = round(config.occlusion_stride * side)

    def smoothgrad(x: torch.Tensor, c: int) -> torch.Tensor:
        # Captum's NoiseTunnel draws its own noise; the same noise is given to its Saliency here.
        noise = Noise(x, config.seed).draw(config.smoothgrad_samples)[0]
        noisy = x + noise * config.smoothgrad_noise * (x.max() - x.min())
        slopes: torch.Tensor = (
            Saliency(odds)
            .attribute(noisy.requires_grad_(), c, abs=False)
            .mean(0, keepdim=True)
            .abs()
            .sum(1)
        )
        return slopes

    def rise(x: torch.Tensor, c: int) -> torch.Tensor:
        total, scores, kept = config.rise_masks, [], []
        with torch.no_grad():
            for i in range(total):
                mask = random_masks(x[0], config, x.shape[-2:], slice(i, i + 1))
                scores.append(odds(x * mask)[0, c])
                kept.append(mask[0])
        centred = torch.stack(scores) - torch.stack(scores).mean()
        spread = total * config.rise_kept * (1 - config.rise_kept)
        return torch.einsum("n,nhw->hw", centred, torch.stack(kept))[None] / spread

    return {
        "gradient": lambda x, c: Saliency(odds).attribute(x.clone().requires_grad_(), c).sum(1),
        "smoothgrad": smoothgrad,
        "integrated_gradients": lambda x, c: (
            IntegratedGradients(odds)
            .attribute(x, torch.zeros_like(x), c, n_steps=config.integration_steps)
            .sum(1)
        ),
        "integrated_gradients, 50 steps": lambda x, c: (
            IntegratedGradients(odds)
            .attribute(x, torch.zeros_like(x), c)  # Captum's default
            .sum(1)
        ),
        "grad_cam": lambda x, c: LayerAttribution.interpolate(
            LayerGradCam(odds, hook.module).attribute(x, c), (side, side), "bilinear"
        )[:, 0],
        "occlusion": lambda x, c: Occlusion(odds).attribute(
            x, (3, window, window), (3, stride, stride), target=c, baselines=0
        )[:, 0],
        "rise": rise,
    }


def trained(path: Path) -> tuple[torch.nn.Module, tuple[float, ...], tuple[float, ...]]:
    """The network of a run, and what normalises its images."""
    run = Run(path)
    card = read_record(run.model_file, ModelCard)
    return load_network(run.weights, card, torch.device("cpu")), card.mean, card.std


# Images for ours (enough to fill a pass of 128 looks) and for the peer, which takes one at a time.
COUNTS = {
    "gradient": (128, 16),
    "smoothgrad": (32, 4),
    "integrated_gradients": (32, 4),
    "grad_cam": (128, 16),
    "occlusion": (16, 3),
    "rise": (16, 2),
}


def compared(
    work: dict[str, Callable[[int], np.ndarray]], n: int, few: int, rounds: int
) -> tuple[list[float], list[np.ndarray]]:
    """Maps per second of processor of each (the median over rounds that take turns), and maps.

    The first takes `few` images, the others `n`.
    """
    counts = [few] + [n] * (len(work) - 1)
    maps = [each(c)[:few] for each, c in zip(work.values(), counts, strict=True)]  # a warm-up, too
    rates = np.empty((rounds, len(work)))
    for i in range(rounds):
        for j, (each, count) in enumerate(zip(work.values(), counts, strict=True)):
            began = time.process_time()
            each(count)
            rates[i, j] = count / (time.process_time() - began)
    return list(np.median(rates, axis=0)), maps


def nearness(network: torch.nn.Module, images: torch.Tensor, chosen: torch.Tensor) -> None:
    """How far maps of a few steps lie from those of 500 (both exact in float32), by image."""

    def maps(steps: int) -> np.ndarray:
        return saliency_maps(
            network, images, chosen,
            method="integrated_gradients", config=ExplainConfig(integration_steps=steps),
        )  # fmt: skip

    truth = maps(500)
    size = np.sqrt((truth**2).sum((1, 2)))
    with scoring(network) as scorer:
        whole = scorer.all_scores(images, chosen)
        change = (whole - scorer.all_scores(torch.zeros_like(images), chosen)).numpy()
    print("steps   error of the map (largest)   gap of the sum   their correlation")
    for steps in (8, 16, 24, 32, 50):
        few = maps(steps)
        error = np.sqrt(((few - truth) ** 2).sum((1, 2))) / size
        gap = np.abs(few.sum((1, 2)) - change) / np.abs(change)
        alike = np.corrcoef(error, gap)[0, 1]
        print(
            f"{steps:5}   {error.mean():16.1%} ({error.max():.1%})   {np.median(gap):14.1%}", end=""
        )
        print(f"   {alike:17.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="the network of a run, instead of a fresh one")
    parser.add_argument("--network", default="plain")
    parser.add_argument("--rounds", type=int, default=3, help="each is timed so often")
    parser.add_argument("--methods", default=",".join(COUNTS), help="only these")
    parser.add_argument("--small", action="store_true", help="a quarter of the images, once")
    parser.add_argument("--steps", action="store_true", help="nearness of integrated gradients")
    options = parser.parse_args()
    config = ExplainConfig()
    torch.manual_seed(0)
    faces = draw_faces(FaceWorld(n=128, side=64)).images
    network, mean, std = (
        trained(options.run)
        if options.run
        else (build(options.network, side=64, n_classes=2).eval(), (0.5,) * 3, (0.25,) * 3)
    )
    images = torch.from_numpy((faces / 255 - mean) / std).float().permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        chosen = network(images).argmax(1)
    print(f"{options.run or options.network}, 64 pixels, {torch.get_num_threads()} threads")
    if options.steps:
        nearness(network, images[:12], chosen[:12])
        return
    columns = "peer  float32         bfloat16        difference  correlation"
    print(f"{'maps per second of processor':36}   {columns}")
    for title, peer in peers(network, config, 64).items():
        name = title.split(",")[0]
        if name not in options.methods.split(","):
            continue

        def loop(count: int, peer: Peer = peer) -> np.ndarray:
            each = [peer(images[i : i + 1], int(chosen[i])) for i in range(count)]
            return torch.cat(each).detach().numpy()

        def ours(count: int, rounded: bool, name: str = name) -> np.ndarray:
            return saliency_maps(
                network, images[:count], chosen[:count],
                method=name, config=config, bfloat16=rounded,
            )  # fmt: skip

        work: dict[str, Callable[[int], np.ndarray]] = {
            "peer": loop,
            "float32": partial(ours, rounded=False),
            "bfloat16": partial(ours, rounded=True),
        }
        n, few = COUNTS[name]
        if options.small:
            n, few = n // 4, max(1, few // 4)
        rates, maps = compared(work, n, few, 1 if options.small else options.rounds)
        gap = np.abs(maps[1] - maps[0]).max() / np.abs(maps[0]).max()
        alike = rank_correlations(np.abs(maps[2]), np.abs(maps[0])).mean()
        ratios = "  ".join(f"{r:7.1f} ({r / rates[0]:5.1f}x)" for r in rates[1:])
        print(f"{title:36}{rates[0]:7.2f}  {ratios}  {gap:9.1e}  {alike:9.3f}", flush=True)


if __name__ == "__main__":
    # As the stage does: freed memory is kept for the whole of the work, the peer's, too.
    with memory_kept():
        main()
