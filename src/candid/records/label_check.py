"""What came of the check of all labels (`check.json`)."""

from __future__ import annotations

from dataclasses import dataclass

from candid.records import Estimate
from candid.records.noise import LabelNoise


@dataclass(frozen=True, slots=True)
class DoubtedLabel:
    """One image whose label something speaks against.

    Attributes
    ----------
    id, split
        Which image.
    label, answer
        What the annotator wrote, and what the model says that did not learn from the image.
    label_probability, answer_probability
        What that model gives to either.
    quality
        Normalised margin, (label_probability - the highest other + 1) / 2: 0 is worst.
    person_label
        The class of more than half of the person's labelled pictures, this one among them; empty
        where there is none, where they are fewer than three, or where nobody knows who it is.
    others, agreeing
        How many other labelled pictures the person has, and how many of them have this label.
    """

    id: str
    split: str
    label: str
    answer: str
    label_probability: float
    answer_probability: float
    quality: float
    person_label: str
    others: int
    agreeing: int


@dataclass(frozen=True, slots=True)
class CheckedFold:
    """A part of the people, predicted by a network that learned from all others.

    Attributes
    ----------
    n, people
        Its images, and the people on them (None where people are unknown).
    accuracy
        The share of its labels that are what the network answers.
    """

    n: int
    people: int | None
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """Which of all labels are likely wrong.

    Attributes
    ----------
    data, target, classes
        What was checked.
    n, people
        Labelled images that could be read, and the people on them (None where unknown).
    of_split
        Split → how many of these images it has.
    folds
        The parts of the people; no person, and no copies of a picture, are in two.
    accuracy
        The share of all labels that are what the networks answer, which learned from others.
    noise
        Confident learning's estimates from these answers: `noise.rate` is the share of the labels
        that is wrong. It lists no image.
    person_agreement
        The share of labels that are those of most pictures of the same person, where there is such
        a majority; None where there is none.
    persons_count
        Whether that share is high enough for other pictures to speak against a label.
    found_by_both, found_by_model, found_by_person
        How many labels both model and person speak against; the model alone; the person alone.
    wrong_in_split
        Split → how many of its labels are likely wrong: by both, or by the model alone.
    by_both
        The likeliest wrong labels, the worst margin first.
    by_model
        The next: those of whose person nothing is known first, then those that are labelled like
        most pictures of their person; in each the worst margin first.
    by_person
        Where the model agrees with the label, and most pictures of the person do not: likely
        another person's picture. Those of whose label the model is surest come first.
    notes
        What a reader might not expect.
    """

    data: str
    target: str
    classes: tuple[str, ...]
    n: int
    people: int | None
    of_split: dict[str, int]
    folds: tuple[CheckedFold, ...]
    accuracy: Estimate
    noise: LabelNoise
    person_agreement: Estimate | None
    persons_count: bool
    found_by_both: int
    found_by_model: int
    found_by_person: int
    wrong_in_split: dict[str, int]
    by_both: tuple[DoubtedLabel, ...]
    by_model: tuple[DoubtedLabel, ...]
    by_person: tuple[DoubtedLabel, ...]
    notes: tuple[str, ...] = ()
