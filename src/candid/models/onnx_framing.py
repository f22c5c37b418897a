"""A run's framing network as an ONNX file, next to that of the model; run by ONNX Runtime."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.models.onnx_file import DIGEST_KEY, OnnxModel, open_or_export
from candid.models.onnx_graph import export_module
from candid.records.framing import IDENTITY_FRAME
from candid.runs import Run
from candid.storage.files import file_digest

_REST_LIMIT, _FAR_LIMIT = "candid.rest_limit", "candid.far_limit"


class OnnxFramer(OnnxModel):
    """A framing network: as `candid.models.framing.Framing.forward`, on arrays."""

    outputs = ("framed", "frames", "rest", "first", "found")
    options = ("start", "limit")

    @property
    def rest_limit(self) -> float:
        """The distance at which warped images count as settled; see `Framing`."""
        return float(self.metadata.get(_REST_LIMIT, "inf"))

    @property
    def far_limit(self) -> float:
        """The distance that few validation images exceed; see `Framing`."""
        return float(self.metadata.get(_FAR_LIMIT, "inf"))

    def __call__(
        self,
        pixels: NDArray[np.uint8],
        start: NDArray[np.float32] | None = None,
        limit: float | None = None,
    ) -> tuple[NDArray[Any], ...]:
        """The `outputs` of pixels (n, input_side, input_side, 3)."""
        options = {} if start is None else {"start": start}
        if limit is not None:
            options["limit"] = np.array(limit, np.float32)
        return self.run(pixels, **options)


def framing_path(run: Run) -> Path:
    """The path of a run's exported framing network."""
    return run.path / "framing.onnx"


def open_onnx_framer(run: Run, *, threads: int = 0) -> OnnxFramer:
    """The run's exported framing network; exported first where there is none of these weights.

    Raises RunError where there are neither weights nor an export; DependencyError where a library
    for it is not installed.
    """
    digest, export = weights_digest(run), partial(framing_to_onnx, run)
    return open_or_export(OnnxFramer, framing_path(run), digest, export, threads=threads)


def framing_to_onnx(run: Run) -> bytes:
    """The run's framing network as an ONNX file.

    Raises RunError where the run has no weights of it, or they are damaged; DependencyError where a
    library for it is not installed.
    """
    from candid.models.framing import load_framing

    framing = load_framing(run.framing_weights)
    metadata = {
        DIGEST_KEY: weights_digest(run) or "",
        _REST_LIMIT: repr(float(framing.rest_limit)),
        _FAR_LIMIT: repr(float(framing.far_limit)),
    }
    side, outputs = framing.input_side, OnnxFramer.outputs
    options = {"start": IDENTITY_FRAME, "limit": framing.limit.numpy()}
    name = "The framing network"
    return export_module(framing, side, outputs, metadata, name, options, trace=True)


def weights_digest(run: Run) -> str | None:
    """A digest of the weights; None where there are none."""
    return file_digest(run.framing_weights) if run.framing_weights.is_file() else None
