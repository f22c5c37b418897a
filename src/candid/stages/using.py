"""The stages that put a model to use: what pictures it knows, its export, its answers."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from candid.errors import OutputError, RunError
from candid.records import Estimate, ModelCard, read_record, write_record
from candid.runs import RunFolder, open_run
from candid.settings import Config
from candid.stages.starting import Data, needs_torch, reload
from candid.stages.steps import step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from candid.inference.classifier import Engine
    from candid.inference.classify import Labeller
    from candid.inference.detectors import Detector
    from candid.inference.exporting import Check
    from candid.inference.faces import Frame
    from candid.inference.rows import Format, Outcome
    from candid.inference.unfamiliar import Typical

_CHECKED = 4096  # pictures that an export is held to the original on
_CALIBRATION = 512  # pictures that set the scales of int8
_FRAMES = 200  # training pictures in which faces are looked for, to see how they lie
_SQUEEZED = 60  # and those that are tried in several shapes, to see whether they are squeezed


def know_pictures(run: RunFolder, data: Data, config: Config) -> Typical:
    """Write typical.npz: what tells pictures like the training pictures from others."""
    from candid.inference.unfamiliar import fit_typical, write_typical

    dataset, store = data.dataset, data.store
    with step(run, "typical", config):
        typical = fit_typical(
            store.pixels,
            dataset.rows("train", store.usable),
            dataset.rows("validation", store.usable),
            store.widths,
            store.heights,
            false_alarms=config.predict.false_alarms,
            seed=config.train.seed,
        )
        write_typical(run.typical, typical)
    return typical


# --- export --------------------------------------------------------------------------------------


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
    typical
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
    typical: str = ""


def export(
    run: RunFolder,
    config: Config,
    data: Data | None,
    *,
    network: nn.Module | None = None,
    out: Path | None = None,
    int8: bool = False,
) -> Exported:
    """Write model.onnx, checked against torch, and on request model-int8.onnx.

    Parameters
    ----------
    run, config
        A run whose training was finished.
    data
        Its data: real pictures to check on and, for int8, to calibrate and to measure on. None: the
        check is on noise, and int8 is refused.
    network
        The module where it cannot be built by name.
    out
        A folder for the files; None: the run's own.
    int8
        Whether to quantise, too.

    Raises
    ------
    CheckFailed
        Where the exported model does not give what torch gives.
    RunError, DependencyError
        Where the run is not finished, or a library is missing.
    """
    needs_torch()
    from candid.inference.exporting import export_float
    from candid.models.onnx_file import int8_path, onnx_path

    card = read_record(run.model, ModelCard)
    target = RunFolder(out) if out is not None else run
    path = onnx_path(target)
    check: Check = export_float(run, card, path, _validation(data, _CHECKED), network)
    done = Exported(str(path), path.stat().st_size, check.images, check.largest)
    if data is not None:
        done = _with(done, typical=know_pictures(run, data, config).told())
    if not int8:
        return done
    if data is None:
        raise RunError(
            "A quantised model cannot be made without the run's data.",
            expected="training pictures to calibrate on and validation pictures to measure on",
            todo="put the data back (a link will do), or export without --int8",
        )
    small = int8_path(target)
    return _with(done, **_quantised(run, path, small, card, data, config, network))


def _with(exported: Exported, **changes: Any) -> Exported:
    return dataclasses.replace(exported, **changes)


def _validation(data: Data | None, most: int) -> NDArray[np.uint8] | None:
    """At most so many validation pictures, spread evenly."""
    if data is None:
        return None
    rows = data.dataset.rows("validation", data.store.usable)
    every = max(1, math.ceil(len(rows) / most))
    pixels: NDArray[np.uint8] = data.store.pixels[rows[::every]]
    return pixels


def _quantised(
    run: RunFolder,
    source: Path,
    path: Path,
    card: ModelCard,
    data: Data,
    config: Config,
    network: nn.Module | None,
) -> dict[str, Any]:
    """Write the quantised model; what is known of it, by the names of `Exported`."""
    import numpy as np

    from candid.evaluation.comparison import compare_predictions
    from candid.inference.exporting import export_int8
    from candid.models.onnx_file import OnnxEngine

    rng = np.random.default_rng(config.train.seed)
    train = data.dataset.rows("train", data.store.usable)
    few = np.sort(rng.choice(train, min(_CALIBRATION, len(train)), replace=False))
    export_int8(run, card, path, data.store.pixels[few], network)
    both = [_predicted(OnnxEngine(p), card, data) for p in (source, path)]
    settings = config.evaluate
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


def _predicted(engine: Callable[..., Any], card: ModelCard, data: Data) -> Any:
    """What an engine says about the validation pictures."""
    import numpy as np

    from candid.inference.classifier import Classifier
    from candid.predictions import Predictions

    dataset, rows = data.dataset, data.dataset.rows("validation", data.store.usable)
    model = Classifier(card, "stretch", 0, None, engine)  # type: ignore[arg-type]
    parts = [
        model.probabilities(data.store.pixels[rows[start : start + 1024]])
        for start in range(0, len(rows), 1024)
    ]
    return Predictions(
        target=dataset.target,
        classes=dataset.classes,
        ids=dataset.ids[rows],
        split=dataset.split[rows],
        label=dataset.label[rows],
        probability=np.concatenate(parts),
        identity=None if dataset.identity is None else dataset.identity[rows],
    )


# --- predict -------------------------------------------------------------------------------------


def labeller(
    run: RunFolder,
    *,
    engine: Engine = "auto",
    abstain_below: float | None = None,
    check: bool = True,
    crop: bool = False,
    detector: Path | None = None,
    data: Path | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Labeller:
    """What labels pictures as a run's model does.

    Parameters
    ----------
    run
        A run whose training was finished.
    engine, abstain_below
        See `candid.inference.classifier.open_classifier`.
    check
        Whether to flag pictures unlike the training data, where the run knows them.
    crop
        Whether to find and cut out faces first.
    detector
        A model for OpenCV's FaceDetectorYN; None: OpenCV's own detector.
    data, cache, quiet
        Where the run's data lie now, if not where they lay, where packed images are, and whether
        bars are hidden: for the training pictures in which
        faces are looked for once.
    """
    from candid.inference.classifier import open_classifier
    from candid.inference.classify import Labeller
    from candid.inference.detectors import open_detector
    from candid.inference.faces import Finder
    from candid.inference.unfamiliar import read_typical

    finder = None
    if crop:
        found = open_detector(detector)
        finder = Finder(found, frame(run, found, data=data, cache=cache, quiet=quiet))
    return Labeller(
        # Every thread runs the model on a block of its own.
        open_classifier(run, engine=engine, threads=1, abstain_below=abstain_below),
        read_typical(run.typical) if check else None,
        finder,
    )


def frame(
    run: RunFolder,
    detector: Detector,
    *,
    data: Path | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Frame:
    """How faces lie in a run's training pictures; measured once, then kept in frame.json.

    Where the data are gone, CelebA's usual values serve for runs on CelebA.

    Raises
    ------
    RunError
        Where the data are gone and the layout is another.
    DataError
        Where the detector finds too few faces in the training pictures.
    """
    from candid.inference.faces import CELEBA, Frame, measure_frame, measure_squeeze

    path = run.path / "frame.json"
    with contextlib.suppress(RunError):  # none, or one that did not look for a squeeze
        kept = read_record(path, Frame)
        if kept.detector == detector.name:
            return kept
    _, config = open_run(run.path)
    try:
        loaded = reload(run, config, cache, quiet, data)
    except RunError:
        if config.data.layout == "celeba":
            return CELEBA
        raise
    squeeze = measure_squeeze(_training_pictures(loaded, config, _SQUEEZED))
    pictures = _training_pictures(loaded, config, _FRAMES)
    measured = measure_frame(pictures, detector, squeeze=squeeze)
    with contextlib.suppress(OutputError):  # a run in a read-only place is measured anew each time
        write_record(path, measured)
    return measured


def _training_pictures(data: Data, config: Config, most: int) -> Generator[NDArray[np.uint8]]:
    """Some training pictures as they are in their files."""
    import numpy as np

    from candid.data.decode import decode_whole

    rows = data.dataset.rows("train", data.store.usable)
    rng = np.random.default_rng(config.train.seed)
    for row in rng.choice(rows, min(most, len(rows)), replace=False):
        encoded = data.dataset.source.read(int(row))
        yield decode_whole(encoded, longest=512, max_pixels=config.data.max_pixels).pixels


def label_pictures(
    labeller: Labeller,
    inputs: Sequence[str],
    out: Path,
    kind: Format,
    *,
    listed: BinaryIO | None = None,
    column: str = "",
    force: bool = False,
    workers: int = 0,
    bar: Callable[[int], object] = lambda _: None,
) -> Outcome:
    """Write a row per picture; see `candid.inference.classify.label_to_file`.

    Parameters
    ----------
    labeller
        What labels them.
    inputs
        What `candid.inference.sources.resolve` gave.
    out, kind, force, workers, bar
        As there.
    listed, column
        As for `candid.inference.sources.items`.
    """
    from candid.inference.classify import label_to_file
    from candid.inference.sources import items

    return label_to_file(
        labeller,
        items(inputs, listed, column=column),
        out,
        kind,
        job_of(labeller, inputs, column),
        about=about_model(labeller),
        force=force,
        workers=workers,
        bar=bar,
    )


def about_model(labeller: Labeller) -> dict[str, Any]:
    """What a table of labels says of its model."""
    c = labeller.classifier
    return {
        "target": c.target,
        "classes": list(c.classes),
        "temperature": c.card.temperature,
        "engine": c.engine,
        "abstains": c.rule.sentence if c.rule else "never",
    }


def job_of(labeller: Labeller, inputs: Sequence[str], column: str) -> dict[str, Any]:
    """All that decides the rows of a job, as plain values."""
    return model_of(labeller) | {"pictures": list(inputs), "column": column}


def model_of(labeller: Labeller) -> dict[str, Any]:
    """All of a labeller that decides the row of a picture, as plain values."""
    from candid.records import to_plain

    c = labeller.classifier
    typical, finder = labeller.typical, labeller.finder
    return {
        "model": c.made_from,
        "engine": c.engine,
        "fit": c.fit,
        "abstains below": c.rule.threshold if c.rule else None,
        "unlike": None if typical is None else [typical.limit, typical.narrowest, typical.smallest],
        "faces": None if finder is None else to_plain(finder.frame),
    }


def one_thread_each(engine: str) -> contextlib.AbstractContextManager[None]:
    """Torch on one thread per call while the block runs: the calls come from many threads."""
    if engine != "torch":
        return contextlib.nullcontext()
    from candid.models.device import threads

    return threads(1)
