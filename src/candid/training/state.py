"""What is to be learned, and what training changes as it goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.data.streaming import Streamed
from candid.models.forward import Images
from candid.records import HistoryRow
from candid.stats.distribution import Scale
from candid.training.balance import GroupDRO


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be learned: packed images, their labels, and which rows are for what.

    `label` holds (n,) indices of classes, or (n, labels) where several are learned at once, -1
    where missing; `n_classes` is how many outputs a network for it has, of several labels the sum
    of `sizes`, their classes; `train` and `validation` are rows with any label; `codes` (n,) values
    of the attributes between which the loss is balanced. Where training streams its images from
    their shards, `streamed` says where those lie; then not all are packed. Of a label that is a
    number, `label` has codes of its different values, of which its place in `scales` makes bins.
    """

    images: Images
    label: NDArray[np.int16]
    n_classes: int
    train: NDArray[np.intp]
    validation: NDArray[np.intp]
    codes: tuple[NDArray[np.int16], ...] = ()
    streamed: Streamed | None = None
    sizes: tuple[int, ...] = ()
    scales: tuple[Scale | None, ...] = ()

    @property
    def is_several(self) -> bool:
        """Whether there are several labels."""
        return self.label.ndim > 1

    def on_rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """What is known of each training row, at the place of that row among all (0 elsewhere)."""
        everywhere = np.zeros(len(self.label), values.dtype)
        everywhere[self.train] = values
        return everywhere

    @property
    def groups(self) -> tuple[NDArray[np.int16], list[NDArray[np.int16]]]:
        """Label and codes of the training rows: what makes their groups."""
        return self.label[self.train], [codes[self.train] for codes in self.codes]


@dataclass(eq=False)
class TrainingState:
    """All that decides how training goes on: what a checkpoint holds, and what settings say."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    ema: nn.Module | None = None
    dro: GroupDRO | None = None
    step: int = 0
    history: list[HistoryRow] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    best_f1: float = -math.inf
    frozen: list[nn.Module] = field(default_factory=list)  # modules that are not trained
    # What was found out of the data before the first batch, in plain values.
    note: dict[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> nn.Module:
        """The network that is measured and kept: the averaged one where there is one."""
        return self.network if self.ema is None else self.ema

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def keep_best(self, row: HistoryRow) -> None:
        """Remember the weights where this evaluation is better than all before it."""
        if row.validation_f1 > self.best_f1:
            self.best_f1, self.best_step = row.validation_f1, row.step
            self.best = {k: v.detach().clone() for k, v in self.measured.state_dict().items()}
