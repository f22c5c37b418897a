"""Two models' answers for the same images, matched by their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Floats, Marks
from candid.errors import PredictionsError
from candid.predictions import Attribute, Predictions
from candid.predictions.numbers import NumberAnswers
from candid.records import Split
from candid.table import ROW, Table


@dataclass(frozen=True, eq=False)
class PairedAnswers(Table):
    """n images of one split with one label and two answers each, as indices into the same classes.

    Attributes are of either model's; unknown where the two say different things of an image.
    Labelled images of which only one speaks are counted, and those that are labelled differently.
    """

    PER_IMAGE = (*Table.PER_IMAGE, "answer_a", "answer_b")

    answer_a: NDArray[np.intp]
    answer_b: NDArray[np.intp]
    only_a: int
    only_b: int
    relabelled: int

    @property
    def balance(self) -> NDArray[np.int64]:
        """(n,) 1 where only B is right, -1 where only A is, else 0."""
        right_a, right_b = self.answer_a == self.label, self.answer_b == self.label
        balance: NDArray[np.int64] = right_b.astype(np.int64) - right_a.astype(np.int64)
        return balance


def same_classes(a: Predictions, b: Predictions) -> tuple[str, ...]:
    """A's classes, and after them those that only B knows.

    Raises
    ------
    PredictionsError
        Where each knows a class that the other does not, or there are fewer than two.
    """
    one, two = {*a.classes}, {*b.classes}
    if not (one <= two or two <= one) or len(one | two) < 2:
        raise PredictionsError(
            f"The classes are {', '.join(a.classes)} in the one and {', '.join(b.classes)} in the "
            "other.",
            expected="two models that tell the same classes apart",
            todo="name two runs with the same target",
        )
    return (*a.classes, *(c for c in b.classes if c not in one))


class Named(Protocol):
    """Images that go by names."""

    @property
    def ids(self) -> NDArray[np.str_]:
        """(n,) one for each."""
        ...


def goes_by_row(p: Named) -> bool:
    """Whether images go by the numbers of their rows, as nothing names them."""
    return bool(len(p.ids)) and bool(np.strings.startswith(p.ids, ROW).all())


def refuse_other_order(models: Sequence[Named], same: Marks) -> None:
    """Raise PredictionsError where images go by numbers, and not all are labelled the `same`."""
    if same.all() or not all(map(goes_by_row, models)):
        return
    raise PredictionsError(
        f"The rows have numbers for names, and in {np.count_nonzero(~same):,} of {len(same):,} "
        "the labels differ: they are not the same images in the same order.",
        expected="one name per image, the same for every model",
        todo="name the column that holds it with --id, or ids= in Python",
    )


def match(a: Predictions, b: Predictions, classes: tuple[str, ...], split: Split) -> PairedAnswers:
    """The images of a split that both speak of and that are labelled the same in both.

    Raises
    ------
    PredictionsError
        Where there is none.
    """
    a, b = (p[(p.split == split) & (p.label >= 0)] for p in (a, b))
    place_a = np.array([classes.index(c) for c in a.classes])
    place_b = np.array([classes.index(c) for c in b.classes])

    def same(a: Predictions, b: Predictions) -> Marks:
        agreed: Marks = place_a[a.label] == place_b[b.label]
        return agreed

    both = _in_both(a, b, same, split)
    a, b = both.a, both.b
    return PairedAnswers(
        target=a.target,
        classes=classes,
        ids=a.ids,
        split=a.split,
        label=place_a[a.label].astype(np.int16),
        answer_a=place_a[a.prediction],
        answer_b=place_b[b.prediction],
        person=b.person if a.person is None else a.person,
        attributes={agreed.name: agreed for agreed in _agreed(a.attributes, b.attributes)},
        only_a=both.only_a,
        only_b=both.only_b,
        relabelled=both.relabelled,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class PairedNumbers(NumberAnswers):
    """B's answers about a number of n images of one split, beside A's; else as for classes."""

    PER_IMAGE = (*NumberAnswers.PER_IMAGE, "before")

    before: Floats
    only_a: int
    only_b: int
    relabelled: int

    @property
    def off(self) -> Floats:
        """(n,) how far off B is, without its sign."""
        return np.abs(self.predicted - self.value)

    @property
    def off_before(self) -> Floats:
        """The same of A."""
        return np.abs(self.before - self.value)


def match_numbers(a: NumberAnswers, b: NumberAnswers, split: Split) -> PairedNumbers:
    """The images of a split that both speak of and whose true number is the same in both.

    Raises
    ------
    PredictionsError
        Where there is none.
    """

    def same(a: NumberAnswers, b: NumberAnswers) -> Marks:
        agreed: Marks = a.value == b.value
        return agreed

    both = _in_both(a[a.split == split], b[b.split == split], same, split)
    a, b = both.a, both.b
    return PairedNumbers(
        target=a.target,
        ids=a.ids,
        split=a.split,
        value=a.value,
        predicted=b.predicted,
        before=a.predicted,
        person=b.person if a.person is None else a.person,
        attributes={agreed.name: agreed for agreed in _agreed(a.attributes, b.attributes)},
        only_a=both.only_a,
        only_b=both.only_b,
        relabelled=both.relabelled,
    )


_Answers = TypeVar("_Answers", Predictions, NumberAnswers)


@dataclass(frozen=True, eq=False)
class _Both(Generic[_Answers]):
    """Two models' rows of the images that they have in common, and how many others there are."""

    a: _Answers
    b: _Answers
    only_a: int
    only_b: int
    relabelled: int


def _in_both(
    a: _Answers, b: _Answers, same: Callable[[_Answers, _Answers], Marks], split: Split
) -> _Both[_Answers]:
    """The rows with the same id whose truth is the `same`; the rows that are given count.

    Raises PredictionsError where there is none.
    """
    ids = [str(p.ids[0]) if len(p) else "none" for p in (a, b)]
    _, rows_a, rows_b = np.intersect1d(a.ids, b.ids, return_indices=True)
    only_a, only_b = len(a) - len(rows_a), len(b) - len(rows_b)
    a, b = a[rows_a], b[rows_b]
    agreed = same(a, b)
    refuse_other_order([a, b], agreed)
    if not agreed.any():
        raise PredictionsError(
            f"The two have no image of the split {split!r} with the same id and the same label.",
            expected="predictions of two models for the same images",
            todo=f"check the ids ({ids[0]!r} in one, {ids[1]!r} in the other) and the splits",
        )
    return _Both(a[agreed], b[agreed], only_a, only_b, int(np.count_nonzero(~agreed)))


def _agreed(a: Mapping[str, Attribute], b: Mapping[str, Attribute]) -> Iterator[Attribute]:
    """The attributes of either; what the two say differently of an image is unknown."""
    for name, mine in a.items():
        other = b.get(name)
        if other is None:
            yield mine
        elif (mine.kind == "numeric") != (other.kind == "numeric"):
            continue
        else:
            missing = np.nan if mine.kind == "numeric" else -1
            differs = np.array([x != y for x, y in zip(mine.words(), other.words(), strict=True)])
            yield replace(mine, data=np.where(differs, missing, mine.data).astype(mine.data.dtype))
    yield from (other for name, other in b.items() if name not in a)
