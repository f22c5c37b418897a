"""Two models' answers for the same images, matched by their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray, IndexArray
from candid.errors import PredictionsError
from candid.predictions import Attribute, Predictions
from candid.predictions.numbers import NumberAnswers
from candid.records import Split
from candid.table import ROW, Table


@dataclass(frozen=True, eq=False)
class PairedAnswers(Table):
    """n images of one split with one label and two answers each, as indices into the same classes.

    Attributes are of either model's; unknown where the two differ about an image. Labelled images
    that only one answers are counted, and those that are labelled differently.
    """

    PER_IMAGE = (*Table.PER_IMAGE, "answer_a", "answer_b")

    answer_a: IndexArray
    answer_b: IndexArray
    only_a: int
    only_b: int
    relabelled: int

    @property
    def balance(self) -> NDArray[np.int64]:
        """(n,) 1 where only B is right, -1 where only A is, else 0."""
        right_a, right_b = self.answer_a == self.label, self.answer_b == self.label
        balance: NDArray[np.int64] = right_b.astype(np.int64) - right_a.astype(np.int64)
        return balance


def merge_classes(a: Predictions, b: Predictions) -> tuple[str, ...]:
    """A's classes, and after them those that only B knows.

    Raises PredictionsError where each knows a class that the other does not, or there are fewer
    than two.
    """
    classes_a, classes_b = {*a.classes}, {*b.classes}
    if not (classes_a <= classes_b or classes_b <= classes_a) or len(classes_a | classes_b) < 2:
        raise PredictionsError(
            f"The classes are {', '.join(a.classes)} in the one and {', '.join(b.classes)} in the "
            "other.",
            expected="two models that tell the same classes apart",
            todo="name two runs with the same target",
        )
    return (*a.classes, *(c for c in b.classes if c not in classes_a))


class HasIds(Protocol):
    """Images with ids."""

    @property
    def ids(self) -> NDArray[np.str_]:
        """(n,) one for each."""
        ...


def has_row_ids(p: HasIds) -> bool:
    """Whether images go by the numbers of their rows, as nothing names them."""
    return bool(len(p.ids)) and bool(np.strings.startswith(p.ids, ROW).all())


def require_same_order(models: Sequence[HasIds], same: BoolArray) -> None:
    """Raise PredictionsError where images go by numbers, and not all are labelled the `same`."""
    if same.all() or not all(map(has_row_ids, models)):
        return
    raise PredictionsError(
        f"The rows have numbers for names, and in {np.count_nonzero(~same):,} of {len(same):,} "
        "the labels differ: they are not the same images in the same order.",
        expected="one name per image, the same for every model",
        todo="name the column that holds it with --id, or ids= in Python",
    )


def match_predictions(
    a: Predictions, b: Predictions, classes: tuple[str, ...], split: Split
) -> PairedAnswers:
    """The images of a split that both answer and that are labelled the same in both.

    Raises PredictionsError where there is none.
    """
    a, b = (p[(p.split == split) & (p.label >= 0)] for p in (a, b))
    code_a = np.array([classes.index(c) for c in a.classes])
    code_b = np.array([classes.index(c) for c in b.classes])
    a, b, counts = _match_rows(a, b, code_a[a.label], code_b[b.label], split)
    return PairedAnswers(
        target=a.target,
        classes=classes,
        ids=a.ids,
        split=a.split,
        label=code_a[a.label].astype(np.int16),
        answer_a=code_a[a.prediction],
        answer_b=code_b[b.prediction],
        person=b.person if a.person is None else a.person,
        attributes=_merge_attributes(a.attributes, b.attributes),
        **counts,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class PairedNumbers(NumberAnswers):
    """B's answers about a number of n images of one split, beside A's; else as for classes."""

    PER_IMAGE = (*NumberAnswers.PER_IMAGE, "before")

    before: FloatArray
    only_a: int
    only_b: int
    relabelled: int

    @property
    def error_b(self) -> FloatArray:
        """(n,) absolute errors of B."""
        return np.abs(self.predicted - self.value)

    @property
    def error_a(self) -> FloatArray:
        """(n,) absolute errors of A."""
        return np.abs(self.before - self.value)


def match_numbers(a: NumberAnswers, b: NumberAnswers, split: Split) -> PairedNumbers:
    """The images of a split that both answer and whose true number is the same in both.

    Raises PredictionsError where there is none.
    """
    a, b = a[a.split == split], b[b.split == split]
    a, b, counts = _match_rows(a, b, a.value, b.value, split)
    return PairedNumbers(
        target=a.target,
        ids=a.ids,
        split=a.split,
        value=a.value,
        predicted=b.predicted,
        before=a.predicted,
        person=b.person if a.person is None else a.person,
        attributes=_merge_attributes(a.attributes, b.attributes),
        **counts,
    )


_Answers = TypeVar("_Answers", Predictions, NumberAnswers)


def _match_rows(
    a: _Answers, b: _Answers, truth_a: NDArray[Any], truth_b: NDArray[Any], split: Split
) -> tuple[_Answers, _Answers, dict[str, Any]]:
    """The rows with the same id and the same truth (n,), and the numbers of others.

    Raises PredictionsError where there is none.
    """
    ids = [str(p.ids[0]) if len(p) else "none" for p in (a, b)]
    _, rows_a, rows_b = np.intersect1d(a.ids, b.ids, return_indices=True)
    counts = {"only_a": len(a) - len(rows_a), "only_b": len(b) - len(rows_b)}
    a, b, agreed = a[rows_a], b[rows_b], truth_a[rows_a] == truth_b[rows_b]
    require_same_order([a, b], agreed)
    if not agreed.any():
        raise PredictionsError(
            f"The two have no image of the split {split!r} with the same id and the same label.",
            expected="predictions of two models for the same images",
            todo=f"check the ids ({ids[0]!r} in one, {ids[1]!r} in the other) and the splits",
        )
    return a[agreed], b[agreed], counts | {"relabelled": int(np.count_nonzero(~agreed))}


def _merge_attributes(
    a: Mapping[str, Attribute], b: Mapping[str, Attribute]
) -> dict[str, Attribute]:
    """The attributes of either; unknown where the two differ about an image."""
    merged = dict[str, Attribute]()
    for name, first in a.items():
        second = b.get(name)
        if second is None:
            merged[name] = first
        elif (first.kind == "numeric") == (second.kind == "numeric"):
            missing = np.nan if first.kind == "numeric" else -1
            differs = np.array([x != y for x, y in zip(first.words(), second.words(), strict=True)])
            data = np.where(differs, missing, first.data).astype(first.data.dtype)
            merged[name] = replace(first, data=data)
    return merged | {name: attribute for name, attribute in b.items() if name not in a}
