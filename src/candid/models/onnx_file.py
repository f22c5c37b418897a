"""A run's model as an ONNX file: written from the weights, known by them, run by ONNX Runtime.

The file carries a digest of the weights and of `model.json` that it was made from, so that a file
of other weights is never taken for this run's, whatever its date.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from candid.errors import OutputError, RunError, go_on_with
from candid.models.onnx_graph import INPUT, OUTPUT, exported, needs_onnx
from candid.records import ModelCard, to_plain
from candid.runs import Run
from candid.storage.files import atomic

if TYPE_CHECKING:
    from candid.models.model import Whole

MADE_FROM = "candid.made_from"
ABOUT = "candid.model"
# Of one's own networks nobody knows what decides which operations they run; the exporter that
# records them knows no `unfold`, of which the fixed features are made.
OURS = ("plain", "deep", "vit")

# What decides a card's probabilities; steps and layers are for readers.
_DECIDES = ("network", "options", "classes", "side", "mean", "std", "temperature", "flip_tta")


def onnx_path(run: Run) -> Path:
    """Where the exported model of a run lies."""
    return run.path / "model.onnx"


def made_from(run: Run, card: ModelCard) -> str:
    """A digest of the weights and of all in the card that decides a probability."""
    plain = to_plain(card)
    decides = (*_DECIDES, "head") if card.head else _DECIDES
    about = json.dumps({k: plain.get(k) for k in decides}, sort_keys=True).encode()
    try:
        with run.weights.open("rb") as file:
            begun = partial(hashlib.blake2b, about, digest_size=16)
            return hashlib.file_digest(file, begun).hexdigest()
    except OSError as error:
        raise RunError(
            f"Cannot read the weights in {run.weights}: {error.strerror}.",
            expected="a run whose training was finished",
            todo=f"{go_on_with(run.path)}, or name another run",
        ) from error


# --- writing -------------------------------------------------------------------------------------


def to_onnx(
    whole: Whole, card: ModelCard, made: str, marks: Mapping[str, str] | None = None
) -> bytes:
    """The module as an ONNX file with a dynamic batch, marked with what it was made from.

    `marks` are what else the file is to say of itself. Raises DependencyError where a library for
    it is not installed.
    """
    about = {"target": card.target, "classes": list(card.classes), "side": card.side}
    what = f"The network {card.network!r}"
    said = {MADE_FROM: made, ABOUT: json.dumps(about), **(marks or {})}
    return exported(whole, card.side, (OUTPUT,), said, what, ours=card.network in OURS)


def write_onnx(path: Path, data: bytes) -> None:
    """Write the file, whole or not at all."""
    with atomic(path) as part:
        part.write_bytes(data)


# --- running -------------------------------------------------------------------------------------


class OnnxModel:
    """An exported model, a file or bytes, in ONNX Runtime; several threads may ask at once.

    `threads` are those inside one call; 0: one per core. A RunError is raised where it is not a
    model that takes uint8 pixels, and what else its class has as `options`, and gives the
    `outputs` of its class.
    """

    outputs: tuple[str, ...]
    options: tuple[str, ...] = ()  # inputs that need not be given

    def __init__(self, model: Path | bytes, *, threads: int = 0) -> None:
        needs_onnx("onnxruntime")
        import onnxruntime

        how = onnxruntime.SessionOptions()
        how.intra_op_num_threads = threads
        how.log_severity_level = 3  # errors alone
        # Threads that spin while they wait would take the processor from those that decode.
        how.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                model if isinstance(model, bytes) else str(model),
                how,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # ONNX Runtime raises a class of its own per kind of damage
            raise _damaged(model, f"{type(error).__name__}: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        options = [i.name for i in self._session.get_overridable_initializers()]
        found = [(i.name, i.type) for i in inputs], options, [o.name for o in outputs]
        if found != ([(INPUT, "tensor(uint8)")], list(self.options), list(self.outputs)):
            raise _damaged(model, f"inputs and outputs are {found}")
        about: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.made_from, self.about = about.get(MADE_FROM), about

    def run(
        self, pixels: NDArray[np.uint8], **options: NDArray[np.float32]
    ) -> tuple[NDArray[Any], ...]:
        """All outputs for some pixels."""
        try:
            return tuple(self._session.run(list(self.outputs), {INPUT: pixels, **options}))
        except Exception as error:  # a class of its own per kind, as above
            raise _damaged(b"", f"{type(error).__name__}: {error}") from error


class OnnxEngine(OnnxModel):
    """An exported model that gives probabilities."""

    name = "onnx"
    outputs = (OUTPUT,)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, classes) of pixels (n, side, side, 3)."""
        return self.run(pixels)[0]


