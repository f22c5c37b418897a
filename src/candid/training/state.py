"""What training changes as it goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from candid.records import HistoryRow
from candid.training.balance import GroupDRO


@dataclass(eq=False)
class State:
    """All that decides how training goes on: what a checkpoint holds."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: nn.Module | None = None
    dro: GroupDRO | None = None
    step: int = 0
    history: list[HistoryRow] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    best_f1: float = -math.inf

    @property
    def measured(self) -> nn.Module:
        """The network that is measured and kept: the averaged one where there is one."""
        return self.network if self.averaged is None else self.averaged
