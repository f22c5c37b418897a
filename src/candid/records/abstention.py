"""When a model had better not answer: thresholds, what they promise, and what came true.

Calibrated on one half of the people (validation) and verified on the other (test). Undefined
figures are NaN here and `null` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from candid.records import Estimate, State

# "label": images that the annotator labelled so. "answer": images that the model would answer so;
# only these, and all images together, can be told apart when a new image comes without labels.
GroupKind = Literal["all", "label", "answer", "group"]


@dataclass(frozen=True, slots=True)
class AbstentionRule:
    """Answer where the highest probability is at least `threshold`, and abstain elsewhere.

    Attributes
    ----------
    threshold
        0 where everything may be answered. It holds for calibrated probabilities, as predictions
        files have them.
    target_error
        At most this share of the answers is wrong.
    confidence
        How probable it is that the promise holds, over draws of the calibration images.
    guarantee
        The promise in words, with what it assumes.
    n, mistakes
        How many calibration images it would have answered, and how many of those wrongly. Where
        people are known there is one image of each.
    by_person
        Whether people were known.
    """

    threshold: float
    target_error: float
    confidence: float
    guarantee: str
    n: int
    mistakes: int
    by_person: bool


@dataclass(frozen=True, slots=True)
class GroupAbstention:
    """What a rule does to one group on the verification images.

    Attributes
    ----------
    kind
        What makes the group: see `GroupKind`.
    attribute, value
        "Eyeglasses", "yes"; for a label or an answer the target's name and the class; "" for all.
    n, people
        Images in the group, and people behind them (None where people are unknown).
    coverage
        Share of the group's images that are answered; NaN without a rule.
    error
        Of the answers, the share that is wrong.
    error_by_person
        The same where every person counts once, as the guarantee has it; equal to `error` where
        people are unknown.
    state
        "found": the group's answers are wrong more often than the target allows (the whole
        interval of `error` lies above it); "too few to say" where the group is small or its
        interval holds the target and reaches to more than twice of it.
    own
        A rule from the group's calibration images alone, with the same promise for this group
        (Mondrian); None where none can be promised, for which `needed` says why.
    own_coverage, own_error
        What that rule does to this group on the verification images; None without either.
    calibration_n
        Calibration images of the group (one per person where people are known).
    needed
        The least number of calibration images without any mistake that would allow a promise.
    """

    kind: GroupKind
    attribute: str
    value: str
    n: int
    people: int | None
    coverage: Estimate
    error: Estimate
    error_by_person: Estimate
    state: State
    own: AbstentionRule | None
    own_coverage: Estimate | None
    own_error: Estimate | None
    calibration_n: int
    needed: int


@dataclass(frozen=True, slots=True)
class TargetAbstention:
    """One target error: the rule, and what it does to all images and to every group.

    `rule` is None where no threshold can be promised; `groups` starts with all images together,
    then the classes as labels and as answers, then every value of every attribute.
    `sentence` says it for a reader who is no statistician.
    """

    target_error: float
    rule: AbstentionRule | None
    sentence: str
    groups: tuple[GroupAbstention, ...]


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Error among the surest images of a group against the share of the group that they are.

    Attributes
    ----------
    kind, attribute, value, n, people
        The group, as in `GroupAbstention`.
    coverage, error, low, high
        Points of the curve: the surest share of the group's images, the share of those that is
        wrong, and the ends of its interval (for one point at a time).
    threshold
        The confidence of the least sure image of each point.
    """

    kind: GroupKind
    attribute: str
    value: str
    n: int
    people: int | None
    coverage: tuple[float, ...]
    error: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    threshold: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ConformalGroup:
    """Prediction sets in one group of the verification images.

    `held` is the share whose set holds the label, `single` the share whose set is one class alone.
    The `own_…` figures are those of sets calibrated on this group alone (Mondrian), with a least
    probability of `own_least_probability`; 0 where there were too few images to leave anything out.
    """

    kind: GroupKind
    attribute: str
    value: str
    n: int
    people: int | None
    held: Estimate
    single: Estimate
    calibration_n: int
    own_least_probability: float
    own_held: Estimate
    own_single: Estimate


@dataclass(frozen=True, slots=True)
class ConformalSets:
    """Split-conformal prediction sets: every class whose probability is high enough.

    Attributes
    ----------
    target_miss
        At most this share of the sets misses the label, on average over calibrations.
    least_probability
        A class is in the set where its probability is at least this; 0 where there were too few
        calibration images to leave anything out.
    guarantee
        The promise in words, with what it assumes.
    n, by_person
        Calibration images; one per person where people are known.
    groups
        As in `TargetAbstention`, but without answers.
    """

    target_miss: float
    least_probability: float
    guarantee: str
    n: int
    by_person: bool
    groups: tuple[ConformalGroup, ...]


@dataclass(frozen=True, slots=True)
class Abstention:
    """Coverage against error, and thresholds with a promise that was verified on other people.

    Attributes
    ----------
    target, classes
        Of the predictions.
    calibrated_on, verified_on
        In words: "validation", "half of the people in test". `verified_on` is empty where there
        were no held-out images: then nothing was measured, figures are NaN, states "not
        applicable", and there are no curves.
    calibration_n, calibration_people, n, people
        Images and people of both halves; people are None where people are unknown.
    targets
        One per target error, in the order that was asked for.
    conformal
        One per target error, too.
    curves
        On the verification images: all, labels, answers, groups.
    notes
        What a reader might not expect.
    """

    target: str
    classes: tuple[str, ...]
    calibrated_on: str
    verified_on: str
    calibration_n: int
    calibration_people: int | None
    n: int
    people: int | None
    targets: tuple[TargetAbstention, ...]
    conformal: tuple[ConformalSets, ...]
    curves: tuple[RiskCoverage, ...]
    notes: tuple[str, ...] = ()
