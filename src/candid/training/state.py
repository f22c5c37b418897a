"""The task of a training, and its state."""

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
from candid.stats.distribution import NumberScale
from candid.training.balance import GroupDRO


@dataclass(frozen=True, eq=False)
class Task:
    """Packed images, their labels, and the rows to train and to validate on.

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
    scales: tuple[NumberScale | None, ...] = ()

    @property
    def is_several(self) -> bool:
        """Whether there are several labels."""
        return self.label.ndim > 1

    def on_rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Scatter (training rows,) values to all rows; 0 elsewhere."""
        scattered = np.zeros(len(self.label), values.dtype)
        scattered[self.train] = values
        return scattered

    @property
    def groups(self) -> tuple[NDArray[np.int16], list[NDArray[np.int16]]]:
        """Label and codes of the training rows, which define their groups."""
        return self.label[self.train], [codes[self.train] for codes in self.codes]


@dataclass(eq=False)
class TrainingState:
    """Everything that determines the next step: a checkpoint's content, and frozen modules."""

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

    @property
    def measured(self) -> nn.Module:
        """The network to evaluate and save: the averaged one where there is one."""
        return self.network if self.ema is None else self.ema

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return next(self.network.parameters()).device

    def keep_best(self, row: HistoryRow) -> None:
        """Copy the weights if this evaluation is the best so far."""
        if row.validation_f1 > self.best_f1:
            self.best_f1, self.best_step = row.validation_f1, row.step
            self.best = {k: v.detach().clone() for k, v in self.measured.state_dict().items()}
