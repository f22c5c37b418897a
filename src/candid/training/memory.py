"""Whether a training can fit into memory, checked before anything large is allocated."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

import torch
from torch import nn

from candid.errors import ConfigError
from candid.models.device import pick_device
from candid.models.networks import build, options, trace_layers
from candid.settings import Config, ensemble_size

_BUILT_IN = ("plain", "deep", "vit")  # networks that can be built on the meta device
_COPIES = 4  # of the weights: themselves, gradients, a moment of the optimiser, the best so far
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check_fits(config: Config, n_classes: int) -> None:
    """Raise a ConfigError where network and batch surely need more memory than there is.

    A lower bound: weights, gradients and moments in float32, and each layer's output in bfloat16,
    both counted on the meta device.
    """
    name, side, images = config.network.name, config.data.side, config.train.batch_size
    if name not in _BUILT_IN:
        return
    single = {k: v for k, v in options(config.network).items() if k != "ensemble_size"}
    available = _memory(pick_device(config.train.device))
    with torch.random.fork_rng(), torch.device("meta"):
        network = build(name, side=side, n_classes=n_classes, **single)
        weights = ensemble_size(config.network) * sum(p.numel() for p in network.parameters())
        needed = 4 * _COPIES * weights
        bound = needed + 2 * images * _output_bound(network, side)
        if needed <= available < bound:
            layers = trace_layers(network, side)
            needed += 2 * images * sum(math.prod(layer.output_shape) for layer in layers)
    if needed > available:
        raise ConfigError(
            f"This network ({weights:,} weights) and batches of {images:,} images of {side} pixels "
            f"per side need more than {needed / 1e9:.1f} GB.",
            expected=f"what fits into the {available / 1e9:.1f} GB of memory here",
            todo="lower train.batch_size, data.side, or network.width, depth or ensemble_size",
        )


def _output_bound(network: nn.Module, side: int) -> int:
    """An upper bound of all layers' outputs for an image, from its pixels and the weights' shapes.

    Cheap, and mostly enough: the exact sum has torch import its compiler, which takes a second.
    """
    leaves = [m for m in network.modules() if not list(m.children())]
    channels = [max((len(p) for p in leaf.parameters() if p.ndim), default=0) for leaf in leaves]
    return side * side * sum(count or max(channels) for count in channels)


def _memory(device: torch.device) -> float:
    """Bytes of the device's memory; of a CPU the machine's, or its container's limit."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    available = math.inf
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on every system
        available = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(ValueError, OSError):  # "max" is no number, and no limit
        available = min(available, int(_CGROUP_LIMIT.read_text(encoding="utf-8")))
    return available
