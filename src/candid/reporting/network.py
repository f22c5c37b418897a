"""A drawing of a network's layers: what shape the image has after each, and what each learns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

from candid.records import Layer
from candid.text.words import count

WIDTH = 400  # units of the drawing; it stays legible on a phone, where a unit is most of a pixel
_TOWER = 128  # width of the column of slabs
_LETTERS = 38  # of 11.5-unit text that fit beside the tower
_ROW, _THIN_ROW = 46, 26


def drawing(layers: Sequence[Layer], side: int) -> str:
    """Draw the layers from the image downwards, as one inline SVG.

    A slab is as wide as the picture is at that depth and as thick as it has channels (both on a
    logarithmic scale); a bar stands for a vector. A layer that neither learns nor changes the
    shape is a line of text.

    Parameters
    ----------
    layers
        In the order in which the image passes them.
    side
        Pixels per side of the image.
    """
    image = Layer("image", "RGB image", (3, side, side), 0)
    widest = math.log2(max([side, *(_extent(layer) for layer in layers), 2]))
    parts, y, before = [], 6.0, None
    for layer in [image, *layers]:
        plain = layer.parameters == 0 and layer.output_shape == before
        parts.append(_thin_row(layer, y) if plain else _row(layer, y, widest))
        y += _THIN_ROW if plain else _ROW
        before = layer.output_shape
    height = y + 4
    spine = (
        f'<line x1="{_TOWER / 2}" y1="20" x2="{_TOWER / 2}" y2="{height - 28:g}" '
        'stroke="var(--rule-strong)" stroke-width="1"/>'
    )
    return (
        f'<svg class="network" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-labelledby="network-title network-text">'
        f'<title id="network-title">The layers of the network</title>'
        f'<desc id="network-text">{escape(told(layers, side))}</desc>{spine}{"".join(parts)}</svg>'
    )


def told(layers: Sequence[Layer], side: int) -> str:
    """The same in words: each layer, its output shape and its parameters."""
    rows = [f"The image, 3 × {side} × {side}"]
    rows += [f"{_name(layer)}: {shape(layer)}, {_parameters(layer)}" for layer in layers]
    return "; ".join(rows) + "."


def shape(layer: Layer) -> str:
    """The output's shape without the batch: "32 × 64 × 64"."""
    return " × ".join(map(count, layer.output_shape)) or "a number"


def _parameters(layer: Layer) -> str:
    if layer.parameters == 0:
        return "nothing to learn"
    return f"{count(layer.parameters)} parameter{'' if layer.parameters == 1 else 's'}"


_WORDS = {
    "Conv2d": "Convolution",
    "MaxPool2d": "Max-pool",
    "AvgPool2d": "Average-pool",
    "AdaptiveAvgPool2d": "Average-pool to",
    "BatchNorm2d": "Batch norm",
    "Linear": "Fully connected",
}


def _name(layer: Layer) -> str:
    """A layer in a reader's words: "Convolution 3 × 3" for what PyTorch prints in three lines."""
    kind = _WORDS.get(layer.kind, layer.kind)
    if kernel := re.search(r"(?:kernel|output)_size=\(?(\d+)(?:, (\d+))?", layer.detail):
        kind += f" {kernel[1]} × {kernel[2] or kernel[1]}"
    for key, word in (("stride", "stride"), ("groups", "groups")):
        found = re.search(rf"{key}=\(?(\d+)", layer.detail)
        # A pool's stride is its size unless something else is said.
        if found and found[1] != "1" and not (kernel and "Pool" in layer.kind):
            kind += f", {word} {found[1]}"
    if chance := re.search(r"\bp=([\d.]+)", layer.detail):
        kind += f", p = {chance[1]}"
    return kind


def _extent(layer: Layer) -> int:
    return max(layer.output_shape[1:] or layer.output_shape or (1,))


def _row(layer: Layer, y: float, widest: float) -> str:
    is_vector = len(layer.output_shape) <= 1
    width = 14 + (_TOWER - 22) * math.log2(max(_extent(layer), 1) + 1) / (widest + 0.1)
    width = min(width, _TOWER - 4)
    channels = layer.output_shape[0] if layer.output_shape else 1
    thick = 7 if is_vector else 7 + 3.0 * math.log2(channels + 1)
    x, top = (_TOWER - width) / 2, y + (_ROW - 6 - thick) / 2
    colour = "var(--c2)" if is_vector else "var(--c1)"
    fill = 0.85 if layer.parameters else 0.3
    slab = (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{thick:.1f}" rx="2" '
        f'fill="var(--paper)"/>'
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{thick:.1f}" rx="2" '
        f'fill="{colour}" fill-opacity="{fill}" stroke="{colour}"/>'
    )
    below = shape(layer) if layer.kind == "RGB image" else f"{shape(layer)} · {_parameters(layer)}"
    middle = y + _ROW / 2 - 3
    return (
        f"<g><title>{escape(f'{layer.name}: {_name(layer)}, {below}')}</title>{slab}"
        f'<text x="{_TOWER + 16}" y="{middle - 3:g}" class="layer">{_cut(_name(layer))}</text>'
        f'<text x="{_TOWER + 16}" y="{middle + 13:g}" class="shape">{_cut(below)}</text></g>'
    )


def _thin_row(layer: Layer, y: float) -> str:
    middle = y + _THIN_ROW / 2 - 3
    return (
        f"<g><title>{escape(f'{layer.name}: {_name(layer)}')}</title>"
        f'<circle cx="{_TOWER / 2}" cy="{middle:g}" r="3.5" fill="var(--paper)" '
        f'stroke="var(--rule-strong)"/>'
        f'<text x="{_TOWER + 16}" y="{middle + 4:g}" class="shape">{_cut(_name(layer))}</text></g>'
    )


def _cut(text: str) -> str:
    return escape(text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…")
