"""Initial weights for training: those of the same network, from a file."""

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
    """Initial weights of a network."""

    tensors: dict[str, Tensor]  # by name, without those that keep their random values
    anew: tuple[str, ...]  # the names of those
    digest: str  # of the file

    def fill(self, network: nn.Module) -> None:
        """Load them into the network for which they were read."""
        network.load_state_dict(self.tensors, strict=False)


def read_initial(file: Path, network: nn.Module, *, same_head: bool) -> InitialWeights:
    """The initial weights of a network, which may be on the meta device, from a safetensors file.

    The last linear layer keeps its random weights where its shape differs, or `same_head` is false
    because its outputs mean something else. Raises ConfigError where the file is missing, damaged,
    holds NaN, or is another network's.
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
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    actual = {name: tuple(value.shape) for name, value in tensors.items()}
    head = _last_linear_names(network)
    names = expected.keys() | actual.keys()
    different = sorted(n for n in names if expected.get(n) != actual.get(n))
    if mismatches := [name for name in different if name not in head or name not in actual]:
        first = mismatches[0]
        raise _refusal(
            f"{file} holds the weights of another network: {len(mismatches):,} of {len(names):,} "
            f"tensors differ, such as {first}: {actual.get(first, 'none')}, not "
            f"{expected.get(first, 'none')}."
        )
    new_names = head if different or not same_head else ()
    loaded = {name: value for name, value in tensors.items() if name not in new_names}
    return InitialWeights(loaded, new_names, digest)


def pretrained_weights(model: str, side: int, n_classes: int) -> tuple[InitialWeights, str]:
    """Timm's pretrained weights of a network, without its classifier, and their name.

    Raises ConfigError where there are none, or they cannot be fetched.
    """
    network: Any = timm_network(side, n_classes, model=model, pretrained=True)
    head_ids = {id(p) for p in network.get_classifier().parameters()}
    new_names = tuple(name for name, p in network.named_parameters() if id(p) in head_ids)
    tensors = {name: t for name, t in network.state_dict().items() if name not in new_names}
    config = network.pretrained_cfg
    tag = ".".join(filter(None, (config["architecture"], config.get("tag"))))
    digest = hashlib.blake2b(save({n: t.contiguous() for n, t in tensors.items()})).hexdigest()[:32]
    return InitialWeights(tensors, new_names, digest), tag


def _last_linear_names(network: nn.Module) -> tuple[str, ...]:
    """The names of the last layer's weights, where it is linear."""
    name, last = [(n, m) for n, m in network.named_modules() if not list(m.children())][-1]
    if not isinstance(last, nn.Linear):
        return ()
    return tuple(f"{name}.{key}" if name else key for key, _ in last.named_parameters())


def _refusal(what: str) -> ConfigError:
    return ConfigError(
        what,
        expected="the weights of the same network, of the same width, depth and side",
        todo="name a run with the same settings of network and data.side, or set these as there",
    )
