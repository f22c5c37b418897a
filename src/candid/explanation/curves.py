"""Deletion and insertion: how soon the answer falls or rises as pixels go or come in some order.

The curves of Petsiuk, Das & Saenko 2018, in cells, each held against orders that know nothing of
the network. Of a class they plot its probability, of a number the number itself, which must fall
sooner as that goes first which is said to raise it. A map without a sign does not say which way: of
it, the distance of the number from that of the whole picture is plotted, which must grow sooner.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from candid.arrays import Floats
from candid.explanation.attribution import METHODS, Attributor, generator_of
from candid.explanation.masking import blurred
from candid.explanation.probe import Parts, Probe
from candid.stats.sequential import is_settled

MaskingCurve = Literal["DELETION", "INSERTION"]
Plotted = Literal["probability", "number", "distance"]

_CELLS = 16  # the curves remove cells of 1/16 of the side: single pixels act as noise


class Curves:
    """Areas under the curves of orders of pixels, of the images of each look.

    What curves have in common, their ends and the baselines, is made once for all methods.
    """

    def __init__(self, by: Attributor, probe: Probe) -> None:
        self.by, self.probe = by, probe
        self.baselines = _baselines(probe.images, by.config.seed)
        self._bounds = [0, *probe.looks.sizes]
        self._ends: dict[int, tuple[dict[str, Tensor], dict[str, Floats]]] = {}
        self._curves: dict[tuple[MaskingCurve, str, int], Floats] = {}

    def plotted(self, name: str) -> Plotted:
        """What the curves of a method's maps plot."""
        if not self.by.scorer.number:
            return "probability"
        return "number" if METHODS[name].signed else "distance"

    def gains(self, kind: MaskingCurve, name: str) -> Parts:
        """By baseline: how much sooner the answer falls (rises) in the order of a method's maps."""
        looks, is_distance = self.probe.looks, self.plotted(name) == "distance"
        falls = (kind == "DELETION") is not is_distance  # as far as possible, and soon

        def area(look: int, some: Probe, curve: Floats) -> Floats:
            if is_distance:
                curve = np.abs(curve - self._ends_of(look, some)[1]["whole"])
            return area_of(curve)

        def values(look: int, some: Probe) -> dict[str, Floats]:
            own = area(look, some, self._curve(kind, look, some, torch.from_numpy(some.maps[name])))
            rows = slice(self._bounds[look], self._bounds[look + 1])
            gained = {}
            for baseline, order in self.baselines.items():
                key = (kind, baseline, look)
                if key not in self._curves:
                    self._curves[key] = self._curve(kind, look, some, order[rows])
                other = area(look, some, self._curves[key])
                gained[baseline] = other - own if falls else own - other
            return gained

        return self.probe.until(values, lambda found, look: is_settled(found.values(), looks, look))

    def _curve(self, kind: MaskingCurve, look: int, some: Probe, order: Tensor) -> Floats:
        pictures, heights = self._ends_of(look, some)
        ends = ("whole", "nothing") if kind == "DELETION" else ("smooth", "whole")
        first, last = (pictures[end] for end in ends)
        known = (heights[ends[0]], heights[ends[1]])
        return curve_of(self.by, some, cell_ranks(order), first, last, known)

    def _ends_of(self, look: int, some: Probe) -> tuple[dict[str, Tensor], dict[str, Floats]]:
        """What curves begin and end with, and the probabilities there."""
        if look not in self._ends:
            pictures = {
                "whole": some.images,
                "nothing": torch.zeros_like(some.images),
                # A blurred picture, not a grey one: what is inserted should not be told by its
                # outline.
                "smooth": blurred(some.images, some.images.shape[-1] / 8),
            }
            heights = {end: _heights(self.by, some, p[None])[0] for end, p in pictures.items()}
            self._ends[look] = (pictures, heights)
        return self._ends[look]


def _baselines(images: Tensor, seed: int) -> dict[str, Tensor]:
    """Orders that know nothing of the network: at random, by edges, from the centre outwards."""
    n, _, height, width = images.shape
    y = (torch.arange(height) - (height - 1) / 2)[:, None]
    x = (torch.arange(width) - (width - 1) / 2)[None, :]
    chance = [
        torch.rand(height, width, generator=generator_of(image, seed + 7)) for image in images
    ]
    centre = -((y / height) ** 2 + (x / width) ** 2)
    return {
        "random": torch.stack(chance),
        "edges": edges(images),
        "centre": centre.expand(n, -1, -1),
    }


def edges(images: Tensor) -> Tensor:
    """(n, height, width): how steep the brightness is at each pixel (Sobel's operator)."""
    across = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    kernels = torch.stack([across, across.T])[:, None].to(images.device)
    grey = F.pad(images.float().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    steep: Tensor = torch.linalg.vector_norm(F.conv2d(grey, kernels), dim=1)
    return steep


def cell_ranks(maps: Tensor) -> Tensor:
    """(n, cells, cells): 0 for the cell with the highest mean, then 1, and so on."""
    cells = min(_CELLS, maps.shape[-1])
    mean_of_cells = F.adaptive_avg_pool2d(maps.float()[:, None], cells)[:, 0]
    order = mean_of_cells.flatten(1).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1).reshape(mean_of_cells.shape)


def curve_of(
    by: Attributor,
    probe: Probe,
    rank: Tensor,
    start: Tensor,
    end: Tensor,
    ends: tuple[Floats, Floats] | None = None,
) -> Floats:
    """(steps + 1, n) probabilities of the explained class, or numbers, as `start` becomes `end`.

    `ends` are (n,) those of `start` and `end` themselves, where they are known.
    """
    cells, steps = rank[0].numel(), by.config.curve_steps
    shape = probe.images.shape[-2:]
    unknown_steps = range(1, steps) if ends else range(steps + 1)
    per_pass = max(1, by.scorer.batch_size // len(rank))  # steps of the curve
    found: list[Floats] = []
    for some in (unknown_steps[i : i + per_pass] for i in range(0, len(unknown_steps), per_pass)):
        changed = torch.stack([(rank < round(cells * step / steps)).float() for step in some])
        mask = F.interpolate(changed, shape, mode="nearest")[:, :, None]
        found += [*_heights(by, probe, start + (end - start) * mask)]
    return np.stack([ends[0], *found, ends[1]] if ends else found)


def area_of(curve: Floats) -> Floats:
    """(n,) area under a curve (steps + 1, n): its mean height on the way."""
    return np.asarray((curve[1:] + curve[:-1]).mean(0) / 2, np.float64)


def _heights(by: Attributor, probe: Probe, images: Tensor) -> Floats:
    """(g, n) probabilities of the explained classes of (g, n, 3, H, W) copies, or numbers."""
    explained = probe.explained.repeat(len(images))
    heights = by.scorer.all_heights(images.flatten(0, 1), explained).double().cpu().numpy()
    return np.asarray(heights.reshape(len(images), -1), np.float64)
