"""The loss of a network that learns several labels, or a number, and metrics on a validation set.

Each label has a block of the outputs and a cross-entropy of its own. An image without one of the
labels counts for nothing in that label's loss and trains the others.

A label's loss is weighted by the inverse of what its base rates alone would give: the entropy of
its classes' shares in train, which is the loss of always answering these shares. Unweighted, a
label in balance (0.69 nats of two classes) drowns one of which 2% are yes (0.10 nats), as whatever
is learned of the second is small beside the noise of the first. Weighted, each begins at 1, "as
good as the base rates", and falling by a tenth is worth the same in all. No label weighs more than
one of entropy `LEAST_ENTROPY`, or a handful of images would rule; and none less than two classes in
balance, or a number of 2 nats would be drowned by them, who has the more to learn
(`bench/together.py`). The weights are then made to sum
to 1, so that the loss is a mean of cross-entropies and a learning rate means what it means for one
label. With `train.target_weights = "none"` all weigh the same: labels that are nearly in balance
are then learned better, and what few images have a little worse (`bench/attributes.py`).

A number is learned as a distribution over ordered bins (`candid.stats.distribution`): its loss is
the divergence of what the network says from the value's soft label, in nats, which is the
cross-entropy less what the soft label leaves open anyway. What its base rates alone would give is
the divergence of the mean soft label of train, so it is weighted as any other label is. It has
neither class weights nor label smoothing: its soft labels are smooth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr
from torch import Tensor
from torch.nn import functional as F

from candid.settings import TrainConfig
from candid.stats.distribution import NumberScale
from candid.stats.metrics import weighted_f1_of_answers
from candid.training.balance import GroupDRO
from candid.training.loss import Loss, SetMetrics, class_shares, class_weights
from candid.training.mixing import Mixture
from candid.training.state import Task

LEAST_ENTROPY = 0.1  # nats: that of two classes of which one has 2%
MOST_ENTROPY = math.log(2)  # that of two classes in balance
_NEVER = -1e9  # the logit of a place beyond a label's classes

_CPU = torch.device("cpu")


def target_weights(task: Task, config: TrainConfig) -> NDArray[np.float64]:
    """(labels,) weight of each label's loss; they sum to 1. See this module's docstring.

    Entropies are of the shares as `train.class_weights` weights them.
    """
    if config.target_weights == "none":
        return np.full(len(task.sizes), 1 / len(task.sizes))
    nats = []
    for subtask, scale in zip(_split_tasks(task), _scales_of(task), strict=True):
        if scale is not None:
            nats.append(_soft_label_divergence(subtask, scale))
            continue
        weight = class_weights(subtask, config).numpy().astype(np.float64)
        share = np.bincount(subtask.label[subtask.train], minlength=subtask.n_classes) * weight
        share = share[share > 0] / share.sum()
        nats.append(float(-(share * np.log(share)).sum()))
    inverse = 1 / np.clip(nats, LEAST_ENTROPY, MOST_ENTROPY)
    weights: NDArray[np.float64] = inverse / inverse.sum()
    return weights


def _soft_label_divergence(task: Task, scale: NumberScale) -> float:
    """Mean divergence of the soft labels of train from their mean, in nats."""
    counts = np.bincount(task.label[task.train], minlength=len(scale.values))
    share = counts / counts.sum()
    mean_entropy = float(share @ entropies(scale.soft_labels))
    return float(entropies(share[None] @ scale.soft_labels)[0]) - mean_entropy


def entropies(soft: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k,) nats of (k, bins) distributions."""
    nats: NDArray[np.float64] = entr(soft).sum(axis=1)
    return nats


def _scales_of(task: Task) -> tuple[NumberScale | None, ...]:
    return task.scales or (None,) * len(task.sizes)


