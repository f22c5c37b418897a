"""When a model had better not answer: coverage against error, and thresholds with a promise.

A model abstains where its highest probability is below a threshold. Here the threshold for "at most
1% of the answers are wrong" is found on validation, with a guarantee for finite samples, and what
it does is then measured on test: for everyone, for each class, and for each group.

**The threshold** is found by testing one hypothesis after the other ("with this threshold the error
is above the target"), from the surest answers downwards, and stopping at the first that cannot be
rejected: fixed-sequence testing, as in Learn then Test (Angelopoulos, Bates, Candès, Jordan & Lei
2021; the test is the exact binomial one that Geifman & El-Yaniv 2017 use). All steps together err
with the probability of one. The promise needs two things: calibration images that are drawn like
the ones to come, and an error that does not fall when less sure answers are added.

**People.** Two images of one person are not two independent trials, so where people are known,
one image of each person is drawn and only these calibrate (the subsampling of Dunn, Wasserman &
Ramdas 2023, "Distribution-free prediction sets for two-layer hierarchical models"). The promise
is then for a new person and one of their images.

**Prediction sets** are the other form of abstention: the classes that cannot be ruled out. Split
conformal prediction (Vovk, Gammerman & Shafer 2005; Papadopoulos et al. 2002) promises how many of
the sets hold the label, marginally and, calibrated on each group alone, within groups (Mondrian).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from candid.arrays import BoolArray, FloatArray
from candid.auditing.held_out import Half, Halves, HeldOutGroup, iterate_groups, split_halves
from candid.errors import ConfigError
from candid.predictions import Predictions, require_probabilities
from candid.records import Estimate, State
from candid.records.abstention import (
    Abstention,
    AbstentionRule,
    ConformalGroup,
    ConformalSets,
    GroupAbstention,
    RiskCoverage,
    TargetAbstention,
)
from candid.stats.exact import answering_threshold, conformal_threshold, fewest_answers, first_rank
from candid.stats.intervals import share, share_by_person, wilson_shares
from candid.text.abstention import (
    KEPT_BEST,
    NOT_VERIFIED,
    abstention_guarantee,
    conformal_guarantee,
    each_by_itself,
    halved_test,
    no_promise,
    not_measured,
    one_of_each,
    promise_kept,
)


def abstain(probability: FloatArray, threshold: float) -> BoolArray:
    """Whether to abstain: the highest of a row's probabilities is below the threshold.

    Parameters
    ----------
    probability
        (n, classes), calibrated as those that the threshold was found with.
    threshold
        Of an `AbstentionRule`.

    Returns
    -------
    (n,) bool; True also where a probability is NaN.
    """
    unsure: BoolArray = ~(probability.max(axis=1) >= threshold)
    return unsure


def abstention(
    predictions: Predictions,
    *,
    target_errors: Sequence[float] = (0.01, 0.02),
    confidence: float = 0.95,
    smallest_people: int = 30,
    points: int = 25,
    seed: int = 0,
) -> Abstention:
    """Find thresholds on validation and measure them on test, for everyone and for each group.

    Where validation has no labelled images, the people of test are halved at random, and a note
    says so. Where test has none, nothing is measured: figures are NaN, states "not applicable", and
    the sentences say why. Numeric attributes are cut at their quartiles.

    Raises PredictionsError where there are labelled images of training only, or in test alone of
    fewer than two people (or images), or no probabilities. Raises ConfigError where a target error
    is not between 0 and 1.

    Parameters
    ----------
    predictions
        From any model. Images without a label (-1) do not count.
    target_errors
        Shares between 0 and 1: of the answers that may be wrong, and of the sets that may miss.
    confidence
        How probable it is that a threshold's promise holds, and of the intervals.
    smallest_people
        Groups with fewer people (images, where people are unknown) are "too few to say".
    points
        How many points the curves have at most.
    seed
        Draws one image of each person, and the halves where there is one split only.
    """
    _check_target_errors(target_errors)
    require_probabilities(predictions)
    halves = split_halves(predictions.with_bins(), seed)
    calibration = Half(halves.calibration, seed)
    verification = Half(halves.verification, seed)
    groups = list(iterate_groups(verification.rows, calibration.rows))
    setting = _Setting(calibration, verification, confidence, smallest_people)
    return Abstention(
        target=predictions.target,
        classes=predictions.classes,
        calibrated_on=halves.calibrated_on,
        verified_on=halves.verified_on,
        calibration_n=len(calibration.rows),
        calibration_people=calibration.rows.n_people(),
        n=len(verification.rows),
        people=verification.rows.n_people(),
        targets=tuple(_build_target(setting, t, groups) for t in target_errors),
        conformal=tuple(_build_conformal(setting, t, groups) for t in target_errors),
        curves=tuple(
            _build_curve(setting, group, points)
            for group in groups
            if group.kind != "answer" and group.mask.any()
        ),
        notes=tuple(_notes(predictions, halves, setting, len(target_errors))),
    )


def _check_target_errors(target_errors: Sequence[float]) -> None:
    for target in target_errors:
        if not 0 < target < 1:
            raise ConfigError(
                f"A target error of {target} was asked for.",
                expected="shares above 0 and below 1, such as 0.01",
                todo="name other target errors",
            )


@dataclass(frozen=True, eq=False)
class _Setting:
    calibration: Half
    verification: Half
    confidence: float
    smallest_people: int

    def describe(self, group: HeldOutGroup) -> dict[str, Any]:
        """The fields of a record that name a group and count its verification half."""
        return {
            "kind": group.kind,
            "attribute": group.attribute,
            "value": group.value,
            "n": int(group.mask.sum()),
            "people": self.verification.rows.n_people(group.mask),
        }


# --- one target ----------------------------------------------------------------------------------


def _build_target(s: _Setting, target: float, groups: Sequence[HeldOutGroup]) -> TargetAbstention:
    rule = _find_rule(s, groups[0], target)
    verified = tuple(_verify_rule(s, g, target, rule) for g in groups)
    everyone = verified[0]
    if rule is None:
        sentence = _explain_no_rule(s.calibration, target, s.confidence, everyone.calibration_n)
    elif not len(s.verification.rows):
        sentence = not_measured(target, rule.threshold)
    else:
        sentence = promise_kept(target, everyone, _find_least_answered(s, verified))
    return TargetAbstention(target, rule, sentence, verified)


def _find_least_answered(s: _Setting, groups: Sequence[GroupAbstention]) -> GroupAbstention | None:
    """The large enough group with the lowest coverage, where it is surely below everyone's."""
    candidates = [
        g
        for g in groups
        if g.kind == "group"
        and (g.n if g.people is None else g.people) >= s.smallest_people
        and g.coverage.high < groups[0].coverage.low
    ]
    return min(candidates, key=lambda g: g.coverage.value, default=None)


