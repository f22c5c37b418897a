"""Labels that are likely wrong, and how much of each gap they could be.

Undefined figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass

from candid.records import Estimate


@dataclass(frozen=True, slots=True)
class LikelyWrong:
    """One image whose label is likely wrong, or which the model is sure of and wrong about.

    Attributes
    ----------
    id, split
        Which image.
    label, likely
        What the annotator wrote, and the class that the model is sure of.
    label_probability, likely_probability
        What the model gives to either.
    quality
        Normalised margin, (label_probability - the highest other + 1) / 2: 0 is worst. The list is
        sorted by it.
    """

    id: str
    split: str
    label: str
    likely: str
    label_probability: float
    likely_probability: float
    quality: float


@dataclass(frozen=True, slots=True)
class GapBounds:
    """A group's gap in error, and where the true gap may lie if some labels are wrong.

    Tuples have one entry for each of `LabelNoise.flip_rates`.

    Attributes
    ----------
    attribute, value
        The group; the rest are the images whose value is known and differs.
    n, people, rest_n, rest_people
        Images and people on either side; people are None where people are unknown.
    error, rest_error
        Shares of mistakes, measured against the labels as they are.
    gap
        Their difference, with its interval as if all labels were right.
    low, high
        The least and the largest gap, if on either side at most that share of the labels is wrong,
        whichever they are. No true gap of these images lies outside.
    low_sure, high_sure
        The same with the interval's reach added on either side.
    independent_low, independent_high
        The least and the largest gap, if annotators err at up to that rate in each class, on either
        side, and no more often where the model errs. NaN for more than two classes.
    vanishing_rate
        The least share of wrong labels, on both sides and all of them against the gap, that makes
        it vanish: half the size of the gap.
    vanishing_rate_sure
        The same for the end of the interval that is nearer to 0; 0 where the interval holds 0.
    """

    attribute: str
    value: str
    n: int
    people: int | None
    rest_n: int
    rest_people: int | None
    error: float
    rest_error: float
    gap: Estimate
    low: tuple[float, ...]
    high: tuple[float, ...]
    low_sure: tuple[float, ...]
    high_sure: tuple[float, ...]
    independent_low: tuple[float, ...]
    independent_high: tuple[float, ...]
    vanishing_rate: float
    vanishing_rate_sure: float


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """Confident learning's view of the labels, and bounds of every gap.

    Attributes
    ----------
    target, classes
        Of the predictions.
    splits
        The splits that the labels were taken from.
    n, people
        Images, and people behind them (None where people are unknown).
    thresholds
        Per class: the mean probability of the class among images labelled so, from which on an
        image counts as surely of the class; NaN for a class without images.
    confident_joint
        [i][j]: how many images are labelled i and surely of class j.
    joint
        [i][j]: the estimated share of all images that are labelled i and truly of class j: the
        confident joint, scaled so that its rows are the shares of the labels.
    rate
        The estimated share of labels that are wrong: what `joint` has off its diagonal.
    class_rates
        Class → of the images labelled so, the estimated share that is wrong.
    found, mistakes, listed
        How many labels are likely wrong; how many mistakes the model makes in all, these among
        them; and how many of these `likely_wrong` lists.
    likely_wrong
        The likeliest first.
    flip_rates
        The shares of wrong labels that `gaps` goes through; the estimated one is among them.
    gap_split
        The split whose gaps are bounded.
    gaps
        Every value of every attribute, in the data's order.
    notes
        What a reader might not expect.
    """

    target: str
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    n: int
    people: int | None
    thresholds: tuple[float, ...]
    confident_joint: tuple[tuple[int, ...], ...]
    joint: tuple[tuple[float, ...], ...]
    rate: Estimate
    class_rates: dict[str, Estimate]
    found: int
    mistakes: int
    listed: int
    likely_wrong: tuple[LikelyWrong, ...]
    flip_rates: tuple[float, ...]
    gap_split: str
    gaps: tuple[GapBounds, ...]
    notes: tuple[str, ...] = ()
