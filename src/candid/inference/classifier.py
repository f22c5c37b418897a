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
from candid.runs import Run, is_framed, open_run
from candid.runs.refusals import refuse_untrained
from candid.stats.shift import ProbabilityShift

Engine = Literal["auto", "onnx", "int8", "torch"]

# Images that pass a network at a time: more would fall out of the processor's caches.
BATCH = 32


def batches_of(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Pixels (n, …) as a network takes them, at most `BATCH` at a time."""
    for start in range(0, len(pixels), BATCH):
        yield np.ascontiguousarray(pixels[start : start + BATCH])


class Runs(Protocol):
    """What computes: ONNX Runtime or torch. Safe to call from several threads."""

    name: str

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, classes) of pixels (n, side, side, 3)."""
        ...


class Frames(Protocol):
    """What brings pictures to the training pictures' frame. Safe to call from several threads."""

    @property
    def rest_limit(self) -> float:
        """What is left at most of nearly all warped pictures after the last look but one."""
        ...

    @property
    def far_limit(self) -> float:
        """How far few pictures of home are from the training pictures' frame."""
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
    """Pictures in the frame of the training pictures."""

    pixels: NDArray[np.uint8]  # (n, side, side, 3): what the model sees
    # (n, 3, 3), from the frame's square to the picture's; the identity where nothing was done
    frames: NDArray[np.float32]
    settled: NDArray[np.bool_]  # (n,) whether the last look found hardly more to do
    found: NDArray[np.float32] | None = None  # (n,) how far off the first look found each


@dataclass(frozen=True, eq=False)
class Classifier:
    """A model that is ready to answer; safe to use from several threads."""

    card: ModelCard  # what the model is (`model.json`)
    fit: str  # how an image became a square in training: for `candid.data.decode`
    max_pixels: int  # an image that claims more is not decoded
    rule: Rule | None  # when it abstains; None: it always answers
    _engine: Runs
    framer: Frames | None = None  # frames pictures before the model looks; None: as they come
    made_from: str = ""  # a digest of its weights and of all else that decides its probabilities
    shift: ProbabilityShift | None = None  # what brings them to the place it was calibrated for
    common: CommonFrame | None = None  # of the pictures of a place; None: each by itself

    @property
    def classes(self) -> tuple[str, ...]:
        """The label's values, in the order of the columns of `probabilities`."""
        return self.card.classes

    @property
    def target(self) -> str:
        """The name of the label: "Male"."""
        return self.card.target

    @property
    def side(self) -> int:
        """Pixels per side of the square that the model sees."""
        return self.card.side

    @property
    def detail(self) -> int:
        """How many times `side` a picture should have per side, for `framed`."""
        return 1 if self.framer is None else DETAIL

    @property
    def input_side(self) -> int:
        """Pixels per side that `framed` takes."""
        return self.detail * self.side

    def framed(self, pixels: NDArray[np.uint8]) -> Framed:
        """Pictures (n, input_side, input_side, 3) as the model sees them."""
        if self.framer is None or not len(pixels):
            same = np.broadcast_to(np.eye(3, dtype=np.float32), (len(pixels), 3, 3))
            none = None if self.framer is None else np.zeros(0, np.float32)
            return Framed(pixels, same, np.ones(len(pixels), np.bool_), none)
        known = {} if self.common is None else self.common.start()
        parts = [self.framer(batch, **known) for batch in batches_of(pixels)]
        seen, frames, rest, _, found = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Framed(seen, frames, rest <= self.framer.rest_limit, found)

    @property
    def engine(self) -> str:
        """What computes: "onnx", "int8" or "torch"."""
        return self._engine.name

    def tried(self) -> Self:
        """Itself; it raises where it cannot answer."""
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
        parts = [self._engine(batch) for batch in batches_of(pixels)]
        if not parts:
            return np.zeros((0, len(self.classes)))
        out = np.concatenate(parts).astype(np.float64)
        if out.shape[1] != len(self.classes) or not np.isfinite(out).all():
            raise RunError(
                f"The model gives no probabilities of {len(self.classes)} classes: "
                f"{out[~np.isfinite(out).all(axis=1)][:1].tolist() or out.shape}.",
                expected="finite weights that belong to model.json",
                todo="take both files from where the run was made, or train again",
            )
        sure: NDArray[np.float64] = out / out.sum(axis=1, keepdims=True)  # to float64's last digit
        return sure if self.shift is None else self.shift.apply(sure)


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

    The engine "onnx" exports it on first use, to `model.onnx` in the run; "int8" runs what
    `candid export --int8` wrote; "torch" runs it as it is; "auto" takes onnx where its libraries
    are installed. `threads` are those inside one call of ONNX Runtime; 0: one per core.

    It abstains where the highest probability is below `abstain_below`; None: by the rule that the
    audit found for `predict.target_error`, or that of the calibration, if any; 0: never. A
    `calibration` is the name of what `candid calibrate` made for a place; "": the run's own. With
    `number`, the folder of a label that is one will do: its classes are the bins. Raises
    RunError where the run is not finished or damaged, or its model cannot answer; DependencyError
    where the engine is not installed.
    """
    config = open_run(run.path).settings
    refuse_untrained(run, number=number)
    card = read_record(run.model_file, ModelCard)
    runs = _open_engine(run, card, engine, threads)
    framer, framed_by = open_framer(run, runs, engine, threads)
    made_by = model_digest(run, card, framed_by)
    place = read_calibration(run, calibration, card, made_by) if calibration else None
    shift, of_classes = None, None
    if isinstance(place, NumberCalibration):
        card = replace(card, number=place.card)
    elif place is not None:
        of_classes = place
        shift = ProbabilityShift(place.temperature, np.array(place.bias))
    return Classifier(
        card=card,
        fit=config.data.fit,
        max_pixels=config.data.max_pixels,
        rule=abstention_rule(run, abstain_below, config.predict.target_error, of_classes),
        _engine=runs,
        framer=framer,
        made_from=made_by,
        shift=shift,
        common=None if place is None else place.frame,
    ).tried()


def model_digest(run: Run, card: ModelCard, framed_by: str | None) -> str:
    """What tells a model from any other: its weights, and the digest of those that frame for it."""
    from candid.models.onnx_file import made_from

    digest = made_from(run, card) if run.weights.is_file() else "an exported model alone"
    return digest if framed_by is None else f"{digest}, framed: {framed_by}"


def _open_engine(run: Run, card: ModelCard, engine: Engine, threads: int) -> Runs:
    from candid.inference.framed_export import framing_marks
    from candid.models.onnx_file import is_exported, open_int8, open_onnx
    from candid.models.onnx_framing import framing_path

    engine = chosen_engine(engine, lambda: is_exported(run, card))
    if engine == "int8":
        return open_int8(run, card, threads=threads)
    if engine == "onnx":
        marks = framing_marks(run, framing_path(run).name)
        return open_onnx(run, card, threads=threads, marks=marks)
    from candid.models.model import TorchEngine, load_whole_model

    return TorchEngine(load_whole_model(run.weights, card, run.network))


def chosen_engine(engine: Engine, is_exported: Callable[[], bool]) -> Engine:
    """What "auto" stands for: onnx where its libraries, or those that run an export, are installed.

    Raises DependencyError where torch is meant and is not installed.
    """
    if engine == "auto":
        makes = _installed("onnx", "onnxscript")
        onnx = _installed("onnxruntime") and (makes or is_exported())
        engine = "onnx" if onnx else "torch"
    if engine == "torch" and not _installed("torch", "safetensors"):
        raise DependencyError(
            "Neither ONNX Runtime with an exported model nor torch is installed.",
            expected="the extra 'onnx' (to run an exported model), or 'train'",
            todo="pip install 'candid-faces[onnx]' or 'candid-faces[train]'",
        )
    return engine


def open_framer(
    run: Run, runs: Runs, engine: Engine, threads: int
) -> tuple[Frames | None, str | None]:
    """What frames for a model, and the digest of its weights; None where nothing does."""
    from candid.inference.framed_export import open_named_framer
    from candid.models.onnx_file import OnnxModel
    from candid.models.onnx_framing import framing_path, open_onnx_framer, weights_digest

    frames = is_framed(run)
    if run.framing.is_file() and not frames:
        return None, None
    if isinstance(runs, OnnxModel) and not run.framing_weights.is_file():
        named = open_named_framer(runs, run.path, threads=threads)
        if named is not None:  # the exports were carried here without the run's weights
            return named, named.made_from
    if not frames:
        return None, None
    made_from = weights_digest(run)
    makes = _installed("onnx", "onnxscript", "torch")
    exported = _installed("onnxruntime") and (makes or framing_path(run).is_file())
    if engine != "torch" and exported:
        return open_onnx_framer(run, threads=threads), made_from
    from candid.models.framing import TorchFramer, load_framing

    return TorchFramer(load_framing(run.framing_weights)), made_from


def _installed(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def read_calibration(
    run: Run, name: str, card: ModelCard, model: str
) -> PlaceCalibration | NumberCalibration:
    """A calibration of this very model.

    Raises RunError where there is none by this name, or it is another model's.
    """
    path = calibration_path(run.path, name)
    if not path.is_file():
        there = sorted(p.stem for p in path.parent.glob("*.json"))
        raise RunError(
            f"{run.path} has no calibration {name!r}.",
            expected=f"one of: {', '.join(there)}" if there else "one that was made before",
            todo=f"make it: candid calibrate {run.path} DATA --name {name}",
        )
    found: PlaceCalibration | NumberCalibration
    if card.number is None:
        found = read_record(path, PlaceCalibration)
        fits = found.classes == card.classes
    else:
        found = read_record(path, NumberCalibration)
        fits = len(found.card.centres) == len(card.number.centres)
    if not fits or found.model != model:
        raise RunError(
            f"{path} was made for another model than the run holds now.",
            expected="a calibration of these weights",
            todo=f"make it again: candid calibrate {run.path} DATA --name {name}",
        )
    return found
