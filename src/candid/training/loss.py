"""The loss of a batch, by class or balanced between groups, and metrics on a validation set."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from candid.errors import TrainingError
from candid.settings import TrainConfig
from candid.stats.metrics import weighted_f1_of_answers
from candid.training.balance import GroupDRO, group_cells, group_weights, independent_weights
from candid.training.mixing import Mixture, identity_mixture, mean_over_mixture, mixture_loss
from candid.training.own_parts import own_loss
from candid.training.state import Task

_CPU = torch.device("cpu")


class SetMetrics(NamedTuple):
    """Loss and scores of a network on a set of images."""

    loss: float
    f1: float
    accuracy: float


class Loss:
    """The loss of a batch.

    Without balance it is the weighted cross-entropy of `mixture_loss`. With `group` and
    `reweighing`, each image's loss is weighted by its group and averaged over the weights; with
    `dro`, `GroupDRO` weighs. A custom loss (`train.loss`) replaces cross-entropy, without label
    smoothing.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        dro: GroupDRO | None,
        device: torch.device = _CPU,
    ) -> None:
        if config.balance == "dro" and dro is None:
            raise TrainingError(
                "There are groups to follow and nothing that follows them.",
                expected="a state that start(network, config, task) made",
                todo="give start the task",
            )
        self.smoothing, self.dro = config.label_smoothing, dro
        self.custom = own_loss(config.loss) if config.loss else None
        self.classes = class_weights(task, config).to(device)
        self.shares = class_shares(task.label[task.train], task.n_classes)
        self.per_row: NDArray[Any] | None = None  # of each row: its weight, or its group for `dro`
        if dro is not None:
            self.per_row = task.on_rows(group_cells(*task.groups)[0])
        elif config.balance == "group":
            self.per_row = task.on_rows(group_weights(*task.groups))
        elif config.balance == "reweighing":
            self.per_row = task.on_rows(independent_weights(*task.groups))

    def __call__(self, output: Tensor, mixture: Mixture, rows: NDArray[np.intp]) -> Tensor:
        """A scalar with its graph."""
        if self.per_row is None:
            if self.custom is not None:
                return mean_over_mixture(partial(self.custom, output), mixture, self.classes)
            return mixture_loss(output, mixture, self.classes, self.smoothing)
        if self.custom is not None:
            losses = self.custom(output, mixture.first)
        else:
            losses = F.cross_entropy(
                output, mixture.first, label_smoothing=self.smoothing, reduction="none"
            )
        values = torch.from_numpy(self.per_row[rows]).to(losses.device)
        if self.dro is not None:
            return self.dro.loss(losses, values)
        weight = values.to(losses.dtype)
        return (losses * weight).sum() / weight.sum()

    def predict(self, output: Tensor) -> Tensor:
        """(batch,) the most probable class."""
        return output.argmax(1)

    def f1(self, label: NDArray[Any], predictions: NDArray[Any]) -> float:
        """Weighted F1."""
        return weighted_f1_of_answers(label, predictions)

    def compute_metrics(self, output: NDArray[np.float32], label: NDArray[Any]) -> SetMetrics:
        """Loss and scores on a set of images."""
        metrics = compute_metrics(output, label, self.classes)
        if self.custom is None:
            return metrics
        labels = torch.from_numpy(label.astype(np.int64))
        with torch.no_grad():
            custom = partial(self.custom, torch.from_numpy(output))
            loss = mean_over_mixture(custom, identity_mixture(labels), self.classes.cpu())
        return metrics._replace(loss=loss.item())

    def cross_entropies(self, output: Tensor, label: Tensor) -> Tensor:
        """(n, 1) cross-entropies of (n, classes) logits in nats, nothing weighted or smoothed."""
        return F.cross_entropy(output, label, reduction="none")[:, None]

    def base_rates(self) -> Tensor:
        """(classes,) logits of the classes' shares in train."""
        return self.shares.log()


def class_shares(label: NDArray[Any], n_classes: int) -> Tensor:
    """(classes,) shares of (n,) labels, none of them 0: each class has half an image more."""
    counts = np.bincount(label, minlength=n_classes) + 0.5
    return torch.from_numpy(counts / counts.sum()).float()


def class_weights(task: Task, config: TrainConfig) -> Tensor:
    """(classes,) weights of the loss: n / (classes · count), so that they average 1 over images."""
    counts = np.bincount(task.label[task.train], minlength=task.n_classes)
    if config.class_weights == "none" or config.balance != "none":
        return torch.ones(task.n_classes)
    present = np.maximum(counts, 1)  # a class without images is never weighted
    return torch.from_numpy(counts.sum() / (task.n_classes * present)).float()


def compute_metrics(
    output: NDArray[np.float32], label: NDArray[Any], weights: Tensor
) -> SetMetrics:
    """Weighted cross-entropy, weighted F1 and accuracy of (n, classes) logits."""
    label, prediction = label.astype(np.int64), output.argmax(1)
    loss = F.cross_entropy(torch.from_numpy(output), torch.from_numpy(label), weight=weights.cpu())
    accuracy = float((prediction == label).mean())
    return SetMetrics(loss.item(), weighted_f1_of_answers(label, prediction), accuracy)
