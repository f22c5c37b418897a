"""The weights that a training begins with: those of another run, or of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from candid.data.dataset import Dataset
from candid.data.targets import outputs_of
from candid.errors import ConfigError, RunError
from candid.records import ModelCard, read_record
from candid.records.model import Beginning
from candid.records.targets import Targets
from candid.runs import Run
from candid.settings import Config, TimmConfig

if TYPE_CHECKING:
    from torch import nn

    from candid.models.initial import InitialWeights


def initial_weights(
    config: Config, dataset: Dataset, network: nn.Module | None = None
) -> tuple[InitialWeights, Beginning] | None:
    """The weights that training begins with, and their record; None where all are fresh.

    `network` is the caller's own module, if any. Raises ConfigError where the weights are missing,
    damaged, or another network's.
    """
    if not config.begins_with:
        return None
    import torch

    from candid.models.initial import pretrained_weights, read_initial
    from candid.models.networks import build, options
    from candid.training.depth import freeze

    if isinstance(config.network, TimmConfig) and config.network.pretrained:
        n_classes = len(outputs_of(dataset))
        weights, name = pretrained_weights(config.network.model, config.data.side, n_classes)
        return weights, _describe_weights(f"{name} of timm", weights)
    if config.network.name == "features":
        raise ConfigError(
            "The network 'features' is fitted at once, and begins with no weights.",
            expected="a network that is trained in steps",
            todo="set network.name, or leave train.initial out",
        )
    outputs, side = outputs_of(dataset), config.data.side
    if network is None:
        with torch.random.fork_rng(), torch.device("meta"):
            kwargs = options(config.network)
            network = build(config.network.name, side=side, n_classes=len(outputs), **kwargs)
        freeze(network, config.train)  # refused here, before the run has a folder
    path = Path(config.train.initial)
    card, file = read_weights_source(path)
    target = ", ".join(dataset.targets)
    same_head = card is None or (card.target, card.classes) == (target, outputs)
    weights = read_initial(file, network, same_head=same_head)
    return weights, _describe_weights(str(path), weights, "" if card is None else card.target)


def _describe_weights(place: str, weights: InitialWeights, target: str = "") -> Beginning:
    return Beginning(place, weights.digest, target, len(weights.tensors), weights.anew)


def load_initial(
    network: nn.Module, config: Config, dataset: Dataset, expected: Beginning | None
) -> None:
    """Fill a fresh network with its run's initial weights; RunError where these have changed."""
    current = initial_weights(config, dataset, network)
    if current is None:
        return
    initial, beginning = current
    if expected is not None and expected.digest != beginning.digest:
        raise RunError(
            f"The weights in {beginning.place} are not those that this run was to begin with.",
            expected=f"the file with the digest {expected.digest}",
            todo="put it back, or start a new run",
        )
    initial.fill(network)


def read_weights_source(path: Path) -> tuple[ModelCard | None, Path]:
    """The card of a run to begin with (None for a file), and the file of its weights."""
    if not path.is_dir():
        return None, path
    run = Run(path)
    if run.parent is None and run.targets.is_file():
        return read_record(run.targets, Targets).model, run.weights
    if not run.model_file.is_file():
        raise ConfigError(
            f"{path} holds no trained network to begin from.",
            expected="a run whose training was finished, or a .safetensors file",
            todo="finish it with candid run --resume, or name another",
        )
    return read_record(run.model_file, ModelCard), run.weights
