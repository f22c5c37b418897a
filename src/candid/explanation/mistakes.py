"""A network's worst mistakes, and the training images nearest to them in its hidden layer.

For classes, a mistake is an answer that is not the label, and the surest are the worst. For a
number, it is a prediction with an error above the tolerance, and the largest are the worst.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candid.arrays import FloatArray
from candid.errors import ConfigError
from candid.explanation.faces import Faces
from candid.explanation.hidden import Activity, Ranking, rows_along
from candid.records.inside import (
    Inside,
    Neighbour,
    NumberInside,
    NumberNeighbour,
    NumberResemblance,
    Resemblance,
)


class Mistakes(ABC):
    """The worst mistakes of a stream, with their activations in the last hidden layer."""

    def __init__(self, most: int) -> None:
        self.count, self.worst = 0, Ranking(most)

    @abstractmethod
    def add(self, start: int, activity: Activity) -> None:
        """Add a batch, of which the first image is the stream's number `start`."""

    @abstractmethod
    def add_to(self, record: Inside, nearest: Nearest, faces: Faces, training: Faces) -> Inside:
        """The record with the mistakes, each with its nearest training images."""

    def keep(self, start: int, wrong: Tensor, by: Tensor, hidden: Tensor, *along: Tensor) -> None:
        """Add those of a batch that are `wrong` (batch,), ranked by the largest `by` (batch,)."""
        self.count += int(wrong.sum())
        rows = rows_along(start, (len(wrong), 1), wrong.device)
        columns = (rows, hidden[:, None], *(x[:, None] for x in along))
        self.worst.add(by[wrong, None], *(x[wrong] for x in columns))

    @property
    def hidden(self) -> Tensor:
        """(mistakes, size)."""
        return self.worst.along[1][:, 0]


class ClassMistakes(Mistakes):
    """Answers that are not the label, the surest first."""

    def __init__(
        self,
        most: int,
        labels: Sequence[Any],
        classes: Sequence[str],
        temperature: float,
        probabilities: NDArray[Any] | None,
    ) -> None:
        super().__init__(most)
        numbers = {name: i for i, name in enumerate(classes)}
        unknown = sorted(set(labels) - set(numbers))
        if unknown:
            raise ConfigError(
                f"The label {unknown[0]!r} is none of the network's classes.",
                expected="one of: " + ", ".join(classes),
                todo="leave out images with other labels",
            )
        if probabilities is not None and probabilities.shape != (len(labels), len(classes)):
            raise ConfigError(
                f"Probabilities of the shape {probabilities.shape} came with {len(labels)} images "
                f"and {len(classes)} classes.",
                expected="one row for each image, one column for each class",
                todo="pass them in the order of the images",
            )
        self.truth = torch.tensor([numbers[name] for name in labels], dtype=torch.int64)
        self.classes, self.temperature = classes, temperature
        self.probabilities = None if probabilities is None else torch.as_tensor(probabilities)

    def add(self, start: int, activity: Activity) -> None:
        """Add a batch, of which the first image is the stream's number `start`."""
        p = (activity.logits / self.temperature).softmax(1)
        if p.shape[1] != len(self.classes):
            raise ConfigError(
                f"The network gives {p.shape[1]} numbers per image for {len(self.classes)} "
                "classes.",
                expected="one logit for each class",
                todo="pass the names of its classes",
            )
        if self.probabilities is not None:
            p = self.probabilities[start : start + len(p)].to(p)
        confidence, answer = p.max(1)
        wrong = answer != self.truth[start : start + len(p)].to(p.device)
        self.keep(start, wrong, confidence, activity.hidden, answer)

    def add_to(self, record: Inside, nearest: Nearest, faces: Faces, training: Faces) -> Inside:
        """The record with the mistakes, each with its nearest training images."""
        resemblances = tuple(
            Resemblance(
                faces.ids[row],
                str(faces.labels[row]),
                self.classes[answer],
                confidence,
                class_neighbours(nearest, i, training),
            )
            for i, (confidence, row, _, answer) in enumerate(self.worst.column(0))
        )
        return replace(record, mistakes=self.count, resemblances=resemblances)


@dataclass(frozen=True, eq=False)
class NumberOutputs:
    """How a network's outputs become a number, and which predictions are mistakes.

    Attributes
    ----------
    centres
        (bins,) the outputs' values, in the number's own unit.
    read
        Maps distributions (n, bins) to predictions and the ends of their intervals, (n,) each.
    tolerance
        The largest error of a prediction that is no mistake.
    known
        The output of `read` for the images, if already computed, for example from several passes.
    """

    centres: Sequence[float]
    read: Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]]
    tolerance: float
    known: tuple[FloatArray, FloatArray, FloatArray] | None = None


