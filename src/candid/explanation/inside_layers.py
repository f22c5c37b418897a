"""Watching a network at work: hooks on two layers, and the module left as it was found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from candid.errors import CandidError, ConfigError, did_you_mean


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then each part is in the mode that it was in."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def like_weights(network: nn.Module, batch: Tensor) -> Tensor:
    """The batch on the device and in the precision of the network's weights."""
    weights = next(network.parameters(), None)
    if weights is None:
        raise ConfigError(
            f"{type(network).__name__} has no weights.",
            expected="a network that was trained",
            todo="pass the network itself, not a function of it",
        )
    return batch.to(weights.device, weights.dtype)


@dataclass(frozen=True)
class Layers:
    """Where to look.

    Attributes
    ----------
    units
        The layer whose units are shown; empty: what goes into the classifier.
    classifier
        The layer that gives the logits; what goes into it is the last hidden layer.
    feeds
        Whether the units are those of the last hidden layer, one by one.
    """

    units: str
    classifier: str
    feeds: bool

    @property
    def title(self) -> str:
        """The layer whose units are shown, in words."""
        return self.units or f"input of {self.classifier}"


def layers_of(network: nn.Module, batch: Tensor, units: str = "") -> Layers:
    """The classifier, and the layer to look into.

    The classifier is the last fully connected layer or convolution that an image passes. Without a
    name, the units are those of the last hidden layer, that is, of what goes into the classifier.
    Where that is a ReLU of the layer before, they are read before it, which would make everything
    below zero alike.

    Parameters
    ----------
    network
        Any module; its order is read off while `batch` passes it.
    batch
        (images, …) as the network takes them; a few will do.
    units
        The name of a layer, as `network.named_modules()` has it.

    Raises
    ------
    ConfigError
        Where there is no such layer, or no layer that could be the classifier.
    """
    named = dict(network.named_modules())
    if units and units not in named:
        raise ConfigError(
            f"There is no layer {units!r} in {type(network).__name__}.",
            expected=did_you_mean(units, [n for n in named if n]),
            todo="name one of network.named_modules()",
        )
    passed: list[tuple[str, Any, Any]] = []  # (name, input, output), in the order of the way

    def note(name: str, given: Any, output: Any) -> None:
        # Copies: what comes next may write over them.
        given, output = (x.clone() if isinstance(x, Tensor) else x for x in (given[0], output))
        passed.append((name, given, output))

    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating(network))
        stack.enter_context(torch.no_grad())
        for name, module in named.items():
            if isinstance(module, nn.Linear | nn.Conv2d):
                hook = module.register_forward_hook(lambda _, i, o, name=name: note(name, i, o))
                stack.callback(hook.remove)
        network(like_weights(network, batch[:4]))
    weighted = [m for m in named.values() if any(True for _ in m.parameters(recurse=False))]
    if not passed or len(weighted) < 2:
        raise ConfigError(
            f"{type(network).__name__} has no hidden layer to look into.",
            expected="a fully connected layer or a convolution, and a layer with weights before it",
            todo="pass the whole network",
        )
    classifier, hidden, _ = passed[-1]
    before, _, output = passed[-2] if len(passed) > 1 else ("", None, None)
    if units:
        return Layers(units, classifier, feeds=False)
    # ReLU alone is a function of each number by itself that can be told from its values.
    own = isinstance(output, Tensor) and any(
        output.shape == hidden.shape and torch.equal(f(output), hidden) for f in (torch.relu, _same)
    )
    return Layers(before if own and hidden.ndim == 2 else "", classifier, feeds=True)


def _same(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True, eq=False)
class Seen:
    """What one batch did inside the network.

    Attributes
    ----------
    logits
        (batch, classes).
    units
        (batch, units): each unit's activation; of a map, its maximum.
    places
        (batch, units): where in the flattened map the maximum lies; 0 where there is no map.
    map_shape
        (height, width) of the layer's map; None where it gives none.
    hidden
        (batch, size): what goes into the classifier; of a map, its mean.
    """

    logits: Tensor
    units: Tensor
    places: Tensor
    map_shape: tuple[int, int] | None
    hidden: Tensor


def _of_units(output: Any) -> tuple[Tensor, Tensor, tuple[int, int] | None]:
    """Each unit's maximum, its place, and the shape of the map.

    A layer gives (batch, units), (batch, units, height, width), or tokens (batch, tokens, units).
    """
    if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ConfigError(
            f"The layer to look into gives {shape}.",
            expected="a tensor of the shape (batch, units), (batch, units, height, width) or "
            "(batch, tokens, units)",
            todo="name another layer",
        )
    if output.ndim == 2:
        # A copy: what comes next may write over it.
        return output.float().clone(), torch.zeros_like(output, dtype=torch.int64), None
    if output.ndim == 3:
        best = output.float().max(1)
        return best.values, best.indices, None
    best = output.float().flatten(2).max(2)
    return best.values, best.indices, (output.shape[2], output.shape[3])


def _of_hidden(given: Tensor) -> Tensor:
    """(batch, size) from the classifier's input; maps and tokens by their mean."""
    flat = given.flatten(2).mean(2) if given.ndim == 4 else given
    flat = flat.mean(1) if flat.ndim == 3 else flat
    return flat.float().clone()


@contextlib.contextmanager
def watched(network: nn.Module, layers: Layers) -> Iterator[Callable[[Tensor], Seen]]:
    """A function that sends a batch through the network and tells what it did inside.

    The network is in evaluation mode meanwhile, and no gradient is kept. Afterwards, also after an
    exception, its modes are as they were and the hooks are gone.
    """
    named = dict(network.named_modules())
    units: list[tuple[Tensor, Tensor, tuple[int, int] | None]] = []
    hidden: list[Tensor] = []

    def look(batch: Tensor) -> Seen:
        units.clear()
        hidden.clear()
        logits = network(like_weights(network, batch)).float()
        values, places, shape = units[-1] if layers.units else _of_units(hidden[-1])
        seen = Seen(logits, values, places, shape, hidden[-1])
        if not all(bool(t.isfinite().all()) for t in (seen.logits, seen.units, seen.hidden)):
            raise CandidError(
                f"{type(network).__name__} gives numbers that are not finite.",
                expected="finite activations and logits for every image",
                todo="train again with a lower learning rate, or check the weights and the pixels",
            )
        return seen

    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating(network))
        stack.enter_context(torch.no_grad())
        for hook in (
            named[layers.classifier].register_forward_pre_hook(
                lambda _, given: hidden.append(_of_hidden(given[0]))
            ),
            *(
                [
                    named[layers.units].register_forward_hook(
                        lambda _, __, output: units.append(_of_units(output))
                    )
                ]
                if layers.units
                else []
            ),
        ):
            stack.callback(hook.remove)
        yield look
