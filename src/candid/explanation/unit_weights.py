"""How far each unit of the last hidden layer moves the answer.

Logits are linear in what goes into the classifier, so what a unit adds to them is its activation
times its column of weights. A number is the mean of a distribution over bins, which is not linear
in it. There, what a unit adds to one image's number is the exact difference to what the number
would be were the unit alone at its mean over all images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from candid.explanation.hidden import Activity, Layers, RunningMoments
from candid.models.outputs import Outputs

_AT_ONCE = 32  # units, so that memory does not grow with theirs


@dataclass(frozen=True, eq=False)
class UnitWeights:
    """How far each unit moves the answer, and which way.

    Attributes
    ----------
    size
        (units,) standard deviations, over the images, of what each unit adds: to the logits, less
        what it adds to every class alike; or to the number, in the number's own unit.
    raises
        (units,) the share of images in which a unit adds to the number where it lies above its
        mean, and takes from it where it lies below; NaN of classes, and of one that adds nothing.
    """

    size: Tensor
    raises: Tensor


def classifier_weights(
    network: nn.Module, layers: Layers, hidden: RunningMoments, outputs: int
) -> Tensor | None:
    """(outputs, units) weights of the layer that gives the logits, as float64.

    None where the units that are shown do not feed it one by one. Of one label among several of a
    network, those of its own outputs.
    """
    weight = dict(network.named_modules())[layers.classifier].weight
    if not layers.feeds or not isinstance(weight, Tensor):
        return None
    matrix = weight.detach().double().flatten(1)
    if isinstance(network, Outputs):
        matrix = matrix[network.first : network.first + network.count]
    # Of another shape, where one hidden number has several weights.
    return matrix if matrix.shape == (outputs, len(hidden.mean)) else None


def unit_weights(
    matrix: Tensor | None,
    hidden: RunningMoments,
    again: Iterable[Activity],
    centres: Sequence[float] | None,
    temperature: float,
) -> UnitWeights | None:
    """Of `classifier_weights` and the moments of the units; None where there are no weights.

    Of a number, `centres` (bins,) are the values that the bins stand for, and all images come
    `again`; `temperature` divides the logits. None: of classes.
    """
    if matrix is None:
        return None
    if centres is None:
        pull = (matrix - matrix.mean(0)).norm(dim=0)
        size = hidden.sd * pull.to(hidden.sd)
        return UnitWeights(size, torch.full_like(size, torch.nan))
    values = torch.tensor(centres, dtype=torch.float64, device=matrix.device)
    added = RunningMoments()
    raised, moved = torch.zeros(2, matrix.shape[1], dtype=torch.int64, device=matrix.device)
    for seen in again:
        apart = seen.hidden.double() - hidden.mean  # (batch, units)
        each = _added(seen.logits.double() / temperature, apart, matrix / temperature, values)
        added.add(each)
        raised += (each * apart > 0).sum(0)
        moved += (each * apart != 0).sum(0)
    return UnitWeights(added.sd, raised.double() / moved)


def _added(logits: Tensor, apart: Tensor, matrix: Tensor, values: Tensor) -> Tensor:
    """(batch, units): how much larger the mean of each distribution is than with a unit `apart` 0.

    Of logits (batch, bins), what lies between each unit and its mean (batch, units), and weights
    (bins, units).
    """
    mean = (logits.softmax(1) * values).sum(1, keepdim=True)
    parts = []
    for start in range(0, apart.shape[1], _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        # (batch, some units, bins)
        without = logits[:, None] - apart[:, some, None] * matrix.T[some]
        parts.append(mean - (without.softmax(2) * values).sum(2))
    return torch.cat(parts, 1)