Model = TypeVar("Model", bound=OnnxModel)


def _damaged(model: Path | bytes, reason: str) -> RunError:
    where = "The exported model" if isinstance(model, bytes) else str(model)
    return RunError(
        f"{where} cannot be run: {reason[:300]}",
        expected=f"an ONNX model with the input {INPUT!r} that Candid exported",
        todo="export it again with candid export, or use --engine torch",
    )


def open_onnx(
    run: Run, card: ModelCard, *, threads: int = 0, marks: Mapping[str, str] | None = None
) -> OnnxEngine:
    """The run's exported model; exported first where there is none of these weights.

    A run in a folder that cannot be written to is exported anew every time, in memory. `marks` are
    as for `to_onnx`. Raises RunError where there are neither weights nor an export; DependencyError
    where a library for it is not installed.
    """
    made = _made_from(run, card)

    def export() -> bytes:
        from candid.models.model import load_whole_model

        return to_onnx(load_whole_model(run.weights, card), card, made_from(run, card), marks)

    return open_or_export(OnnxEngine, onnx_path(run), made, export, threads=threads)


def open_or_export(
    kind: Callable[..., Model],
    path: Path,
    made: str | None,
    export: Callable[[], bytes],
    *,
    threads: int,
) -> Model:
    """An exported model that carries the mark `made`; where there is none, exported first.

    `made` None: there are no weights here to hold it to, or to export anew.
    """
    found = open_fresh(kind, path, made, threads)
    if found is not None:
        return found
    needs_onnx("onnxruntime", "onnx", "onnxscript", "torch")
    data = export()
    engine = kind(data, threads=threads)
    with contextlib.suppress(OutputError):
        write_onnx(path, data)
    return engine


def int8_path(run: Run) -> Path:
    """Where the quantised model of a run lies."""
    return run.path / "model-int8.onnx"


def open_int8(run: Run, card: ModelCard, *, threads: int = 0) -> OnnxEngine:
    """The run's quantised model.

    Raises RunError where there is none of these weights.
    """
    path = int8_path(run)
    engine = open_fresh(OnnxEngine, path, _made_from(run, card), threads)
    if engine is None:
        raise RunError(
            f"There is no {path.name} of these weights in {run.path}.",
            expected="a quantised model, which needs the run's data to be made",
            todo=f"candid export --int8 {run.path}",
        )
    engine.name = "int8"
    return engine


def is_exported(run: Run, card: ModelCard) -> bool:
    """Whether there is an exported model of the run's weights as they are."""
    return open_fresh(OnnxEngine, onnx_path(run), _made_from(run, card), 1) is not None


def _made_from(run: Run, card: ModelCard) -> str | None:
    """The mark of an export; None where only the export was carried to this machine."""
    return made_from(run, card) if run.weights.is_file() else None


def open_fresh(
    kind: Callable[..., Model], path: Path, made: str | None, threads: int
) -> Model | None:
    """The export at a path; None where there is none that carries the mark `made`.

    `made` None: any will do.
    """
    if not path.is_file():
        return None
    try:
        engine = kind(path, threads=threads)
    except RunError:
        if made is not None:
            return None  # made again
        raise
    return engine if made in (None, engine.made_from) else None
