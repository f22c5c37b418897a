"""Two models' answers for the same images, matched by their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Marks
from candid.errors import PredictionsError
from candid.predictions import Attribute, Predictions
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


def goes_by_row(p: Table) -> bool:
    """Whether images go by the numbers of their rows, as nothing names them."""
    return bool(len(p)) and bool(np.strings.startswith(p.ids, ROW).all())


def refuse_other_order(models: Sequence[Table], same: Marks) -> None:
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
    ids = [str(p.ids[0]) if len(p) else "none" for p in (a, b)]
    _, rows_a, rows_b = np.intersect1d(a.ids, b.ids, return_indices=True)
    only_a, only_b = len(a) - len(rows_a), len(b) - len(rows_b)
    a, b = a[rows_a], b[rows_b]
    place_a = np.array([classes.index(c) for c in a.classes])
    place_b = np.array([classes.index(c) for c in b.classes])
    same = place_a[a.label] == place_b[b.label]
    refuse_other_order([a, b], same)
    if not same.any():
        raise PredictionsError(
            f"The two have no image of the split {split!r} with the same id and the same label.",
            expected="predictions of two models for the same images",
            todo=f"check the ids ({ids[0]!r} in one, {ids[1]!r} in the other) and the splits",
        )
    a, b = a[same], b[same]
    return PairedAnswers(
        target=a.target,
        classes=classes,
        ids=a.ids,
        split=a.split,
        label=place_a[a.label].astype(np.int16),
        answer_a=place_a[a.prediction],
        answer_b=place_b[b.prediction],
        person=b.person if a.person is None else a.person,
        attributes={agreed.name: agreed for agreed in _agreed(a, b)},
        only_a=only_a,
        only_b=only_b,
        relabelled=int(np.count_nonzero(~same)),
    )


def _agreed(a: Predictions, b: Predictions) -> Iterator[Attribute]:
    """The attributes of either; what the two say differently of an image is unknown."""
    for name, mine in a.attributes.items():
        other = b.attributes.get(name)
        if other is None:
            yield mine
        elif (mine.kind == "numeric") != (other.kind == "numeric"):
            continue
        else:
            missing = np.nan if mine.kind == "numeric" else -1
            differs = np.array([x != y for x, y in zip(mine.words(), other.words(), strict=True)])
            yield replace(mine, data=np.where(differs, missing, mine.data).astype(mine.data.dtype))
    yield from (other for name, other in b.attributes.items() if name not in a.attributes)
