"""How many maps per second, against a straightforward loop over images with Captum.

The peer is what a script would do: the network in float32 as it comes, one image after another,
Captum's classes with their defaults (Captum has no RISE: there the peer is the loop of the paper,
one mask after the other). Ours are `candid.explain.saliency_maps` on the same network and the same
images with the same numbers of steps, windows, noises and masks. "float32" shows that the maps are
the same: the largest difference, as a share of the largest value of the map. "bfloat16" is what
`candid explain` uses where the processor has instructions for it: its maps' mean rank correlation
with the peer's stands beside it.

    python bench/explain.py --run RUN   # the network of a run
    python bench/explain.py --small     # a fresh network, few images

Result for the default network of a run (deep, width 32, each image once) at 64 pixels, 32 images
against 4 of the peer; one core of an AMD EPYC (AVX-512 with bfloat16) that other work shared, so
maps per second of processor; torch 2.13.0, Captum 0.9.0:

    maps per second of processor      peer  float32         bfloat16        difference  correlation
    gradient                        110.51  235.2 (2.1x)    357.1 (3.2x)    3.2e-07     0.998
    smoothgrad                       20.54   22.5 (1.1x)     38.0 (1.9x)    1.1e-07     0.999
    integrated_gradients             15.54   18.1 (1.2x)     32.8 (2.1x)    6.7e-08     0.999
    integrated_gradients, 50 steps    5.81   17.4 (3.0x)     33.5 (5.8x)    1.6e-02     0.996
    grad_cam                        143.06  337.1 (2.4x)    515.1 (3.6x)    8.9e-07     1.000
    occlusion                         3.80   12.8 (3.4x)     23.2 (6.1x)    8.0e-07     0.999
    rise                              1.87    6.0 (3.2x)     10.6 (5.7x)    5.0e-07     1.000

Five times was the aim. It is reached in bfloat16 for occlusion and RISE, where Captum asks for one
copy after the other, and against Captum's default of 50 steps of integration, whose maps our 16
give to within 1.6% of their largest value. For SmoothGrad and integrated gradients at equal steps
the arithmetic forbids it; gradient and Grad-CAM could still gain. A look costs
74.3 million multiply-adds, forwards and backwards twice that; a core makes 58 thousand million per
second in float32 and 115 in bfloat16, measured with the instruction alone. Captum sends the 12
copies of SmoothGrad (1.8 thousand million) and the 16 steps of integration (2.4) through together,
so the peer runs at 63% of that peak already: 1.6 times as fast is all that float32 can be, 3.2
times bfloat16. A gradient can be 3.5 times as fast in float32. Folding the batch normalisation into
the convolutions gained 3% and was left out; 128 images per pass instead of 32 gain 5 to 10%.
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
from candid.explain.explain import saliency_maps
from candid.explain.layers import find_hook
from candid.explain.means import rank_correlations
from candid.explain.saliency import _masks, _noise
from candid.explain.scoring import log_odds, scoring
from candid.learn.device import memory_kept
from candid.learn.model import load_network
from candid.learn.networks import build
from candid.records import ModelCard, read_record
from candid.runs import RunFolder
from candid.settings import ExplainConfig

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

    def odds(x):
        logits = network(x)
        classes = torch.arange(logits.shape[1])
        return torch.stack([log_odds(logits, c.expand(len(x))) for c in classes], 1)

    with scoring(network) as scorer:
        hook = find_hook(scorer, torch.randn(1, 3, side, side))
    window = round(config.occlusion_window * side)
    stride = round(config.occlusion_stride * side)

    def smoothgrad(x, c):
        # Captum's NoiseTunnel draws its own noise; the same noise is given to its Saliency here.
        noise = _noise(x, config.smoothgrad_samples, config.seed)[0]
        noisy = x + noise * config.smoothgrad_noise * (x.max() - x.min())
        return (
            Saliency(odds)
            .attribute(noisy.requires_grad_(), c, abs=False)
            .mean(0, keepdim=True)
            .abs()
            .sum(1)
        )

    def rise(x, c):
        total, scores, kept = config.rise_masks, [], []
        with torch.no_grad():
            for i in range(total):
                mask = _masks(x[0], config, x.shape[-2:], slice(i, i + 1))
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


def trained(path: Path) -> tuple[torch.nn.Module, tuple, tuple]:
    """The network of a run, and what normalises its images."""
    run = RunFolder(path)
    card = read_record(run.model, ModelCard)
    return load_network(run.weights, card, torch.device("cpu")), card.mean, card.std


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few images")
    parser.add_argument("--run", type=Path, help="the network of a run, instead of a fresh one")
    parser.add_argument("--network", default="plain")
    options = parser.parse_args()
    n, few = (32, 4) if options.small else (128, 16)
    config = ExplainConfig()
    torch.manual_seed(0)
    faces = draw_faces(FaceWorld(n=n, side=64)).images
    network, mean, std = (
        trained(options.run)
        if options.run
        else (build(options.network, side=64, classes=2).eval(), (0.5,) * 3, (0.25,) * 3)
    )
    images = torch.from_numpy((faces / 255 - mean) / std).float().permute(0, 3, 1, 2).contiguous()
    chosen = network(images).detach().argmax(1)
    print(f"{options.run or options.network}, 64 pixels, {torch.get_num_threads()} threads")
    columns = "peer  float32         bfloat16        difference  correlation"
    print(f"{'maps per second of processor':36}   {columns}")
    for title, peer in peers(network, config, 64).items():
        name = title.split(",")[0]

        def loop(count: int, peer: Peer = peer) -> np.ndarray:
            each = [peer(images[i : i + 1], int(chosen[i])) for i in range(count)]
            return torch.cat(each).detach().numpy()

        def ours(count: int, rounded: bool, name: str = name) -> np.ndarray:
            with memory_kept():  # as the stage does
                return saliency_maps(
                    network, images[:count], chosen[:count],
                    method=name, config=config, bfloat16=rounded,
                )  # fmt: skip

        rates, maps = [], []
        for work, count in (
            (loop, few),
            (partial(ours, rounded=False), n),
            (partial(ours, rounded=True), n),
        ):
            work(1 if work is loop else 4)  # what is done once is not counted
            began = time.process_time()
            maps.append(work(count)[:few])
            rates.append(count / (time.process_time() - began))
        gap = np.abs(maps[1] - maps[0]).max() / np.abs(maps[0]).max()
        alike = rank_correlations(np.abs(maps[2]), np.abs(maps[0])).mean()
        ratios = "  ".join(f"{r:7.1f} ({r / rates[0]:5.1f}x)" for r in rates[1:])
        print(f"{title:36}{rates[0]:7.2f}  {ratios}  {gap:9.1e}  {alike:9.3f}", flush=True)


if __name__ == "__main__":
    main()
