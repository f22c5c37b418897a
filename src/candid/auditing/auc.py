"""The area under the ROC curve of many groups, with its standard error by person, in closed form.

A bootstrap would rank every group anew in every draw. DeLong, DeLong & Clarke-Pearson's (1988)
variance needs one ranking: an image's influence on the area is how its placement among the other
class's images differs from the mean. Summed over a person's images it is right for people with
several pictures (Obuchowski 1997), and it gives the correlation of two groups' areas as well.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from candid.auditing.gaps import Contrast
from candid.auditing.rows import Key, Rows
from candid.stats.metrics import macro
from candid.stats.significance import Side

Floats = NDArray[np.float64]


def roc_auc_influence(
    positive: NDArray[np.bool_], score: Floats, inside: NDArray[np.bool_] | None = None
) -> tuple[float, Floats]:
    """The area, and how much each image moves it.

    Parameters
    ----------
    positive
        (n,) whether the image bears the class.
    score
        (n,) the higher, the more the model thinks so.
    inside
        (n,) only these images count; None: all.

    Returns
    -------
    area
        NaN without a positive or a negative.
    influence
        (n,) 0 for images outside; they sum to 0, and the sum of their squares (over images, or of
        the sums over each person's images) is the area's variance.
    """
    inside = np.ones(len(score), np.bool_) if inside is None else inside
    rank = np.unique(score, return_inverse=True)[1].reshape(-1)
    return _influence(positive & inside, ~positive & inside, rank)


def _influence(
    above: NDArray[np.bool_], below: NDArray[np.bool_], rank: NDArray[np.intp]
) -> tuple[float, Floats]:
    influence = np.zeros(len(rank))
    m, n = int(above.sum()), int(below.sum())
    if not m or not n:
        return math.nan, influence
    top = int(rank.max()) + 1
    positives = np.bincount(rank[above], minlength=top)
    negatives = np.bincount(rank[below], minlength=top)
    beaten = (np.cumsum(negatives) - negatives / 2) / n  # by a positive at each rank; ties half
    beating = 1 - (np.cumsum(positives) - positives / 2) / m
    area = float(positives @ beaten) / m
    influence[above] = (beaten[rank[above]] - area) / m
    influence[below] = (beating[rank[below]] - area) / n
    return area, influence


class Areas:
    """Areas of groups and of what is left without them, each ranked once."""

    def __init__(self, rows: Rows) -> None:
        p, count = rows.predictions, rows.classes
        self.rows = rows
        self.classes = [1] if count == 2 else list(range(count))
        self._hard = p.hard
        self._positive = [p.label == c for c in self.classes]
        self._rank = [np.unique(p.probability[:, c], return_inverse=True)[1] for c in self.classes]
        self._done: dict[tuple[Key, Key | None], tuple[float, Floats, int, int]] = {}

    def of(self, key: Key, less: Key | None = None) -> tuple[float, Floats, int, int]:
        """Area, influence per unit, units of the smaller class, images."""
        if (key, less) not in self._done:
            inside = self.rows.mask(key)
            if less is not None:
                inside = inside & ~self.rows.mask(less)
            self._done[key, less] = self._area(inside)
        return self._done[key, less]

    def _area(self, inside: NDArray[np.bool_]) -> tuple[float, Floats, int, int]:
        unit, units = self.rows.drawing.unit, self.rows.drawing.units
        areas, influences, fewest = [], np.zeros(len(unit)), units
        for positive, rank in zip(self._positive, self._rank, strict=True):
            above, below = positive & inside, ~positive & inside
            area, influence = _influence(above, below, rank.reshape(-1))
            areas.append(np.asarray(area))
            influences += influence / len(self.classes)
            for marks in (above, below):
                fewest = min(fewest, len(np.unique(unit[marks])))
        area = float(areas[0]) if len(areas) == 1 else float(macro(areas))
        area = math.nan if self._hard else area
        return (
            area,
            np.bincount(unit, influences, minlength=units).astype(np.float64),
            fewest,
            int(np.count_nonzero(inside)),
        )

    def forget(self) -> None:
        """Let go of what was ranked; influences are long."""
        self._done.clear()

    def contrast(self, sides: list[tuple[Key, Key]]) -> Contrast:
        """Groups against what is left of a larger group: (larger, group) each."""
        left = [self.of(group) for _, group in sides]
        right = [self.of(larger, group) for larger, group in sides]
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = np.nan_to_num(
                [
                    float(a[1] @ b[1]) / np.sqrt(float(a[1] @ a[1]) * float(b[1] @ b[1]))
                    for a, b in zip(left, right, strict=True)
                ],
                posinf=0,
                neginf=0,
            )
        return Contrast(
            metric="roc_auc",
            left=self._side(left),
            right=self._side(right),
            correlation=np.clip(correlation, -1, 1),
            images=np.asarray([a[3] for a in left], np.int64),
            rest_images=np.asarray([b[3] for b in right], np.int64),
            lost=np.zeros(len(sides), np.int64),
            method=f"score interval of differences, {self.method}",
            drawn=False,
        )

    def side(self, key: Key, less: Key | None = None) -> tuple[Side, int]:
        """One area as a side of one, and its images."""
        done = self.of(key, less)
        return self._side([done]), done[3]

    @property
    def method(self) -> str:
        """How the standard error was made, in words."""
        return f"DeLong by {'person' if self.rows.drawing.by_person else 'image'}"

    def _side(self, areas: list[tuple[float, Floats, int, int]]) -> Side:
        value = np.asarray([a[0] for a in areas])
        fewest = np.asarray([a[2] for a in areas], np.int64)
        variance = np.asarray([float(a[1] @ a[1]) for a in areas])
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.where(fewest > 1, variance * fewest / (fewest - 1), np.nan)
        spread = np.where(np.isnan(value), np.nan, np.sqrt(variance))
        return Side(value, spread, fewest)
