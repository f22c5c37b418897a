"""A run's model as ONNX files, held to the original; and with whole numbers of eight bits.

The float file must give the same probabilities as torch on real images. The int8 file cannot; what
it costs is measured on validation, with an interval. A model that averages over mirror images does
so, in int8, where the first look leaves doubt: averaging costs twice the arithmetic, and changes
the label of hardly any image of which the first look is sure. All of it lies in the ONNX file:
plain ONNX Runtime runs it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from candid.errors import CheckFailed
from candid.inference.classifier import BATCH, Runs, batches_of
from candid.inference.second_look import look_again
from candid.models.onnx_file import OnnxEngine, made_from, to_onnx, write_onnx
from candid.models.onnx_framing import OnnxFramer, framing_to_onnx
from candid.models.onnx_graph import INPUT, OUTPUT, hushed, mark, needs_onnx
from candid.records import ModelCard
from candid.records.framing import CORNERS, DETAIL
from candid.records.targets import Targets
from candid.runs import Run

if TYPE_CHECKING:
    from torch import nn

    from candid.models.framing import Framing
    from candid.models.model import Whole

TOLERANCE = 1e-4  # of a probability, between torch and ONNX Runtime
# Frames are the same whose corners lie so near, in shares of the side, and pixels so many levels.
_SAME_CORNER, _SAME_LEVEL = 1e-3, 2


@dataclass(frozen=True, slots=True)
class Check:
    """How far an exported model is from torch."""

    images: int  # that both were shown; 0 where there were none and noise was shown
    largest: float  # the largest difference of a probability
    other_labels: int  # images that they answer differently


def export_float(
    run: Run,
    card: ModelCard,
    path: Path,
    pixels: NDArray[np.uint8] | None,
    network: nn.Module | None = None,
    marks: Mapping[str, str] | None = None,
) -> Check:
    """Write the model as ONNX at `path`, once it gives what torch gives.

    They are compared on `pixels` (n, side, side, 3), real images, or on noise where there are none;
    `network` is the module where it cannot be built by name, and `marks` are as for `to_onnx`.
    Raises CheckFailed where a probability differs by more than 1e-4, or a picture is answered
    differently; nothing is written then; RunError or DependencyError as for `open_onnx`.
    """
    needs_onnx("onnxruntime", "onnx", "onnxscript", "torch")
    from candid.models.model import load_whole_model

    whole = load_whole_model(run.weights, card, network)
    data = to_onnx(whole, card, made_from(run, card), marks)
    return _written(path, data, _compare(OnnxEngine(data), whole, pixels, (len(card.classes),)))


def export_several(
    run: Run,
    about: Targets,
    cards: Sequence[ModelCard],
    path: Path,
    pixels: NDArray[np.uint8] | None,
    marks: Mapping[str, str] | None = None,
) -> Check:
    """`export_float` of a network that learned several labels, with an output for each.

    `cards` are the labels', with their temperatures.
    """
    needs_onnx("onnxruntime", "onnx", "onnxscript", "torch")
    from candid.models.onnx_several import OnnxSeveral, output_names, several_to_onnx
    from candid.models.several import load_several

    whole = load_several(run.weights, about, cards, run.network)
    data = several_to_onnx(whole, run, about, cards, marks)
    engine = OnnxSeveral(data, outputs=output_names(about))
    return _written(path, data, _compare(engine, whole, pixels, whole.sizes))


def _written(path: Path, data: bytes, found: Check) -> Check:
    """Write an export that was held to its original, or raise."""
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


def _compare(
    engine: Runs, whole: Whole, pixels: NDArray[np.uint8] | None, sizes: Sequence[int]
) -> Check:
    """How far ONNX Runtime is from torch on some pictures; `sizes` are the classes per label."""
    from candid.models.model import TorchEngine

    original = TorchEngine(whole)
    real = 0 if pixels is None else len(pixels)
    if pixels is None or not real:
        pixels = _noise(whole.side)
    ends = np.cumsum(sizes)[:-1]
    largest, other = 0.0, 0
    for batch in batches_of(pixels):
        a, b = engine(batch), original(batch)
        # Not Python's max, which would pass over a difference that is not a number.
        largest = float(np.maximum(largest, np.abs(a.astype(np.float64) - b).max()))
        labels = zip(np.split(a, ends, axis=1), np.split(b, ends, axis=1), strict=True)
        other += sum(_other_labels(*label) for label in labels)
    return Check(real, largest, other)


def _other_labels(a: NDArray[np.float32], b: NDArray[np.float32]) -> int:
    """How many rows of (n, classes) have another most probable class.

    Where two classes are as probable to within the tolerance, either answer is the same.
    """
    top = np.sort(b, axis=1)
    clear = top[:, -1] - top[:, -2] > 2 * TOLERANCE if b.shape[1] > 1 else np.True_
    return int(np.count_nonzero((a.argmax(1) != b.argmax(1)) & clear))


def _noise(side: int) -> NDArray[np.uint8]:
    """Pictures where there are no real ones."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)


