"""A network's hidden layers: finding them, recording activations, and statistics of a stream."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from candid.errors import CandidError, ConfigError
from candid.explanation.layers import named_layers
from candid.explanation.scoring import evaluating, watching


def match_weights(network: nn.Module, batch: Tensor) -> Tensor:
    """The batch on the device and in the precision of the network's weights."""
    weights = next(network.parameters(), None)
    if weights is None:
        raise ConfigError(
            f"{type(network).__name__} has no weights.",
            expected="a network that was trained",
            todo="pass the network itself, not a function of it",
        )
    return batch.to(weights.device, weights.dtype)


def holds_weights(module: nn.Module) -> bool:
    """Whether a module has weights of its own, besides those of its children."""
    return any(True for _ in module.parameters(recurse=False))


# --- finding layers ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layers:
    """The layer of units, and the classifier, whose input is the last hidden layer."""

    units: str  # empty: the classifier's input
    classifier: str  # whose output are the logits
    feeds: bool  # whether the units are those of the last hidden layer

    @property
    def title(self) -> str:
        """The name of the units' layer, for a reader."""
        return self.units or f"input of {self.classifier}"


def find_layers(network: nn.Module, batch: Tensor, units: str = "") -> Layers:
    """The classifier, and the layer of units; `batch` is passed to find the order of layers.

    The classifier is the last fully connected layer or convolution that an image passes. Without a
    name, the units are those of the last hidden layer, the classifier's input. Where that is a ReLU
    of the layer before, they are recorded before the ReLU. Raises ConfigError where there is no
    such layer, or none that could be the classifier.
    """
    named = named_layers(network, units)
    calls: list[tuple[str, Any, Any]] = []  # (name, input, output), in the order of the way

    def record(name: str, input_: Any, output: Any) -> None:
        # Copies, as the next layer may modify them.
        input_, output = (x.clone() if isinstance(x, Tensor) else x for x in (input_[0], output))
        calls.append((name, input_, output))

    candidates = {n: m for n, m in named.items() if isinstance(m, nn.Linear | nn.Conv2d)}
    with evaluating(network), torch.no_grad(), watching(candidates, record):
        network(match_weights(network, batch[:4]))
    if not calls or sum(map(holds_weights, named.values())) < 2:
        raise ConfigError(
            f"{type(network).__name__} has no hidden layer to look into.",
            expected="a fully connected layer or a convolution, and a layer with weights before it",
            todo="pass the whole network",
        )
    classifier, hidden, _ = calls[-1]
    previous, _, output = calls[-2] if len(calls) > 1 else ("", None, None)
    if units:
        return Layers(units, classifier, feeds=False)
    # Only the identity and ReLU are recognised by their values.
    is_relu = isinstance(output, Tensor) and any(
        output.shape == hidden.shape and torch.equal(input_, hidden)
        for input_ in (torch.relu(output), output)
    )
    return Layers(previous if is_relu and hidden.ndim == 2 else "", classifier, feeds=True)


# --- recording activations -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Activity:
    """The activations of a batch."""

    logits: Tensor  # (batch, classes)
    units: Tensor  # (batch, units): each unit's activation; of a map, its maximum
    places: Tensor  # (batch, units): the index of the maximum in the flattened map; 0 without a map
    map_shape: tuple[int, int] | None  # height and width of the layer's map
    hidden: Tensor  # (batch, size): the classifier's input; of a map, its mean


