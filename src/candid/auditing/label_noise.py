"""Which labels are likely wrong, and how much of a gap wrong labels could be.

**Likely wrong labels** come from confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70): an
image is surely of class j where the model gives j at least the mean probability that it gives to j
among the images labelled j; images that are labelled i and surely of another class are suspects.
The model must not have learned from the labels that it doubts, so images of the training split do
not count, unless they were predicted out of fold. Validation and test were never trained on: their
predictions are out of sample as they are.

It cannot tell a wrong label from a sure mistake of the model. Every suspect is a mistake of the
model, measured against the label; who is right, only a person who looks can say.

**Bounds of a gap.** Let a group have n images with E mistakes, and let at most k = ⌊η n⌋ labels be
wrong, whichever they are. Correcting a label can turn a mistake into a right answer, or a right
answer into a mistake, so the true number of mistakes lies from max(0, E - k) to min(n, E + k), and
both ends can be reached (the bounds for corrupted data of Horowitz & Manski 1995). The gap lies
from the group's lower end less the rest's upper end to the reverse. Both move by η, so a gap of
size g cannot vanish before η = g / 2.

If annotators err without regard to the model's answer, given the true class, more is known. With
q(i, j) the share of images labelled i and answered j, and ρ0, ρ1 the rates at which images truly of
class 0 and 1 are labelled otherwise, the true error is (Bross 1954; Molinari 2008)

    e(ρ0, ρ1) = ((1 - ρ0) q(1,0) - ρ0 q(0,0) + (1 - ρ1) q(0,1) - ρ1 q(1,1)) / (1 - ρ0 - ρ1).

It is monotone in each rate, so its extremes over 0 ≤ ρ ≤ η lie at corners; rates that would make a
true share negative are impossible and cut off.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import FloatArray, IndexArray
from candid.errors import ConfigError, PredictionsError
from candid.predictions import Predictions, require_probabilities
from candid.records import Estimate
from candid.records.noise import GapBounds, LabelNoise, LikelyWrong
from candid.stats.bootstrap import FigureSpec, Resample, bootstrap, resample
from candid.stats.differences import Gaps, error_gaps
from candid.stats.metrics import confusion_matrix
from candid.text import notes as text

# Confident learning's reference implementation (cleanlab) lets a probability fall this far short of
# a threshold, and takes margins below it for ties.
_SLACK = 1e-6


def label_noise(
    predictions: Predictions,
    *,
    flip_rates: Sequence[float] = (0.005, 0.01, 0.02),
    most: int = 100,
    draws: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> LabelNoise:
    """List likely wrong labels, and bound every group's gap; numbers are cut at their quartiles.

    Raises PredictionsError where no labelled image lies outside the training split, or there are no
    probabilities. Raises ConfigError where a flip rate is not between 0 and 0.5.

    Parameters
    ----------
    predictions
        From any model that did not learn from these labels. Images of the training split (but for
        predictions out of fold), and images without a label, do not count.
    flip_rates, most
        Shares of wrong labels to bound the gaps for (the estimated one is added); how many likely
        wrong labels are listed.
    draws, confidence, seed
        Bootstrap draws for the estimated rates, the confidence of intervals, the draws' seed.
    """
    _check_arguments(predictions, flip_rates)
    p = predictions.with_bins()[predictions.unlearned]
    thresholds = class_thresholds(p.label, p.probability)
    counts = confident_joint(p.label, confident_class(p.probability, thresholds), len(p.classes))
    resampling = resample(len(p), p.person, draws=draws, seed=seed, confidence=confidence)
    overall, *per_class = _estimate_rates(p, resampling)
    suspects = find_likely_wrong(p.label, p.probability)
    all_rates = sorted({*flip_rates, *([overall.value] if 0 < overall.value < 0.5 else [])})
    splits = tuple(sorted(set(p.split.tolist())))
    gap_images = p[p.split == "test"] if "test" in splits else p
    return LabelNoise(
        target=p.target,
        classes=p.classes,
        splits=splits,
        n=len(p),
        people=resampling.units if resampling.by_person else None,
        thresholds=tuple(thresholds.tolist()),
        confident_joint=tuple(tuple(int(x) for x in row) for row in counts),
        joint=tuple(tuple(row) for row in calibrated_joint(counts, p.label).tolist()),
        rate=overall,
        class_rates=dict(zip(p.classes, per_class, strict=True)),
        found=len(suspects),
        mistakes=int(np.count_nonzero(p.wrong)),
        listed=min(len(suspects), most),
        likely_wrong=tuple(_build_suspect(p, row) for row in suspects[:most]),
        flip_rates=tuple(all_rates),
        gap_split="test" if "test" in splits else ", ".join(splits),
        gaps=tuple(_bound_gaps(gap_images, all_rates, confidence)),
        notes=tuple(_notes(p, len(suspects))),
    )


def _check_arguments(predictions: Predictions, flip_rates: Sequence[float]) -> None:
    for rate in flip_rates:
        if not 0 < rate < 0.5:
            raise ConfigError(
                f"A share of wrong labels of {rate} was asked for.",
                expected="shares above 0 and below 0.5, such as 0.01",
                todo="name other rates",
            )
    require_probabilities(predictions)
    if not predictions.unlearned.any():
        raise PredictionsError(
            "There is no labelled image outside the training split.",
            expected="predictions for images that the model did not learn from",
            todo="predict validation or test images",
        )


# --- confident learning --------------------------------------------------------------------------


def class_thresholds(label: NDArray[Any], probability: FloatArray) -> FloatArray:
    """(classes,) mean probability of each class among the images labelled so; NaN without any."""
    classes = probability.shape[1]
    is_labelled = label[:, None] == np.arange(classes)
    with np.errstate(invalid="ignore"):
        mean: FloatArray = (probability * is_labelled).sum(axis=0) / is_labelled.sum(axis=0)
    return np.maximum(mean, 2 * _SLACK)


def confident_class(probability: FloatArray, thresholds: FloatArray) -> IndexArray:
    """(..., n) the class that each image is confidently of, -1 where none.

    Where several classes reach their threshold, the most probable one counts; where one does, it
    counts whether or not it is the most probable.

    Parameters
    ----------
    probability
        (n, classes).
    thresholds
        (..., classes); NaN is never reached.
    """
    reached = probability >= thresholds[..., None, :] - _SLACK  # (..., n, classes)
    several = reached.sum(axis=-1) > 1
    confident: IndexArray = np.where(several, probability.argmax(axis=1), reached.argmax(axis=-1))
    return np.where(reached.any(axis=-1), confident, -1)


def confident_joint(
    label: NDArray[Any], sure: IndexArray, n_classes: int, weight: FloatArray | None = None
) -> FloatArray:
    """(..., classes, classes) how many images are labelled i and surely of class j.

    The diagonal holds at least 1, so that no class is taken for noise altogether.

    Parameters
    ----------
    label, sure
        (n,) and (..., n); an image that is surely of none (-1) does not count.
    n_classes
        How many classes there are.
    weight
        (..., n); None for one each.
    """
    weight = np.ones(sure.shape) if weight is None else weight
    is_labelled = (label[:, None] == np.arange(n_classes)).astype(np.float64)
    counts = np.stack([(weight * (sure == j)) @ is_labelled for j in range(n_classes)], axis=-1)
    diagonal = np.arange(n_classes)
    counts[..., diagonal, diagonal] = np.maximum(counts[..., diagonal, diagonal], 1.0)
    return counts


def calibrated_joint(
    counts: FloatArray, label: NDArray[Any], weight: FloatArray | None = None
) -> FloatArray:
    """(..., classes, classes) shares of all images, from a confident joint of that shape.

    Each row is scaled to the share of images that are labelled so.
    """
    is_labelled = (label[:, None] == np.arange(counts.shape[-1])).astype(np.float64)
    support = is_labelled.sum(axis=0) if weight is None else weight @ is_labelled  # (..., classes)
    joint = counts / counts.sum(axis=-1, keepdims=True) * support[..., None]
    scaled: FloatArray = joint / joint.sum(axis=(-2, -1), keepdims=True)
    return scaled


def find_likely_wrong(label: NDArray[Any], probability: FloatArray) -> IndexArray:
    """Rows whose label is likely wrong, the least normalised margin first.

    Images that are surely of another class than their label, unless the label is also what the
    model would answer.
    """
    sure = confident_class(probability, class_thresholds(label, probability))
    raised = probability.copy()
    raised[np.arange(len(label)), label] += _SLACK
    rows = np.flatnonzero((sure >= 0) & (sure != label) & (raised.argmax(axis=1) != label))
    quality = label_quality(label, probability)[rows]
    return rows[np.argsort(quality, kind="stable")]


def label_quality(label: NDArray[Any], probability: FloatArray) -> FloatArray:
    """(n,) normalised margins, (p(label) - the highest other + 1) / 2, from 0, worst, to 1."""
    rows = np.arange(len(label))
    rest = probability.copy()
    rest[rows, label] = -np.inf
    quality: FloatArray = (probability[rows, label] - rest.max(axis=1) + 1) / 2
    return quality


def _build_suspect(p: Predictions, row: int) -> LikelyWrong:
    label, likely = int(p.label[row]), int(p.prediction[row])
    return LikelyWrong(
        id=str(p.ids[row]),
        split=str(p.split[row]),
        label=p.classes[label],
        likely=p.classes[likely],
        label_probability=float(p.probability[row, label]),
        likely_probability=float(p.probability[row, likely]),
        quality=float(label_quality(p.label[[row]], p.probability[[row]])[0]),
    )


def _estimate_rates(p: Predictions, resampling: Resample) -> list[Estimate]:
    """Estimated shares of wrong labels, overall and by class; thresholds are drawn anew, too."""
    classes = len(p.classes)
    is_labelled = (p.label[:, None] == np.arange(classes)).astype(np.float64)

    def statistic(weight: FloatArray) -> dict[str, FloatArray]:
        with np.errstate(invalid="ignore"):
            thresholds = (weight @ (p.probability * is_labelled)) / (weight @ is_labelled)
        confident = confident_class(p.probability, np.maximum(thresholds, 2 * _SLACK))
        counts = confident_joint(p.label, confident, classes, weight)
        joint = calibrated_joint(counts, p.label, weight)
        right = np.diagonal(joint, axis1=-2, axis2=-1)
        with np.errstate(invalid="ignore"):
            per_class = np.clip(1 - right / joint.sum(axis=-1), 0, 1)
        overall = np.clip(1 - right.sum(axis=-1), 0, 1)
        return {"all": overall} | {f"class {k}": per_class[:, k] for k in range(classes)}

    figures = {"all": FigureSpec("score", (np.ones(len(p), np.bool_),))}
    figures |= {f"class {k}": FigureSpec("score", (is_labelled[:, k] > 0,)) for k in range(classes)}
    rates = bootstrap(statistic, figures, resampling)
    return [rates[name] for name in figures]


# --- bounds of gaps ------------------------------------------------------------------------------


def error_bounds(mistakes: int, n: int, rate: float) -> tuple[float, float]:
    """The least and the largest true error if at most a share `rate` of n labels is wrong."""
    if not n:
        return math.nan, math.nan
    flips = math.floor(rate * n + 1e-9)
    return max(0, mistakes - flips) / n, min(n, mistakes + flips) / n


def independent_error_bounds(confusion: FloatArray, rate: float) -> tuple[float, float]:
    """The bounds for two classes if annotators err at up to `rate`, whatever the model answers.

    Parameters
    ----------
    confusion
        (2, 2) counts, labels down and answers across.
    rate
        The highest rate at which images of either true class are labelled otherwise, below 0.5.
    """
    if not confusion.sum():
        return math.nan, math.nan
    q = confusion / confusion.sum()
    answered = q.sum(axis=0)
    share = q[:, answered > 0] / answered[answered > 0]  # of each answer, what it is labelled
    highest = (min(rate, float(share[1].min())), min(rate, float(share[0].min())))

    def error(r0: float, r1: float) -> float:
        mistaken = (1 - r0) * q[1, 0] - r0 * q[0, 0] + (1 - r1) * q[0, 1] - r1 * q[1, 1]
        return float(mistaken / (1 - r0 - r1))

    ends = [error(*corner) for corner in itertools.product((0.0, highest[0]), (0.0, highest[1]))]
    return max(0.0, min(ends)), min(1.0, max(ends))


def _bound_gaps(p: Predictions, rates: Sequence[float], confidence: float) -> Iterator[GapBounds]:
    """The bounds of every value of every attribute against the other known values."""
    cluster, wrong = p.persons(), p.wrong
    for attribute in p.attributes.values():
        if not attribute.values:
            continue
        inside = attribute.data[:, None] == np.arange(len(attribute.values))
        outside = (attribute.data >= 0)[:, None] & ~inside
        gaps = error_gaps(wrong, inside, outside, cluster, confidence)
        units = np.stack([gaps.left.units, gaps.right.units])
        for k, value in enumerate(attribute.values):
            people = (None, None) if cluster is None else (int(units[0, k]), int(units[1, k]))
            confusions = [
                confusion_matrix(p.label[mask], p.prediction[mask], len(p.classes))
                for mask in (inside[:, k], outside[:, k])
            ]
            yield GapBounds(
                attribute=attribute.name,
                value=value,
                n=int(gaps.n[k]),
                people=people[0],
                rest_n=int(gaps.rest_n[k]),
                rest_people=people[1],
                error=float(gaps.left.value[k]),
                rest_error=float(gaps.right.value[k]),
                gap=Estimate(
                    float(gaps.value[k]),
                    float(gaps.low[k]),
                    float(gaps.high[k]),
                    n=int(gaps.n[k] + gaps.rest_n[k]),
                    method="Newcombe" if cluster is None else "Newcombe by person",
                    people=None if cluster is None else int(units[:, k].min()),
                    confidence=confidence,
                ),
                **_bounds(gaps, k, confusions, rates),
            )


def _bounds(
    gaps: Gaps, k: int, sides: Sequence[FloatArray], rates: Sequence[float]
) -> dict[str, Any]:
    """The bounds of one gap; `sides` are the confusion matrices of group and rest."""
    gap, low, high = float(gaps.value[k]), float(gaps.low[k]), float(gaps.high[k])
    counts = [(int(c.sum() - np.trace(c)), int(c.sum())) for c in sides]
    worst = [_difference(*(error_bounds(e, n, rate) for e, n in counts)) for rate in rates]
    independent = [(math.nan, math.nan) for _ in rates]
    if len(sides[0]) == 2:
        independent = [
            _difference(*(independent_error_bounds(c, rate) for c in sides)) for rate in rates
        ]
    nearer = max(low, -high, 0.0) if not math.isnan(low) else math.nan
    return {
        "low": tuple(a for a, _ in worst),
        "high": tuple(b for _, b in worst),
        "low_sure": tuple(max(-1.0, a - (gap - low)) for a, _ in worst),
        "high_sure": tuple(min(1.0, b + (high - gap)) for _, b in worst),
        "independent_low": tuple(a for a, _ in independent),
        "independent_high": tuple(b for _, b in independent),
        "vanishing_rate": abs(gap) / 2,
        "vanishing_rate_sure": nearer / 2,
    }


def _difference(left: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
    return left[0] - right[1], left[1] - right[0]


def _notes(p: Predictions, suspects: int) -> Iterator[str]:
    yield text.label_suspects(suspects, int(np.count_nonzero(p.wrong)))
    if set(p.split.tolist()) <= {"validation", "test"}:
        yield text.OUT_OF_SAMPLE
    if len(p.classes) != 2:
        yield text.BOUNDS_OF_TWO
    if empty := [c for k, c in enumerate(p.classes) if not (p.label == k).any()]:
        yield text.none_surely_of(empty)
