"""A model's answers for labelled images, with their labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from candid.arrays import BoolArray, FloatArray
from candid.data.dataset import Dataset
from candid.predictions import Predictions
from candid.predictions.numbers import NumberPredictions
from candid.records import ModelCard
from candid.records.external import Unread
from candid.records.framing import CommonFrame
from candid.tables.numbers import to_numbers


@dataclass(frozen=True, eq=False)
class ModelAnswers:
    """A model's answers for labelled images."""

    # Those that could be read and, where faces were looked for, have one; splits are the data's.
    dataset: Dataset
    probability: FloatArray  # (n, classes), or of a number (n, bins)
    card: ModelCard
    unlike: BoolArray | None  # (n,) whether flagged; None where not checked
    unread: tuple[Unread, ...]  # at most a hundred that could not be read
    unread_count: int  # and how many there were
    no_face: int  # in how many no face was found
    frame: CommonFrame | None  # that they have in common; None: each by itself, or nothing frames

    @cached_property
    def predictions(self) -> Predictions:
        """Of a model of classes."""
        return Predictions(
            classes=self.card.classes,
            label=self.dataset.label,
            probability=self.probability,
            temperature=self.card.temperature,
            **self._about,
        )

    @cached_property
    def numbers(self) -> NumberPredictions:
        """Of a model of a number; raises ValueError of any other."""
        from candid.inference.numbers import answers_of

        if self.card.number is None:
            raise ValueError(f"{self.card.target!r} is no number")
        predicted, low, high = answers_of(self.card.number, self.probability)
        return NumberPredictions(
            card=self.card.number,
            value=to_numbers(self.dataset.classes)[self.dataset.label],
            predicted=predicted,
            low=low,
            high=high,
            **self._about,
        )

    @property
    def _about(self) -> dict[str, Any]:
        d = self.dataset
        return {
            "target": self.card.target,
            "ids": d.ids,
            "split": d.split,
            "person": d.person,
            "attributes": dict(d.attributes),
            "provenance": {"data": d.name},
        }
