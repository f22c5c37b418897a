"""The interface of a network's answers to explanations: of classes or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from candid.explanation.masking import MaskingResult
from candid.explanation.sample import ImageSet, Sample
from candid.records import Estimate
from candid.records.explanation import Explanation
from candid.settings import ExplainConfig


class NetworkAnswers(Protocol):
    """A network's answers for n images."""

    @property
    def explained(self) -> NDArray[np.int64]:
        """(n,) the class that each map explains."""

    def sets(self, sample: Sample, config: ExplainConfig) -> list[ImageSet]:
        """The sets of images that mean maps are made of."""

    def example_rows(self, sample: Sample, count: int) -> NDArray[np.intp]:
        """Rows of the examples, whose maps are stored."""

    def costs(
        self, result: MaskingResult, region: str, sample: Sample, config: ExplainConfig
    ) -> list[Estimate]:
        """Under each fill, the cost of a region that decides."""

    def add_answers(
        self, record: Explanation, sample: Sample, rows: NDArray[np.intp], config: ExplainConfig
    ) -> Explanation:
        """The record with the answers; `rows` are those of the examples."""

    def add_maskings(
        self,
        record: Explanation,
        result: MaskingResult,
        sample: Sample,
        sets: Sequence[ImageSet],
        config: ExplainConfig,
    ) -> Explanation:
        """The record with the costs of masking regions, for all images and by set."""
