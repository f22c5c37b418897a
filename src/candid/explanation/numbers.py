"""What is explained of a network that gives a number, and how far painting over regions moves it.

The number is the mean of the distribution that the network gives, in the label's own unit. Ranges
of the true value stand in place of classes, near and far off in place of right and wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Floats
from candid.explanation.averages import example_rows
from candid.explanation.masking import Masked
from candid.explanation.sample import ImageSet, Sample, SetWords, image_sets
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
    """What is known of a number in n images before it is explained."""

    value: Floats  # (n,) what is true
    # predicted, low, high: (n,) the prediction, and the ends of its interval
    predicted: Floats
    low: Floats
    high: Floats
    median: float  # of the training values
    tolerance: float  # how far off a prediction may be to count as near

    @property
    def off(self) -> Floats:
        """(n,) how far off each prediction is."""
        return np.abs(self.predicted - self.value)


@dataclass(frozen=True, eq=False)
class ExplainedNumbers:
    """What a network says of a number in a sample, whose labels are ranges of the true value.

    `explained` (n,) is 1: of the two classes that a single logit stands for, the second. `means`
    (n,) are what is explained; `blank` is the same where there is nothing to see.
    """

    facts: NumberFacts
    means: Floats
    blank: float
    explained: NDArray[np.int64]

    @property
    def near(self) -> NDArray[np.bool_]:
        """(n,) whether the prediction counts as near."""
        return self.facts.off <= self.facts.tolerance

    def sets(self, sample: Sample, config: ExplainConfig) -> list[ImageSet]:
        """The sets of images that mean maps are made of."""
        near, far = text.near_and_far(self.facts.tolerance)
        return image_sets(sample, self.near, config, SetWords(sample.target, near, far, False))

    def shown(self, sample: Sample, count: int) -> NDArray[np.intp]:
        """Rows of the examples: the nearest, the furthest off, the widest intervals."""
        off, is_near = self.facts.off, self.near
        near = [r for r in np.argsort(off, kind="stable").tolist() if is_near[r]]
        far = [r for r in np.argsort(-off, kind="stable").tolist() if not is_near[r]]
        wide = np.argsort(self.facts.low - self.facts.high, kind="stable").tolist()
        return example_rows(near, far, wide, sample.label, count)

    def costs(
        self, masked: Masked, region: str, sample: Sample, config: ExplainConfig
    ) -> list[Estimate]:
        """Under each fill, how much further a region moves the number than the control."""
        return [m.excess_moved for m in self._maskings(masked, sample, [region])]

    def described(
        self, record: Explanation, sample: Sample, rows: NDArray[np.intp], config: ExplainConfig
    ) -> Explanation:
        """The record with what is known of the answers; `rows` are those of the examples."""
        facts, person = self.facts, sample.persons()
        off, blind = (np.abs(x - facts.value) for x in (self.means, facts.median))
        gained, error = (mean(x, person, confidence=config.confidence) for x in (blind - off, off))
        return replace(
            record,
            explained="mean",
            skill=gained,
            examples=tuple(self._examples(sample, rows)),
            number=NumberExplained(facts.median, self.blank, error, facts.tolerance),
        )

    def masked(
        self,
        record: Explanation,
        masked: Masked,
        sample: Sample,
        sets: Sequence[ImageSet],
        config: ExplainConfig,
    ) -> Explanation:
        """The record with how far painting over regions moves the number, of all and some sets."""
        if record.number is None:
            raise ValueError("the record is of no number")
        number = replace(
            record.number,
            maskings=tuple(self._maskings(masked, sample, [*masked.level])),
            subset_maskings=tuple(_subset_maskings(masked, sample, sets)),
        )
        return replace(record, number=number)

    def _maskings(
        self, masked: Masked, sample: Sample, regions: Sequence[str]
    ) -> Iterator[NumberMasking]:
        """What every region does under every fill, with intervals by person."""

        def changes(number: Floats) -> Floats:
            """(n, 3): how far it moves, which way, and by how much the error grows."""
            error, before = (np.abs(x - self.facts.value) for x in (number, masked.before))
            shift = number - masked.before
            return np.column_stack([np.abs(shift), shift, error - before])

        for key in (key for key in masked.after if key[0] in regions):
            here, there = changes(masked.after[key]), changes(masked.control[key])
            columns = np.stack([here, there, here - there], axis=2).reshape(len(here), -1)
            rows = masked.present[key[0]]
            figures = ratios(
                columns[rows],
                None,
                sample.persons(rows),
                confidence=masked.level[key[0]],
            )
            yield NumberMasking(*key, *figures)

    def _examples(self, sample: Sample, rows: NDArray[np.intp]) -> Iterator[ExplainedImage]:
        facts, is_near, width = self.facts, self.near, self.facts.high - self.facts.low
        is_wide = width > np.quantile(width, 0.9)
        for row in rows:
            said = (float(x[row]) for x in (facts.predicted, facts.low, facts.high))
            kind = "near" if is_near[row] else "far"
            yield ExplainedImage(
                id=str(sample.ids[row]),
                label=f"{facts.value[row]:g}",
                prediction=text.value_with_interval(*said),
                probability=math.nan,
                explained=text.in_digits(float(self.means[row])),
                kind="unsure" if is_wide[row] else kind,
            )


def _subset_maskings(
    masked: Masked, sample: Sample, sets: Sequence[ImageSet]
) -> Iterator[NumberSubsetMasking]:
    """How far every region moves the number of some sets of images, beyond the control."""
    for region, present in masked.present.items():
        keys = [key for key in masked.after if key[0] == region]
        moved, shift = np.zeros((2, len(sample)))
        for key in keys:
            after, control = (x[key] - masked.before for x in (masked.after, masked.control))
            moved += (np.abs(after) - np.abs(control)) / len(keys)
            shift += (after - control) / len(keys)
        for each in sets:
            rows = each.mask & present
            figures = ratios(
                np.column_stack([moved, shift])[rows],
                None,
                sample.persons(rows),
                confidence=masked.level[region],
            )
            yield NumberSubsetMasking(region, each.about.key, *figures)
