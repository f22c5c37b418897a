"""A run's model as ONNX, checked and quantised, or for transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import RunError
from candid.pipeline.drifting import fit_drift
from candid.pipeline.opening import Data
from candid.pipeline.steps import build_predictions, learn_unfamiliar
from candid.predictions import Predictions
from candid.records import Estimate, ModelCard, read_record
from candid.records.targets import Targets
from candid.runs import Run, has_framing
from candid.runs.refusals import refuse_number
from candid.table import sample_rows

_CHECKED = 4096  # pictures that an export is held to the original on
_FRAMED = 512  # and the framing network to its original
_CALIBRATION = 512  # pictures that set the scales of int8


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of `export`, and how good they are."""

    onnx: str  # the exported model
    onnx_bytes: int
    checked: int  # validation pictures that it was held to torch on; 0: noise, the data are gone
    largest_difference: float  # of a probability between it and torch
    int8: str | None = None  # the quantised model, where one was asked for
    int8_bytes: int = 0
    f1: float = math.nan  # weighted F1 on validation, where there is a quantised model, too
    int8_f1: float = math.nan
    f1_change: Estimate | None = None  # the second less the first, with its paired interval
    unfamiliar: str = ""  # the look of the training pictures, in words; "" where they are gone
    framing: str | None = None  # the exported framing network, where the run frames
    framing_bytes: int = 0
    framing_checked: int = 0  # pictures that it was held to torch on
    framing_largest_difference: float = math.nan  # between corners, in shares of the side
    framing_other: int = 0  # pictures that it frames otherwise
    without_data: str = ""  # why it was held to torch on noise alone; "" where on pictures


def export_run(
    run: Run, data: Data | None, *, out: Path | None = None, int8: bool = False
) -> Exported:
    """Write model.onnx, checked against torch, and on request model-int8.onnx.

    A framing network goes to framing.onnx beside it, which model.onnx names. `out` is a folder, or
    a .onnx file whose name the others begin with. Without data, noise is checked and int8 refused.
    """
    from candid.inference.export_facts import fact_marks
    from candid.inference.exporting import export_float
    from candid.inference.framed_export import framing_marks

    if run.target_runs():
        return _export_targets(run, data, out, int8=int8)
    card = read_record(run.model_file, ModelCard)
    path, framing, int8_path = _output_paths(run, out)
    marks = framing_marks(run, framing.name) | fact_marks(run, card)
    pixels = _validation_pixels(data)
    fields = _export_framing(run, framing, pixels) if has_framing(run) else {}
    check = export_float(run, card, path, pixels, run.network, marks)
    exported = Exported(str(path), path.stat().st_size, check.images, check.largest, **fields)
    if data is not None:
        with run.recording("unfamiliar"):
            unfamiliar = learn_unfamiliar(run, data)
        run.step("drift", fit_drift, data)
        exported = replace(exported, unfamiliar=unfamiliar.describe())
    if not int8:
        return exported
    if data is None:
        raise RunError(
            "A quantised model cannot be made without the run's data.",
            expected="training pictures to calibrate on and validation pictures to measure on",
            todo="put the data back (a link will do), or export without --int8",
        )
    return replace(exported, **_export_int8(run, path, int8_path, card, data, marks))


def _export_targets(run: Run, data: Data | None, out: Path | None, *, int8: bool) -> Exported:
    """`export_run` for several labels; the model has an output for each."""
    from candid.inference.exporting import export_several
    from candid.inference.framed_export import framing_marks

    if int8:
        refuse_number(run)
        raise _one_label_error("--int8", run)
    targets = read_record(run.targets, Targets)
    cards = [read_record(label_run.model_file, ModelCard) for label_run in run.target_runs()]
    path, framing, _ = _output_paths(run, out)
    pixels = _validation_pixels(data)
    fields = _export_framing(run, framing, pixels) if has_framing(run) else {}
    metadata = framing_marks(run, framing.name)
    check = export_several(run, targets, cards, path, pixels, metadata)
    return Exported(str(path), path.stat().st_size, check.images, check.largest, **fields)


def _one_label_error(option: str, run: Run) -> RunError:
    return RunError(
        f"{option} is for one label, and {run.path} learned several.",
        expected="an ONNX file, or the folder of one label",
        todo=f"leave it out, or name one, such as {run.target_runs()[0].path}",
    )


