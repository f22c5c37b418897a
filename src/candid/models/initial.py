"""Weights to begin training with: those of the same network, from a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from candid.errors import ConfigError
from candid.models.networks import timm_network
from candid.storage.files import file_digest, regular


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """What a network takes over."""

    tensors: dict[str, Tensor]  # by their names in the network, without what begins anew
    anew: tuple[str, ...]  # the names of that
    digest: str  # of the file

    def fill(self, network: nn.Module) -> None:
        """Put them into the network for which they were read."""
        network.load_state_dict(self.tensors, strict=False)


def read_initial(file: Path, network: nn.Module, *, same_head: bool) -> InitialWeights:
    """What a network, which may be without memory, takes over from a safetensors file.

    Its last linear layer begins anew where its shape is another, or `same_head` is false as its
    outputs mean something else. Raises ConfigError where the file is missing, damaged, holds NaN,
    or is another network's.
    """
    try:
        tensors = load_file(regular(file))
        digest = file_digest(file)
    except FileNotFoundError:
        raise ConfigError(
            f"There are no weights to begin with at {file}.",
            expected="a run whose training was finished, or a .safetensors file",
            todo="check the path, or where they were moved to: --from, or --set train.initial=…",
        ) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise _refusal(f"Cannot read weights from {file}: {error}") from error
    if any(not t.isfinite().all() for t in tensors.values() if t.is_floating_point()):
        raise _refusal(f"The weights in {file} hold NaN or infinity.")
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    there = {name: tuple(value.shape) for name, value in tensors.items()}
    head = _head(network)
    every = own.keys() | there.keys()
    wrong = sorted(n for n in every if own.get(n) != there.get(n))
    if other := [name for name in wrong if name not in head or name not in there]:
        first = other[0]
        raise _refusal(
            f"{file} holds the weights of another network: {len(other):,} of {len(every):,} "
            f"tensors differ, such as {first}: {there.get(first, 'none')}, not "
            f"{own.get(first, 'none')}."
        )
    anew = head if wrong or not same_head else ()
    kept = {name: value for name, value in tensors.items() if name not in anew}
    return InitialWeights(kept, anew, digest)


def pretrained_weights(model: str, side: int, n_classes: int) -> tuple[InitialWeights, str]:
    """What a network of timm takes over from the weights that timm has for it, and their name.

    Its classifier begins anew. Raises ConfigError where there are none, or they cannot be fetched.
    """
    network: Any = timm_network(side, n_classes, model=model, pretrained=True)
    own = {id(p) for p in network.get_classifier().parameters()}
    anew = tuple(name for name, p in network.named_parameters() if id(p) in own)
    tensors = {name: t for name, t in network.state_dict().items() if name not in anew}
    about = network.pretrained_cfg
    tag = ".".join(filter(None, (about["architecture"], about.get("tag"))))
    digest = hashlib.blake2b(save({n: t.contiguous() for n, t in tensors.items()})).hexdigest()[:32]
    return InitialWeights(tensors, anew, digest), tag


def _head(network: nn.Module) -> tuple[str, ...]:
    """The names of the last layer's weights, where it is linear."""
    name, last = [(n, m) for n, m in network.named_modules() if not list(m.children())][-1]
    if not isinstance(last, nn.Linear):
        return ()
    return tuple(f"{name}.{own}" if name else own for own, _ in last.named_parameters())


def _refusal(what: str) -> ConfigError:
    return ConfigError(
        what,
        expected="the weights of the same network, of the same width, depth and side",
        todo="name a run with the same settings of network and data.side, or set these as there",
    )
