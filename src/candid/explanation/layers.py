"""Which layer Grad-CAM looks at: the last one that still knows where things are.

In a convolutional network that is the last part that gives a map of more than one pixel: what the
last convolution found, after its activation, pooling and shortcut. In a transformer it is the last
part that gives one vector per token and whose tokens of places still matter for the answer (where
only a class token is read, that is before the last attention); they are laid out as the map that
they came from. Both are found by sending an image through, so no network needs to be known by name.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from candid.errors import ConfigError, did_you_mean
from candid.explanation.scoring import Scorer, watching

WHOLE = (0.0, 0.0, 1.0, 1.0)  # a picture's left, top, right and bottom


def window_of(network: nn.Module) -> tuple[float, ...]:
    """The part of a picture that a network says it sees, as `WHOLE` has it; else all of it."""
    return getattr(network, "window", ()) or WHOLE


@dataclass(frozen=True, eq=False)
class Hook:
    """A layer, and how what it gives becomes a map."""

    name: str
    module: nn.Module
    tokens: tuple[int, int] | None = None  # the first that belongs to a place, rows of tokens

    def as_map(self, output: Tensor) -> Tensor:
        """(batch, channels, rows, columns) float32 from what the layer gives."""
        if self.tokens is None:
            return output.float()
        first, side = self.tokens
        grid = output[:, first : first + side * side].float()
        return grid.transpose(1, 2).reshape(len(grid), -1, side, side)

    @contextlib.contextmanager
    def captured(self) -> Iterator[list[Tensor]]:
        """What the layer gives meanwhile; the hook is gone afterwards, also after an exception."""
        seen: list[Tensor] = []

        def keep(_: str, __: Any, output: Tensor) -> Tensor:
            seen.append(output)
            return output.clone()  # what comes next may write over it

        with watching({self.name: self.module}, keep):
            yield seen


def find_hook(scorer: Scorer, image: Tensor, name: str = "") -> Hook | None:
    """The layer for Grad-CAM, by name or picked (sending one image through); None where there is
    none.

    A ConfigError where there is no layer of that name, or it gives neither maps nor tokens.
    """
    named = named_layers(scorer.network, name)
    chosen = {name: named[name]} if name else named
    order = _outputs(scorer, image, chosen)
    tokens = [(n, out) for n, out in order if out.ndim == 3 and _grid(out) is not None]
    maps = [(n, out) for n, out in order if out.ndim == 4 and out.shape[2] * out.shape[3] > 1]
    if tokens and (not maps or _later(order, tokens[-1][0], maps[-1][0])):
        hook = _token_hook(scorer, image, tokens, named)
        if hook is not None:
            return hook
    if maps:
        inner = _innermost(maps)
        return Hook(inner, named[inner])
    if name:
        raise ConfigError(
            f"The layer {name!r} gives neither a map nor tokens.",
            expected="a layer that gives (batch, channels, rows, columns) or "
            "(batch, tokens, channels)",
            todo="name another layer, or none to have one picked",
        )
    return None


def named_layers(network: nn.Module, wanted: str = "") -> dict[str, nn.Module]:
    """Every part of a network by name; a ConfigError where the one that is wanted is missing."""
    named = dict(network.named_modules())
    if wanted and wanted not in named:
        raise ConfigError(
            f"There is no layer {wanted!r} in {type(network).__name__}.",
            expected="a name in network.named_modules()",
            todo=did_you_mean(wanted, [n for n in named if n]),
        )
    return named


def _outputs(
    scorer: Scorer, image: Tensor, modules: dict[str, nn.Module]
) -> list[tuple[str, Tensor]]:
    """What each module gives for an image, in the order in which they finish."""
    order: list[tuple[str, Tensor]] = []

    def note(name: str, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            order.append((name, output.detach()))

    with watching(modules, note), torch.enable_grad():
        # With a gradient: some layers take a short cut past their parts when none is wanted.
        scorer.logits(image.detach().to(scorer.device).requires_grad_())
    return order


def _grid(output: Tensor) -> int | None:
    """The side of the largest square that the tokens could fill, with at most 16 left over."""
    side = math.isqrt(output.shape[1])
    return side if side > 1 and output.shape[1] - side * side <= 16 else None


def _later(order: list[tuple[str, Tensor]], one: str, other: str) -> bool:
    place = {name: i for i, (name, _) in enumerate(order)}
    return place[one] > place[other]


def _innermost(layers: list[tuple[str, Tensor]]) -> str:
    """The first of the layers that give the very tensor that the last one gives.

    A block gives what its last part gives, and dropout gives what it is given.
    """
    name, last = layers[-1]
    for before, out in reversed(layers[:-1]):
        if out.shape != last.shape or out.data_ptr() != last.data_ptr():
            break
        name = before
    return name


def _token_hook(
    scorer: Scorer,
    image: Tensor,
    layers: list[tuple[str, Tensor]],
    named: dict[str, nn.Module],
) -> Hook | None:
    """The last layer whose tokens of places have a say in the score."""
    place = _first_token(scorer, image, layers[0][1].shape[1])
    if place is None:
        return None
    # As many channels as most layers of tokens have: not queries, keys and values in one.
    channels = [out.shape[2] for _, out in layers]
    usual = max(set(channels), key=channels.count)
    while layers := [layer for layer in layers if layer[1].shape[2] == usual]:
        name = _innermost(layers)
        hook = Hook(name, named[name], place)
        with hook.captured() as seen, torch.enable_grad():
            leaf = image.detach().to(scorer.device).requires_grad_()
            score = scorer.scores(leaf, torch.zeros(1, dtype=torch.int64)).sum()
            (slope,) = torch.autograd.grad(score, seen[-1], allow_unused=True)
        if slope is not None and bool((hook.as_map(slope) != 0).any()):
            return hook
        layers = layers[: [n for n, _ in layers].index(name)]
    return None


def _first_token(scorer: Scorer, image: Tensor, tokens: int) -> tuple[int, int] | None:
    """Where the tokens of places begin, and their rows: seen by changing one corner of the image.

    Class tokens and registers may stand before or after them. The first layer that takes tokens
    gets them before attention has mixed them, so a change in the first corner moves the first token
    of a place most, and one in the last corner the last.
    """
    corner = max(1, image.shape[-1] // 16)
    near, far = image.clone(), image.clone()
    near[..., :corner, :corner] += 1
    far[..., -corner:, -corner:] += 1
    taken: list[Tensor] = []

    def note(_: str, given: tuple[Any, ...], __: None) -> None:
        if not taken and given and isinstance(given[0], Tensor):
            value = given[0]
            if value.ndim == 3 and value.shape[:2] == (3, tokens):
                taken.append(value.detach().float())

    everything = dict(scorer.network.named_modules())
    with watching(everything, note, before=True), torch.no_grad():
        scorer.logits(torch.cat([image, near, far]))
    if not taken:
        return None
    moved = (taken[0][1:] - taken[0][0]).norm(dim=2)  # (2, tokens)
    first, last = (int(i) for i in moved.argmax(1))
    grid = math.isqrt(max(0, last - first + 1))
    return (first, grid) if grid > 1 and grid * grid == last - first + 1 else None
