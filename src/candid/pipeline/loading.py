"""A run's trained network, for the stages that use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Float32Array, IndexArray
from candid.pipeline.opening import needs_torch
from candid.records import ModelCard, read_record
from candid.records.targets import Targets
from candid.runs import Run

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A network on its device, and how to use it."""

    network: nn.Module
    card: ModelCard
    device: torch.device
    bfloat16: bool

    def logits(self, pixels: NDArray[np.uint8], rows: IndexArray, *, quiet: bool) -> Float32Array:
        """(rows, outputs) for some rows of packed pixels (n, side, side, 3)."""
        from candid.models.forward import Images, logits

        return logits(
            self.network,
            Images(pixels, self.card.mean, self.card.std),
            rows,
            device=self.device,
            bfloat16=self.bfloat16,
            flip_tta=self.card.flip_tta,
            title="predict",
            quiet=quiet,
        )


def network_card(run: Run) -> ModelCard:
    """The card of a run's network, with the outputs of all labels."""
    if run.target_runs():
        return read_record(run.targets, Targets).model
    return read_record(run.model_file, ModelCard)


@contextmanager
def open_network(run: Run) -> Iterator[LoadedNetwork]:
    """The run's trained network, of all its labels, with the threads and memory of its settings.

    Raises RunError where the run holds no trained network.
    """
    needs_torch()
    from candid.models.device import memory_kept, pick_device, threads, uses_bfloat16
    from candid.models.model import load_network

    config = run.settings.train
    with threads(config.threads), memory_kept():
        card = network_card(run)
        device = pick_device(config.device)
        network = load_network(run.weights, card, device, run.network)
        yield LoadedNetwork(network, card, device, uses_bfloat16(config.precision, device))
