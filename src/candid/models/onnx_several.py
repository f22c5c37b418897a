"""A network that learned several labels as one ONNX file, with an output for each label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from candid.models.onnx_file import (
    DIGEST_KEY,
    INFO_KEY,
    TRACEABLE,
    OnnxModel,
    onnx_path,
    open_matching,
    open_or_export,
    source_digest,
)
from candid.models.onnx_graph import INPUT, export_module
from candid.records import ModelCard, to_plain
from candid.records.targets import Targets
from candid.runs import Run

if TYPE_CHECKING:
    from torch import nn

    from candid.models.several import WholeSeveral


def output_names(targets: Targets) -> tuple[str, ...]:
    """Names of the outputs: those of the labels, none equal to the input's."""
    names = (label.name for label in targets.labels)
    return tuple(f"{name} (label)" if name == INPUT else name for name in names)


class OnnxSeveral(OnnxModel):
    """An exported model that gives the probabilities of each label's classes."""

    name = "onnx"

    def __init__(
        self, model: Path | bytes, *, threads: int = 0, outputs: tuple[str, ...] = ()
    ) -> None:
        self.outputs = outputs
        super().__init__(model, threads=threads)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, outputs) of pixels (n, side, side, 3), one label behind the other."""
        return np.concatenate(self.run(pixels), axis=1)


def targets_digest(run: Run, targets: Targets, cards: Sequence[ModelCard]) -> str:
    """A digest of the weights and of all that determines a probability of any label."""
    calibrations = [[card.target, card.temperature, list(card.classes)] for card in cards]
    return hashlib.blake2b(
        json.dumps([source_digest(run, targets.model), calibrations]).encode(), digest_size=16
    ).hexdigest()


def targets_to_onnx(
    model: WholeSeveral,
    run: Run,
    targets: Targets,
    cards: Sequence[ModelCard],
    extra: Mapping[str, str] | None = None,
) -> bytes:
    """The whole network as an ONNX file: for each label an output (n, classes) with its name.

    The metadata hold the classes of each label, and of a number, whose classes are bins, the bins'
    centres and how they become a value with an interval. `extra` is as for
    `candid.models.onnx_file.to_onnx`.
    """
    from candid.models.several import SplitLabels

    labels = {
        name: {"classes": list(card.classes)}
        | ({} if card.number is None else {"number": to_plain(card.number)})
        for name, card in zip(output_names(targets), cards, strict=True)
    }
    metadata = {
        DIGEST_KEY: targets_digest(run, targets, cards),
        INFO_KEY: json.dumps({"labels": labels, "side": targets.model.side}),
        **(extra or {}),
    }
    card, outputs = targets.model, output_names(targets)
    name, trace = f"The network {card.network!r}", card.network in TRACEABLE
    return export_module(SplitLabels(model), card.side, outputs, metadata, name, trace=trace)


def is_several_exported(run: Run, targets: Targets, digest: str | None) -> bool:
    """Whether there is an exported model with this digest, as of `export_digest`."""
    return open_matching(_opener(targets), onnx_path(run), digest, 1) is not None


def open_onnx_several(
    run: Run,
    targets: Targets,
    cards: Sequence[ModelCard],
    digest: str | None,
    *,
    network: nn.Module | None = None,
    threads: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> OnnxSeveral:
    """The run's exported model; exported first where there is none with this digest.

    Errors are those of `candid.models.onnx_file.open_onnx`.
    """

    def export() -> bytes:
        from candid.models.several import load_several

        model = load_several(run.weights, targets, cards, network)
        return targets_to_onnx(model, run, targets, cards, metadata)

    return open_or_export(_opener(targets), onnx_path(run), digest, export, threads=threads)


def _opener(targets: Targets) -> partial[OnnxSeveral]:
    return partial(OnnxSeveral, outputs=output_names(targets))


def export_digest(run: Run, targets: Targets, cards: Sequence[ModelCard]) -> str | None:
    """The digest of an export; None where the run has an export and no weights."""
    return targets_digest(run, targets, cards) if run.weights.is_file() else None