@dataclass(frozen=True, slots=True)
class TransformersFolder:
    """A folder for transformers, its files, and their size."""

    folder: str
    files: tuple[str, ...]
    bytes: int


def export_transformers(run: Run, out: Path | None, *, int8: bool = False) -> TransformersFolder:
    """Write a folder for transformers; None: the folder `transformers` of the run."""
    from candid.inference.transformers_folder import write_transformers

    if run.target_runs():
        refuse_number(run)
        raise _one_label_error("--to transformers", run)
    if int8 or (out is not None and out.suffix == ".onnx"):
        raise RunError(
            "--int8 and a name that ends with .onnx are for ONNX, and --to is transformers.",
            expected="one or the other",
            todo="leave --to out, or name a folder with --out and leave --int8 out",
        )
    files = write_transformers(run, run.path / "transformers" if out is None else out)
    size = sum(path.stat().st_size for path in files)
    return TransformersFolder(str(files[0].parent), tuple(path.name for path in files), size)


def _output_paths(run: Run, out: Path | None) -> tuple[Path, Path, Path]:
    """The files of the model, the framing network and the quantised model."""
    from candid.models.onnx_file import int8_path, onnx_path
    from candid.models.onnx_framing import framing_path

    if out is not None and out.suffix == ".onnx" and not out.is_dir():
        framing, int8 = f"{out.stem}-framing.onnx", f"{out.stem}-int8.onnx"
        return out, out.with_name(framing), out.with_name(int8)
    target = Run(out) if out is not None else run
    return onnx_path(target), framing_path(target), int8_path(target)


def _export_framing(run: Run, path: Path, pixels: NDArray[np.uint8] | None) -> dict[str, Any]:
    """Write the framing network; its fields of `Exported`."""
    from candid.inference.exporting import export_framing

    sample = None if pixels is None else pixels[:: max(1, math.ceil(len(pixels) / _FRAMED))]
    check = export_framing(run, path, sample)
    return {
        "framing": str(path),
        "framing_bytes": path.stat().st_size,
        "framing_checked": check.images,
        "framing_largest_difference": check.largest,
        "framing_other": check.other_frames,
    }


def _validation_pixels(data: Data | None) -> NDArray[np.uint8] | None:
    """Validation images, spread evenly."""
    if data is None:
        return None
    rows = data.dataset.rows("validation", data.store.usable)
    step = max(1, math.ceil(len(rows) / _CHECKED))
    return data.store.pixels[rows[::step]]


def _export_int8(
    run: Run, source: Path, path: Path, card: ModelCard, data: Data, metadata: dict[str, str]
) -> dict[str, Any]:
    """Write the quantised model; its fields of `Exported`."""
    from candid.evaluation.comparison import compare_predictions
    from candid.inference.exporting import export_int8
    from candid.models.onnx_file import OnnxEngine

    rng = np.random.default_rng(run.settings.train.seed)
    train = data.dataset.rows("train", data.store.usable)
    sample = sample_rows(train, _CALIBRATION, rng)
    export_int8(run, card, path, data.store.pixels[sample], run.network, metadata)
    predictions = [_predict_validation(OnnxEngine(p), card, data) for p in (source, path)]
    settings = run.settings.evaluate
    comparison = compare_predictions(
        *predictions,
        names=("float", "int8"),
        split="validation",
        draws=settings.draws,
        confidence=settings.confidence,
        seed=settings.seed,
    ).overall.metrics["weighted_f1"]
    return {
        "int8": str(path),
        "int8_bytes": path.stat().st_size,
        "f1": comparison.a,
        "int8_f1": comparison.b,
        "f1_change": comparison.difference,
    }


def _predict_validation(engine: Callable[..., Any], card: ModelCard, data: Data) -> Predictions:
    from candid.inference.classifier import Classifier

    rows = data.dataset.rows("validation", data.store.usable)
    model = Classifier(card, "stretch", 0, None, engine)  # type: ignore[arg-type]
    parts = [
        model.probabilities(data.store.pixels[rows[start : start + 1024]])
        for start in range(0, len(rows), 1024)
    ]
    return build_predictions(data, rows, np.concatenate(parts))
