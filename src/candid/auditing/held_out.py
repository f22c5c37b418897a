"""Two halves of the people: one to calibrate on, one to verify on, and the groups in both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from candid.arrays import BoolArray, IndexArray
from candid.errors import PredictionsError
from candid.predictions import Predictions
from candid.records.abstention import GroupKind
from candid.stats.bootstrap import sample_people


@dataclass(frozen=True, eq=False)
class Halves:
    """Labelled images to calibrate on and to verify on, and their names in words.

    Without held-out images there are none to verify on, and `verified_on` is empty.
    """

    calibration: Predictions
    verification: Predictions
    calibrated_on: str
    verified_on: str


def split_halves(predictions: Predictions, seed: int) -> Halves:
    """Validation and test; two random halves of the people of test; or validation alone.

    Validation cannot verify what was found on it, nor a half of it what was found on the other:
    the weights and the temperature were chosen on both.

    Raises PredictionsError where there are labelled images of training only, or in test alone of
    fewer than two people.
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
    images = predictions[test]
    person = images.persons()
    rng = np.random.default_rng(seed)
    chosen, people = sample_people(person, len(images), lambda people: people // 2, rng)
    if people < 2:
        problem = "There is one labelled image in test"
        if len(images) > 1:
            problem = "All labelled images in test are of one person"
        raise PredictionsError(
            f"{problem}; thresholds need two halves.",
            expected="labelled images in validation and in test, or of several people in test",
            todo="predict more images",
        )
    half = f"half of the {'images' if person is None else 'people'} in test"
    return Halves(images[chosen], images[~chosen], half, f"the other {half}")


@dataclass(frozen=True, eq=False)
class Half:
    """One half of the images; `seed` decides `order`."""

    rows: Predictions
    seed: int

    @cached_property
    def order(self) -> IndexArray:
        """(n,) a random order: of a person's images in a group, the first in it counts."""
        return np.random.default_rng(self.seed).permutation(len(self.rows))

    def sample_one_per_person(self, mask: BoolArray) -> IndexArray:
        """Rows of the mask, one for each person; all of them where people are unknown."""
        rows = np.flatnonzero(mask)
        persons = self.rows.persons()
        if persons is None:
            return rows
        shuffled = rows[np.argsort(self.order[rows])]
        first = np.unique(persons[shuffled], return_index=True)[1]
        return np.sort(shuffled[first])


@dataclass(frozen=True, eq=False)
class HeldOutGroup:
    """The images of a group in either half: `mask` of verification, `calibration`."""

    kind: GroupKind
    attribute: str
    value: str
    mask: BoolArray
    calibration: BoolArray


def iterate_groups(verification: Predictions, calibration: Predictions) -> Iterator[HeldOutGroup]:
    """All images, each class as label and as answer, each value of each attribute."""
    halves = (verification, calibration)
    target, classes = verification.target, verification.classes
    yield HeldOutGroup("all", "", "", *(np.ones(len(p), np.bool_) for p in halves))
    for k, name in enumerate(classes):
        yield HeldOutGroup("label", target, name, *(p.label == k for p in halves))
    for k, name in enumerate(classes):
        yield HeldOutGroup("answer", target, name, *(p.prediction == k for p in halves))
    for attribute in verification.attributes.values():
        for code, value in enumerate(attribute.values):
            masks = (p.attributes[attribute.name].data == code for p in halves)
            yield HeldOutGroup("group", attribute.name, value, *masks)
