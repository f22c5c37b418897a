"""The images on which maps are checked, part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from candid.arrays import FloatArray
from candid.explanation.layers import WHOLE
from candid.records import Estimate
from candid.stats.associations import rank_correlations
from candid.stats.intervals import mean
from candid.stats.sequential import Looks, looks_at

Maps = Mapping[str, NDArray[np.float32]]  # (n, side, side) by method
Parts = dict[str, Estimate]

_MIN_IMAGES = 8  # images before the first look


@dataclass(frozen=True, eq=False)
class Probe:
    """The images on which maps are checked."""

    images: Tensor  # (n, 3, side, side), normalised
    explained: Tensor  # (n,) the class that each map explains
    maps: Maps
    person: NDArray[Any] | None  # (n,) None: every image stands for itself
    confidence: float
    window: tuple[float, ...] = WHOLE  # what the network sees of an image

    def part(self, start: int, stop: int) -> Probe:
        """The probe for images `start` to `stop`."""
        rows = slice(start, stop)
        return replace(
            self,
            images=self.images[rows],
            explained=self.explained[rows],
            maps={name: maps[rows] for name, maps in self.maps.items()},
            person=None if self.person is None else self.person[rows],
        )

    @property
    def looks(self) -> Looks:
        """The numbers of images after which there is a look."""
        return looks_at(len(self.images), self.confidence, fewest=_MIN_IMAGES)

    def mean(self, values: NDArray[Any]) -> Estimate:
        """The mean over the images, with its interval by person."""
        return mean(values, self.person, confidence=self.confidence)

    def correlations(self, name: str, others: NDArray[Any]) -> FloatArray:
        """(n,) rank correlations of where a method's maps look and where others do."""
        maps = self.maps[name]
        return rank_correlations(np.abs(self.cropped(maps)), np.abs(self.cropped(others)))

    def cropped(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Maps (n, side, side) cropped to the window, as zeros outside would correlate."""
        left, top, right, bottom = (round(edge * maps.shape[-1]) for edge in self.window)
        return maps[:, top:bottom, left:right]

    def until(
        self,
        values: Callable[[int, Probe], Mapping[str, FloatArray]],
        is_enough: Callable[[Parts, int], bool],
    ) -> Parts:
        """Means over as many images as needed, with the intervals of the last look.

        `values` computes those of a look's images, by its number; `is_enough` decides on the means
        after it.
        """
        looks, starts, values_by_look = self.looks, [0, *self.looks.sizes], []
        for look, size in enumerate(looks.sizes):
            values_by_look.append(values(look, self.part(starts[look], size)))
            person = None if self.person is None else self.person[:size]
            figures = {
                name: mean(
                    np.concatenate([part[name] for part in values_by_look]),
                    person,
                    confidence=looks.level(look),
                )
                for name in values_by_look[0]
            }
            if is_enough(figures, look):
                break
        return figures
