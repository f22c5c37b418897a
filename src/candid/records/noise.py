"""Labels that are likely wrong, and how much of each gap they could be.

Undefined figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass

from candid.records import Estimate


@dataclass(frozen=True, slots=True)
class LikelyWrong:
    """One image whose label is likely wrong, or which the model is sure of and wrong about."""

    # id, split: which image
    id: str
    split: str
    label: str  # what the annotator wrote
    likely: str  # the class that the model is sure of
    # label_probability, likely_probability: what the model gives to either
    label_probability: float
    likely_probability: float
    # Normalised margin, (label_probability - the highest other + 1) / 2: 0 is worst. The list is
    # sorted by it.
    quality: float


@dataclass(frozen=True, slots=True)
class GapBounds:
    """A group's gap in error, and where the true gap may lie if some labels are wrong.

    Tuples have one entry for each of `LabelNoise.flip_rates`.
    """

    # attribute, value: the group; the rest are the images whose value is known and differs
    attribute: str
    value: str
    # n, people, rest_n, rest_people: images and people on either side; people are None where they
    # are unknown
    n: int
    people: int | None
    rest_n: int
    rest_people: int | None
    # error, rest_error: shares of mistakes, measured against the labels as they are
    error: float
    rest_error: float
    gap: Estimate  # their difference, with its interval as if all labels were right
    # low, high: the least and the largest gap, if on either side at most that share of the labels
    # is wrong, whichever they are. No true gap of these images lies outside.
    low: tuple[float, ...]
    high: tuple[float, ...]
    # low_sure, high_sure: the same with the interval's reach added on either side
    low_sure: tuple[float, ...]
    high_sure: tuple[float, ...]
    # independent_low, independent_high: the least and the largest gap, if annotators err at up to
    # that rate in each class, on either side, and no more often where the model errs. NaN for more
    # than two classes.
    independent_low: tuple[float, ...]
    independent_high: tuple[float, ...]
    # the least share of wrong labels, on both sides and all of them against the gap, that makes it
    # vanish: half the size of the gap
    vanishing_rate: float
    # the same for the end of the interval that is nearer to 0; 0 where the interval holds 0
    vanishing_rate_sure: float


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """Confident learning's view of the labels, and bounds of every gap."""

    # target, classes: of the predictions
    target: str
    classes: tuple[str, ...]
    splits: tuple[str, ...]  # the splits that the labels were taken from
    n: int  # images
    people: int | None  # behind them; None where people are unknown
    # per class: the mean probability of the class among images labelled so, from which on an image
    # counts as surely of the class; NaN for a class without images
    thresholds: tuple[float, ...]
    # [i][j]: how many images are labelled i and surely of class j
    confident_joint: tuple[tuple[int, ...], ...]
    # [i][j]: the estimated share of all images that are labelled i and truly of class j: the
    # confident joint, scaled so that its rows are the shares of the labels
    joint: tuple[tuple[float, ...], ...]
    # the estimated share of labels that are wrong: what `joint` has off its diagonal
    rate: Estimate
    # class → of the images labelled so, the estimated share that is wrong
    class_rates: dict[str, Estimate]
    found: int  # how many labels are likely wrong
    mistakes: int  # how many mistakes the model makes in all, these among them
    listed: int  # how many of these `likely_wrong` lists
    likely_wrong: tuple[LikelyWrong, ...]  # the likeliest first
    # the shares of wrong labels that `gaps` goes through; the estimated one is among them
    flip_rates: tuple[float, ...]
    gap_split: str  # the split whose gaps are bounded
    gaps: tuple[GapBounds, ...]  # every value of every attribute, in the data's order
    notes: tuple[str, ...] = ()  # what a reader might not expect
