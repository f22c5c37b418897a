"""Deletion and insertion curves: the answer as pixels are removed or inserted in a map's order.

The curves of Petsiuk, Das & Saenko 2018, in cells, compared with orders that do not depend on the
network. They plot a class's probability, or a number, which must fall sooner if pixels that raise
it are removed first. For a map without signs they plot the number's distance from that of the whole
image, which must grow sooner.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from candid.arrays import FloatArray
from candid.explanation.attribution import METHODS, Attributor, image_generator
from candid.explanation.masking import gaussian_blur
from candid.explanation.probe import Parts, Probe
from candid.stats.sequential import is_settled

MaskingCurve = Literal["DELETION", "INSERTION"]
Plotted = Literal["probability", "number", "distance"]

_CELLS = 16  # the curves remove cells of 1/16 of the side: single pixels act as noise


class Curves:
    """Areas under the curves, of the images of each look.

    The curves' ends and baselines are computed once for all methods.
    """

    def __init__(self, attributor: Attributor, probe: Probe) -> None:
        self.attributor, self.probe = attributor, probe
        self.baselines = _baseline_orders(probe.images, attributor.config.seed)
        self._bounds = [0, *probe.looks.sizes]
        self._ends: dict[int, tuple[dict[str, Tensor], dict[str, FloatArray]]] = {}
        self._curves: dict[tuple[MaskingCurve, str, int], FloatArray] = {}

    def plotted(self, name: str) -> Plotted:
        """The quantity that the curves of a method's maps plot."""
        if not self.attributor.scorer.number:
            return "probability"
        return "number" if METHODS[name].signed else "distance"

    def gains(self, kind: MaskingCurve, name: str) -> Parts:
        """By baseline: the difference in area between a method's order and the baseline's."""
        looks, is_distance = self.probe.looks, self.plotted(name) == "distance"
        should_fall = (kind == "DELETION") is not is_distance  # as far as possible, and soon

        def area(look: int, part: Probe, curve: FloatArray) -> FloatArray:
            if is_distance:
                curve = np.abs(curve - self._ends_at(look, part)[1]["whole"])
            return area_under(curve)

        def values(look: int, part: Probe) -> dict[str, FloatArray]:
            curve = self._curve(kind, look, part, torch.from_numpy(part.maps[name]))
            own = area(look, part, curve)
            rows = slice(self._bounds[look], self._bounds[look + 1])
            gains = {}
            for baseline, order in self.baselines.items():
                key = (kind, baseline, look)
                if key not in self._curves:
                    self._curves[key] = self._curve(kind, look, part, order[rows])
                other = area(look, part, self._curves[key])
                gains[baseline] = other - own if should_fall else own - other
            return gains

        return self.probe.until(values, lambda means, look: is_settled(means.values(), looks, look))

    def _curve(self, kind: MaskingCurve, look: int, part: Probe, order: Tensor) -> FloatArray:
        pictures, values = self._ends_at(look, part)
        ends = ("whole", "nothing") if kind == "DELETION" else ("smooth", "whole")
        first, last = (pictures[end] for end in ends)
        end_values = (values[ends[0]], values[ends[1]])
        return compute_curve(self.attributor, part, rank_cells(order), first, last, end_values)

    def _ends_at(self, look: int, part: Probe) -> tuple[dict[str, Tensor], dict[str, FloatArray]]:
        """The images at the curves' ends, and the answers there."""
        if look not in self._ends:
            pictures = {
                "whole": part.images,
                "nothing": torch.zeros_like(part.images),
                # Blurred, not grey: the outline of inserted cells should not matter.
                "smooth": gaussian_blur(part.images, part.images.shape[-1] / 8),
            }
            answers = {e: _answers(self.attributor, part, p[None])[0] for e, p in pictures.items()}
            self._ends[look] = (pictures, answers)
        return self._ends[look]


def _baseline_orders(images: Tensor, seed: int) -> dict[str, Tensor]:
    """Orders that do not depend on the network: random, by edges, from the centre outwards."""
    n, _, height, width = images.shape
    y = (torch.arange(height) - (height - 1) / 2)[:, None]
    x = (torch.arange(width) - (width - 1) / 2)[None, :]
    random = [
        torch.rand(height, width, generator=image_generator(image, seed + 7)) for image in images
    ]
    centre = -((y / height) ** 2 + (x / width) ** 2)
    return {
        "random": torch.stack(random),
        "edges": edge_strength(images),
        "centre": centre.expand(n, -1, -1),
    }


def edge_strength(images: Tensor) -> Tensor:
    """(n, height, width): the gradient magnitude of the brightness (Sobel operator)."""
    kernel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    kernels = torch.stack([kernel, kernel.T])[:, None].to(images.device)
    grey = F.pad(images.float().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    strength: Tensor = torch.linalg.vector_norm(F.conv2d(grey, kernels), dim=1)
    return strength


def rank_cells(maps: Tensor) -> Tensor:
    """(n, cells, cells): 0 for the cell with the highest mean, then 1, and so on."""
    cells = min(_CELLS, maps.shape[-1])
    mean_of_cells = F.adaptive_avg_pool2d(maps.float()[:, None], cells)[:, 0]
    order = mean_of_cells.flatten(1).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1).reshape(mean_of_cells.shape)


def compute_curve(
    attributor: Attributor,
    probe: Probe,
    rank: Tensor,
    start: Tensor,
    end: Tensor,
    ends: tuple[FloatArray, FloatArray] | None = None,
) -> FloatArray:
    """(steps + 1, n) probabilities of the explained class, or numbers, as `start` becomes `end`.

    `ends` are those (n,) of `start` and `end`, if already computed.
    """
    cells, steps = rank[0].numel(), attributor.config.curve_steps
    shape = probe.images.shape[-2:]
    inner_steps = range(1, steps) if ends else range(steps + 1)
    per_pass = max(1, attributor.scorer.batch_size // len(rank))  # steps of the curve
    heights: list[FloatArray] = []
    for batch in (inner_steps[i : i + per_pass] for i in range(0, len(inner_steps), per_pass)):
        changed = torch.stack([(rank < round(cells * step / steps)).float() for step in batch])
        mask = F.interpolate(changed, shape, mode="nearest")[:, :, None]
        heights += [*_answers(attributor, probe, start + (end - start) * mask)]
    return np.stack([ends[0], *heights, ends[1]] if ends else heights)


def area_under(curve: FloatArray) -> FloatArray:
    """(n,) area under a curve (steps + 1, n): its mean height on the way."""
    return np.asarray((curve[1:] + curve[:-1]).mean(0) / 2, np.float64)


def _answers(attributor: Attributor, probe: Probe, images: Tensor) -> FloatArray:
    """(g, n) probabilities of the explained classes of (g, n, 3, H, W) copies, or numbers."""
    explained = probe.explained.repeat(len(images))
    answers = attributor.scorer.all_heights(images.flatten(0, 1), explained).double().cpu().numpy()
    return np.asarray(answers.reshape(len(images), -1), np.float64)
