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


def draw_layers(layers: Sequence[Layer], side: int) -> str:
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
    parts, y, previous = [], 6.0, None
    for layer in [image, *layers]:
        is_plain = layer.parameters == 0 and layer.output_shape == previous
        parts.append(_draw_thin_row(layer, y) if is_plain else _draw_row(layer, y, widest))
        y += _THIN_ROW if is_plain else _ROW
        previous = layer.output_shape
    height = y + 4
    spine = (
        f'<line x1="{_TOWER / 2}" y1="20" x2="{_TOWER / 2}" y2="{height - 28:g}" '
        'stroke="var(--rule-strong)" stroke-width="1"/>'
    )
    return (
        f'<svg class="network" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-labelledby="network-title network-text">'
        f'<title id="network-title">The layers of the network</title>'
        f'<desc id="network-text">{escape(describe_layers(layers, side))}</desc>{spine}'
        f"{''.join(parts)}</svg>"
    )


def describe_layers(layers: Sequence[Layer], side: int) -> str:
    """The layers in words: each with its output shape and its parameters."""
    parts = [f"The image, 3 × {side} × {side}"]
    parts += [f"{_title(layer)}: {_shape(layer)}, {_parameters(layer)}" for layer in layers]
    return "; ".join(parts) + "."


def _shape(layer: Layer) -> str:
    """The output's shape without the batch: "32 × 64 × 64"."""
    return " × ".join(map(count, layer.output_shape)) or "a number"


def _parameters(layer: Layer) -> str:
    if layer.parameters == 0:
        return "nothing to learn"
    return f"{count(layer.parameters)} parameter{'' if layer.parameters == 1 else 's'}"


_KIND_NAMES = {
    "Conv2d": "Convolution",
    "MaxPool2d": "Max-pool",
    "AvgPool2d": "Average-pool",
    "AdaptiveAvgPool2d": "Average-pool to",
    "BatchNorm2d": "Batch norm",
    "Linear": "Fully connected",
}


def _title(layer: Layer) -> str:
    """A layer in a reader's words: "Convolution 3 × 3" for what PyTorch prints in three lines."""
    kind = _KIND_NAMES.get(layer.kind, layer.kind)
    if kernel := re.search(r"(?:kernel|output)_size=\(?(\d+)(?:, (\d+))?", layer.detail):
        kind += f" {kernel[1]} × {kernel[2] or kernel[1]}"
    for key, word in (("stride", "stride"), ("groups", "groups")):
        match = re.search(rf"{key}=\(?(\d+)", layer.detail)
        # A pool's stride is its size unless something else is said.
        if match and match[1] != "1" and not (kernel and "Pool" in layer.kind):
            kind += f", {word} {match[1]}"
    if dropout := re.search(r"\bp=([\d.]+)", layer.detail):
        kind += f", p = {dropout[1]}"
    return kind


def _extent(layer: Layer) -> int:
    return max(layer.output_shape[1:] or layer.output_shape or (1,))


def _draw_row(layer: Layer, y: float, widest: float) -> str:
    is_vector = len(layer.output_shape) <= 1
    width = 14 + (_TOWER - 22) * math.log2(max(_extent(layer), 1) + 1) / (widest + 0.1)
    width = min(width, _TOWER - 4)
    channels = layer.output_shape[0] if layer.output_shape else 1
    thickness = 7 if is_vector else 7 + 3.0 * math.log2(channels + 1)
    x, top = (_TOWER - width) / 2, y + (_ROW - 6 - thickness) / 2
    colour = "var(--c2)" if is_vector else "var(--c1)"
    fill = 0.85 if layer.parameters else 0.3
    slab = (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{thickness:.1f}" rx="2" '
        f'fill="var(--paper)"/>'
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{thickness:.1f}" rx="2" '
        f'fill="{colour}" fill-opacity="{fill}" stroke="{colour}"/>'
    )
    caption = _shape(layer)
    if layer.kind != "RGB image":
        caption += f" · {_parameters(layer)}"
    left, middle = _TOWER + 16, y + _ROW / 2 - 3
    return (
        f"<g><title>{escape(f'{layer.name}: {_title(layer)}, {caption}')}</title>{slab}"
        f'<text x="{left}" y="{middle - 3:g}" class="layer">{_shorten(_title(layer))}</text>'
        f'<text x="{left}" y="{middle + 13:g}" class="shape">{_shorten(caption)}</text></g>'
    )


def _draw_thin_row(layer: Layer, y: float) -> str:
    left, middle = _TOWER + 16, y + _THIN_ROW / 2 - 3
    return (
        f"<g><title>{escape(f'{layer.name}: {_title(layer)}')}</title>"
        f'<circle cx="{_TOWER / 2}" cy="{middle:g}" r="3.5" fill="var(--paper)" '
        f'stroke="var(--rule-strong)"/>'
        f'<text x="{left}" y="{middle + 4:g}" class="shape">{_shorten(_title(layer))}</text></g>'
    )


def _shorten(text: str) -> str:
    return escape(text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…")
