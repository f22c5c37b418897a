"""The area under the ROC curve of many groups, with its standard error by person, in closed form.

A bootstrap would rank every group anew in every draw. DeLong, DeLong & Clarke-Pearson's (1988)
variance needs one ranking: an image's influence on the area is how its placement among the other
class's images differs from the mean. Summed over a person's images it is right for people with
several images (Obuchowski 1997), and it gives the correlation of two groups' areas as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Floats
from candid.auditing.contrasts import Contrast
from candid.auditing.rows import GroupKey, Rows
from candid.stats.differences import Side
from candid.stats.metrics import macro, roc_auc_influence


@dataclass(frozen=True, eq=False)
class _Area:
    """An area, (units,) how much each unit moves it, units of the smaller class, and images."""

    value: float
    influence: Floats
    fewest: int
    images: int


class Areas:
    """Areas of groups and of what is left without them, each ranked once."""

    def __init__(self, rows: Rows) -> None:
        p, count = rows.predictions, rows.classes
        self.rows = rows
        self.classes = [1] if count == 2 else list(range(count))
        self._positive = [p.label == c for c in self.classes]
        self._rank = [
            np.unique(p.probability[:, c], return_inverse=True)[1].reshape(-1) for c in self.classes
        ]
        self._done: dict[tuple[GroupKey, GroupKey | None], _Area] = {}

    def _of(self, key: GroupKey, less: GroupKey | None = None) -> _Area:
        if (key, less) not in self._done:
            inside = self.rows.mask(key)
            if less is not None:
                inside = inside & ~self.rows.mask(less)
            self._done[key, less] = self._area(inside)
        return self._done[key, less]

    def _area(self, inside: NDArray[np.bool_]) -> _Area:
        drawing = self.rows.drawing
        areas, influences, fewest = [], np.zeros(len(inside)), drawing.units
        for positive, rank in zip(self._positive, self._rank, strict=True):
            sides = positive & inside, ~positive & inside
            area, influence = roc_auc_influence(*sides, rank)
            areas.append(np.asarray(area))
            influences += influence / len(self.classes)
            fewest = min(fewest, *map(drawing.units_in, sides))
        return _Area(
            value=math.nan if self.rows.predictions.hard else float(macro([*areas])),
            influence=np.bincount(drawing.unit, influences, drawing.units).astype(np.float64),
            fewest=fewest,
            images=int(np.count_nonzero(inside)),
        )

    def forget(self) -> None:
        """Let go of what was ranked; influences are long."""
        self._done.clear()

    def contrast(self, sides: list[tuple[GroupKey, GroupKey]]) -> Contrast:
        """Groups against what is left of a larger group: (larger, group) each."""
        left = [self._of(group) for _, group in sides]
        right = [self._of(larger, group) for larger, group in sides]
        pairs = [(a.influence, b.influence) for a, b in zip(left, right, strict=True)]
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = [float(a @ b) / np.sqrt(float(a @ a) * float(b @ b)) for a, b in pairs]
        return Contrast(
            metric="roc_auc",
            left=_side(left),
            right=_side(right),
            correlation=np.clip(np.nan_to_num(correlation, posinf=0, neginf=0), -1, 1),
            images=np.asarray([a.images for a in left], np.int64),
            rest_images=np.asarray([b.images for b in right], np.int64),
            lost=np.zeros(len(sides), np.int64),
            method=f"score interval of differences, {self.method}",
            drawn=False,
        )

    def side(self, key: GroupKey) -> tuple[Side, int]:
        """One area as a side of one, and its images."""
        done = self._of(key)
        return _side([done]), done.images

    @property
    def method(self) -> str:
        """How the standard error was made, in words."""
        return f"DeLong by {'person' if self.rows.drawing.by_person else 'image'}"


def _side(areas: list[_Area]) -> Side:
    value = np.asarray([a.value for a in areas])
    fewest = np.asarray([a.fewest for a in areas], np.int64)
    variance = np.asarray([float(a.influence @ a.influence) for a in areas])
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(fewest > 1, variance * fewest / (fewest - 1), np.nan)
    return Side(value, np.where(np.isnan(value), np.nan, np.sqrt(variance)), fewest)
