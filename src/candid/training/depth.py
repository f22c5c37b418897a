"""Layers by depth: frozen layers, and learning rates by layer."""

from __future__ import annotations

from torch import nn

from candid.errors import ConfigError
from candid.settings import TrainConfig


def depth_layers(network: nn.Module) -> list[list[nn.Module]]:
    """The modules with weights, layer by layer, in the order in which the network names them.

    A layer begins with a module whose weight has two dimensions or more, such as a convolution, and
    holds what follows it up to the next, such as its normalisation.
    """
    layers: list[list[nn.Module]] = []
    for module in network.modules():
        parameters = list(module.parameters(recurse=False))
        if not parameters and not list(module.buffers(recurse=False)):
            continue
        weight = getattr(module, "weight", None)
        starts_layer = isinstance(weight, nn.Parameter) and weight.ndim > 1
        if starts_layer or not layers:
            layers.append([])
        layers[-1].append(module)
    return layers


def freeze(network: nn.Module, config: TrainConfig) -> list[nn.Module]:
    """Freeze the leading layers that the settings name; return their modules.

    `hold_still` keeps their running means, too.

    Raises ConfigError where no layer would be left to train.
    """
    layers = depth_layers(network)
    count = len(layers) - 1 if config.freeze < 0 else config.freeze
    if count and count >= len(layers):
        raise ConfigError(
            f"train.freeze = {config.freeze} leaves none of {len(layers)} layers to train.",
            expected=f"at most {len(layers) - 1}, or -1: all but the last",
            todo="set train.freeze",
        )
    frozen = [module for layer in layers[:count] for module in layer]
    for module in frozen:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
    return frozen


def hold_still(frozen: list[nn.Module]) -> None:
    """Put frozen modules into evaluation mode, after the network was set to train."""
    for module in frozen:
        module.training = False


def rate_factors(network: nn.Module, decay: float) -> dict[int, float]:
    """The factor on each parameter's learning rate, by the parameter's `id`.

    Layer-wise learning-rate decay, as in Clark et al., 2020, "ELECTRA": the last layer has 1, each
    before it `decay` times that of the next.
    """
    layers = depth_layers(network)
    return {
        id(parameter): decay ** (len(layers) - 1 - depth)
        for depth, layer in enumerate(layers)
        for module in layer
        for parameter in module.parameters(recurse=False)
    }
