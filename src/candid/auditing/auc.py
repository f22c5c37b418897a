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

from candid.arrays import BoolArray, FloatArray
from candid.auditing.contrasts import Contrast
from candid.auditing.rows import GroupKey, Rows
from candid.stats.differences import Side
from candid.stats.metrics import macro_average, roc_auc_influence


@dataclass(frozen=True, eq=False)
class _Area:
    """An area, (units,) how much each unit moves it, units of the smaller class, and images."""

    value: float
    influence: FloatArray
    fewest: int
    images: int


class Areas:
    """Areas of groups and of their rests, each ranked once."""

    def __init__(self, rows: Rows) -> None:
        p, count = rows.predictions, rows.classes
        self.rows = rows
        self.classes = [1] if count == 2 else list(range(count))
        self._positive = [p.label == c for c in self.classes]
        self._rank = [
            np.unique(p.probability[:, c], return_inverse=True)[1].reshape(-1) for c in self.classes
        ]
        self._cache: dict[tuple[GroupKey, GroupKey | None], _Area] = {}

    def _get_area(self, key: GroupKey, less: GroupKey | None = None) -> _Area:
        if (key, less) not in self._cache:
            mask = self.rows.mask(key)
            if less is not None:
                mask = mask & ~self.rows.mask(less)
            self._cache[key, less] = self._compute_area(mask)
        return self._cache[key, less]

    def _compute_area(self, mask: BoolArray) -> _Area:
        resampling = self.rows.resampling
        areas, influences, fewest = [], np.zeros(len(mask)), resampling.units
        for positive, rank in zip(self._positive, self._rank, strict=True):
            sides = positive & mask, ~positive & mask
            area, influence = roc_auc_influence(*sides, rank)
            areas.append(np.asarray(area))
            influences += influence / len(self.classes)
            fewest = min(fewest, *map(resampling.count_units, sides))
        return _Area(
            value=math.nan if self.rows.predictions.hard else float(macro_average([*areas])),
            influence=np.bincount(resampling.unit, influences, resampling.units).astype(np.float64),
            fewest=fewest,
            images=int(np.count_nonzero(mask)),
        )

    def clear_cache(self) -> None:
        """Free the influences, which are long."""
        self._cache.clear()

    def contrast(self, sides: list[tuple[GroupKey, GroupKey]]) -> Contrast:
        """Groups against the rest of a larger group: (larger, group) each."""
        left = [self._get_area(group) for _, group in sides]
        right = [self._get_area(larger, group) for larger, group in sides]
        pairs = [(a.influence, b.influence) for a, b in zip(left, right, strict=True)]
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = [float(a @ b) / np.sqrt(float(a @ a) * float(b @ b)) for a, b in pairs]
        return Contrast(
            metric="roc_auc",
            left=_build_side(left),
            right=_build_side(right),
            correlation=np.clip(np.nan_to_num(correlation, posinf=0, neginf=0), -1, 1),
            images=np.asarray([a.images for a in left], np.int64),
            rest_images=np.asarray([b.images for b in right], np.int64),
            undefined=np.zeros(len(sides), np.int64),
            method=f"score interval of differences, {self.method}",
            from_draws=False,
        )

    def side(self, key: GroupKey) -> tuple[Side, int]:
        """The area of one group, and its images."""
        area = self._get_area(key)
        return _build_side([area]), area.images

    @property
    def method(self) -> str:
        """How the standard error was made, in words."""
        return f"DeLong by {'person' if self.rows.resampling.by_person else 'image'}"


def _build_side(areas: list[_Area]) -> Side:
    value = np.asarray([a.value for a in areas])
    fewest = np.asarray([a.fewest for a in areas], np.int64)
    variance = np.asarray([float(a.influence @ a.influence) for a in areas])
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(fewest > 1, variance * fewest / (fewest - 1), np.nan)
    return Side(value, np.where(np.isnan(value), np.nan, np.sqrt(variance)), fewest)
