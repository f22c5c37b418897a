"""A model that lies in its own report, and answers there: layers as a list, weights in few bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """Where a tensor of a flat network lies in its bytes.

    `rows` scales (float32, little-endian), as many biases, then of `rows` × `columns` whole numbers
    in two's complement the low bytes and, of more than 8 `bits`, the high ones: deflate finds them
    alike. A weight is its number times its row's scale.
    """

    rows: int
    columns: int
    bits: int
    at: int


@dataclass(frozen=True, eq=False, slots=True)
class FlatNetwork:
    """A network as a list of layers, batch normalisation folded into its convolutions.

    Attributes
    ----------
    input
        Channels, rows and columns of what goes in.
    layers
        Each with its `kind` ("window", "depth", "conv", "pool", "mean", "join", "linear"), what it
        reads (`from`: 0 is what goes in, i what the i-th layer gives) and its options; see
        `try_network.js`, which runs them.
    tensors, weights
        The weights of convolutions (out, in · 9) and linear layers (out, in), packed.
    """

    input: tuple[int, int, int]
    layers: tuple[dict[str, Any], ...]
    tensors: tuple[PackedTensor, ...]
    weights: bytes = field(repr=False)


@dataclass(frozen=True, eq=False, slots=True)
class FlatFraming:
    """What frames pictures for a model: its network, and the limits of `Framing`."""

    network: FlatNetwork
    look_side: int
    looks: int
    units: tuple[float, ...]
    centre: tuple[float, ...]
    precision: tuple[float, ...]  # (5, 5), row by row
    limit: float
    rest_limit: float


@dataclass(frozen=True, eq=False, slots=True)
class FlatLook:
    """What tells pictures like the training pictures from others: the numbers of `Unfamiliar`."""

    weight: tuple[float, ...]
    limit: float
    narrowest: float
    widest: float
    smallest: int
    faintest: float
    told: str  # what it promises, to stand after "it"


@dataclass(frozen=True, eq=False, slots=True)
class EmbeddedModel:
    """All that a report needs to label a picture as `candid predict` does.

    Attributes
    ----------
    network, framing, look
        The classifier; None for the others: pictures are not framed, or not held against the
        training pictures.
    fit, max_pixels
        How a picture becomes a square, and how many pixels one may claim.
    threshold, promise
        Below this probability the model is not sure, and what that promises; None and "" without a
        rule.
    """

    network: FlatNetwork
    framing: FlatFraming | None
    look: FlatLook | None
    fit: str
    max_pixels: int
    threshold: float | None = None
    promise: str = ""
