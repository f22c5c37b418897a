"""A model's probabilities and its promise, adapted to one place (`calibrations/NAME.json`).

Undefined figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candid.records import Estimate
from candid.records.abstention import AbstentionRule
from candid.records.frames import Tabular, html_of, in_short, with_figure
from candid.records.framing import CommonFrame
from candid.records.model import NumberCard


def calibration_path(folder: Path, name: str) -> Path:
    """Where the calibration for a place lies in a run's folder."""
    return folder / "calibrations" / f"{name}.json"


@dataclass(frozen=True, slots=True)
class PlaceCalibration(Tabular):
    """What was fitted on labelled pictures of one place, and what it does there.

    Two thirds of the people (or pictures, where nobody knows who is who) had no part in the fit:
    the threshold was found on them, and all figures are theirs.

    Attributes
    ----------
    name, target, classes, model
        What it is called; the run's label and its values; a digest of the model that it is for.
    data, layout, split, cropped, calibrated
        The pictures: where they lay, how they were read, which of their splits ("": all), whether
        faces were looked for first; and when, in ISO 8601.
    temperature, bias
        The logarithms of the run's own calibrated probabilities are divided by the one, and the
        other, one number per class, is added; then they are normalised.
    shares
        Of each class among the labels there.
    fitted_n, fitted_people, n, people
        Pictures and people behind the fit, and behind the rest; people are None where unknown.
    before, after
        log_loss, calibration_error and accuracy with the run's own probabilities, and with these.
    differences
        log_loss after less before, paired.
    rule
        When to answer, with its guarantee for pictures of this place; None: no promise.
    sentence
        The promise, or why there is none.
    frame
        How most of the pictures there lie against the training pictures; None where nobody looked.
        Pictures are framed from there.
    seed
        Of who had a part in the fit, and of the one picture of each person.
    notes
        What a reader might not expect.
    """

    name: str
    target: str
    classes: tuple[str, ...]
    model: str
    data: str
    layout: str
    split: str
    cropped: bool
    calibrated: str
    temperature: float
    bias: tuple[float, ...]
    shares: tuple[Estimate, ...]
    fitted_n: int
    fitted_people: int | None
    n: int
    people: int | None
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    rule: AbstentionRule | None
    sentence: str
    frame: CommonFrame | None = None
    seed: int = 0
    differences: dict[str, Estimate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row for each figure, before and after."""
        return [
            with_figure({"probabilities": which, "figure": name}, e)
            for which, figures in (("the run's own", self.before), ("calibrated", self.after))
            for name, e in figures.items()
        ]

    def _repr_html_(self) -> str:
        rows = [in_short(row, "probabilities", "figure") for row in self.rows()]
        return html_of(rows, f"{self.name}: {self.sentence}")

    def problem(self) -> str:
        """What no calibration can have noted, in words; "" where all is possible."""
        if not 1e-9 <= self.temperature <= 1e9:
            return f"the temperature is {self.temperature}"
        if len(self.bias) != len(self.classes) or not all(math.isfinite(b) for b in self.bias):
            return f"the bias is {self.bias} for {len(self.classes)} classes"
        if self.frame is not None and self.frame.problem():
            return self.frame.problem()
        if self.rule is not None and not 0 <= self.rule.threshold <= 1:
            return f"the threshold is {self.rule.threshold}"
        return ""


@dataclass(frozen=True, slots=True)
class NumberCalibration(Tabular):
    """What was fitted for a number on labelled pictures of one place, and what it does there.

    Attributes
    ----------
    name, target, model, data, layout, split, cropped, calibrated, frame, seed, notes
        As in `PlaceCalibration`.
    shift
        What is added to every value: the median of true less predicted over a third of the people.
    card
        How outputs become a value and an interval there: the shift, and the reach of the intervals
        from the others.
    fitted_n, fitted_people, n, people
        Images and people behind the shift, and behind the rest; people are None where unknown.
    before, after
        mae, bias, coverage and width of the rest with the run's own card, and with that of a place:
        each image's interval is made on the half of the people that it does not belong to.
    differences
        mae, within and coverage after less before, paired.
    """

    name: str
    target: str
    model: str
    data: str
    layout: str
    split: str
    cropped: bool
    calibrated: str
    shift: float
    card: NumberCard
    fitted_n: int
    fitted_people: int | None
    n: int
    people: int | None
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    frame: CommonFrame | None = None
    seed: int = 0
    differences: dict[str, Estimate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row for each figure, before and after."""
        return [
            with_figure({"intervals": which, "figure": name}, e)
            for which, figures in (("the run's own", self.before), ("calibrated", self.after))
            for name, e in figures.items()
        ]

    def _repr_html_(self) -> str:
        rows = [in_short(row, "intervals", "figure") for row in self.rows()]
        return html_of(rows, f"{self.name}: {self.target}, shifted by {self.shift:+.3g}")

    def problem(self) -> str:
        """What no calibration can have noted, in words; "" where all is possible."""
        if not math.isfinite(self.shift):
            return f"the shift is {self.shift}"
        frame = "" if self.frame is None else self.frame.problem()
        return frame or self.card.problem()
