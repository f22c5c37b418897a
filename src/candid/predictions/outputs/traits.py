"""A library's output for one trait of a face, such as gender."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from candid.errors import PredictionsError

_ROUNDING = 0.02


@dataclass(frozen=True, slots=True)
class Trait:
    """A probability for each of a library's words for a trait.

    `hard`: an answer alone, which has probability 1; `note` says how the probabilities were read
    where that is not obvious.
    """

    probabilities: Mapping[str, float]
    hard: bool = False
    note: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The words, in the library's order."""
        return tuple(self.probabilities)


def hard_trait(words: Sequence[str], answer: Any) -> Trait | None:
    """An answer without probabilities; None where it is none of the words."""
    if answer not in words:
        return None
    return Trait({word: float(word == answer) for word in words}, hard=True)


def soft_trait(words: Sequence[str], numbers: Sequence[Any]) -> Trait | None:
    """Probabilities or percents in the order of the words; None where one is missing.

    Raises PredictionsError where they are neither.
    """
    values = [to_number(number) for number in numbers]
    if len(values) != len(words) or any(map(math.isnan, values)):
        return None
    total = sum(values)
    scale = 100.0 if abs(total - 100) <= 100 * _ROUNDING else 1.0
    if min(values) < -1e-6 or abs(total / scale - 1) > _ROUNDING:
        raise PredictionsError(
            f"{dict(zip(words, values, strict=True))} are no probabilities.",
            expected="numbers that sum to 1, or to 100",
            todo="give what the library writes, unchanged",
        )
    return Trait({word: v / total for word, v in zip(words, values, strict=True)})


def to_number(value: Any) -> float:
    """A number, also from text; NaN for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def box_area(width: Any, height: Any) -> float:
    """The area of a face's box; 0 where it is not known."""
    area = to_number(width) * to_number(height)
    return area if area > 0 else 0.0
