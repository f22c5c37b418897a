"""The explanation of a network that predicts a number, and how far masking regions moves it.

The number is the mean of the network's distribution, in the label's own unit. Ranges of the true
value replace classes, near and far off replace right and wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.arrays import FloatArray
from candid.explanation.averages import example_rows
from candid.explanation.masking import MaskingResult
from candid.explanation.sample import ImageSet, Sample, SetNames, make_image_sets
from candid.records import Estimate
from candid.records.explanation import (
    ExplainedImage,
    Explanation,
    NumberExplained,
    NumberMasking,
    NumberSubsetMasking,
)
from candid.settings import ExplainConfig
from candid.stats.intervals import mean, ratios
from candid.text import number as text


@dataclass(frozen=True, eq=False)
class NumberFacts:
    """True and predicted values of a number in n images."""

    value: FloatArray  # (n,) true values
    # predicted, low, high: (n,) the prediction, and the ends of its interval
    predicted: FloatArray
    low: FloatArray
    high: FloatArray
    median: float  # of the training values
    tolerance: float  # the largest error of a prediction that counts as near

    @property
    def errors(self) -> FloatArray:
        """(n,) absolute errors of the predictions."""
        return np.abs(self.predicted - self.value)


@dataclass(frozen=True, eq=False)
class ExplainedNumbers:
    """A network's predictions of a number in a sample, whose labels are ranges of the true value.

    `explained` (n,) is 1, the second of the two classes of a single logit. `means` (n,) are the
    explained values; `blank` is that of the baseline image.
    """

    facts: NumberFacts
    means: FloatArray
    blank: float
    explained: NDArray[np.int64]

    @property
    def is_near(self) -> NDArray[np.bool_]:
        """(n,) whether the prediction counts as near."""
        return self.facts.errors <= self.facts.tolerance

    def sets(self, sample: Sample, config: ExplainConfig) -> list[ImageSet]:
        """The sets of images that mean maps are made of."""
        near, far = text.near_and_far(self.facts.tolerance)
        return make_image_sets(
            sample, self.is_near, config, SetNames(sample.target, near, far, False)
        )

    def example_rows(self, sample: Sample, count: int) -> NDArray[np.intp]:
        """Rows of the examples: the nearest, the furthest off, the widest intervals."""
        errors, is_near = self.facts.errors, self.is_near
        nearest = [r for r in np.argsort(errors, kind="stable").tolist() if is_near[r]]
        furthest = [r for r in np.argsort(-errors, kind="stable").tolist() if not is_near[r]]
        widest = np.argsort(self.facts.low - self.facts.high, kind="stable").tolist()
        return example_rows(nearest, furthest, widest, sample.label, count)

    def costs(
        self, result: MaskingResult, region: str, sample: Sample, config: ExplainConfig
    ) -> list[Estimate]:
        """Under each fill, how much further a region moves the number than the control."""
        return [m.excess_moved for m in self._maskings(result, sample, [region])]

    def add_answers(
        self, record: Explanation, sample: Sample, rows: NDArray[np.intp], config: ExplainConfig
    ) -> Explanation:
        """The record with the answers; `rows` are those of the examples."""
        facts, person = self.facts, sample.persons()
        errors, baseline = (np.abs(x - facts.value) for x in (self.means, facts.median))
        columns = (baseline - errors, errors)
        gain, error = (mean(x, person, confidence=config.confidence) for x in columns)
        return replace(
            record,
            explained="mean",
            skill=gain,
            examples=tuple(self._examples(sample, rows)),
            number=NumberExplained(facts.median, self.blank, error, facts.tolerance),
        )

    def add_maskings(
        self,
        record: Explanation,
        result: MaskingResult,
        sample: Sample,
        sets: Sequence[ImageSet],
        config: ExplainConfig,
    ) -> Explanation:
        """The record with how far masking regions moves the number, for all images and by set."""
        if record.number is None:
            raise ValueError("the record is of no number")
        number = replace(
            record.number,
            maskings=tuple(self._maskings(result, sample, [*result.level])),
            subset_maskings=tuple(_subset_maskings(result, sample, sets)),
        )
        return replace(record, number=number)

    def _maskings(
        self, result: MaskingResult, sample: Sample, regions: Sequence[str]
    ) -> Iterator[NumberMasking]:
        """Every region's effect under every fill, with intervals by person."""

        def changes(number: FloatArray) -> FloatArray:
            """(n, 3): absolute change, signed change, and growth of the error."""
            error, error_before = (np.abs(x - self.facts.value) for x in (number, result.before))
            shift = number - result.before
            return np.column_stack([np.abs(shift), shift, error - error_before])

        for key in (key for key in result.after if key[0] in regions):
            moved, control = changes(result.after[key]), changes(result.control[key])
            columns = np.stack([moved, control, moved - control], axis=2).reshape(len(moved), -1)
            rows = result.present[key[0]]
            figures = ratios(
                columns[rows],
                None,
                sample.persons(rows),
                confidence=result.level[key[0]],
            )
            yield NumberMasking(*key, *figures)

    def _examples(self, sample: Sample, rows: NDArray[np.intp]) -> Iterator[ExplainedImage]:
        facts, is_near, width = self.facts, self.is_near, self.facts.high - self.facts.low
        is_wide = width > np.quantile(width, 0.9)
        for row in rows:
            values = (float(x[row]) for x in (facts.predicted, facts.low, facts.high))
            kind = "near" if is_near[row] else "far"
            yield ExplainedImage(
                id=str(sample.ids[row]),
                label=f"{facts.value[row]:g}",
                prediction=text.value_with_interval(*values),
                probability=math.nan,
                explained=text.in_digits(float(self.means[row])),
                kind="unsure" if is_wide[row] else kind,
            )


def _subset_maskings(
    result: MaskingResult, sample: Sample, sets: Sequence[ImageSet]
) -> Iterator[NumberSubsetMasking]:
    """How far every region moves the number of each set of images, beyond the control."""
    for region, present in result.present.items():
        keys = [key for key in result.after if key[0] == region]
        distance, shift = np.zeros((2, len(sample)))
        for key in keys:
            after, control = (x[key] - result.before for x in (result.after, result.control))
            distance += (np.abs(after) - np.abs(control)) / len(keys)
            shift += (after - control) / len(keys)
        for image_set in sets:
            rows = image_set.mask & present
            figures = ratios(
                np.column_stack([distance, shift])[rows],
                None,
                sample.persons(rows),
                confidence=result.level[region],
            )
            yield NumberSubsetMasking(region, image_set.about.key, *figures)