def _split_tasks(task: Task) -> list[Task]:
    """Every label as a task of its own, on the training images that have it."""
    return [
        replace(
            task, label=label, n_classes=size, sizes=(), train=task.train[label[task.train] >= 0]
        )
        for label, size in zip(task.label.T, task.sizes, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks of outputs of several labels: `sizes` outputs each, one behind the other."""

    sizes: tuple[int, ...]

    def stack(self, output: Tensor) -> Tensor:
        """(batch, labels, most classes) logits of (batch, outputs); `_NEVER` beyond the last."""
        most = max(self.sizes)
        if len({*self.sizes}) == 1:
            return output.reshape(len(output), len(self.sizes), most)
        blocks = [F.pad(b, (0, most - b.shape[1]), value=_NEVER) for b in self.split(output)]
        return torch.stack(blocks, dim=1)

    def split(self, output: Tensor) -> Sequence[Tensor]:
        """Each label's (batch, classes)."""
        return torch.split(output, list(self.sizes), dim=1)


class NumberLoss:
    """The loss of one label that is a number, of its own block of the outputs."""

    def __init__(self, scale: NumberScale, device: torch.device = _CPU) -> None:
        self.scale = scale
        self.soft = torch.from_numpy(scale.soft_labels).float().to(device)  # (values, bins)
        self.entropy = torch.from_numpy(entropies(scale.soft_labels)).float().to(device)

    def __call__(self, surprise: Tensor, code: Tensor) -> Tensor:
        """(batch,) divergences from the soft labels of (batch,) codes, in nats.

        `surprise` (batch, bins or more) is minus the network's log-probabilities.
        """
        block = surprise[:, : self.scale.bins]
        return (self.soft[code] * block).sum(1) - self.entropy[code]

    def skill(self, label: NDArray[Any], bins: NDArray[Any]) -> float:
        """1 less the mean absolute error as a share of that of always the training median.

        `label` holds (n,) codes of values, `answers` (n,) bins. 0 where nothing is to be gained.
        """
        value = self.scale.values[label]
        guess = float(np.abs(value - self.scale.median).mean())
        error = float(np.abs(value - self.scale.centres[bins]).mean())
        return 1 - error / guess if guess > 0 else 0.0


class SeveralLoss:
    """The loss and the metrics of a batch of images with several labels."""

    def __init__(self, task: Task, config: TrainConfig, device: torch.device = _CPU) -> None:
        self.smoothing, self.blocks = config.label_smoothing, Blocks(task.sizes)
        self.numbers = {
            t: NumberLoss(scale, device)
            for t, scale in enumerate(_scales_of(task))
            if scale is not None
        }
        weights = [
            torch.ones(subtask.n_classes) if t in self.numbers else class_weights(subtask, config)
            for t, subtask in enumerate(_split_tasks(task))
        ]
        most = max(task.sizes)
        # (labels, most classes): 0 beyond the last, so that nothing there counts.
        self.classes = torch.stack([F.pad(w, (0, most - len(w))) for w in weights]).to(device)
        self.targets = torch.from_numpy(target_weights(task, config)).float().to(device)
        self.shares = [  # of a number, those of its values
            class_shares(
                subtask.label[subtask.train],
                len(self.numbers[t].soft) if t in self.numbers else subtask.n_classes,
            )
            for t, subtask in enumerate(_split_tasks(task))
        ]
        self.sizes = torch.tensor(task.sizes, device=device)

    def __call__(self, output: Tensor, mixture: Mixture, rows: NDArray[np.intp]) -> Tensor:
        """A scalar with its graph: the mean of the labels' losses by `targets`.

        Each is what `mixture_loss` gives of its block and of the images that have the label. One
        that no image of the batch has counts for nothing, and the others for no more.
        """
        surprise = -torch.log_softmax(self.blocks.stack(output), dim=2)  # (batch, labels, classes)
        spread = (surprise * self.classes).sum(2) * (self.smoothing / self.sizes)
        cost, weight = self._sum_losses(mixture.first, surprise, spread, mixture.share)
        if mixture.first is not mixture.second:
            more = self._sum_losses(mixture.second, surprise, spread, 1 - mixture.share)
            cost, weight = cost + more[0], weight + more[1]
        return (self.targets * cost / weight.clamp(min=1e-12)).sum()

    def _sum_losses(
        self, labels: Tensor, surprise: Tensor, spread: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(labels,) summed losses, and the weights that they are to be divided by."""
        is_labelled, code = labels >= 0, labels.clamp(min=0)
        targets, values = torch.arange(len(self.sizes), device=labels.device), code
        if self.numbers:  # whose codes are of values, of which there may be more than bins
            code = code.clone()
            code[:, [*self.numbers]] = 0
        weight = self.classes[targets, code]  # (batch, labels)
        picked = surprise.gather(2, code[:, :, None])[:, :, 0]
        part = share[:, None] * is_labelled
        cost = (1 - self.smoothing) * weight * picked + spread
        if self.numbers:
            columns = list(cost.unbind(1))
            for t, number in self.numbers.items():
                columns[t] = number(surprise[:, t], values[:, t])
            cost = torch.stack(columns, dim=1)
        return (part * cost).sum(0), (part * weight).sum(0)

    def predict(self, output: Tensor) -> Tensor:
        """(batch, labels) the most probable class of each, of a number the bin of its median."""
        blocks = self.blocks.stack(output)
        best = blocks.argmax(2)
        for t in self.numbers:
            below = torch.softmax(blocks[:, t].float(), dim=1).cumsum(1) < 0.5
            best[:, t] = below.sum(1).clamp(max=self.blocks.sizes[t] - 1)
        return best

    def f1(self, label: NDArray[Any], predictions: NDArray[Any]) -> float:
        """The mean of the labels' weighted F1, each on the images that have the label.

        Of a number, its skill stands in the place of F1.
        """
        is_labelled = label >= 0
        scores = [
            self.numbers[t].skill(label[mask, t], predictions[mask, t])
            if t in self.numbers
            else weighted_f1_of_answers(label[mask, t], predictions[mask, t])
            for t, mask in enumerate(is_labelled.T)
            if mask.any()
        ]
        return float(np.mean(scores)) if scores else float("nan")

    def compute_metrics(self, output: NDArray[np.float32], label: NDArray[Any]) -> SetMetrics:
        """Loss as in training but without smoothing, and mean weighted F1 and accuracy of all.

        Numbers have no accuracy: NaN where there is nothing else.
        """
        logits, labels = torch.from_numpy(output), torch.from_numpy(label.astype(np.int64))
        classes, weights = self.classes.cpu(), self.targets.cpu()
        loss, accuracies = 0.0, []
        for t, (block, size) in enumerate(
            zip(self.blocks.split(logits), self.blocks.sizes, strict=True)
        ):
            mask = labels[:, t] >= 0
            if not mask.any():
                continue
            if t in self.numbers:
                surprise = -torch.log_softmax(block[mask].to(self.targets.device), dim=1)
                code = labels[mask, t].to(self.targets.device)
                loss += weights[t].item() * self.numbers[t](surprise, code).mean().item()
                continue
            label_loss = F.cross_entropy(block[mask], labels[mask, t], weight=classes[t, :size])
            loss += weights[t].item() * label_loss.item()
            accuracies.append(float((block[mask].argmax(1) == labels[mask, t]).double().mean()))
        f1 = self.f1(label, self.predict(logits).numpy())
        return SetMetrics(loss, f1, float(np.mean(accuracies)) if accuracies else float("nan"))

    def cross_entropies(self, output: Tensor, label: Tensor) -> Tensor:
        """(n, labels) losses in nats, nothing weighted or smoothed; NaN where a label is missing.

        Of logits (n, outputs) and codes (n, labels).
        """
        surprise, code = -torch.log_softmax(self.blocks.stack(output), dim=2), label.clamp(min=0)
        columns = [
            self.numbers[t](surprise[:, t], code[:, t])
            if t in self.numbers
            else surprise[:, t].gather(1, code[:, t, None])[:, 0]
            for t in range(len(self.sizes))
        ]
        return torch.stack(columns, dim=1).masked_fill(label < 0, math.nan)

    def base_rates(self) -> Tensor:
        """(outputs,) logits of the classes' shares in train; of a number, its mean soft label."""
        blocks = [
            shares @ self.numbers[t].soft.cpu() if t in self.numbers else shares
            for t, shares in enumerate(self.shares)
        ]
        return torch.cat(blocks).clamp(min=1e-12).log()


AnyLoss = Loss | SeveralLoss


def make_loss(
    task: Task, config: TrainConfig, dro: GroupDRO | None = None, device: torch.device = _CPU
) -> AnyLoss:
    """The loss of a task, of one label or of several."""
    if task.is_several:
        return SeveralLoss(task, config, device)
    return Loss(task, config, dro, device)
