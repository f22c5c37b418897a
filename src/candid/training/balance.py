"""Balance between groups: weights by label and attribute, and the worst group's loss.

A network that learns the average image serves the commonest ones. `group_weights` makes every
combination of label and attribute weigh the same, whatever its size (Idrissi et al., CLeaR 2022,
found that this alone comes close to more elaborate methods). `independent_weights` makes label and
attributes independent and keeps the sizes of groups. `GroupDRO` raises the weights of groups with a
high loss in training (Sagawa et al., "Distributionally robust neural networks for group shifts",
ICLR 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candid.errors import TrainingError

Codes = NDArray[Any] | Sequence[NDArray[Any]]


def group_cells(label: NDArray[Any], codes: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The combination of label and attributes of each row.

    Parameters
    ----------
    label
        (n,) index of each row's class.
    codes
        (n,) codes of one attribute, or several such arrays; -1 where missing, which counts as a
        value of its own.

    Returns
    -------
    cell
        (n,) 0, 1, …, in order of label and then codes; only combinations that occur.
    counts
        (cells,) rows in each.
    """
    arrays = [codes] if isinstance(codes, np.ndarray) else list(codes)
    keys = np.stack([np.asarray(label), *arrays], axis=1)
    _, cell, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    return cell.reshape(-1).astype(np.int64), counts.astype(np.int64)


def group_weights(label: NDArray[Any], codes: Codes, *, limit: float = 20.0) -> NDArray[np.float64]:
    """(n,) weights under which every combination of label and attribute weighs the same.

    n / (cells · count), 1 on average: a row's relative probability in a sampler, or the factor of
    its loss. No row weighs more than `limit` times the average, or a handful of images would be
    learned by heart. `label` and `codes` are as in `group_cells`.
    """
    cell, counts = group_cells(label, codes)
    if not len(cell):
        return np.ones(0)
    if not limit >= 1:
        raise TrainingError(
            f"No row may weigh more than {limit} times the average: that is impossible.",
            expected="a number of at least 1",
            todo="leave it at the default of 20",
        )
    weight = len(cell) / (len(counts) * counts)
    # Clipping the heaviest makes the others heavier; they may then be clipped in turn.
    for _ in range(len(counts)):
        cut = weight >= limit
        rest = len(cell) - limit * counts[cut].sum()
        if cut.all() or not (weight > limit).any():
            break
        weight = np.where(cut, limit, rest / (np.count_nonzero(~cut) * counts))
    return weight[cell]


def independent_weights(
    label: NDArray[Any], codes: Codes, *, limit: float = 20.0
) -> NDArray[np.float64]:
    """(n,) weights under which labels are as frequent in every group as in all rows.

    Reweighing (Kamiran & Calders, "Data preprocessing techniques for classification without
    discrimination", 2012): count of the label · count of the group / (n · count of both), where
    every combination of `codes` is a group. So a group, or one of several data sets, in which a
    class is rarer than elsewhere does not teach that it is rare there, and each weighs as much as
    it has rows; one that lacks a class, too. No row weighs more than `limit`. `label` and `codes`
    are as in `group_cells`.
    """
    label = np.asarray(label)
    if not len(label):
        return np.ones(0)
    cell, counts = group_cells(label, codes)
    group, group_sizes = group_cells(np.zeros_like(label), codes)
    _, index, label_counts = np.unique(label, return_inverse=True, return_counts=True)
    weights = label_counts[index] / counts[cell]
    return np.minimum(weights * (group_sizes / np.bincount(group, weights))[group], limit)


class GroupDRO:
    """A soft maximum of the groups' losses: group distributionally robust optimisation.

    Every batch multiplies the weight of each group that it holds by exp(step size · its mean loss)
    (Sagawa et al., algorithm 1; the original's step size is 0.01). Groups that are absent keep
    theirs; the weights are then made to sum to 1. The paper finds that strong regularisation (early
    stopping, weight decay) is needed, or every group's loss goes to 0 and nothing is left to weigh.

    Parameters
    ----------
    counts
        (groups,) training rows in each group, as `group_cells` gives them.
    step_size
        How fast the weights follow the losses.
    adjustment
        Adds adjustment / √count to a group's loss where the weights are updated and in the loss, so
        that small groups, whose training loss tells less, weigh more (section 3.3 there).
    """

    def __init__(
        self,
        counts: NDArray[Any] | Sequence[int],
        *,
        step_size: float = 0.01,
        adjustment: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        sizes = torch.as_tensor(np.asarray(counts), dtype=torch.float32)
        if not len(sizes) or (sizes < 1).any() or not step_size >= 0:
            raise TrainingError(
                f"Groups of {list(counts)[:5]} rows, and a step size of {step_size}: impossible.",
                expected="at least one group, a row in each, and a step size of 0 or more",
                todo="take the counts from group_cells",
            )
        self.step_size = step_size
        self.extra = (adjustment / sizes.sqrt()).to(device)
        self.weight = torch.full((len(sizes),), 1 / len(sizes), device=device)

    def loss(self, losses: Tensor, group: Tensor) -> Tensor:
        """The batch's loss, weighted by groups, after their weights were updated.

        `losses` are (batch,) with their graph, `group` (batch,) whole numbers. The gradient flows
        through the losses and not through the weights.
        """
        groups = len(self.weight)
        count = torch.bincount(group, minlength=groups)
        total = torch.zeros(groups, dtype=losses.dtype, device=losses.device)
        mean = total.index_add(0, group, losses) / count.clamp(min=1)
        mean = torch.where(count > 0, mean + self.extra.to(losses.dtype), mean)
        with torch.no_grad():
            # In logarithms and from the largest down, so that a large loss does not overflow.
            log_weights = self.weight.log() + self.step_size * mean.float()
            self.weight = torch.softmax(log_weights, dim=0)
        return (self.weight.to(losses.dtype) * mean).sum()

    def state_dict(self) -> dict[str, Tensor]:
        """The state that a checkpoint needs."""
        return {"weight": self.weight.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load the weights of `state_dict`, or raise a TrainingError for those of other groups."""
        weight = state["weight"]
        if weight.shape != self.weight.shape:
            raise TrainingError(
                f"The checkpoint has weights of {len(weight)} groups, and there are "
                f"{len(self.weight)}.",
                expected="the groups that training began with",
                todo="go on with the same data and attribute, or begin a new run",
            )
        self.weight = weight.to(self.weight.device, self.weight.dtype).clone()
