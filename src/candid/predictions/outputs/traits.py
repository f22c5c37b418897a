"""What is said of one trait of a face, such as its gender."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from candid.errors import PredictionsError

_ROUNDING = 0.02


@dataclass(frozen=True, slots=True)
class Trait:
    """A probability for each word that a library has for a trait.

    `hard` where there is an answer alone, which then has probability 1; `note` says how the
    probabilities were read where that is not plain.
    """

    shares: Mapping[str, float]
    hard: bool = False
    note: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The words, in the library's order."""
        return tuple(self.shares)


def trait_of_answer(words: Sequence[str], answer: Any) -> Trait | None:
    """An answer without probabilities; None where it is none of the words."""
    if answer not in words:
        return None
    return Trait({word: float(word == answer) for word in words}, hard=True)


def shared(words: Sequence[str], numbers: Sequence[Any]) -> Trait | None:
    """Probabilities or percents in the order of the words; None where one is missing.

    Raises PredictionsError where they are neither.
    """
    values = [number_of(one) for one in numbers]
    if len(values) != len(words) or any(map(math.isnan, values)):
        return None
    total = sum(values)
    whole = 100.0 if abs(total - 100) <= 100 * _ROUNDING else 1.0
    if min(values) < -1e-6 or abs(total / whole - 1) > _ROUNDING:
        raise PredictionsError(
            f"{dict(zip(words, values, strict=True))} are no probabilities.",
            expected="numbers that sum to 1, or to 100",
            todo="give what the library writes, unchanged",
        )
    return Trait({word: v / total for word, v in zip(words, values, strict=True)})


def number_of(value: Any) -> float:
    """A number, or a word that is one, as a table has it; NaN where it is neither."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def box_area(width: Any, height: Any) -> float:
    """The area of a face's box; 0 where it is not known."""
    area = number_of(width) * number_of(height)
    return area if area > 0 else 0.0
