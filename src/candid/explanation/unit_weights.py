"""How far each unit of the last hidden layer moves the answer.

Logits are linear in the classifier's input, so a unit adds its activation times its column of
weights. A number is the mean of a distribution over bins, which is not linear. There, a unit adds
the difference to the number with the unit at its mean over all images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from candid.explanation.hidden import Activity, Layers, RunningMoments
from candid.models.outputs import Outputs

_BATCH = 32  # units, so that memory does not grow with theirs


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
    """(outputs, units) weights of the classifier, as float64.

    None where the units are not its inputs. For one label among several, those of its outputs.
    """
    weight = dict(network.named_modules())[layers.classifier].weight
    if not layers.feeds or not isinstance(weight, Tensor):
        return None
    matrix = weight.detach().double().flatten(1)
    if isinstance(network, Outputs):
        matrix = matrix[network.first : network.first + network.count]
    # The shape differs where a hidden unit has several weights.
    return matrix if matrix.shape == (outputs, len(hidden.mean)) else None


def unit_weights(
    matrix: Tensor | None,
    hidden: RunningMoments,
    activities: Iterable[Activity],
    centres: Sequence[float] | None,
    temperature: float,
) -> UnitWeights | None:
    """From `classifier_weights` and the moments of the units; None where there are no weights.

    For a number, `centres` (bins,) are the bins' values, and `activities` those of a second pass
    over all images; `temperature` divides the logits. None: for classes.
    """
    if matrix is None:
        return None
    if centres is None:
        norms = (matrix - matrix.mean(0)).norm(dim=0)
        size = hidden.sd * norms.to(hidden.sd)
        return UnitWeights(size, torch.full_like(size, torch.nan))
    values = torch.tensor(centres, dtype=torch.float64, device=matrix.device)
    moments = RunningMoments()
    n_raised, n_moved = torch.zeros(2, matrix.shape[1], dtype=torch.int64, device=matrix.device)
    for activity in activities:
        deviation = activity.hidden.double() - hidden.mean  # (batch, units)
        logits = activity.logits.double() / temperature
        added = _contributions(logits, deviation, matrix / temperature, values)
        moments.add(added)
        n_raised += (added * deviation > 0).sum(0)
        n_moved += (added * deviation != 0).sum(0)
    return UnitWeights(moments.sd, n_raised.double() / n_moved)


def _contributions(logits: Tensor, deviation: Tensor, matrix: Tensor, values: Tensor) -> Tensor:
    """(batch, units): the change of each distribution's mean by a unit's deviation.

    From logits (batch, bins), the units' deviations from their means (batch, units), and weights
    (bins, units).
    """
    mean = (logits.softmax(1) * values).sum(1, keepdim=True)
    contributions = []
    for start in range(0, deviation.shape[1], _BATCH):
        units = slice(start, start + _BATCH)
        # (batch, some units, bins)
        without = logits[:, None] - deviation[:, units, None] * matrix.T[units]
        contributions.append(mean - (without.softmax(2) * values).sum(2))
    return torch.cat(contributions, 1)
