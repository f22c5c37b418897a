"""A run's model as ONNX files: float, compared with torch, and int8.

The float file must have the same probabilities as torch on real images. The int8 file cannot; its
cost is measured on validation, with an interval. In int8, a model that averages over mirror images
does so only where the first pass is in doubt: averaging costs twice the arithmetic, and hardly
changes a label of which the first pass is sure. All of it lies in the ONNX file: plain ONNX Runtime
runs it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from candid.errors import CheckFailed
from candid.inference.classifier import BATCH, Runner, batches_of
from candid.inference.second_look import add_mirror
from candid.models.onnx_file import OnnxEngine, source_digest, to_onnx, write_onnx
from candid.models.onnx_framing import OnnxFramer, framing_to_onnx
from candid.models.onnx_graph import INPUT, OUTPUT, needs_onnx, set_metadata, silence_exporters
from candid.records import ModelCard
from candid.records.framing import CORNERS, DETAIL
from candid.records.targets import Targets
from candid.runs import Run

if TYPE_CHECKING:
    from onnx import GraphProto
    from torch import nn

    from candid.models.framing import Framing
    from candid.models.model import Whole

TOLERANCE = 1e-4  # of a probability, between torch and ONNX Runtime
# Tolerances between frames: of corners in shares of the side, of pixels in levels.
_SAME_CORNER, _SAME_LEVEL = 1e-3, 2


@dataclass(frozen=True, slots=True)
class Check:
    """The difference between an exported model and torch."""

    images: int  # compared; 0 where there were none and noise was used
    largest: float  # the largest difference of a probability
    other_labels: int  # images with another most probable class


def export_float(
    run: Run,
    card: ModelCard,
    path: Path,
    pixels: NDArray[np.uint8] | None,
    network: nn.Module | None = None,
    extra: Mapping[str, str] | None = None,
) -> Check:
    """Write the model as ONNX at `path` if its probabilities are those of torch.

    They are compared on `pixels` (n, side, side, 3), real images, or on noise where there are none;
    `network` is the module where it cannot be built by name, and `extra` is further metadata.
    Raises CheckFailed where a probability differs by more than 1e-4, or a most probable class;
    nothing is written then; RunError or DependencyError as for `open_onnx`.
    """
    needs_onnx("onnxruntime", "onnx", "onnxscript", "torch")
    from candid.models.model import load_whole_model

    model = load_whole_model(run.weights, card, network)
    data = to_onnx(model, card, source_digest(run, card), extra)
    check = _compare(OnnxEngine(data), model, pixels, (len(card.classes),))
    return _write_checked(path, data, check)


def export_several(
    run: Run,
    targets: Targets,
    cards: Sequence[ModelCard],
    path: Path,
    pixels: NDArray[np.uint8] | None,
    extra: Mapping[str, str] | None = None,
) -> Check:
    """`export_float` for a network with several labels, with an output for each.

    `cards` are the labels', with their temperatures.
    """
    needs_onnx("onnxruntime", "onnx", "onnxscript", "torch")
    from candid.models.onnx_several import OnnxSeveral, output_names, targets_to_onnx
    from candid.models.several import load_several

    model = load_several(run.weights, targets, cards, run.network)
    data = targets_to_onnx(model, run, targets, cards, extra)
    engine = OnnxSeveral(data, outputs=output_names(targets))
    return _write_checked(path, data, _compare(engine, model, pixels, model.sizes))


def _write_checked(path: Path, data: bytes, check: Check) -> Check:
    """Write an export that passed its check, or raise."""
    if not (check.largest <= TOLERANCE and check.other_labels == 0):
        raise CheckFailed(
            f"The exported model differs from the original by up to {check.largest:.2g} in "
            f"probability, and answers {check.other_labels:,} pictures differently.",
            expected=f"at most {TOLERANCE:g} and the same answers",
            todo="use --engine torch with this model, and report the network and the versions of "
            "torch, onnx and onnxruntime",
        )
    write_onnx(path, data)
    return check


def _compare(
    engine: Runner, model: Whole, pixels: NDArray[np.uint8] | None, sizes: Sequence[int]
) -> Check:
    """Compare ONNX Runtime with torch on images; `sizes` are the classes per label."""
    from candid.models.model import TorchEngine

    reference = TorchEngine(model)
    n_images = 0 if pixels is None else len(pixels)
    if pixels is None or not n_images:
        pixels = _random_pixels(model.side)
    ends = np.cumsum(sizes)[:-1]
    largest, n_different = 0.0, 0
    for batch in batches_of(pixels):
        a, b = engine(batch), reference(batch)
        # Not Python's max, which would ignore NaN.
        largest = float(np.maximum(largest, np.abs(a.astype(np.float64) - b).max()))
        labels = zip(np.split(a, ends, axis=1), np.split(b, ends, axis=1), strict=True)
        n_different += sum(_count_disagreements(*label) for label in labels)
    return Check(n_images, largest, n_different)


def _count_disagreements(a: NDArray[np.float32], b: NDArray[np.float32]) -> int:
    """How many rows of (n, classes) have another most probable class, by more than tolerance."""
    top = np.sort(b, axis=1)
    clear = top[:, -1] - top[:, -2] > 2 * TOLERANCE if b.shape[1] > 1 else np.True_
    return int(np.count_nonzero((a.argmax(1) != b.argmax(1)) & clear))


def _random_pixels(side: int) -> NDArray[np.uint8]:
    """Images where there are no real ones."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)