def _find_rule(s: _Setting, group: HeldOutGroup, target: float) -> AbstentionRule | None:
    half = s.calibration
    rows = half.sample_one_per_person(group.calibration)
    score, wrong = half.rows.confidence[rows], half.rows.wrong[rows]
    threshold = answering_threshold(score, wrong, target, s.confidence)
    if math.isnan(threshold):
        return None
    answered = score >= threshold
    return AbstentionRule(
        threshold=threshold,
        target_error=target,
        confidence=s.confidence,
        guarantee=abstention_guarantee(
            *(group.kind, group.attribute, group.value),
            *(target, s.confidence, half.rows.persons() is not None),
        ),
        n=int(answered.sum()),
        mistakes=int((answered & wrong).sum()),
        by_person=half.rows.persons() is not None,
    )


def answering_rule(
    predictions: Predictions, target_error: float, confidence: float = 0.95, seed: int = 0
) -> tuple[AbstentionRule | None, str]:
    """The rule for all labelled images, and its promise in words, or why there is none."""
    _check_target_errors((target_error,))
    half = Half(predictions, seed)
    everyone = np.ones(len(predictions), np.bool_)
    group = HeldOutGroup("all", "", "", everyone, everyone)
    rule = _find_rule(_Setting(half, half, confidence, 0), group, target_error)
    if rule is not None:
        return rule, rule.guarantee
    n = len(half.sample_one_per_person(everyone))
    return None, _explain_no_rule(half, target_error, confidence, n)


def _explain_no_rule(half: Half, target: float, confidence: float, n: int) -> str:
    """The sentence that says why `n` images allow no promise."""
    needed = fewest_answers(0, target, confidence)
    start = first_rank(n, target, confidence) if n >= needed else 0
    return no_promise(target, n, needed, start, half.rows.persons() is not None)


def _verify_rule(
    s: _Setting, group: HeldOutGroup, target: float, rule: AbstentionRule | None
) -> GroupAbstention:
    half, measured = s.verification, len(s.verification.rows) > 0
    coverage, error = _measure_rule(s, group, rule)
    by_person, persons = error, half.rows.persons()
    if rule is not None and measured and persons is not None:
        answered = group.mask & (half.rows.confidence >= rule.threshold)
        by_person = share_by_person(half.rows.wrong, answered, group.mask, persons, s.confidence)
    own = _find_rule(s, group, target)
    own_coverage, own_error = _measure_rule(s, group, own) if own and measured else (None, None)
    return GroupAbstention(
        **s.describe(group),
        coverage=coverage,
        error=error,
        error_by_person=by_person,
        state=_decide_state(s, error, target) if rule and measured else "not applicable",
        own=own,
        own_coverage=own_coverage,
        own_error=own_error,
        calibration_n=len(s.calibration.sample_one_per_person(group.calibration)),
        needed=fewest_answers(0, target, s.confidence),
    )