@contextlib.contextmanager
def recording(network: nn.Module, layers: Layers) -> Iterator[Callable[[Tensor], Activity]]:
    """A function that passes a batch through the network and records its activations.

    Inside the block the network is in evaluation mode, without gradients. Afterwards, also after an
    exception, its modes are restored and the hooks removed.
    """
    named = dict(network.named_modules())
    units: list[tuple[Tensor, Tensor, tuple[int, int] | None]] = []
    hidden: list[Tensor] = []

    def run(batch: Tensor) -> Activity:
        units.clear()
        hidden.clear()
        logits = network(match_weights(network, batch)).float()
        maxima = units[-1] if layers.units else _unit_maxima(hidden[-1])
        activity = Activity(logits, *maxima, hidden[-1])
        if not all(bool(t.isfinite().all()) for t in (logits, activity.units, activity.hidden)):
            raise CandidError(
                f"{type(network).__name__} gives numbers that are not finite.",
                expected="finite activations and logits for every image",
                todo="train again with a lower learning rate, or check the weights and the pixels",
            )
        return activity

    unit_modules = {name: named[name] for name in (layers.units,) if name}
    with (
        evaluating(network),
        torch.no_grad(),
        watching(
            {layers.classifier: named[layers.classifier]},
            lambda _, args, __: hidden.append(_hidden_vector(args[0])),
            before=True,
        ),
        watching(unit_modules, lambda _, __, output: units.append(_unit_maxima(output))),
    ):
        yield run


def _unit_maxima(output: Any) -> tuple[Tensor, Tensor, tuple[int, int] | None]:
    """Each unit's maximum, its index, and the shape of the map.

    The output is (batch, units), (batch, units, height, width), or tokens (batch, tokens, units).
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
        # A copy, as the next layer may modify it.
        return output.float().clone(), torch.zeros_like(output, dtype=torch.int64), None
    if output.ndim == 3:
        best = output.float().max(1)
        return best.values, best.indices, None
    best = output.float().flatten(2).max(2)
    return best.values, best.indices, (output.shape[2], output.shape[3])


def _hidden_vector(inputs: Tensor) -> Tensor:
    """(batch, size) from the classifier's input; maps and tokens by their mean."""
    flat = inputs.flatten(2).mean(2) if inputs.ndim == 4 else inputs
    flat = flat.mean(1) if flat.ndim == 3 else flat
    return flat.float().clone()


# --- statistics of a stream ----------------------------------------------------------------------


class Ranking:
    """The k largest (or least) values in each column of a stream; ties go to the first.

    Memory is k rows, whatever the length of the stream.
    """

    def __init__(self, k: int, *, least: bool = False) -> None:
        self.k, self.least = k, least
        self.values: Tensor | None = None
        self.along: tuple[Tensor, ...] = ()

    def add(self, values: Tensor, *along: Tensor) -> None:
        """Add (batch, columns) values, and tensors (batch, columns, …) that accompany them."""
        if self.values is not None:
            values = torch.cat([self.values, values])
            along = tuple(torch.cat(pair) for pair in zip(self.along, along, strict=True))
        # Stable, and earlier values come first: so they win a tie.
        order = values.sort(dim=0, descending=not self.least, stable=True).indices[: self.k]
        columns = torch.arange(values.shape[1], device=values.device)
        self.values = values[order, columns]
        self.along = tuple(a[order, columns] for a in along)

    def column(self, column: int) -> Iterator[tuple[Any, ...]]:
        """One column's values, each with those that accompany it; none before the first batch."""
        if self.values is not None:
            each = (t[:, column].tolist() for t in (self.values, *self.along))
            yield from zip(*each, strict=True)


class RunningMoments:
    """Mean and standard deviation of each column of a stream (Chan, Golub & LeVeque 1983)."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = torch.zeros(0)
        self.squares = torch.zeros(0)

    def add(self, values: Tensor) -> None:
        """Add (batch, columns) values."""
        values = values.double()
        n, mean = len(values), values.mean(0)
        squares = (values - mean).square().sum(0)
        if not self.n:
            self.n, self.mean, self.squares = n, mean, squares
            return
        total, difference = self.n + n, mean - self.mean
        self.squares = self.squares + squares + difference.square() * self.n * n / total
        self.mean = self.mean + difference * n / total
        self.n = total

    @property
    def sd(self) -> Tensor:
        """(columns,) standard deviation, divided by n."""
        return (self.squares / max(self.n, 1)).sqrt()


def rows_along(start: int, shape: Sequence[int], device: torch.device) -> Tensor:
    """(batch, columns): the number of each row in the stream, in every column."""
    return torch.arange(start, start + shape[0], device=device)[:, None].expand(*shape)
