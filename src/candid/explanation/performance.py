"""Figures of counted answers, such as weighted F1, under a bootstrap by person.

Figures that depend on the same images, such as F1 before and after a mask, come from the same
draws of people, so that their difference has the interval that it deserves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.records import Estimate
from candid.stats.clusters import draw_counts, student_quantile, sums_by_cluster, wilson

Floats = NDArray[np.float64]


def confusion_cells(label: NDArray[Any], answer: NDArray[Any], classes: int) -> Floats:
    """(n, classes · classes): 1 in the cell of each image's label and answer; 0 without a label."""
    cells = np.zeros((len(label), classes * classes))
    known = np.flatnonzero(label >= 0)
    cells[known, label[known].astype(np.intp) * classes + answer[known]] = 1
    return cells


@dataclass(frozen=True, eq=False)
class People:
    """Draws of people, and who is on which image.

    Attributes
    ----------
    unit
        (n,) the number of the person, 0 to `units` - 1; of the image where nobody is known.
    drawn
        (draws, units) how often each is drawn.
    by_person
        Whether units are people.
    confidence
        Of the intervals.
    """

    unit: NDArray[np.intp]
    drawn: NDArray[np.float32]
    by_person: bool
    confidence: float

    def estimates(
        self,
        statistic: Callable[[Mapping[str, Floats]], Mapping[str, Floats]],
        cells: Mapping[str, Floats],
        behind: NDArray[np.bool_],
    ) -> dict[str, Estimate]:
        """Figures of sums over images, with normal intervals from the draws' standard error.

        Where no draw differs (not one answer changed) the interval is as wide as Wilson's would be
        for none of so many people.

        Parameters
        ----------
        statistic
            From sums (…, k) by name to figures (…) by name.
        cells
            (n, k) by name.
        behind
            (n,) which images count.
        """
        by_unit = {
            name: sums_by_cluster(np.where(behind[:, None], value, 0.0), self.unit)
            for name, value in cells.items()
        }
        value = statistic({name: c.sum(0) for name, c in by_unit.items()})
        drawn = statistic({name: self.drawn @ c for name, c in by_unit.items()})
        people = len(np.unique(self.unit[behind]))
        return {
            name: self._estimate(float(value[name]), drawn[name], int(behind.sum()), people)
            for name in value
        }

    def _estimate(self, value: float, drawn: Floats, n: int, people: int) -> Estimate:
        defined = drawn[~np.isnan(drawn)]
        reach = np.nan
        if people > 1 and len(defined) > 1 and not np.isnan(value):
            spread = float(np.std(defined, ddof=1)) * np.sqrt(people / (people - 1))
            if np.ptp(defined) < 1e-12:
                reach = float(wilson(0, people, self.confidence)[1])
            else:
                reach = float(student_quantile(self.confidence, people - 1)) * spread
        return Estimate(
            value=value,
            low=value - reach,
            high=value + reach,
            n=n,
            method=f"bootstrap by {'person' if self.by_person else 'image'}",
            people=people if self.by_person else None,
            draws=len(drawn),
            undefined_draws=len(drawn) - len(defined),
            confidence=self.confidence,
        )


def people_of(
    n: int, cluster: NDArray[Any] | None, *, draws: int, confidence: float, seed: int
) -> People:
    """Draw the people on n images, or the images where nobody is known."""
    if cluster is None:
        unit = np.arange(n)
    else:
        unit = np.unique(cluster, return_inverse=True)[1].reshape(-1)
    units = int(unit.max()) + 1
    drawn = draw_counts(units, draws, np.random.default_rng(seed))
    return People(unit, drawn, cluster is not None, confidence)
