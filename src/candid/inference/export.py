"""A run's model as ONNX files, held to the original; and with whole numbers of eight bits.

The float file must give the same probabilities as torch on real pictures. The int8 file cannot;
what it costs is measured on validation, with an interval.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import CheckFailed
from candid.inference.cascade import look_again
from candid.inference.classifier import BATCH
from candid.models.onnx_file import (
    INPUT,
    OUTPUT,
    OnnxEngine,
    hushed,
    made_from,
    mark,
    needs_onnx,
    to_onnx,
    write_onnx,
)
from candid.records import ModelCard
from candid.runs import Run

if TYPE_CHECKING:
    from torch import nn

    from candid.models.network import Whole

TOLERANCE = 1e-4  # of a probability, between torch and ONNX Runtime


@dataclass(frozen=True, slots=True)
class Check:
    """How far an exported model is from torch.

    Attributes
    ----------
    images
        Pictures that both were shown; 0 where there were none and noise was shown.
    largest
        The largest difference of a probability.
    other_labels
        Pictures that they answer differently.
    """

    images: int
    largest: float
    other_labels: int


def export_float(
    run: Run,
    card: ModelCard,
    path: Path,
    pixels: NDArray[np.uint8] | None,
    network: nn.Module | None = None,
) -> Check:
    """Write the model as ONNX at `path`, once it gives what torch gives.

    Parameters
    ----------
    run, card
        The model.
    path
        Where the file goes.
    pixels
        (n, side, side, 3) real pictures to compare on; None or none: pictures of noise.
    network
        The module where it cannot be built by name.

    Raises
    ------
    CheckFailed
        Where a probability differs by more than 1e-4, or a picture is answered differently; nothing
        is written then.
    RunError, DependencyError
        As for `open_onnx`.
    """
    needs_onnx("onnxruntime", "onnx", "onnxscript", "torch")
    from candid.models.network import load_whole

    whole = load_whole(run.weights, card, network)
    data = to_onnx(whole, card, made_from(run, card))
    engine = OnnxEngine(data)
    found = compare(engine, whole, card, pixels)
    if not (found.largest <= TOLERANCE and found.other_labels == 0):
        raise CheckFailed(
            f"The exported model differs from the original by up to {found.largest:.2g} in "
            f"probability, and answers {found.other_labels:,} pictures differently.",
            expected=f"at most {TOLERANCE:g} and the same answers",
            todo="use --engine torch with this model, and report the network and the versions of "
            "torch, onnx and onnxruntime",
        )
    write_onnx(path, data)
    return found


def compare(
    engine: OnnxEngine, whole: Whole, card: ModelCard, pixels: NDArray[np.uint8] | None
) -> Check:
    """How far ONNX Runtime is from torch on some pictures."""
    from candid.models.network import TorchEngine

    original = TorchEngine(whole)
    real = 0 if pixels is None else len(pixels)
    if pixels is None or not real:
        noise = np.random.default_rng(0)
        pixels = noise.integers(0, 256, (BATCH, card.side, card.side, 3), dtype=np.uint8)
    largest, other = 0.0, 0
    for batch in _batches(pixels):
        a, b = engine(batch), original(batch)
        # Not Python's max, which would pass over a difference that is not a number.
        largest = float(np.maximum(largest, np.abs(a.astype(np.float64) - b).max()))
        # Where two classes are as probable to within the tolerance, either answer is the same.
        top = np.sort(b, axis=1)
        clear = top[:, -1] - top[:, -2] > 2 * TOLERANCE if b.shape[1] > 1 else np.True_
        other += int(np.count_nonzero((a.argmax(1) != b.argmax(1)) & clear))
    return Check(real, largest, other)


def _batches(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(pixels), BATCH):
        yield np.ascontiguousarray(pixels[start : start + BATCH])


# --- int8 ----------------------------------------------------------------------------------------


def export_int8(
    run: Run,
    card: ModelCard,
    path: Path,
    calibration: NDArray[np.uint8],
    network: nn.Module | None = None,
) -> None:
    """Write a model whose convolutions and products use whole numbers of eight bits.

    Weights are scaled per output channel, activations by what the calibration pictures bring forth
    (static quantisation; Jacob et al. 2018). The first steps (normalisation) and the last (softmax)
    stay as they are. A model that averages over mirror images looks at these only where the first
    look leaves doubt: see `candid.inference.cascade`.

    Parameters
    ----------
    run, card
        The model.
    path
        Where the file goes.
    calibration
        (n, side, side, 3) pictures like those to come; a few hundred.
    network
        The module where it cannot be built by name.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from candid.models.network import load_whole

    whole = load_whole(run.weights, card, network)
    whole.mirrored = False
    once = to_onnx(whole, card, made_from(run, card))
    with tempfile.TemporaryDirectory() as folder, hushed():
        source, ready, done = (Path(folder, f"{n}.onnx") for n in ("float", "ready", "int8"))
        source.write_bytes(once)
        quant_pre_process(os.fspath(source), os.fspath(ready), skip_symbolic_shape=True)
        quantize_static(
            os.fspath(ready),
            os.fspath(done),
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "MaxPool", "Relu"],
        )
        model = onnx.load(done)
        if card.mirrored:
            look_again(model, pixels=INPUT, probabilities=OUTPUT)
        mark(model, {p.key: p.value for p in onnx.load(source).metadata_props})
        write_onnx(path, model.SerializeToString())


class _Reader:
    """Calibration pictures in the form that onnxruntime asks for."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._batches = _batches(pixels)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