class NumberMistakes(Mistakes):
    """Predictions of a number with an error above the tolerance, the largest first."""

    def __init__(
        self, most: int, labels: Sequence[Any], number: NumberOutputs, temperature: float
    ) -> None:
        super().__init__(most)
        try:
            self.value = np.asarray(labels, np.float64)
        except ValueError:
            self.value = np.full(len(labels), math.nan)
        if not np.isfinite(self.value).all():
            index = int(np.isfinite(self.value).argmin())
            raise ConfigError(
                f"The label {labels[index]!r} is no number.",
                expected="a finite number for each image",
                todo="leave out images without one",
            )
        if number.known is not None and {len(x) for x in number.known} != {len(labels)}:
            raise ConfigError(
                f"{', '.join(str(len(x)) for x in number.known)} predictions and ends of "
                f"intervals came with {len(labels)} images.",
                expected="one of each for each image",
                todo="pass them in the order of the images",
            )
        self.number, self.temperature = number, temperature

    def add(self, start: int, activity: Activity) -> None:
        """Add a batch, of which the first image is the stream's number `start`."""
        logits, bins = activity.logits.double().cpu(), len(self.number.centres)
        if logits.shape[1] != bins:
            raise ConfigError(
                f"The network gives {logits.shape[1]} numbers per image for {bins} bins.",
                expected="one logit for each bin",
                todo="pass the values that its outputs stand for",
            )
        rows = slice(start, start + len(logits))
        if self.number.known is None:
            predictions = np.stack(self.number.read((logits / self.temperature).softmax(1).numpy()))
        else:
            predictions = np.stack([x[rows] for x in self.number.known])
        errors = np.abs(predictions[0] - self.value[rows])
        values = torch.as_tensor(np.stack([errors, *predictions]), device=activity.hidden.device)
        self.keep(start, values[0] > self.number.tolerance, values[0], activity.hidden, *values[1:])

    def add_to(self, record: Inside, nearest: Nearest, faces: Faces, training: Faces) -> Inside:
        """The record with the mistakes, each with its nearest training images."""
        resemblances = tuple(
            NumberResemblance(
                faces.ids[row],
                float(faces.labels[row]),
                predicted,
                low,
                high,
                tuple(
                    NumberNeighbour(training.ids[n], float(training.labels[n]), cosine)
                    for n, cosine in nearest.neighbours(i)
                ),
            )
            for i, (_, row, _, predicted, low, high) in enumerate(self.worst.column(0))
        )
        number = NumberInside(self.number.tolerance, resemblances)
        return replace(record, mistakes=self.count, number=number)


# --- nearest training images ---------------------------------------------------------------------


class Nearest:
    """The nearest of a stream to each query vector, by cosine."""

    def __init__(self, queries: Tensor, k: int) -> None:
        self.queries, length = _normalise(queries)
        self.defined = length > 0
        self.ranking = Ranking(k)

    def add(self, start: int, hidden: Tensor) -> None:
        """Add a batch of vectors, of which the first is the stream's number `start`."""
        unit, length = _normalise(hidden)
        # In full precision, or the cosines would lose their order.
        with torch.autocast(unit.device.type, enabled=False):
            cosine = unit @ self.queries.T  # (batch, queries)
        # A vector of length 0 is near nothing.
        cosine = cosine.masked_fill(length[:, None] == 0, -math.inf)
        self.ranking.add(cosine, rows_along(start, cosine.shape, cosine.device))

    def neighbours(self, query: int) -> list[tuple[int, float]]:
        """The rows nearest to a query, with their cosines; none for a query of length 0."""
        return [
            (row, min(1.0, cosine))
            for cosine, row in self.ranking.column(query)
            if math.isfinite(cosine) and bool(self.defined[query])
        ]


def class_neighbours(nearest: Nearest, query: int, training: Faces) -> tuple[Neighbour, ...]:
    """The training images nearest to a query, with their classes."""
    return tuple(
        Neighbour(training.ids[row], str(training.labels[row]), cosine)
        for row, cosine in nearest.neighbours(query)
    )


def _normalise(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors, and the original lengths; a vector of length 0 stays so."""
    length = vectors.norm(dim=1)
    return vectors / length.clamp_min(torch.finfo(length.dtype).tiny)[:, None], length
