"""A run's model as an ONNX file: exported from the weights, and run by ONNX Runtime.

The file carries a digest of its weights and `model.json`, so that a file of other weights is never
taken for this run's, whatever its date.
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

from candid.errors import OutputError, RunError, resume_advice
from candid.models.onnx_graph import INPUT, OUTPUT, export_module, needs_onnx
from candid.records import ModelCard, to_plain
from candid.runs import Run
from candid.storage.files import atomic

if TYPE_CHECKING:
    from candid.models.model import Whole

DIGEST_KEY = "candid.made_from"
INFO_KEY = "candid.model"
# Networks whose operations do not depend on the input, as custom ones' may. The tracing exporter
# lacks `unfold`, which the fixed features use.
TRACEABLE = ("plain", "deep", "vit")

# The fields of a card that determine probabilities.
_DETERMINING = ("network", "options", "classes", "side", "mean", "std", "temperature", "flip_tta")


def onnx_path(run: Run) -> Path:
    """The path of a run's exported model."""
    return run.path / "model.onnx"


def source_digest(run: Run, card: ModelCard) -> str:
    """A digest of the weights and of the card's fields that determine probabilities."""
    plain = to_plain(card)
    keys = (*_DETERMINING, "head") if card.head else _DETERMINING
    content = json.dumps({k: plain.get(k) for k in keys}, sort_keys=True).encode()
    try:
        with run.weights.open("rb") as file:
            new_hash = partial(hashlib.blake2b, content, digest_size=16)
            return hashlib.file_digest(file, new_hash).hexdigest()
    except OSError as error:
        raise RunError(
            f"Cannot read the weights in {run.weights}: {error.strerror}.",
            expected="a run whose training was finished",
            todo=f"{resume_advice(run.path)}, or name another run",
        ) from error


# --- writing -------------------------------------------------------------------------------------


def to_onnx(
    model: Whole, card: ModelCard, digest: str, extra: Mapping[str, str] | None = None
) -> bytes:
    """The module as an ONNX file with a dynamic batch and the digest in its metadata.

    `extra` is more metadata. Raises DependencyError where a library is not installed.
    """
    info = {"target": card.target, "classes": list(card.classes), "side": card.side}
    name = f"The network {card.network!r}"
    metadata = {DIGEST_KEY: digest, INFO_KEY: json.dumps(info), **(extra or {})}
    trace = card.network in TRACEABLE
    return export_module(model, card.side, (OUTPUT,), metadata, name, trace=trace)


def write_onnx(path: Path, data: bytes) -> None:
    """Write the file atomically."""
    with atomic(path) as part:
        part.write_bytes(data)


# --- running -------------------------------------------------------------------------------------


