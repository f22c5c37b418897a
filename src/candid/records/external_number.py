"""How a model of a number does on pictures from elsewhere (`transfer.json` of such a label).

Undefined figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from candid.records import Estimate
from candid.records.external import AskedPictures, rows_by_source
from candid.records.frames import Tabular, html_of, in_short
from candid.records.number import NumberSplit


@dataclass(frozen=True, slots=True)
class NumberFigures:
    """How well a number is predicted on the pictures of one place.

    Attributes
    ----------
    evaluation
        As for a split of the run's own data.
    flagged
        The share that was flagged as unlike the training data; undefined where nobody looked.
    flagged_mae, unflagged_mae
        The mean absolute error of those and of the others.
    """

    evaluation: NumberSplit
    flagged: Estimate
    flagged_mae: Estimate
    unflagged_mae: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberSource(AskedPictures):
    """One data set that a model of a number was tried on.

    `figures` are of all pictures that could be read and, where faces were looked for, have one.
    """

    figures: NumberFigures


@dataclass(frozen=True, slots=True)
class NumberTransfer(Tabular):
    """How a model of a number does on data sets from elsewhere, beside its own test pictures.

    Attributes
    ----------
    target, coverage, tolerance
        The label; the share of true values that its intervals are made to hold; how far off a
        prediction may be to count as near.
    model
        A digest of the model that all of it is about.
    home
        On the run's own test pictures, from its predictions; None where it has none. Whether they
        are unlike the training data was not looked at.
    sources
        The data sets, in the order in which they came.
    """

    target: str
    coverage: float
    tolerance: float
    model: str
    home: NumberFigures | None
    sources: tuple[NumberSource, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row per figure of every source, and of the run's own test pictures ("home")."""
        return rows_by_source(self.home, self.sources, ("flagged", "flagged_mae", "unflagged_mae"))

    def _repr_html_(self) -> str:
        names = ("mae", "rmse", "r2", "within", "coverage", "flagged", "mae less home")
        rows = [in_short(row, "source", "figure") for row in self.rows() if row["figure"] in names]
        return html_of(rows, self.target)
