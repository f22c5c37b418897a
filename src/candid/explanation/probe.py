"""The images on which maps are checked, a part of them after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from candid.arrays import Floats
from candid.explanation.layers import WHOLE
from candid.records import Estimate
from candid.stats.associations import rank_correlations
from candid.stats.intervals import mean
from candid.stats.sequential import Looks, looks_at

Maps = Mapping[str, NDArray[np.float32]]  # (n, side, side) by method
Parts = dict[str, Estimate]

_FEWEST = 8  # images before the first look


@dataclass(frozen=True, eq=False)
class Probe:
    """The images on which maps are checked."""

    images: Tensor  # (n, 3, side, side), normalised
    explained: Tensor  # (n,) the class that each map speaks for
    maps: Maps  # what is checked
    person: NDArray[Any] | None  # (n,) None: every image stands for itself
    confidence: float
    window: tuple[float, ...] = WHOLE  # what the network sees of an image

    def part(self, start: int, stop: int) -> Probe:
        """The same for some of the images, from one to before another."""
        some = slice(start, stop)
        return replace(
            self,
            images=self.images[some],
            explained=self.explained[some],
            maps={name: maps[some] for name, maps in self.maps.items()},
            person=None if self.person is None else self.person[some],
        )

    @property
    def looks(self) -> Looks:
        """After how many images there is a look."""
        return looks_at(len(self.images), self.confidence, fewest=_FEWEST)

    def mean(self, values: NDArray[Any]) -> Estimate:
        """The mean over the images, with its interval by person."""
        return mean(values, self.person, confidence=self.confidence)

    def alike(self, name: str, others: NDArray[Any]) -> Floats:
        """(n,) rank correlations of where a method's maps look and where others do."""
        return rank_correlations(np.abs(self.seen(self.maps[name])), np.abs(self.seen(others)))

    def seen(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Maps (n, side, side) of the window: what is nothing in all maps would make them alike."""
        left, top, right, bottom = (round(edge * maps.shape[-1]) for edge in self.window)
        return maps[:, top:bottom, left:right]

    def until(
        self,
        values: Callable[[int, Probe], Mapping[str, Floats]],
        enough: Callable[[Parts, int], bool],
    ) -> Parts:
        """Means over as many images as it takes, with the intervals of the last look.

        `values` are those of the images of a look, by its number; `enough` says of the means after
        it whether they decide.
        """
        looks, parts, seen = self.looks, [0, *self.looks.sizes], []
        for look, size in enumerate(looks.sizes):
            seen.append(values(look, self.part(parts[look], size)))
            person = None if self.person is None else self.person[:size]
            figures = {
                name: mean(
                    np.concatenate([some[name] for some in seen]),
                    person,
                    confidence=looks.level(look),
                )
                for name in seen[0]
            }
            if enough(figures, look):
                break
        return figures
