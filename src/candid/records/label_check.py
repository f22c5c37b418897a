"""What came of the check of all labels (`check.json`)."""

from __future__ import annotations

from dataclasses import dataclass

from candid.records import Estimate
from candid.records.noise import LabelNoise


@dataclass(frozen=True, slots=True)
class DoubtedLabel:
    """One image whose label something speaks against."""

    # id, split: which image
    id: str
    split: str
    label: str  # what the annotator wrote
    answer: str  # what the model says that did not learn from the image
    # label_probability, answer_probability: what that model gives to either
    label_probability: float
    answer_probability: float
    quality: float  # normalised margin, (label_probability - the highest other + 1) / 2: 0 is worst
    # the class of more than half of the person's labelled pictures, this one among them; empty
    # where there is none, where they are fewer than three, or where nobody knows who it is
    person_label: str
    others: int  # how many other labelled pictures the person has
    agreeing: int  # how many of them have this label


@dataclass(frozen=True, slots=True)
class CheckedFold:
    """A part of the people, predicted by a network that learned from all others."""

    n: int  # its images
    people: int | None  # the people on them; None where unknown
    accuracy: Estimate  # the share of its labels that are what the network answers


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """Which of all labels are likely wrong."""

    # data, target, classes: what was checked
    data: str
    target: str
    classes: tuple[str, ...]
    n: int  # labelled images that could be read
    people: int | None  # the people on them; None where unknown
    of_split: dict[str, int]  # split → how many of these images it has
    # the parts of the people; no person, and no copies of a picture, are in two
    folds: tuple[CheckedFold, ...]
    # the share of all labels that are what the networks answer, which learned from others
    accuracy: Estimate
    # Confident learning's estimates from these answers: `noise.rate` is the share of the labels
    # that is wrong. It lists no image.
    noise: LabelNoise
    # the share of labels that are those of most pictures of the same person, where there is such a
    # majority; None where there is none
    person_agreement: Estimate | None
    # whether that share is high enough for other pictures to speak against a label
    persons_count: bool
    found_by_both: int  # how many labels both model and person speak against
    found_by_model: int  # those of the model alone
    found_by_person: int  # those of the person alone
    # split → how many of its labels are likely wrong: by both, or by the model alone
    wrong_in_split: dict[str, int]
    by_both: tuple[DoubtedLabel, ...]  # the likeliest wrong labels, the worst margin first
    # the next: those of whose person nothing is known first, then those that are labelled like most
    # pictures of their person; in each the worst margin first
    by_model: tuple[DoubtedLabel, ...]
    # Where the model agrees with the label, and most pictures of the person do not: likely another
    # person's picture. Those of whose label the model is surest come first.
    by_person: tuple[DoubtedLabel, ...]
    notes: tuple[str, ...] = ()  # what a reader might not expect
