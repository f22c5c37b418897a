"""A run's model as one function: uint8 pixels in, calibrated probabilities out.

>>> classifier = open_classifier(Run(Path("runs/first")))
>>> classifier.probabilities(pixels)  # (n, side, side, 3) uint8 → (n, classes) float64
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from candid.errors import DataError, DependencyError, RunError
from candid.inference.abstaining import Rule, abstention_rule
from candid.records import ModelCard, read_record
from candid.records.calibration import NumberCalibration, PlaceCalibration, calibration_path
from candid.records.framing import DETAIL, CommonFrame
from candid.runs import Run, has_framing, open_run
from candid.runs.refusals import refuse_untrained
from candid.stats.shift import ProbabilityShift

Engine = Literal["auto", "onnx", "int8", "torch"]

# Images per batch: more would not fit into the processor's caches.
BATCH = 32


def batches_of(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Contiguous batches of pixels (n, …), at most `BATCH` at a time."""
    for start in range(0, len(pixels), BATCH):
        yield np.ascontiguousarray(pixels[start : start + BATCH])


class Runner(Protocol):
    """A model in ONNX Runtime or torch; thread-safe."""

    name: str

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, classes) of pixels (n, side, side, 3)."""
        ...


class Framer(Protocol):
    """Warps images to the training images' frame; thread-safe."""

    @property
    def rest_limit(self) -> float:
        """The distance at which warped images count as settled; see `Framing`."""
        ...

    @property
    def far_limit(self) -> float:
        """The distance that few validation images exceed; see `Framing`."""
        ...

    def __call__(
        self,
        pixels: NDArray[np.uint8],
        start: NDArray[np.float32] | None = None,
        limit: float | None = None,
    ) -> tuple[NDArray[Any], ...]:
        """As `candid.models.framing.Framing.forward`, on arrays."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Framed:
    """Images in the frame of the training images."""

    pixels: NDArray[np.uint8]  # (n, side, side, 3): the model's input
    # (n, 3, 3), from the frame's square to the image's; the identity where nothing was done
    frames: NDArray[np.float32]
    settled: NDArray[np.bool_]  # (n,) whether the distance at the last look is small
    found: NDArray[np.float32] | None = None  # (n,) distances at the first look


@dataclass(frozen=True, eq=False)
class Classifier:
    """A loaded model; thread-safe."""

    card: ModelCard  # `model.json`
    fit: str  # how an image became a square in training: for `candid.data.decode`
    max_pixels: int  # an image with more is not decoded
    rule: Rule | None  # when it abstains; None: never
    _engine: Runner
    framer: Framer | None = None  # warps images before the model; None: not at all
    made_from: str = ""  # a digest of its weights and of all else that determines probabilities
    shift: ProbabilityShift | None = None  # the calibration of a place
    common: CommonFrame | None = None  # of the images of a place; None: each by itself

    @property
    def classes(self) -> tuple[str, ...]:
        """The label's values, in the order of the columns of `probabilities`."""
        return self.card.classes

    @property
    def target(self) -> str:
        """The label's name: "Male"."""
        return self.card.target

    @property
    def side(self) -> int:
        """Pixels per side of the model's input."""
        return self.card.side

    @property
    def detail(self) -> int:
        """The factor on `side` for the images that `framed` takes."""
        return 1 if self.framer is None else DETAIL

    @property
    def input_side(self) -> int:
        """Pixels per side that `framed` takes."""
        return self.detail * self.side

    def framed(self, pixels: NDArray[np.uint8]) -> Framed:
        """Warp images (n, input_side, input_side, 3) to the model's input."""
        if self.framer is None or not len(pixels):
            identity = np.broadcast_to(np.eye(3, dtype=np.float32), (len(pixels), 3, 3))
            empty = None if self.framer is None else np.zeros(0, np.float32)
            return Framed(pixels, identity, np.ones(len(pixels), np.bool_), empty)
        options = {} if self.common is None else self.common.start()
        parts = [self.framer(batch, **options) for batch in batches_of(pixels)]
        inputs, frames, rest, _, first = (np.concatenate(p) for p in zip(*parts, strict=True))
        return Framed(inputs, frames, rest <= self.framer.rest_limit, first)

    @property
    def engine(self) -> str:
        """Its name: "onnx", "int8" or "torch"."""
        return self._engine.name

    def check(self) -> Self:
        """Classify a blank image, which raises where the model fails; return the classifier."""
        blank = np.zeros((1, self.input_side, self.input_side, 3), np.uint8)
        self.probabilities(self.framed(blank).pixels)
        return self

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Calibrated probabilities (n, classes) of RGB pixels (n, side, side, 3); rows sum to 1.

        Raises DataError for an array of another shape or type; RunError where the model gives NaN,
        or another number of classes.
        """
        expected = (self.side, self.side, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise DataError(
                f"The pixels have the shape {pixels.shape} and the type {pixels.dtype}.",
                expected=f"(n, {self.side}, {self.side}, 3) and uint8, in the order RGB",
                todo="decode pictures with candid.data.decode at this model's side and fit",
            )
        outputs = [self._engine(batch) for batch in batches_of(pixels)]
        if not outputs:
            return np.zeros((0, len(self.classes)))
        raw = np.concatenate(outputs).astype(np.float64)
        if raw.shape[1] != len(self.classes) or not np.isfinite(raw).all():
            raise RunError(
                f"The model gives no probabilities of {len(self.classes)} classes: "
                f"{raw[~np.isfinite(raw).all(axis=1)][:1].tolist() or raw.shape}.",
                expected="finite weights that belong to model.json",
                todo="take both files from where the run was made, or train again",
            )
        p: NDArray[np.float64] = raw / raw.sum(axis=1, keepdims=True)  # to float64's last digit
        return p if self.shift is None else self.shift.apply(p)


def open_classifier(
    run: Run,
    *,
    engine: Engine = "auto",
    threads: int = 0,
    abstain_below: float | None = None,
    calibration: str = "",
    number: bool = False,
) -> Classifier:
    """Load the model of a run whose training was finished.

    The engine "onnx" exports it on first use, to `model.onnx` in the run; "int8" loads the output
    of `candid export --int8`; "torch" uses the weights; "auto" is onnx where its libraries are
    installed. `threads` are those inside one call of ONNX Runtime; 0: one per core.

    The model abstains where the highest probability is below `abstain_below`; None: by the audit's
    rule for `predict.target_error`, or that of the calibration, if any; 0: never. `calibration` is
    the name given to `candid calibrate` for a place; "": the run's own. With `number`, the run may
    be the folder of a label that is a number: its classes are the bins. Raises RunError where the
    run is not finished or damaged, or its model fails; DependencyError where the engine is not
    installed.
    """
    config = open_run(run.path).settings
    refuse_untrained(run, number=number)
    card = read_record(run.model_file, ModelCard)
    model = _open_engine(run, card, engine, threads)
    framer, framer_digest = open_framer(run, model, engine, threads)
    digest = model_digest(run, card, framer_digest)
    place = read_calibration(run, calibration, card, digest) if calibration else None
    shift, class_place = None, None
    if isinstance(place, NumberCalibration):
        card = replace(card, number=place.card)
    elif place is not None:
        class_place = place
        shift = ProbabilityShift(place.temperature, np.array(place.bias))
    return Classifier(
        card=card,
        fit=config.data.fit,
        max_pixels=config.data.max_pixels,
        rule=abstention_rule(run, abstain_below, config.predict.target_error, class_place),
        _engine=model,
        framer=framer,
        made_from=digest,
        shift=shift,
        common=None if place is None else place.frame,
    ).check()


def model_digest(run: Run, card: ModelCard, framer_digest: str | None) -> str:
    """A digest of a model: its weights, what decides a probability, and the network that frames."""
    from candid.models.onnx_file import source_digest

    digest = source_digest(run, card) if run.weights.is_file() else "an exported model alone"
    return digest if framer_digest is None else f"{digest}, framed: {framer_digest}"


def _open_engine(run: Run, card: ModelCard, engine: Engine, threads: int) -> Runner:
    from candid.inference.framed_export import framing_marks
    from candid.models.onnx_file import is_exported, open_int8, open_onnx
    from candid.models.onnx_framing import framing_path

    engine = pick_engine(engine, lambda: is_exported(run, card))
    if engine == "int8":
        return open_int8(run, card, threads=threads)
    if engine == "onnx":
        metadata = framing_marks(run, framing_path(run).name)
        return open_onnx(run, card, threads=threads, metadata=metadata)
    from candid.models.model import TorchEngine, load_whole_model

    return TorchEngine(load_whole_model(run.weights, card, run.network))


def pick_engine(engine: Engine, is_exported: Callable[[], bool]) -> Engine:
    """Resolve "auto": onnx where its libraries, or those that run an export, are installed.

    Raises DependencyError where the result is torch and that is not installed.
    """
    if engine == "auto":
        can_export = _is_installed("onnx", "onnxscript")
        has_onnx = _is_installed("onnxruntime") and (can_export or is_exported())
        engine = "onnx" if has_onnx else "torch"
    if engine == "torch" and not _is_installed("torch", "safetensors"):
        raise DependencyError(
            "Neither ONNX Runtime with an exported model nor torch is installed.",
            expected="the extra 'onnx' (to run an exported model), or 'train'",
            todo="pip install 'candid-faces[onnx]' or 'candid-faces[train]'",
        )
    return engine


def open_framer(
    run: Run, model: Runner, engine: Engine, threads: int
) -> tuple[Framer | None, str | None]:
    """A run's framing network and the digest of its weights; None where it has none."""
    from candid.inference.framed_export import open_named_framer
    from candid.models.onnx_file import OnnxModel
    from candid.models.onnx_framing import framing_path, open_onnx_framer, weights_digest

    is_framed_run = has_framing(run)
    if run.framing.is_file() and not is_framed_run:
        return None, None
    if isinstance(model, OnnxModel) and not run.framing_weights.is_file():
        named_framer = open_named_framer(model, run.path, threads=threads)
        if named_framer is not None:  # the exports were copied without the run's weights
            return named_framer, named_framer.made_from
    if not is_framed_run:
        return None, None
    digest = weights_digest(run)
    can_export = _is_installed("onnx", "onnxscript", "torch")
    has_export = _is_installed("onnxruntime") and (can_export or framing_path(run).is_file())
    if engine != "torch" and has_export:
        return open_onnx_framer(run, threads=threads), digest
    from candid.models.framing import TorchFramer, load_framing

    return TorchFramer(load_framing(run.framing_weights)), digest


def _is_installed(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def read_calibration(
    run: Run, name: str, card: ModelCard, model: str
) -> PlaceCalibration | NumberCalibration:
    """The calibration of this name for a model.

    Raises RunError where there is none, or it is another model's.
    """
    path = calibration_path(run.path, name)
    if not path.is_file():
        existing = sorted(p.stem for p in path.parent.glob("*.json"))
        raise RunError(
            f"{run.path} has no calibration {name!r}.",
            expected=f"one of: {', '.join(existing)}" if existing else "one that was made before",
            todo=f"make it: candid calibrate {run.path} DATA --name {name}",
        )
    calibration: PlaceCalibration | NumberCalibration
    if card.number is None:
        calibration = read_record(path, PlaceCalibration)
        fits = calibration.classes == card.classes
    else:
        calibration = read_record(path, NumberCalibration)
        fits = len(calibration.card.centres) == len(card.number.centres)
    if not fits or calibration.model != model:
        raise RunError(
            f"{path} was made for another model than the run holds now.",
            expected="a calibration of these weights",
            todo=f"make it again: candid calibrate {run.path} DATA --name {name}",
        )
    return calibration
