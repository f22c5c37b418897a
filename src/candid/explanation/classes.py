"""What is explained of a network that gives classes, and what painting over regions costs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.explanation import masking
from candid.explanation.averages import example_rows
from candid.explanation.masking import Masked
from candid.explanation.sample import ImageSet, Sample, image_sets
from candid.records import Estimate
from candid.records.explanation import ExplainedImage, Explanation
from candid.settings import ExplainConfig


@dataclass(frozen=True, eq=False)
class ClassAnswers:
    """(n, classes) what a network says of a sample, and (n,) the class that each map speaks for."""

    probability: NDArray[np.float64]
    explained: NDArray[np.int64]

    @property
    def answers(self) -> NDArray[np.intp]:
        """(n,) the class that the network answers."""
        answers: NDArray[np.intp] = self.probability.argmax(1)
        return answers

    def sets(self, sample: Sample, config: ExplainConfig) -> list[ImageSet]:
        """The sets of images that mean maps are made of."""
        return image_sets(sample, self.answers == sample.label, config)

    def shown(self, sample: Sample, count: int) -> NDArray[np.intp]:
        """Rows of the examples: the surest right answers, the surest mistakes, the least sure."""
        answers, label = self.answers, sample.label
        order = np.argsort(-self.probability.max(1), kind="stable").tolist()
        right = [r for r in order if label[r] == answers[r]]
        wrong = [r for r in order if label[r] >= 0 and label[r] != answers[r]]
        return example_rows(right, wrong, order[::-1], label, count)

    def costs(
        self, masked: Masked, region: str, sample: Sample, config: ExplainConfig
    ) -> list[Estimate]:
        """Under each fill, the cost of a region that decides."""
        return masking.class_costs(masked, region, sample, config)

    def described(
        self, record: Explanation, sample: Sample, rows: NDArray[np.intp], config: ExplainConfig
    ) -> Explanation:
        """The record with what is known of the answers; `rows` are those of the examples."""
        return replace(
            record,
            classes=sample.classes,
            explained=config.explained,
            skill=masking.skill(self.answers, sample, config),
            examples=tuple(self._examples(sample, rows)),
        )

    def masked(
        self,
        record: Explanation,
        masked: Masked,
        sample: Sample,
        sets: Sequence[ImageSet],
        config: ExplainConfig,
    ) -> Explanation:
        """The record with what painting over regions costs all images, and some sets of them."""
        return replace(
            record,
            maskings=masking.maskings(masked, sample, config),
            subset_maskings=masking.subset_maskings(masked, sample, sets),
        )

    def _examples(self, sample: Sample, rows: NDArray[np.intp]) -> Iterator[ExplainedImage]:
        classes, answers = sample.classes, self.answers
        for row in rows:
            label, answer = int(sample.label[row]), int(answers[row])
            sure = float(self.probability[row, answer])
            unsure = sure < 0.75 or label < 0
            yield ExplainedImage(
                id=str(sample.ids[row]),
                label=classes[label] if label >= 0 else "",
                prediction=classes[answer],
                probability=sure,
                explained=classes[int(self.explained[row])],
                kind="unsure" if unsure else "right" if label == answer else "wrong",
            )