# --- the framing network -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FramingCheck:
    """The difference between an exported framing network and torch.

    Where a distance is just at a limit, the last digit decides whether an image is warped: then the
    two frame it differently.
    """

    images: int  # compared, half of them crops of larger ones; 0: noise was used
    largest: float  # distance between corners, in shares of the side, of equally framed images
    other_frames: int  # differently framed images


def export_framing(run: Run, path: Path, pixels: NDArray[np.uint8] | None) -> FramingCheck:
    """Write the run's framing network as ONNX at `path` if its frames are those of torch.

    `pixels` (n, side, side, 3) are real images; None: noise. Raises CheckFailed where more than one
    image in a hundred is framed differently; nothing is written then; RunError or DependencyError
    as for `open_onnx_framer`.
    """
    needs_onnx("onnxruntime", "onnx", "onnxscript", "torch")
    from candid.models.framing import load_framing

    framing = load_framing(run.framing_weights)
    data = framing_to_onnx(run)
    n_real = 0 if pixels is None else len(pixels)
    images = pixels if pixels is not None and n_real else _random_pixels(framing.side)
    check = replace(_compare_framing(data, framing, _crop_views(images)), images=n_real)
    if check.other_frames > max(1, len(images) // 100):
        raise CheckFailed(
            f"The exported framing network frames {check.other_frames:,} of {len(images):,} "
            "pictures otherwise than the original.",
            expected="the same frames in all but 1 picture in 100, where a last digit decides",
            todo="use --engine torch with this model, and report the versions of torch, onnx and "
            "onnxruntime",
        )
    write_onnx(path, data)
    return check


def _compare_framing(data: bytes, framing: Framing, views: NDArray[np.uint8]) -> FramingCheck:
    from candid.models.framing import TorchFramer

    exported, reference = OnnxFramer(data), TorchFramer(framing)
    corners = np.array(CORNERS)
    largest, n_different = 0.0, 0
    for batch in batches_of(views):
        (a, frames), (b, expected) = exported(batch)[:2], reference(batch)[:2]
        offsets = (frames.astype(np.float64) - expected) @ corners
        distances = np.linalg.norm(offsets[:, :2], axis=1).max(1) / 2  # (n,)
        levels = np.abs(a.astype(np.int16) - b).max((1, 2, 3))
        # Not "above", which would be False for NaN.
        same = (distances <= _SAME_CORNER) & (levels <= _SAME_LEVEL)
        largest = max(largest, float(distances[same].max(initial=0.0)))
        n_different += int(np.count_nonzero(~same))
    return FramingCheck(len(views), largest, n_different)


def _crop_views(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images in the detail that framing takes, every second one cropped."""
    rng = np.random.default_rng(0)
    views = pixels.repeat(DETAIL, 1).repeat(DETAIL, 2)
    side, size = pixels.shape[1], views.shape[1]
    for view, image in zip(views[1::2], pixels[1::2], strict=True):
        edge = rng.uniform(0.5, 0.9) * side
        left, top = rng.uniform(0, side - edge, 2)
        box = (left, top, left + edge, top + edge)
        view[:] = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box)
    return views


# --- int8 ----------------------------------------------------------------------------------------


def export_int8(
    run: Run,
    card: ModelCard,
    path: Path,
    calibration: NDArray[np.uint8],
    network: nn.Module | None = None,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a model with int8 convolutions and matrix products.

    Weights are scaled per output channel, activations by the calibration images (n, side, side, 3),
    a few hundred representative ones (static quantisation; Jacob et al. 2018). Normalisation, the
    crop to a window and softmax stay in float. A model that averages over mirror images does so
    only where the first pass is in doubt. `network` and `extra` are as for `export_float`.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from candid.models.model import load_whole_model

    model = load_whole_model(run.weights, card, network)
    model.flip_tta = False
    window = card.options.get("window")
    single_pass = to_onnx(model, card, source_digest(run, card), extra)
    with tempfile.TemporaryDirectory() as folder, silence_exporters():
        source, prepared, int8 = (Path(folder, f"{n}.onnx") for n in ("float", "ready", "int8"))
        source.write_bytes(single_pass)
        quant_pre_process(os.fspath(source), os.fspath(prepared), skip_symbolic_shape=True)
        quantize_static(
            os.fspath(prepared),
            os.fspath(int8),
            _CalibrationReader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "MaxPool", "Relu"],
            nodes_to_exclude=_window_nodes(onnx.load(prepared).graph) if window else [],
        )
        quantised = onnx.load(int8)
        if card.flip_tta:
            add_mirror(quantised, pixels=INPUT, probabilities=OUTPUT)
        set_metadata(quantised, {p.key: p.value for p in onnx.load(source).metadata_props})
        write_onnx(path, quantised.SerializeToString())


def _window_nodes(graph: GraphProto) -> list[str]:
    """The names of the nodes before the first convolution, which crop the pixels to a window."""
    return [node.name for node in takewhile(lambda node: node.op_type != "Conv", graph.node)]


class _CalibrationReader:
    """Calibration images in the form that onnxruntime requires."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._batches = batches_of(pixels)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
