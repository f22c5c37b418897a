"""Networks as flat lists of layers, from their weights' files and without torch.

Batch normalisation is folded into the convolution before it, as it is linear once trained. Weights
are quantised to few bits with a scale per output (Jacob et al. 2018); activations stay float32. A
report embeds a model in this form (`candid.records.embedded`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import DependencyError
from candid.records import ModelCard
from candid.records.embedded import FlatFraming, FlatNetwork, PackedTensor
from candid.records.framing import LOOK_SIDE
from candid.settings.network import window_edges
from candid.storage.files import reading, regular

FLAT_NETWORKS = ("plain", "deep")
# Bits per weight, less the logarithm (base 2) of the number of a layer's weights: large layers are
# most of a file, and small ones, the first above all, tolerate less rounding. So do the framing
# network's, which decide whether an image is warped at all. See bench/report_model.py.
CLASSIFIER_BITS, FRAMING_BITS = 26, 28
MIN_BITS = {"plain": 10, "deep": 8}  # with which a network was measured
_MAX_BITS = 16
_EPSILON = 1e-5  # of torch's batch normalisation

_Tensors = Mapping[str, NDArray[np.float32]]


def flat_network(weights: Path, card: ModelCard) -> FlatNetwork | None:
    """The classifier that a card describes, with the weights of a file.

    None where it is none of `FLAT_NETWORKS`, or learned several labels. Raises RunError where the
    file is missing or damaged, or belongs to another network; DependencyError where safetensors is
    not installed.
    """
    if card.network not in FLAT_NETWORKS or card.head is not None:
        return None
    tensors, _ = _read_tensors(weights)
    with reading(weights, expected="the weights of this run", todo="train again"):
        shape = (3, card.side, card.side)
        flattener = _Flattener(shape, tensors, CLASSIFIER_BITS, MIN_BITS[card.network])
        window = str(card.options.get("window", ""))
        network = flattener.plain() if card.network == "plain" else flattener.deep(window)
        if network.tensors[-1].rows != len(card.classes):
            raise ValueError("other classes")
    return network


def flat_framing(weights: Path) -> FlatFraming:
    """The framing network in a file; errors as of `flat_network`."""
    tensors, options = _read_tensors(weights)
    with reading(weights, expected="the framing network of this run", todo="train it again"):
        side = min(LOOK_SIDE, int(options["side"]))
        flattener = _Flattener((3, side, side), tensors, FRAMING_BITS, MIN_BITS["deep"])
        flattener.linear(flattener.body("body.", flattener.add("depth", 0)), "head")
        return FlatFraming(
            network=flattener.network(),
            look_side=side,
            looks=int(options["looks"]),
            units=_floats(tensors["units"]),
            centre=_floats(tensors["centre"]),
            precision=_floats(tensors["precision"]),
            limit=float(tensors["limit"]),
            rest_limit=float(tensors["rest_limit"]),
        )


def _floats(values: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(values.ravel().tolist())


def _read_tensors(path: Path) -> tuple[_Tensors, dict[str, Any]]:
    """The tensors in a file, and its metadata."""
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise DependencyError(
            "The weights of a run are read by safetensors, which is not installed.",
            expected="the extra 'train'",
            todo="pip install 'candid-faces[train]', or set report.model=off",
        ) from error
    with (
        reading(path, expected="the weights of this run", todo="train again"),
        safe_open(regular(path), "np") as file,
    ):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads((file.metadata() or {}).get("candid", "{}"))


class _Flattener:
    """Builds a flat network layer by layer; values are numbered as `FlatNetwork` has them."""

    def __init__(
        self, shape: tuple[int, int, int], tensors: _Tensors, bits: int, min_bits: int
    ) -> None:
        self._shape, self._source, self._bits, self._min_bits = shape, tensors, bits, min_bits
        self._layers: list[dict[str, Any]] = []
        self._tensors: list[PackedTensor] = []
        self._parts: list[bytes] = []
        self._size = 0

    def plain(self) -> FlatNetwork:
        """The layers of `Plain`."""
        x = self.conv(0, "conv1", pad=0)
        x = self.add("pool", self.conv(x, "conv2", pad=0))
        self.linear(self.linear(x, "fc1", relu=True), "fc2")
        return self.network()

    def deep(self, window: str) -> FlatNetwork:
        """The layers of `Deep`, or of `DeepEnsemble`."""
        edges = list(window_edges(window))
        x = self.add("depth", self.add("window", 0, edges=edges) if edges else 0)
        if "bodies.0.0.weight" not in self._source:
            self.linear(self.add("mean", self.body("body.", x)), "head")
            return self.network()
        means: list[int] = []
        while f"bodies.{len(means)}.0.weight" in self._source:
            means.append(self.add("mean", self.body(f"bodies.{len(means)}.", x)))
        self.linear(self.add("join", means), "head", times=1 / len(means))
        return self.network()

    def body(self, prefix: str, x: int) -> int:
        """The stages of `Deep`: all but the first begin with a stride."""
        index = 0
        while True:
            name = f"{prefix}{index}"
            if f"{name}.conv1.weight" in self._source:
                inner = self.conv(x, f"{name}.conv1", norm=f"{name}.norm1")
                x, index = self.conv(inner, f"{name}.conv2", norm=f"{name}.norm2", add=x), index + 1
            elif f"{name}.weight" in self._source:
                norm = f"{prefix}{index + 1}"
                x = self.conv(x, name, norm=norm, stride=1 if index == 0 else 2)
                index += 3  # with its normalisation and its rectifier
            else:
                return x

    def conv(
        self,
        x: int,
        name: str,
        *,
        norm: str = "",
        stride: int = 1,
        pad: int = 1,
        add: int | None = None,
    ) -> int:
        """A 3×3 convolution, its normalisation and skip connection, and a rectifier."""
        weight = self._source[f"{name}.weight"]
        out, inputs, *kernel = weight.shape
        if kernel != [3, 3]:
            raise ValueError(f"a kernel of {kernel}")
        flat = weight.reshape(out, inputs * 9)
        if norm:
            names = ("weight", "bias", "running_mean", "running_var")
            gamma, beta, mean, var = (self._source[f"{norm}.{k}"] for k in names)
            scale = gamma / np.sqrt(var + _EPSILON)
            flat, bias = flat * scale[:, None], beta - mean * scale
        else:
            bias = self._source[f"{name}.bias"]
        options = {"stride": stride, "pad": pad, "relu": True, "add": add}
        return self.add("conv", x, out=out, tensor=self._pack(flat, bias), **options)

    def linear(self, x: int, name: str, *, relu: bool = False, times: float = 1.0) -> int:
        """A linear layer on a flattened value, scaled by `times`."""
        weight, bias = self._source[f"{name}.weight"], self._source[f"{name}.bias"]
        return self.add("linear", x, tensor=self._pack(weight * times, bias), relu=relu)

    def add(self, kind: str, source: int | list[int], **options: Any) -> int:
        """Add a layer; the number of its output."""
        self._layers.append({"kind": kind, "from": source} | options)
        return len(self._layers)

    def network(self) -> FlatNetwork:
        """The flat network."""
        layers, tensors = tuple(self._layers), tuple(self._tensors)
        return FlatNetwork(self._shape, layers, tensors, b"".join(self._parts))

    def _pack(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> int:
        rows, columns = weight.shape
        bits = min(_MAX_BITS, max(self._min_bits, self._bits - int(math.log2(weight.size))))
        max_value = 2 ** (bits - 1) - 1
        scale = np.abs(weight).max(axis=1) / max_value
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        if not (np.isfinite(scale).all() and np.isfinite(bias).all()):
            raise ValueError("weights that are not numbers")
        quantised = np.rint(weight / scale[:, None]).clip(-max_value, max_value).astype(np.int16)
        header = [part.astype("<f4").tobytes() for part in (scale, bias)]
        planes = [(quantised & 255).astype(np.uint8), (quantised >> 8).astype(np.int8)]
        data = b"".join([*header, *(plane.tobytes() for plane in planes[: 1 + (bits > 8)])])
        self._tensors.append(PackedTensor(rows, columns, bits, self._size))
        self._parts.append(data)
        self._size += len(data)
        return len(self._tensors) - 1
