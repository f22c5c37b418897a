"""A module as a graph of ONNX with a dynamic batch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import DependencyError, RunError

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn


INPUT, OUTPUT = "pixels", "probabilities"


_FLOAT = 1  # onnx.TensorProto.FLOAT


_OPSET = 20  # the first whose GridSample takes what framing asks for


def export_module(
    module: nn.Module,
    side: int,
    outputs: tuple[str, ...],
    metadata: dict[str, str],
    name: str,
    options: Mapping[str, NDArray[np.float32]] | None = None,
    *,
    trace: bool = False,
) -> bytes:
    """A module that takes pixels (n, side, side, 3) as an ONNX file with a dynamic batch.

    `metadata` goes into the file; `name` is the module's in an error. `options` are optional inputs
    with their default values (an input of ONNX that is an initializer, too). `trace`: the module's
    operations are the same for any images and any number of them, so one run shows them.
    """
    needs_onnx("onnx", "onnxscript")
    options = options or {}
    with silence_exporters():
        model = _export_traced(module, side, outputs, options) if trace else None
        model = model or _export_dynamo(module, side, outputs, name, options)
    set_metadata(model, metadata)
    for key, value in options.items():
        entry = model.graph.initializer.add()
        entry.name, entry.data_type = key, _FLOAT
        entry.dims.extend(value.shape)
        entry.raw_data = value.astype("<f4").tobytes()
    model.producer_name, model.producer_version = "candid", ""
    for node in model.graph.node:  # where each node stood in the source, with paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    data: bytes = model.SerializeToString()
    return data


def _export_traced(
    module: nn.Module,
    side: int,
    outputs: tuple[str, ...],
    options: Mapping[str, NDArray[np.float32]],
) -> ModelProto | None:
    """Export by tracing one run of the module; None where torch cannot do this any more.

    torch's older exporter takes a tenth of the time of the newer one.
    """
    import onnx
    import torch

    data: Any = io.BytesIO()  # which its types forget
    try:
        torch.onnx.export(
            module,
            _example_inputs(side, options),
            data,
            dynamo=False,
            input_names=[INPUT, *options],
            output_names=list(outputs),
            dynamic_axes={name: {0: "n"} for name in (INPUT, *outputs)},
            opset_version=_OPSET,
        )
    except Exception:  # the other exporter says what is wrong
        return None
    return onnx.load_model_from_string(data.getvalue())


def _export_dynamo(
    module: nn.Module,
    side: int,
    outputs: tuple[str, ...],
    name: str,
    options: Mapping[str, NDArray[np.float32]],
) -> ModelProto:
    """Export the module for any number of images by torch's newer exporter."""
    import torch

    program = torch.onnx.export(
        _export_program(module, side, name, options),
        dynamo=True,
        input_names=[INPUT, *options],
        output_names=list(outputs),
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter gave nothing")
    return program.model_proto


def _export_program(
    module: nn.Module, side: int, name: str, options: Mapping[str, NDArray[np.float32]]
) -> Any:
    """The module as torch's `ExportedProgram`, for any number of images."""
    import torch

    reason: Exception | None = None
    # Strict mode analyses the code and keeps `len(x)` a variable, where running it would make it a
    # number; but not all code can be analysed.
    for strict in (True, False):
        shapes = ({0: torch.export.Dim("n")}, *({} for _ in options))
        try:
            return torch.export.export(
                module, _example_inputs(side, options), dynamic_shapes=shapes, strict=strict
            )
        except Exception as error:  # torch raises what the module's code happens to
            reason = reason or error
    raise RunError(
        f"{name} cannot be exported: {' '.join(str(reason).split())[:300]}",
        expected="a module that torch.export can follow, for any number of pictures",
        todo="use --engine torch",
    ) from reason


def _example_inputs(side: int, options: Mapping[str, NDArray[np.float32]]) -> tuple[Tensor, ...]:
    """Inputs to export with; two images, as an axis of length one would be taken for constant."""
    import torch

    extra = [torch.tensor(value) for value in options.values()]
    return (torch.zeros(2, side, side, 3, dtype=torch.uint8), *extra)


def set_metadata(model: Any, entries: dict[str, str]) -> None:
    """Replace the model's metadata."""
    del model.metadata_props[:]
    for key, value in entries.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


@contextlib.contextmanager
def silence_exporters() -> Iterator[None]:
    """Suppress the exporters' warnings about their internals and about optional libraries."""
    names = ("", "torch.onnx", "torch.onnx._internal", "onnxscript")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def needs_onnx(*modules: str) -> None:
    """Raise a DependencyError where one of these libraries is not installed."""
    import importlib.util

    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        extra = "train" if missing == ["torch"] else "onnx"
        raise DependencyError(
            f"This needs a library that is not installed: {', '.join(missing)}.",
            expected=f"the extra {extra!r}",
            todo=f"pip install 'candid-faces[{extra}]', or use --engine torch",
        )
