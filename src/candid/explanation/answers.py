"""What an explanation needs to know of a network's answers, be they classes or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from candid.explanation.masking import Masked
from candid.explanation.sample import ImageSet, Sample
from candid.records import Estimate
from candid.records.explanation import Explanation
from candid.settings import ExplainConfig


class NetworkAnswers(Protocol):
    """What a network answers to n images."""

    @property
    def explained(self) -> NDArray[np.int64]:
        """(n,) the class that each map speaks for."""

    def sets(self, sample: Sample, config: ExplainConfig) -> list[ImageSet]:
        """The sets of images that mean maps are made of."""

    def shown(self, sample: Sample, count: int) -> NDArray[np.intp]:
        """Rows of the examples, whose own maps are kept."""

    def costs(
        self, masked: Masked, region: str, sample: Sample, config: ExplainConfig
    ) -> list[Estimate]:
        """Under each fill, the cost of a region that decides."""

    def described(
        self, record: Explanation, sample: Sample, rows: NDArray[np.intp], config: ExplainConfig
    ) -> Explanation:
        """The record with what is known of the answers; `rows` are those of the examples."""

    def masked(
        self,
        record: Explanation,
        masked: Masked,
        sample: Sample,
        sets: Sequence[ImageSet],
        config: ExplainConfig,
    ) -> Explanation:
        """The record with what painting over regions costs all images, and some sets of them."""
