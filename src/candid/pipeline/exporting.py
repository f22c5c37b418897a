"""A run's model as ONNX: checked against torch, and quantised."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candid.errors import RunError
from candid.pipeline.drifting import learn_drift
from candid.pipeline.opening import Data
from candid.pipeline.steps import learn_unfamiliar, predictions_of
from candid.predictions import Predictions
from candid.records import Estimate, ModelCard, read_record
from candid.runs import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHECKED = 4096  # pictures that an export is held to the original on
_CALIBRATION = 512  # pictures that set the scales of int8


@dataclass(frozen=True, slots=True)
class Exported:
    """What `export` wrote, and how good it is.

    Attributes
    ----------
    onnx, onnx_bytes
        The exported model and its size.
    checked
        Validation pictures that it was held to torch on; 0 where the data are gone: then noise.
    largest_difference
        The largest difference of a probability between it and torch.
    int8, int8_bytes
        The quantised model; None and 0 where none was asked for.
    f1, int8_f1, f1_change
        Weighted F1 on validation of both, and the second less the first with its paired interval;
        NaN and None without a quantised model.
    unfamiliar
        What is known of the look of the training pictures, in words; "" where the data are gone.
    """

    onnx: str
    onnx_bytes: int
    checked: int
    largest_difference: float
    int8: str | None = None
    int8_bytes: int = 0
    f1: float = math.nan
    int8_f1: float = math.nan
    f1_change: Estimate | None = None
    unfamiliar: str = ""


def export_run(
    run: Run, data: Data | None, *, out: Path | None = None, int8: bool = False
) -> Exported:
    """Write model.onnx, checked against torch, and on request model-int8.onnx.

    Without data, the check is on noise, and int8 is refused.
    """
    from candid.inference.exporting import export_float
    from candid.models.onnx_file import int8_path, onnx_path

    card = read_record(run.model, ModelCard)
    target = Run(out) if out is not None else run
    path = onnx_path(target)
    check = export_float(run, card, path, _validation(data), run.network)
    done = Exported(str(path), path.stat().st_size, check.images, check.largest)
    if data is not None:
        with run.doing("unfamiliar"):
            unfamiliar = learn_unfamiliar(run, data)
        with run.doing("drift"):
            learn_drift(run, data)
        done = replace(done, unfamiliar=unfamiliar.told())
    if not int8:
        return done
    if data is None:
        raise RunError(
            "A quantised model cannot be made without the run's data.",
            expected="training pictures to calibrate on and validation pictures to measure on",
            todo="put the data back (a link will do), or export without --int8",
        )
    return replace(done, **_quantised(run, path, int8_path(target), card, data))


def _validation(data: Data | None) -> NDArray[np.uint8] | None:
    """Some validation pictures, spread evenly."""
    if data is None:
        return None
    rows = data.dataset.rows("validation", data.store.usable)
    every = max(1, math.ceil(len(rows) / _CHECKED))
    pixels: NDArray[np.uint8] = data.store.pixels[rows[::every]]
    return pixels


def _quantised(run: Run, source: Path, path: Path, card: ModelCard, data: Data) -> dict[str, Any]:
    """Write the quantised model; what is known of it, by the names of `Exported`."""
    import numpy as np

    from candid.evaluation.comparison import compare_predictions
    from candid.inference.exporting import export_int8
    from candid.models.onnx_file import OnnxEngine

    rng = np.random.default_rng(run.settings.train.seed)
    train = data.dataset.rows("train", data.store.usable)
    few = np.sort(rng.choice(train, min(_CALIBRATION, len(train)), replace=False))
    export_int8(run, card, path, data.store.pixels[few], run.network)
    both = [_predicted(OnnxEngine(p), card, data) for p in (source, path)]
    settings = run.settings.evaluate
    change = compare_predictions(
        *both,
        names=("float", "int8"),
        split="validation",
        draws=settings.draws,
        confidence=settings.confidence,
        seed=settings.seed,
    ).overall.metrics["weighted_f1"]
    return {
        "int8": str(path),
        "int8_bytes": path.stat().st_size,
        "f1": change.a,
        "int8_f1": change.b,
        "f1_change": change.difference,
    }


def _predicted(engine: Callable[..., Any], card: ModelCard, data: Data) -> Predictions:
    """What an engine says about the validation pictures."""
    import numpy as np

    from candid.inference.classifier import Classifier

    rows = data.dataset.rows("validation", data.store.usable)
    model = Classifier(card, "stretch", 0, None, engine)  # type: ignore[arg-type]
    parts = [
        model.probabilities(data.store.pixels[rows[start : start + 1024]])
        for start in range(0, len(rows), 1024)
    ]
    return predictions_of(data, rows, np.concatenate(parts))
