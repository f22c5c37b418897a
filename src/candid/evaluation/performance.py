"""From predictions to how good they are: every figure with its interval, split by split."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray, IndexArray
from candid.evaluation.convergence import judge_convergence
from candid.predictions import Predictions, require_evaluable
from candid.predictions.answers import ANSWERS_ALONE
from candid.records import (
    SPLITS,
    ClassMetrics,
    Curve,
    Estimate,
    Evaluation,
    Example,
    HistoryRow,
    ReliabilityBin,
    Split,
    SplitEvaluation,
)
from candid.records.metrics import metric_named
from candid.settings import EvaluateConfig
from candid.stats import metrics
from candid.stats.bootstrap import FigureSpec, Resample, bootstrap, resample, unknown_people
from candid.stats.calibration import reliability_bins, undo_temperature
from candid.text import notes as text

# What is measured of every split, in the order of the record, and of every class in it.
METRICS = (
    *("weighted_f1", "accuracy", "balanced_accuracy", "roc_auc", "average_precision"),
    *("log_loss", "brier_score", "calibration_error", "calibration_error_before", "majority_f1"),
)
_PER_CLASS = ("precision", "recall", "f1", "roc_auc", "average_precision")

# A curve is drawn with at most so many points.
_POINTS = 200


def evaluate_predictions(
    predictions: Predictions, config: EvaluateConfig, *, history: Sequence[HistoryRow] = ()
) -> Evaluation:
    """Every figure of every split that has labelled images, and a verdict on the training curve.

    For two classes ROC AUC, average precision and the ROC curve are those of the second class; for
    more they are means, or curves, of each class against the rest.

    Raises PredictionsError where there is no labelled image, or a probability or a label is
    impossible.

    Parameters
    ----------
    predictions
        From any model. An image without a label (-1) does not count, and a note says how many.
    config
        Draws, confidence, bins, examples, seed.
    history
        The training curve, where there is one.
    """
    require_evaluable(predictions)
    labelled = predictions.label >= 0
    splits = []
    for split in SPLITS:
        rows = np.flatnonzero(labelled & (predictions.split == split))
        if len(rows):
            splits.append(_evaluate_split(split, predictions[rows], config))
    return Evaluation(
        target=predictions.target,
        classes=predictions.classes,
        temperature=predictions.temperature,
        splits=tuple(splits),
        convergence=None if any(row.is_fit for row in history) else judge_convergence(history),
        notes=tuple(_notes(predictions, splits, history)),
    )


def _evaluate_split(split: Split, p: Predictions, config: EvaluateConfig) -> SplitEvaluation:
    resampling = resample(
        len(p), p.person, draws=config.draws, seed=config.seed, confidence=config.confidence
    )
    estimates = _estimate(p, config, resampling)
    classes = tuple(
        ClassMetrics(
            name=name,
            support=int(np.count_nonzero(p.label == k)),
            **{figure: estimates[f"{figure}:{k}"] for figure in _PER_CLASS},
        )
        for k, name in enumerate(p.classes)
    )
    confusion = metrics.confusion_matrix(p.label, p.prediction, len(p.classes))
    before = undo_temperature(p.probability, p.temperature)
    return SplitEvaluation(
        split=split,
        n=len(p),
        people=resampling.units if resampling.by_person else None,
        metrics={name: estimates[name] for name in METRICS},
        classes=classes,
        confusion=tuple(tuple(int(x) for x in row) for row in confusion),
        reliability=() if p.hard else _reliability(p.label, p.probability, resampling, config),
        reliability_before=(
            _reliability(p.label, before, resampling, config) if p.temperature != 1 else ()
        ),
        roc=() if p.hard else tuple(_roc_curves(p)),
        precision_recall=() if p.hard else tuple(_precision_recall_curves(p)),
        surest_mistakes=_pick_examples(p, config.examples, mistakes=True),
        least_sure=() if p.hard else _pick_examples(p, config.examples, mistakes=False),
        corrected=int(np.count_nonzero(p.annotated != p.label)),
        metrics_as_read=_evaluate_as_read(p, config),
    )


def _evaluate_as_read(p: Predictions, config: EvaluateConfig) -> dict[str, Estimate]:
    """The figures against the labels as they were read; none where none was corrected."""
    if (p.annotated == p.label).all():
        return {}
    before = replace(p, label=p.annotated)[p.annotated >= 0]
    draws, seed, confidence = config.draws, config.seed, config.confidence
    resampling = resample(len(before), before.person, draws=draws, seed=seed, confidence=confidence)
    estimates = _estimate(before, config, resampling)
    return {name: estimates[name] for name in METRICS}


def _estimate(p: Predictions, config: EvaluateConfig, resampling: Resample) -> dict[str, Estimate]:
    """All figures of a split from the same draws; those of class k are called "recall:k"."""
    label, count, bins = p.label, len(p.classes), config.reliability_bins
    prediction, before = p.prediction, undo_temperature(p.probability, p.temperature)
    positive = [label == k for k in range(count)]
    commonest = int(np.bincount(label, minlength=count).argmax())

    def statistic(weight: FloatArray) -> dict[str, FloatArray]:
        confusion = metrics.confusion_matrix(label, prediction, count, weight)
        constant = metrics.constant_confusion(confusion, commonest)
        areas = [
            metrics.rank_scores(positive[k], p.probability[:, k], weight) for k in range(count)
        ]
        values = {
            "weighted_f1": metrics.weighted_f1_score(confusion),
            "accuracy": metrics.accuracy_score(confusion),
            "balanced_accuracy": metrics.balanced_accuracy_score(confusion),
            "roc_auc": metrics.macro_average([auc for auc, _ in areas]),
            "average_precision": metrics.macro_average([ap for _, ap in areas]),
            "log_loss": metrics.log_loss_error(label, p.probability, weight),
            "brier_score": metrics.brier_error(label, p.probability, weight),
            "calibration_error": metrics.bin_excess(label, p.probability, weight, bins=bins),
            "calibration_error_before": metrics.bin_excess(label, before, weight, bins=bins),
            "majority_f1": metrics.weighted_f1_score(constant),
        }
        counted = {
            "precision": metrics.precision_score(confusion),
            "recall": metrics.recall_score(confusion),
            "f1": metrics.f1_score(confusion),
        }
        for k, (auc, ap) in enumerate(areas):
            values |= {f"{name}:{k}": per_class[..., k] for name, per_class in counted.items()}
            values |= {f"roc_auc:{k}": auc, f"average_precision:{k}": ap}
        if p.hard:
            values |= {
                n: v * np.nan for n, v in values.items() if metric_named(n).needs_probability
            }
        return values

    return bootstrap(statistic, _build_specs(positive, prediction), resampling)


def _build_specs(positive: list[BoolArray], prediction: NDArray[Any]) -> dict[str, FigureSpec]:
    """What each figure is, and the images behind it."""
    everyone = (np.ones(len(prediction), dtype=np.bool_),)
    masks = dict.fromkeys(METRICS, everyone) | {
        "balanced_accuracy": tuple(in_class for in_class in positive if in_class.any()),
        "roc_auc": tuple(positive),
        "average_precision": tuple(positive),
    }
    for k, in_class in enumerate(positive):
        answered = prediction == k
        masks |= {
            f"precision:{k}": (answered,),
            f"recall:{k}": (in_class,),
            f"f1:{k}": (in_class | answered,),
            f"roc_auc:{k}": (in_class, ~in_class),
            f"average_precision:{k}": (in_class, ~in_class),
        }
    return {name: FigureSpec(metric_named(name).kind, support) for name, support in masks.items()}


def _reliability(
    label: NDArray[Any], probability: FloatArray, resampling: Resample, config: EvaluateConfig
) -> tuple[ReliabilityBin, ...]:
    return reliability_bins(
        label,
        probability,
        person=resampling.unit if resampling.by_person else None,
        bins=config.reliability_bins,
        confidence=config.confidence,
    )


# --- curves --------------------------------------------------------------------------------------


def _roc_curves(p: Predictions) -> Iterator[Curve]:
    """True against false positive rate; for two classes one curve, as the other mirrors it."""
    for k in range(1 if len(p.classes) == 2 else 0, len(p.classes)):
        true, false = metrics.rank_counts(p.label == k, p.probability[:, k])
        if true[-1] and false[-1]:
            x, y = (np.append(0.0, counts / counts[-1]) for counts in (false, true))
            yield _build_curve(p.classes[k], x, y)


def _precision_recall_curves(p: Predictions) -> Iterator[Curve]:
    """Precision against recall of each class, from the highest threshold to the lowest."""
    for k, name in enumerate(p.classes):
        true, false = metrics.rank_counts(p.label == k, p.probability[:, k])
        if true[-1]:
            # Thresholds below the last positive only lower the precision at a recall of 1.
            last = int(np.searchsorted(true, true[-1])) + 1
            true, false = true[:last], false[:last]
            yield _build_curve(name, true / true[-1], true / (true + false))


def _build_curve(name: str, x: FloatArray, y: FloatArray) -> Curve:
    points = simplify_curve(x, y, _POINTS)
    return Curve(name, tuple(x[points].tolist()), tuple(y[points].tolist()))


def simplify_curve(x: FloatArray, y: FloatArray, most: int) -> IndexArray:
    """Indices of at most `most` points that draw nearly the same line, both ends among them.

    Douglas and Peucker's (1973) splitting, worst stretch first: again and again the point that
    lies farthest from the line drawn so far is added to it.
    """

    def farthest(start: int, end: int) -> tuple[float, int, int, int]:
        dx, dy = x[end] - x[start], y[end] - y[start]
        px, py = x[start + 1 : end] - x[start], y[start + 1 : end] - y[start]
        length = np.hypot(dx, dy)
        distances = np.abs(px * dy - py * dx) / length if length > 0 else np.hypot(px, py)
        i = int(np.argmax(distances))
        return -float(distances[i]), start + 1 + i, start, end

    points = {0, len(x) - 1}
    stretches = [farthest(0, len(x) - 1)] if len(x) > 2 else []
    while stretches and len(points) < most:
        distance, middle, start, end = heapq.heappop(stretches)
        if distance > -1e-12:
            break
        points.add(middle)
        for a, b in ((start, middle), (middle, end)):
            if b - a > 1:
                heapq.heappush(stretches, farthest(a, b))
    return np.array(sorted(points), dtype=np.intp)


# --- examples and notes --------------------------------------------------------------------------


def _pick_examples(p: Predictions, limit: int, *, mistakes: bool) -> tuple[Example, ...]:
    """The surest of the mistakes, or the least sure of all images; equals in order of their ids."""
    rows = np.flatnonzero(p.wrong) if mistakes else np.arange(len(p))
    key = -p.confidence[rows] if mistakes else p.confidence[rows]
    return tuple(p.example(i) for i in rows[np.lexsort((p.ids[rows], key))][:limit])


def _notes(
    p: Predictions, splits: Sequence[SplitEvaluation], history: Sequence[HistoryRow]
) -> Iterator[str]:
    if p.hard:
        yield ANSWERS_ALONE
    if unlabelled := int(np.count_nonzero(p.label < 0)):
        yield text.no_label(unlabelled, len(p))
    names = [s.split for s in splits]
    if absent := [s for s in SPLITS[1:] if s not in names]:
        yield text.absent_splits(absent)
    if p.temperature != 1 and "validation" in names:
        yield text.temperature_fitted(p.temperature)
    if "validation" in names and history and p.provenance.get("kept") != "last":
        yield text.BEST_WAS_KEPT
    for split in splits:
        rows = (p.split == split.split) & (p.label >= 0)
        yield from _split_notes(split, None if p.person is None else p.person[rows])


def _split_notes(split: SplitEvaluation, person: NDArray[np.int64] | None) -> Iterator[str]:
    if split.metrics_as_read:
        f1 = split.metrics_as_read["weighted_f1"], split.metrics["weighted_f1"]
        yield text.labels_corrected(split.split, split.corrected, split.n, *f1)
    if empty := [c.name for c in split.classes if not c.support]:
        yield text.no_image_labelled(split.split, empty)
    if split.people is None:
        yield text.evaluated_without_people(split.split)
    if unknown := unknown_people(person):
        yield text.some_without_people(split.split, unknown, split.n)
    undefined = [e.undefined_draws for e in split.metrics.values() if not math.isnan(e.value)]
    if most_undefined := max(undefined):
        yield text.figure_undefined(split.split, most_undefined, split.metrics["accuracy"].draws)
