"""Whether a training can fit into memory at all, asked before anything large is made."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

import torch
from torch import nn

from candid.errors import ConfigError
from candid.models.device import pick_device
from candid.models.networks import build, layers_passed, options
from candid.settings import Config, ensemble_size

_BUILT = ("plain", "deep", "vit")  # others are not ours to sketch
_COPIES = 4  # of the weights: themselves, gradients, a moment of the optimiser, the best so far
_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check_fits(config: Config, n_classes: int) -> None:
    """Raise a ConfigError where network and batch surely need more memory than there is.

    Counted is the least: weights with what training keeps beside them in float32, and what each
    layer gives in bfloat16; both on a network without memory of its own.
    """
    name, side, images = config.network.name, config.data.side, config.train.batch_size
    if name not in _BUILT:
        return
    one = {k: v for k, v in options(config.network).items() if k != "ensemble_size"}
    there = _memory(pick_device(config.train.device))
    with torch.random.fork_rng(), torch.device("meta"):
        network = build(name, side=side, n_classes=n_classes, **one)
        weights = ensemble_size(config.network) * sum(p.numel() for p in network.parameters())
        needed = 4 * _COPIES * weights
        if needed <= there and needed + 2 * images * _most(network, side) > there:
            layers = layers_passed(network, side)
            needed += 2 * images * sum(math.prod(layer.output_shape) for layer in layers)
    if needed > there:
        raise ConfigError(
            f"This network ({weights:,} weights) and batches of {images:,} images of {side} pixels "
            f"per side need more than {needed / 1e9:.1f} GB.",
            expected=f"what fits into the {there / 1e9:.1f} GB of memory here",
            todo="lower train.batch_size, data.side, or network.width, depth or ensemble_size",
        )


def _most(network: nn.Module, side: int) -> int:
    """More than all layers give for an image: none has more pixels, or channels than weights.

    Hardly any network gives so much that memory is in question, and the sum of what each gives,
    without memory, has torch import its compiler: a second of processor time.
    """
    leaves = [m for m in network.modules() if not list(m.children())]
    channels = [max((len(p) for p in leaf.parameters() if p.ndim), default=0) for leaf in leaves]
    return side * side * sum(own or max(channels) for own in channels)


def _memory(device: torch.device) -> float:
    """Bytes of the device; of a processor those of the machine, or what its container allows."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    there = math.inf
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on every system
        there = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(ValueError, OSError):  # "max" is no number, and no limit
        there = min(there, int(_LIMIT.read_text(encoding="utf-8")))
    return there