class OnnxModel:
    """An exported model, a file or bytes, in ONNX Runtime; thread-safe.

    `threads` are those inside one call; 0: one per core. Raises a RunError where the model's inputs
    are not uint8 pixels and the class's `options`, or its outputs not the class's `outputs`.
    """

    outputs: tuple[str, ...]
    options: tuple[str, ...] = ()  # optional inputs

    def __init__(self, model: Path | bytes, *, threads: int = 0) -> None:
        needs_onnx("onnxruntime")
        import onnxruntime

        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = threads
        session_options.log_severity_level = 3  # errors alone
        # Threads that spin while they wait would take the processor from those that decode.
        session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                model if isinstance(model, bytes) else str(model),
                session_options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # ONNX Runtime raises a class of its own per kind of damage
            raise _run_error(model, f"{type(error).__name__}: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        options = [i.name for i in self._session.get_overridable_initializers()]
        signature = [(i.name, i.type) for i in inputs], options, [o.name for o in outputs]
        if signature != ([(INPUT, "tensor(uint8)")], list(self.options), list(self.outputs)):
            raise _run_error(model, f"inputs and outputs are {signature}")
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.made_from, self.metadata = metadata.get(DIGEST_KEY), metadata

    def run(
        self, pixels: NDArray[np.uint8], **options: NDArray[np.float32]
    ) -> tuple[NDArray[Any], ...]:
        """All outputs for pixels."""
        try:
            return tuple(self._session.run(list(self.outputs), {INPUT: pixels, **options}))
        except Exception as error:  # a class of its own per kind, as above
            raise _run_error(b"", f"{type(error).__name__}: {error}") from error


class OnnxEngine(OnnxModel):
    """An exported model with probabilities as its output."""

    name = "onnx"
    outputs = (OUTPUT,)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, classes) of pixels (n, side, side, 3)."""
        return self.run(pixels)[0]


Model = TypeVar("Model", bound=OnnxModel)


def _run_error(model: Path | bytes, reason: str) -> RunError:
    name = "The exported model" if isinstance(model, bytes) else str(model)
    return RunError(
        f"{name} cannot be run: {reason[:300]}",
        expected=f"an ONNX model with the input {INPUT!r} that Candid exported",
        todo="export it again with candid export, or use --engine torch",
    )


def open_onnx(
    run: Run, card: ModelCard, *, threads: int = 0, metadata: Mapping[str, str] | None = None
) -> OnnxEngine:
    """The run's exported model; exported first where there is none of these weights.

    A run in a folder that cannot be written to is exported anew every time, in memory. `metadata`
    is `extra` of `to_onnx`. Raises RunError where there are neither weights nor an export;
    DependencyError where a library is not installed.
    """
    digest = _digest_if_trained(run, card)

    def export() -> bytes:
        from candid.models.model import load_whole_model

        model = load_whole_model(run.weights, card)
        return to_onnx(model, card, source_digest(run, card), metadata)

    return open_or_export(OnnxEngine, onnx_path(run), digest, export, threads=threads)


def open_or_export(
    kind: Callable[..., Model],
    path: Path,
    digest: str | None,
    export: Callable[[], bytes],
    *,
    threads: int,
) -> Model:
    """The exported model with this digest; where there is none, exported first.

    `digest` None: there are no weights to compare it with, or to export.
    """
    existing = open_matching(kind, path, digest, threads)
    if existing is not None:
        return existing
    needs_onnx("onnxruntime", "onnx", "onnxscript", "torch")
    data = export()
    engine = kind(data, threads=threads)
    with contextlib.suppress(OutputError):
        write_onnx(path, data)
    return engine


def int8_path(run: Run) -> Path:
    """The path of a run's quantised model."""
    return run.path / "model-int8.onnx"


def open_int8(run: Run, card: ModelCard, *, threads: int = 0) -> OnnxEngine:
    """The run's quantised model.

    Raises RunError where there is none of these weights.
    """
    path = int8_path(run)
    engine = open_matching(OnnxEngine, path, _digest_if_trained(run, card), threads)
    if engine is None:
        raise RunError(
            f"There is no {path.name} of these weights in {run.path}.",
            expected="a quantised model, which needs the run's data to be made",
            todo=f"candid export --int8 {run.path}",
        )
    engine.name = "int8"
    return engine


def is_exported(run: Run, card: ModelCard) -> bool:
    """Whether there is an exported model of the run's present weights."""
    return open_matching(OnnxEngine, onnx_path(run), _digest_if_trained(run, card), 1) is not None


def _digest_if_trained(run: Run, card: ModelCard) -> str | None:
    """The digest of an export; None where the run has an export and no weights."""
    return source_digest(run, card) if run.weights.is_file() else None


def open_matching(
    kind: Callable[..., Model], path: Path, digest: str | None, threads: int
) -> Model | None:
    """The export at a path; None where there is none with this digest (None: any digest)."""
    if not path.is_file():
        return None
    try:
        engine = kind(path, threads=threads)
    except RunError:
        if digest is not None:
            return None  # the caller exports again
        raise
    return engine if digest in (None, engine.made_from) else None