def _measure_rule(
    s: _Setting, group: HeldOutGroup, rule: AbstentionRule | None
) -> tuple[Estimate, Estimate]:
    """Coverage and error of a rule in a group of the verification half."""
    half = s.verification
    if rule is None or not len(half.rows):
        nothing = Estimate(math.nan, math.nan, math.nan, 0, "undefined", confidence=s.confidence)
        return nothing, nothing
    answered = group.mask & (half.rows.confidence >= rule.threshold)
    coverage = share(answered, group.mask, half.rows.persons(), s.confidence)
    return coverage, share(half.rows.wrong, answered, half.rows.persons(), s.confidence)


def _decide_state(s: _Setting, error: Estimate, target: float) -> State:
    if (error.n if error.people is None else error.people) < s.smallest_people:
        return "too few to say"
    if error.low > target:
        return "found"
    return "too few to say" if error.high > 2 * target else "not found"


# --- prediction sets -----------------------------------------------------------------------------


def _build_conformal(s: _Setting, target: float, groups: Sequence[HeldOutGroup]) -> ConformalSets:
    rows, score = s.calibration.rows, _label_probability(s.calibration.rows)
    sampled = s.calibration.sample_one_per_person(np.ones(len(rows), np.bool_))
    threshold = conformal_threshold(score[sampled], target)
    by_person = s.calibration.rows.persons() is not None
    return ConformalSets(
        target_miss=target,
        least_probability=threshold,
        guarantee=conformal_guarantee(target, by_person),
        n=len(sampled),
        by_person=by_person,
        groups=tuple(
            _conformal_group(s, g, target, threshold, score) for g in groups if g.kind != "answer"
        ),
    )


def _conformal_group(
    s: _Setting, group: HeldOutGroup, target: float, threshold: float, score: FloatArray
) -> ConformalGroup:
    sampled = s.calibration.sample_one_per_person(group.calibration)
    group_threshold = conformal_threshold(score[sampled], target)
    covered, single = _measure_sets(s, group, threshold)
    group_covered, group_single = _measure_sets(s, group, group_threshold)
    return ConformalGroup(
        **s.describe(group),
        held=covered,
        single=single,
        calibration_n=len(sampled),
        own_least_probability=group_threshold,
        own_held=group_covered,
        own_single=group_single,
    )


def _measure_sets(s: _Setting, group: HeldOutGroup, threshold: float) -> list[Estimate]:
    """The share of sets that hold the label, and that of sets of one class."""
    half = s.verification
    covered = _label_probability(half.rows) >= threshold
    single = (half.rows.probability >= threshold).sum(axis=1) == 1
    hits, mask = np.stack([covered, single], axis=1), np.stack([group.mask] * 2, axis=1)
    return wilson_shares(hits, mask, half.rows.persons(), s.confidence)


def _label_probability(rows: Predictions) -> FloatArray:
    return rows.probability[np.arange(len(rows)), rows.label]


# --- curves and notes ----------------------------------------------------------------------------


def _build_curve(s: _Setting, group: HeldOutGroup, points: int) -> RiskCoverage:
    """Error among the surest ⌈c n⌉ of a group, for even steps of c."""
    half = s.verification
    rows = np.flatnonzero(group.mask)
    n = len(rows)
    order = rows[np.argsort(-half.rows.confidence[rows], kind="stable")]
    ranks = np.unique(np.ceil(np.linspace(1 / points, 1, points) * n - 1e-9).astype(int))
    mask = np.arange(n)[:, None] < ranks
    cluster = half.rows.persons(order)
    estimates = wilson_shares(half.rows.wrong[order][:, None] & mask, mask, cluster, s.confidence)
    return RiskCoverage(
        **s.describe(group),
        coverage=_round(ranks / n),
        error=_round([e.value for e in estimates]),
        low=_round([e.low for e in estimates]),
        high=_round([e.high for e in estimates]),
        threshold=_round(half.rows.confidence[order[ranks - 1]]),
    )


def _round(values: ArrayLike) -> tuple[float, ...]:
    """For plots: a curve needs no more than six digits, and there are many curves."""
    return tuple(np.round(np.asarray(values, np.float64), 6).tolist())


def _notes(p: Predictions, halves: Halves, s: _Setting, promises: int) -> Iterator[str]:
    if not halves.verified_on:
        yield NOT_VERIFIED
    elif halves.calibrated_on != "validation":
        yield halved_test(halves.calibrated_on, halves.verified_on)
    elif p.provenance.get("kept") == "best":
        yield KEPT_BEST
    yield one_of_each(len(s.calibration.rows), s.calibration.rows.n_people())
    if promises > 1:
        yield each_by_itself(s.confidence)
