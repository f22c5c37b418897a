"""A trained network as files: weights in safetensors, everything else in JSON."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from candid.errors import RunError
from candid.files import atomic
from candid.learn.device import placed
from candid.learn.networks import build
from candid.records import ModelCard


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write named tensors, whole or not at all."""
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with atomic(path) as part:
        save_file(plain, part, {"format": "pt"})


def load_network(
    weights: Path, card: ModelCard, device: torch.device, network: nn.Module | None = None
) -> nn.Module:
    """The network that `card` describes, with the weights of a file, in evaluation mode.

    `network` is filled where it is given; a network of the user's own cannot be built by name.

    Raises
    ------
    RunError
        Where the file is missing, damaged, or belongs to another network.
    """
    if network is None:
        network = build(card.network, side=card.side, classes=len(card.classes), **card.options)
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise RunError(
            f"Cannot load the weights in {weights}: {type(error).__name__}: {error}",
            expected=f"weights of the network {card.network!r} for {card.side}×{card.side} pixels",
            todo="train again, or name a run whose training was finished",
        ) from error
    return placed(network, device).eval()
