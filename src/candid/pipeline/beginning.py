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
    """What training begins with by the settings, and what is noted of it; None where all is fresh.

    `network` is the module of the caller's own, where there is one. Raises ConfigError where the
    weights are not there, are damaged, or are another network's.
    """
    if not config.begins_with:
        return None
    import torch

    from candid.models.initial import pretrained_weights, read_initial
    from candid.models.networks import build, options
    from candid.training.depth import freeze

    if isinstance(config.network, TimmConfig) and config.network.pretrained:
        n_classes = len(outputs_of(dataset))
        found, name = pretrained_weights(config.network.model, config.data.side, n_classes)
        return found, Beginning(f"{name} of timm", found.digest, "", len(found.tensors), found.anew)

    if config.network.name == "features":
        raise ConfigError(
            "The network 'features' is fitted at once, and begins with no weights.",
            expected="a network that is trained in steps",
            todo="set network.name, or leave train.initial out",
        )
    outputs, side = outputs_of(dataset), config.data.side
    if network is None:
        with torch.random.fork_rng(), torch.device("meta"):
            chosen = options(config.network)
            network = build(config.network.name, side=side, n_classes=len(outputs), **chosen)
        freeze(network, config.train)  # refused here, before the run has a folder
    place = Path(config.train.initial)
    card, file = source_of_weights(place)
    target = ", ".join(dataset.targets)
    same = card is None or (card.target, card.classes) == (target, outputs)
    found = read_initial(file, network, same_head=same)
    known = "" if card is None else card.target
    return found, Beginning(str(place), found.digest, known, len(found.tensors), found.anew)


def take_initial(
    network: nn.Module, config: Config, dataset: Dataset, noted: Beginning | None
) -> None:
    """Fill a fresh network with the weights that its run was to begin with.

    Raises RunError where they are no longer those that were noted when the run began.
    """
    found = initial_weights(config, dataset, network)
    if found is None:
        return
    initial, about = found
    if noted is not None and noted.digest != about.digest:
        raise RunError(
            f"The weights in {about.place} are not those that this run was to begin with.",
            expected=f"the file with the digest {noted.digest}",
            todo="put it back, or start a new run",
        )
    initial.fill(network)


def source_of_weights(place: Path) -> tuple[ModelCard | None, Path]:
    """What is known of weights to begin with, a run's or a file's, and the file that holds them."""
    if not place.is_dir():
        return None, place
    run = Run(place)
    if run.whole is None and run.targets.is_file():
        return read_record(run.targets, Targets).model, run.weights
    if not run.model_file.is_file():
        raise ConfigError(
            f"{place} holds no trained network to begin from.",
            expected="a run whose training was finished, or a .safetensors file",
            todo="finish it with candid run --resume, or name another",
        )
    return read_record(run.model_file, ModelCard), run.weights