# --- what frames pictures first ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FramingCheck:
    """How far an exported framing network is from torch.

    A look stops where it finds no more than noise, and where it finds just as much, the last digit
    decides whether it does: then the two frame a picture otherwise.
    """

    images: int  # that both were shown, half of them cut out of larger ones; 0: noise was shown
    largest: float  # distance between corners, in shares of the side, of those framed alike
    other_frames: int  # images that they frame otherwise


def export_framing(run: Run, path: Path, pixels: NDArray[np.uint8] | None) -> FramingCheck:
    """Write the run's framing network as ONNX at `path`, once it frames as torch does.

    `pixels` (n, side, side, 3) are real images; None: noise is shown. Raises CheckFailed where more
    than one image in a hundred is framed otherwise; nothing is written then; RunError or
    DependencyError as for `open_onnx_framer`.
    """
    needs_onnx("onnxruntime", "onnx", "onnxscript", "torch")
    from candid.models.framing import load_framing

    framing = load_framing(run.framing_weights)
    data = framing_to_onnx(run)
    real = 0 if pixels is None else len(pixels)
    shown = pixels if pixels is not None and real else _noise(framing.side)
    found = replace(_compare_framing(data, framing, _views(shown)), images=real)
    if found.other_frames > max(1, len(shown) // 100):
        raise CheckFailed(
            f"The exported framing network frames {found.other_frames:,} of {len(shown):,} "
            "pictures otherwise than the original.",
            expected="the same frames in all but 1 picture in 100, where a last digit decides",
            todo="use --engine torch with this model, and report the versions of torch, onnx and "
            "onnxruntime",
        )
    write_onnx(path, data)
    return found


def _compare_framing(data: bytes, framing: Framing, views: NDArray[np.uint8]) -> FramingCheck:
    from candid.models.framing import TorchFramer

    exported, original = OnnxFramer(data), TorchFramer(framing)
    corners = np.array(CORNERS)
    largest, other = 0.0, 0
    for batch in batches_of(views):
        (a, frames), (b, originals) = exported(batch)[:2], original(batch)[:2]
        places = (frames.astype(np.float64) - originals) @ corners
        off = np.linalg.norm(places[:, :2], axis=1).max(1) / 2  # (n,)
        levels = np.abs(a.astype(np.int16) - b).max((1, 2, 3))
        # Not above, which would pass over what is not a number.
        alike = (off <= _SAME_CORNER) & (levels <= _SAME_LEVEL)
        largest = max(largest, float(off[alike].max(initial=0.0)))
        other += int(np.count_nonzero(~alike))
    return FramingCheck(len(views), largest, other)


def _views(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures in the detail that framing takes: as they are, and every second one cut out."""
    rng = np.random.default_rng(0)
    views = pixels.repeat(DETAIL, 1).repeat(DETAIL, 2)
    side, wide = pixels.shape[1], views.shape[1]
    for view, picture in zip(views[1::2], pixels[1::2], strict=True):
        edge = rng.uniform(0.5, 0.9) * side
        left, top = rng.uniform(0, side - edge, 2)
        box = (left, top, left + edge, top + edge)
        view[:] = Image.fromarray(picture).resize((wide, wide), Image.Resampling.BILINEAR, box)
    return views


# --- int8 ----------------------------------------------------------------------------------------


def export_int8(
    run: Run,
    card: ModelCard,
    path: Path,
    calibration: NDArray[np.uint8],
    network: nn.Module | None = None,
    marks: Mapping[str, str] | None = None,
) -> None:
    """Write a model whose convolutions and products use whole numbers of eight bits.

    Weights are scaled per output channel, activations by what the calibration images (n, side,
    side, 3), a few hundred like those to come, bring forth (static quantisation; Jacob et al.
    2018). The first steps (normalisation) and the last (softmax) stay as they are. A model that
    averages over mirror images looks at these only where the first look leaves doubt. `network` and
    `marks` are as for `export_float`.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from candid.models.model import load_whole_model

    whole = load_whole_model(run.weights, card, network)
    whole.flip_tta = False
    once = to_onnx(whole, card, made_from(run, card), marks)
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
        if card.flip_tta:
            look_again(model, pixels=INPUT, probabilities=OUTPUT)
        mark(model, {p.key: p.value for p in onnx.load(source).metadata_props})
        write_onnx(path, model.SerializeToString())


class _Reader:
    """Calibration pictures in the form that onnxruntime asks for."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._batches = batches_of(pixels)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
