"""A trained network as files: weights in safetensors, everything else in JSON."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from candid.config import with_values
from candid.errors import ConfigError, RunError
from candid.models.device import placed
from candid.models.networks import build
from candid.records import ModelCard
from candid.settings import Config, ensemble_size
from candid.storage.files import atomic, regular


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
        Where the file is missing, damaged, belongs to another network, or holds NaN.
    """
    try:
        if network is None:
            shapes = _shapes(regular(weights))
            # First without memory, so that a stranger's record can ask for no more than is there.
            with torch.device("meta"):
                described = _built(card, len(shapes)).state_dict()
            _compare({name: tuple(value.shape) for name, value in described.items()}, shapes)
            network = _built(card, len(shapes))
        tensors = load_file(regular(weights))
        network.load_state_dict(tensors)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise RunError(
            f"Cannot load the weights in {weights}: {type(error).__name__}: {str(error)[:500]}",
            expected=f"weights of the network {card.network!r} for {card.side}×{card.side} pixels",
            todo="train again, or name a run whose training was finished",
        ) from error
    if wrong := [n for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]:
        raise RunError(
            f"{len(wrong):,} of {len(tensors):,} tensors in {weights} hold NaN or infinity, such "
            f"as {wrong[0]}.",
            expected="finite numbers",
            todo="take the file from where the run was made, or train again",
        )
    return placed(network, device).eval()


def _built(card: ModelCard, tensors: int) -> nn.Module:
    """The network that a record describes, whose weights are so many tensors, with fresh ones."""
    if card.network == "own":
        return build("own", side=card.side, classes=len(card.classes), **card.options)  # says why
    try:
        chosen = with_values(Config(), {"network": card.options | {"name": card.network}}).network
        # Each block has several tensors, so a file with few is not of a network with many.
        depth, members = getattr(chosen, "depth", 0), ensemble_size(chosen)
        if depth * members > tensors:
            raise ValueError(f"{members} × {depth} blocks in {tensors} tensors")
        return build(card.network, side=card.side, classes=len(card.classes), **card.options)
    except ConfigError as error:  # its advice is about a setting
        raise ValueError(error.what) from error


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Of each tensor, from the file's head."""
    with safe_open(weights, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _compare(described: dict[str, tuple[int, ...]], there: dict[str, tuple[int, ...]]) -> None:
    names = sorted(described.keys() | there.keys())
    wrong = [n for n in names if described.get(n) != there.get(n)]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{len(wrong):,} of {len(names):,} tensors differ, such as {first}: "
            f"{there.get(first, 'none')}, not {described.get(first, 'none')}"
        )
