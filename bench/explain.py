"""How many maps per second, against a straightforward loop over images with Captum.

The peer is what a script would do: the network in float32 as it comes, one image after another,
Captum's classes with their defaults (Captum has no RISE: there the peer is the loop of the paper,
one mask after the other). Ours are `candid.explain.saliency_maps` on the same network and the same
images with the same numbers of steps, windows, noises and masks. "float32" shows that the maps are
the same: the largest difference, as a share of the largest value of the map. "bfloat16" is what
`candid explain` uses where the processor has instructions for it: its maps' mean rank correlation
with the peer's stands beside it.

    python bench/explain.py             # 64 images, 16 for the peer
    python bench/explain.py --small     # a quick look
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

from candid.explain.explain import saliency_maps
from candid.explain.layers import find_hook
from candid.explain.means import rank_correlations
from candid.explain.saliency import _masks, _noise
from candid.explain.scoring import log_odds, scoring
from candid.learn.device import memory_kept
from candid.learn.networks import build
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
        "grad_cam": lambda x, c: LayerAttribution.interpolate(
            LayerGradCam(odds, hook.module).attribute(x, c), (side, side), "bilinear"
        )[:, 0],
        "occlusion": lambda x, c: Occlusion(odds).attribute(
            x, (3, window, window), (3, stride, stride), target=c, baselines=0
        )[:, 0],
        "rise": rise,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few images")
    parser.add_argument("--network", default="plain")
    parser.add_argument("--side", type=int, default=64)
    options = parser.parse_args()
    n, few = (16, 4) if options.small else (64, 16)
    config = ExplainConfig()
    torch.manual_seed(0)
    network = build(options.network, side=options.side, classes=2).eval()
    images = torch.randn(n, 3, options.side, options.side)
    chosen = torch.zeros(n, dtype=torch.int64)
    print(f"{options.network}, {options.side} pixels, {torch.get_num_threads()} threads")
    print(f"{'maps per second':22}   peer  float32        bfloat16        difference  correlation")
    for name, peer in peers(network, config, options.side).items():
        seconds = {}
        began = time.perf_counter()
        theirs = torch.cat([peer(images[i : i + 1], 0) for i in range(few)]).detach().numpy()
        seconds["peer"] = (time.perf_counter() - began) / few
        maps = {}
        for rounded in (False, True):
            with memory_kept():  # as the stage does
                began = time.perf_counter()
                maps[rounded] = saliency_maps(
                    network, images, chosen, method=name, config=config, bfloat16=rounded
                )
                seconds[rounded] = (time.perf_counter() - began) / n
        gap = np.abs(maps[False][:few] - theirs).max() / np.abs(theirs).max()
        alike = rank_correlations(np.abs(maps[True][:few]), np.abs(theirs)).mean()
        rates = [1 / seconds[k] for k in ("peer", False, True)]
        ratios = [f"{r:7.1f} ({r / rates[0]:4.1f}x)" for r in rates[1:]]
        print(
            f"{name:22}{rates[0]:7.2f}  {'  '.join(ratios)}  {gap:9.1e}  {alike:9.3f}", flush=True
        )


if __name__ == "__main__":
    main()
