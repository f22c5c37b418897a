"""Grad-CAM's layer: the last one whose output has spatial dimensions.

In a convolutional network that is the last module whose output is a map of more than one pixel. In
a transformer it is the last module with one vector per token whose patch tokens matter for the
answer (where only a class token is read, that is before the last attention); they are reshaped to a
map. Both are found by passing an image, so no network needs to be known by name.
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

WHOLE = (0.0, 0.0, 1.0, 1.0)  # an image's left, top, right and bottom


def window_of(network: nn.Module) -> tuple[float, ...]:
    """A network's `window` of the image, in the format of `WHOLE`; else all of it."""
    return getattr(network, "window", ()) or WHOLE


@dataclass(frozen=True, eq=False)
class Hook:
    """A layer, and how its output becomes a map."""

    name: str
    module: nn.Module
    tokens: tuple[int, int] | None = None  # the first patch token, rows of patch tokens

    def as_map(self, output: Tensor) -> Tensor:
        """(batch, channels, rows, columns) float32 from the layer's output."""
        if self.tokens is None:
            return output.float()
        first, side = self.tokens
        grid = output[:, first : first + side * side].float()
        return grid.transpose(1, 2).reshape(len(grid), -1, side, side)

    @contextlib.contextmanager
    def capture(self) -> Iterator[list[Tensor]]:
        """Collect the layer's outputs inside the block; the hook is removed afterwards."""
        outputs: list[Tensor] = []

        def record(_: str, __: Any, output: Tensor) -> Tensor:
            outputs.append(output)
            return output.clone()  # as the next layer may modify it

        with watching({self.name: self.module}, record):
            yield outputs


def find_hook(scorer: Scorer, image: Tensor, name: str = "") -> Hook | None:
    """The layer for Grad-CAM, by name or found by passing an image; None where there is none.

    Raises ConfigError where there is no layer of that name, or it has neither maps nor tokens.
    """
    named = named_layers(scorer.network, name)
    modules = {name: named[name]} if name else named
    outputs = _record_outputs(scorer, image, modules)
    tokens = [(n, out) for n, out in outputs if out.ndim == 3 and _grid_side(out) is not None]
    maps = [(n, out) for n, out in outputs if out.ndim == 4 and out.shape[2] * out.shape[3] > 1]
    if tokens and (not maps or _is_later(outputs, tokens[-1][0], maps[-1][0])):
        hook = _find_token_hook(scorer, image, tokens, named)
        if hook is not None:
            return hook
    if maps:
        innermost = _innermost(maps)
        return Hook(innermost, named[innermost])
    if name:
        raise ConfigError(
            f"The layer {name!r} gives neither a map nor tokens.",
            expected="a layer that gives (batch, channels, rows, columns) or "
            "(batch, tokens, channels)",
            todo="name another layer, or none to have one picked",
        )
    return None


def named_layers(network: nn.Module, wanted: str = "") -> dict[str, nn.Module]:
    """Every module of a network by name; raises ConfigError where `wanted` is missing."""
    named = dict(network.named_modules())
    if wanted and wanted not in named:
        raise ConfigError(
            f"There is no layer {wanted!r} in {type(network).__name__}.",
            expected="a name in network.named_modules()",
            todo=did_you_mean(wanted, [n for n in named if n]),
        )
    return named


def _record_outputs(
    scorer: Scorer, image: Tensor, modules: dict[str, nn.Module]
) -> list[tuple[str, Tensor]]:
    """Each module's output for an image, in the order in which they finish."""
    outputs: list[tuple[str, Tensor]] = []

    def record(name: str, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.append((name, output.detach()))

    with watching(modules, record), torch.enable_grad():
        # With gradients, as without some layers bypass their children.
        scorer.logits(image.detach().to(scorer.device).requires_grad_())
    return outputs


def _grid_side(output: Tensor) -> int | None:
    """The side of the largest square of tokens, with at most 16 left over."""
    side = math.isqrt(output.shape[1])
    return side if side > 1 and output.shape[1] - side * side <= 16 else None


def _is_later(order: list[tuple[str, Tensor]], first: str, second: str) -> bool:
    index = {name: i for i, (name, _) in enumerate(order)}
    return index[first] > index[second]


def _innermost(layers: list[tuple[str, Tensor]]) -> str:
    """The first of the layers whose output is the very tensor of the last one's.

    A block returns its last child's output, and dropout its input.
    """
    name, last = layers[-1]
    for earlier, out in reversed(layers[:-1]):
        if out.shape != last.shape or out.data_ptr() != last.data_ptr():
            break
        name = earlier
    return name


def _find_token_hook(
    scorer: Scorer,
    image: Tensor,
    layers: list[tuple[str, Tensor]],
    named: dict[str, nn.Module],
) -> Hook | None:
    """The last layer whose patch tokens affect the score."""
    grid = _first_token(scorer, image, layers[0][1].shape[1])
    if grid is None:
        return None
    # With the commonest number of channels: not queries, keys and values in one.
    channels = [out.shape[2] for _, out in layers]
    typical = max(set(channels), key=channels.count)
    while layers := [layer for layer in layers if layer[1].shape[2] == typical]:
        name = _innermost(layers)
        hook = Hook(name, named[name], grid)
        with hook.capture() as outputs, torch.enable_grad():
            leaf = image.detach().to(scorer.device).requires_grad_()
            score = scorer.scores(leaf, torch.zeros(1, dtype=torch.int64)).sum()
            (gradient,) = torch.autograd.grad(score, outputs[-1], allow_unused=True)
        if gradient is not None and bool((hook.as_map(gradient) != 0).any()):
            return hook
        layers = layers[: [n for n, _ in layers].index(name)]
    return None


def _first_token(scorer: Scorer, image: Tensor, tokens: int) -> tuple[int, int] | None:
    """The first patch token, and the rows of patch tokens: found by changing the image's corners.

    Class tokens and registers may precede or follow them. The first layer of tokens gets them
    before attention has mixed them, so a change in the first corner changes the first patch token
    most, and one in the last corner the last.
    """
    corner = max(1, image.shape[-1] // 16)
    first_changed, last_changed = image.clone(), image.clone()
    first_changed[..., :corner, :corner] += 1
    last_changed[..., -corner:, -corner:] += 1
    inputs: list[Tensor] = []

    def record(_: str, args: tuple[Any, ...], __: None) -> None:
        if not inputs and args and isinstance(args[0], Tensor):
            value = args[0]
            if value.ndim == 3 and value.shape[:2] == (3, tokens):
                inputs.append(value.detach().float())

    modules = dict(scorer.network.named_modules())
    with watching(modules, record, before=True), torch.no_grad():
        scorer.logits(torch.cat([image, first_changed, last_changed]))
    if not inputs:
        return None
    changes = (inputs[0][1:] - inputs[0][0]).norm(dim=2)  # (2, tokens)
    first, last = (int(i) for i in changes.argmax(1))
    grid = math.isqrt(max(0, last - first + 1))
    return (first, grid) if grid > 1 and grid * grid == last - first + 1 else None
