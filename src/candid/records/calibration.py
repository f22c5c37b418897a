"""A model's probabilities and its promise, adapted to one place (`calibrations/NAME.json`).

Undefined figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from candid.records import Estimate
from candid.records.abstention import AbstentionRule
from candid.records.frames import Tabular, html_of, in_short, with_figure
from candid.records.framing import CommonFrame
from candid.records.model import NumberCard


def calibration_path(folder: Path, name: str) -> Path:
    """Where the calibration for a place lies in a run's folder."""
    return folder / "calibrations" / f"{name}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedToPlace(Tabular):
    """What any calibration holds.

    A third of the people (or pictures, where nobody is known) is fitted to; all figures are of the
    others.

    Attributes
    ----------
    name, target, model
        What it is called; the run's label; a digest of the model that it is for.
    data, layout, split, cropped, calibrated
        The pictures: where they lay, how they were read, which of their splits ("": all), whether
        faces were looked for first; and when, in ISO 8601.
    fitted_n, fitted_people, n, people
        Pictures and people behind the fit, and behind the rest; people are None where unknown.
    before, after, differences
        Figures with the run's own model, and with the calibration; some after less before, paired.
    frame
        How most of the pictures there lie against the training pictures; None where nobody looked.
        Pictures are framed from there.
    seed
        Of who had a part in the fit, and of what is drawn.
    notes
        What a reader might not expect.
    """

    FITTED: ClassVar[str]  # the column that says whose figures a row has

    name: str
    target: str
    model: str
    data: str
    layout: str
    split: str
    cropped: bool
    calibrated: str
    fitted_n: int
    fitted_people: int | None
    n: int
    people: int | None
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    differences: dict[str, Estimate] = field(default_factory=dict)
    frame: CommonFrame | None = None
    seed: int = 0
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row for each figure, before and after."""
        return [
            with_figure({self.FITTED: which, "figure": name}, e)
            for which, figures in (("the run's own", self.before), ("calibrated", self.after))
            for name, e in figures.items()
        ]

    def problem(self) -> str:
        """What no calibration can have noted, in words; "" where all is possible."""
        return "" if self.frame is None else self.frame.problem()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceCalibration(FittedToPlace):
    """Probabilities and a promise for one place.

    Figures are log_loss, calibration_error and accuracy, the difference that of log_loss.

    Attributes
    ----------
    classes
        The label's values.
    temperature, bias
        The logarithms of the run's own calibrated probabilities are divided by the one, and the
        other, one number per class, is added; then they are normalised.
    shares
        Of each class among the labels there.
    rule
        When to answer, with its guarantee for pictures of this place; None: no promise.
    sentence
        The promise, or why there is none.
    """

    FITTED = "probabilities"

    classes: tuple[str, ...]
    temperature: float
    bias: tuple[float, ...]
    shares: tuple[Estimate, ...]
    rule: AbstentionRule | None
    sentence: str

    def _repr_html_(self) -> str:
        rows = [in_short(row, self.FITTED, "figure") for row in self.rows()]
        return html_of(rows, f"{self.name}: {self.sentence}")

    def problem(self) -> str:
        """As for any, and of temperature, bias and threshold."""
        if not 1e-9 <= self.temperature <= 1e9:
            return f"the temperature is {self.temperature}"
        if len(self.bias) != len(self.classes) or not all(math.isfinite(b) for b in self.bias):
            return f"the bias is {self.bias} for {len(self.classes)} classes"
        if self.rule is not None and not 0 <= self.rule.threshold <= 1:
            return f"the threshold is {self.rule.threshold}"
        return FittedToPlace.problem(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberCalibration(FittedToPlace):
    """Values and intervals of a number for one place.

    Figures are mae, bias, coverage and width, each interval made on the half of the people that the
    image does not belong to; differences those of mae, within and coverage.

    Attributes
    ----------
    shift
        What is added to every value: the median of true less predicted where it was fitted.
    card
        How outputs become a value and an interval there.
    """

    FITTED = "intervals"

    shift: float
    card: NumberCard

    def _repr_html_(self) -> str:
        rows = [in_short(row, self.FITTED, "figure") for row in self.rows()]
        return html_of(rows, f"{self.name}: {self.target}, shifted by {self.shift:+.3g}")

    def problem(self) -> str:
        """As for any, and of shift and card."""
        if not math.isfinite(self.shift):
            return f"the shift is {self.shift}"
        return FittedToPlace.problem(self) or self.card.problem()
