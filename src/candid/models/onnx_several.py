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
    ABOUT,
    MADE_FROM,
    OURS,
    OnnxModel,
    made_from,
    onnx_path,
    open_fresh,
    open_or_export,
)
from candid.models.onnx_graph import INPUT, exported
from candid.records import ModelCard, to_plain
from candid.records.targets import Targets
from candid.runs import Run

if TYPE_CHECKING:
    from torch import nn

    from candid.models.several import WholeSeveral


def output_names(about: Targets) -> tuple[str, ...]:
    """What the outputs are called: as the labels, in their order; none as the input."""
    return tuple(f"{a.name} (label)" if a.name == INPUT else a.name for a in about.labels)


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


def several_made_from(run: Run, about: Targets, cards: Sequence[ModelCard]) -> str:
    """A digest of the weights and of all that decides a probability of any label."""
    each = [[card.target, card.temperature, list(card.classes)] for card in cards]
    return hashlib.blake2b(
        json.dumps([made_from(run, about.model), each]).encode(), digest_size=16
    ).hexdigest()


def several_to_onnx(
    whole: WholeSeveral,
    run: Run,
    about: Targets,
    cards: Sequence[ModelCard],
    marks: Mapping[str, str] | None = None,
) -> bytes:
    """The whole network as an ONNX file: for each label an output (n, classes) with its name.

    What the file says of itself holds the classes of each label, and of a number, whose classes are
    bins, the bins' centres and how they become a value with an interval. `marks` are as for
    `candid.models.onnx_file.to_onnx`.
    """
    from candid.models.several import SplitLabels

    labels = {
        name: {"classes": list(card.classes)}
        | ({} if card.number is None else {"number": to_plain(card.number)})
        for name, card in zip(output_names(about), cards, strict=True)
    }
    said = {
        MADE_FROM: several_made_from(run, about, cards),
        ABOUT: json.dumps({"labels": labels, "side": about.model.side}),
        **(marks or {}),
    }
    what = f"The network {about.model.network!r}"
    ours = about.model.network in OURS
    return exported(
        SplitLabels(whole), about.model.side, output_names(about), said, what, ours=ours
    )


def is_several_exported(run: Run, about: Targets, made: str | None) -> bool:
    """Whether there is an exported model with the mark `made`, as of `several_mark`."""
    return open_fresh(_kind(about), onnx_path(run), made, 1) is not None


def open_onnx_several(
    run: Run,
    about: Targets,
    cards: Sequence[ModelCard],
    made: str | None,
    *,
    network: nn.Module | None = None,
    threads: int = 0,
    marks: Mapping[str, str] | None = None,
) -> OnnxSeveral:
    """The run's exported model; exported first where there is none with the mark `made`.

    Errors are those of `candid.models.onnx_file.open_onnx`.
    """

    def export() -> bytes:
        from candid.models.several import load_several

        whole = load_several(run.weights, about, cards, network)
        return several_to_onnx(whole, run, about, cards, marks)

    return open_or_export(_kind(about), onnx_path(run), made, export, threads=threads)


def _kind(about: Targets) -> partial[OnnxSeveral]:
    return partial(OnnxSeveral, outputs=output_names(about))


def several_mark(run: Run, about: Targets, cards: Sequence[ModelCard]) -> str | None:
    """What an export carries; None where only that, and no weights, came to this machine."""
    return several_made_from(run, about, cards) if run.weights.is_file() else None
