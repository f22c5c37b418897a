"""Two halves of the people: one to calibrate on, one to verify on, and the groups in both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Marks
from candid.errors import PredictionsError
from candid.predictions import Predictions
from candid.records.abstention import GroupKind
from candid.stats.bootstrap import part_of_people


@dataclass(frozen=True, eq=False)
class Halves:
    """Labelled images to calibrate on and to verify on, and in words which these are.

    Without held-out images there are none to verify on, and `verified_on` is empty.
    """

    calibration: Predictions
    verification: Predictions
    calibrated_on: str
    verified_on: str


def halves_of(predictions: Predictions, seed: int) -> Halves:
    """Validation and test; of test alone the people in two random halves; of validation only that.

    Validation cannot verify what was found on it, nor a half of it what was found on the other:
    the weights and the temperature were chosen on both.

    Raises
    ------
    PredictionsError
        Where there are labelled images of training only, or in test alone of fewer than two people.
    """
    labelled = predictions.label >= 0
    validation = labelled & (predictions.split == "validation")
    test = labelled & (predictions.split == "test")
    if validation.any():
        verified_on = "test" if test.any() else ""
        return Halves(predictions[validation], predictions[test], "validation", verified_on)
    if not test.any():
        raise PredictionsError(
            "There are no labelled images in validation or test, and on the images that a model "
            "learned from it is surer than on others.",
            expected="labelled images in validation, and in test to measure the promise on",
            todo="predict more images",
        )
    some = predictions[test]
    person = some.persons()
    rng = np.random.default_rng(seed)
    mine, people = part_of_people(person, len(some), lambda people: people // 2, rng)
    if people < 2:
        few = "There is one labelled image in test"
        if len(some) > 1:
            few = "All labelled images in test are of one person"
        raise PredictionsError(
            f"{few}; thresholds need two halves.",
            expected="labelled images in validation and in test, or of several people in test",
            todo="predict more images",
        )
    half = f"half of the {'images' if person is None else 'people'} in test"
    return Halves(some[mine], some[~mine], half, f"the other {half}")


@dataclass(frozen=True, eq=False)
class Half:
    """One half of the images; `seed` decides `order`."""

    rows: Predictions
    seed: int

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """(n,) a random order: of a person's images in a group, the first in it counts."""
        return np.random.default_rng(self.seed).permutation(len(self.rows))

    def one_each(self, mask: Marks) -> NDArray[np.intp]:
        """Rows of the mask, one for each person; all of them where people are unknown."""
        rows = np.flatnonzero(mask)
        persons = self.rows.persons()
        if persons is None:
            return rows
        drawn = rows[np.argsort(self.order[rows])]
        first = np.unique(persons[drawn], return_index=True)[1]
        return np.sort(drawn[first])


@dataclass(frozen=True, eq=False)
class HeldOutGroup:
    """Images of either half that belong together: `mask` of verification, `calibration`."""

    kind: GroupKind
    attribute: str
    value: str
    mask: Marks
    calibration: Marks


def groups_of(verification: Predictions, calibration: Predictions) -> Iterator[HeldOutGroup]:
    """All images, each class as label and as answer, each value of each attribute."""
    both = (verification, calibration)
    target, classes = verification.target, verification.classes
    yield HeldOutGroup("all", "", "", *(np.ones(len(p), np.bool_) for p in both))
    for k, name in enumerate(classes):
        yield HeldOutGroup("label", target, name, *(p.label == k for p in both))
    for k, name in enumerate(classes):
        yield HeldOutGroup("answer", target, name, *(p.prediction == k for p in both))
    for attribute in verification.attributes.values():
        for code, value in enumerate(attribute.values):
            masks = (p.attributes[attribute.name].data == code for p in both)
            yield HeldOutGroup("group", attribute.name, value, *masks)
