"""The explanation of a network that predicts classes, and the costs of masking regions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.explanation import masking
from candid.explanation.averages import example_rows
from candid.explanation.masking import MaskingResult
from candid.explanation.sample import ImageSet, Sample, make_image_sets
from candid.records import Estimate
from candid.records.explanation import ExplainedImage, Explanation
from candid.settings import ExplainConfig


@dataclass(frozen=True, eq=False)
class ClassAnswers:
    """A network's probabilities (n, classes), and (n,) the class that each map explains."""

    probability: NDArray[np.float64]
    explained: NDArray[np.int64]

    @property
    def predictions(self) -> NDArray[np.intp]:
        """(n,) the most probable class."""
        predictions: NDArray[np.intp] = self.probability.argmax(1)
        return predictions

    def sets(self, sample: Sample, config: ExplainConfig) -> list[ImageSet]:
        """The sets of images that mean maps are made of."""
        return make_image_sets(sample, self.predictions == sample.label, config)

    def example_rows(self, sample: Sample, count: int) -> NDArray[np.intp]:
        """Rows of the examples: the surest right answers, the surest mistakes, the least sure."""
        predictions, label = self.predictions, sample.label
        order = np.argsort(-self.probability.max(1), kind="stable").tolist()
        right = [r for r in order if label[r] == predictions[r]]
        wrong = [r for r in order if label[r] >= 0 and label[r] != predictions[r]]
        return example_rows(right, wrong, order[::-1], label, count)

    def costs(
        self, result: MaskingResult, region: str, sample: Sample, config: ExplainConfig
    ) -> list[Estimate]:
        """Under each fill, the cost of a region that decides."""
        return masking.class_costs(result, region, sample, config)

    def add_answers(
        self, record: Explanation, sample: Sample, rows: NDArray[np.intp], config: ExplainConfig
    ) -> Explanation:
        """The record with the answers; `rows` are those of the examples."""
        return replace(
            record,
            classes=sample.classes,
            explained=config.explained,
            skill=masking.skill(self.predictions, sample, config),
            examples=tuple(self._examples(sample, rows)),
        )

    def add_maskings(
        self,
        record: Explanation,
        result: MaskingResult,
        sample: Sample,
        sets: Sequence[ImageSet],
        config: ExplainConfig,
    ) -> Explanation:
        """The record with the costs of masking regions, for all images and by set."""
        return replace(
            record,
            maskings=masking.maskings(result, sample, config),
            subset_maskings=masking.subset_maskings(result, sample, sets),
        )

    def _examples(self, sample: Sample, rows: NDArray[np.intp]) -> Iterator[ExplainedImage]:
        classes, predictions = sample.classes, self.predictions
        for row in rows:
            label, prediction = int(sample.label[row]), int(predictions[row])
            confidence = float(self.probability[row, prediction])
            unsure = confidence < 0.75 or label < 0
            yield ExplainedImage(
                id=str(sample.ids[row]),
                label=classes[label] if label >= 0 else "",
                prediction=classes[prediction],
                probability=confidence,
                explained=classes[int(self.explained[row])],
                kind="unsure" if unsure else "right" if label == prediction else "wrong",
            )
