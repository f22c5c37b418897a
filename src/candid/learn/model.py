"""A trained network as files: weights in safetensors, everything else in JSON."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from candid.files import atomic, reading, regular
from candid.learn.device import placed
from candid.learn.networks import build
from candid.records import ModelCard


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write named tensors, whole or not at all."""
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_tensors(path, plain, {"format": "pt"})


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all.

    Raises
    ------
    OutputError
        Where the folder cannot be written to or the disk is full.
    """
    with atomic(path) as part:
        try:
            save_file(tensors, part, about)
        except SafetensorError as error:
            # Its library keeps the system's number in the words alone: "(os error 28)".
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), os.fspath(path)) from error


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
    with reading(
        weights,
        expected=f"weights of the network {card.network!r} for {card.side}×{card.side} pixels",
        todo="train again, or name a run whose training was finished",
    ):
        network.load_state_dict(load_file(regular(weights)))
    return placed(network, device).eval()
