"""Three or more models on the same images: every pair compared, the many looks accounted for.

Only images that all models answered count, and all are judged on the same bootstrap draws of
people. Which model is better is asked once per pair: Holm's procedure keeps the chance of any false
answer below the rate. For whom they differ is asked once per pair, class and group: there the
false discovery rate is kept, as in an audit (Benjamini & Hochberg), over all of them together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray, IndexArray
from candid.errors import PredictionsError
from candid.evaluation.comparison import adjust_changes, compare_predictions, decide_state, sort_key
from candid.evaluation.number_comparison import compare_numbers
from candid.evaluation.numbers import build_outcomes
from candid.evaluation.paired import has_row_ids, merge_classes, require_same_order
from candid.predictions import Predictions
from candid.predictions.numbers import AnyPredictions, NumberAnswers
from candid.progress import track
from candid.records import Estimate, Split
from candid.records.compare import Comparison
from candid.records.compare_runs import RunComparison, RunFigures
from candid.stats import metrics
from candid.stats.bootstrap import FigureSpec, Resample, bootstrap, resample
from candid.stats.multiple_testing import holm
from candid.stats.number_metrics import number_estimates
from candid.text import notes as text

_SPLITS: tuple[Split, ...] = ("test", "validation", "train")  # the first that all answer


def compare_models(
    models: Sequence[AnyPredictions],
    names: Sequence[str],
    *,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    rate: float = 0.05,
    least: int = 20,
    quiet: bool = True,
) -> RunComparison:
    """How well each of several models does on the same images, and what differs between any two.

    The images are those of test that all answer and label the same; of validation, or of train,
    where not all have any there. The other parameters are those of `compare_predictions`, which
    compares each pair, or of a number of `compare_numbers`.

    Raises PredictionsError where there are fewer than two, some are of a number and others are not,
    or they have no labelled image or not all classes in common.
    """
    if len(models) < 2:
        raise PredictionsError(
            "There is one model, and it takes two to compare.",
            expected="two models or more",
            todo="name another",
        )
    for a, b in itertools.combinations(models, 2):
        _require_same_kind(a, b)
    split = _find_common_split(models)
    predictions, left_out, relabelled = _select_common_images(models, split)
    options: dict[str, Any] = {"draws": draws, "confidence": confidence, "seed": seed}
    rules: dict[str, Any] = {"split": split, "rate": rate, "least": least}
    index_pairs = [*itertools.combinations(range(len(models)), 2)]
    pairs = [
        compare_two(predictions[i], predictions[j], names=(names[i], names[j]), **options, **rules)
        for i, j in track(index_pairs, "compare", unit="pairs", quiet=quiet)
    ]
    pairs = _adjust_pairs(pairs, rate, confidence)
    first = pairs[0]
    return RunComparison(
        names=tuple(names),
        target=first.target,
        classes=max((pair.classes for pair in pairs), key=len),
        split=split,
        n=first.n,
        people=first.people,
        left_out=left_out,
        relabelled=relabelled,
        figures=tuple(
            RunFigures(name, _measure_figures(p, resample(len(p), p.person, **options)))
            for name, p in zip(names, predictions, strict=True)
        ),
        pairs=tuple(pairs),
        looked_at=first.looked_at,
        alpha=rate,
        notes=tuple(_notes(models, names, first, left_out, relabelled)),
    )


def _require_same_kind(a: AnyPredictions, b: AnyPredictions) -> None:
    """Raise PredictionsError where two cannot be compared."""
    if isinstance(a, Predictions) and isinstance(b, Predictions):
        merge_classes(a, b)
    elif isinstance(a, Predictions) or isinstance(b, Predictions):
        raise PredictionsError(
            "One of them is of a label with classes, and another of a number.",
            expected="models of the same label",
            todo="compare those of classes, and those of numbers, by themselves",
        )


def compare_two(a: AnyPredictions, b: AnyPredictions, **options: Any) -> Comparison:
    """What changed from A to B: `compare_predictions`, or of a number `compare_numbers`.

    Raises PredictionsError where one is of classes and the other of a number, and as these do.
    """
    _require_same_kind(a, b)
    if isinstance(a, Predictions) and isinstance(b, Predictions):
        return compare_predictions(a, b, **options)
    assert isinstance(a, NumberAnswers) and isinstance(b, NumberAnswers)
    return compare_numbers(a, b, **options)


def _labelled(p: AnyPredictions) -> BoolArray:
    """(n,) which images have a label: of a number all."""
    return p.label >= 0 if isinstance(p, Predictions) else np.ones(len(p), np.bool_)


def _truth(p: AnyPredictions) -> NDArray[Any]:
    """(n,) each image's class, or its number."""
    return np.asarray(p.classes)[p.label] if isinstance(p, Predictions) else p.value


def _find_common_split(models: Sequence[AnyPredictions]) -> Split:
    for split in _SPLITS:
        if all(((p.split == split) & _labelled(p)).any() for p in models):
            return split
    raise PredictionsError(
        "There is no split of which all of them have labelled images.",
        expected="predictions of several models for the same images",
        todo="predict and evaluate each on the same data",
    )


def _select_common_images(
    models: Sequence[AnyPredictions], split: Split
) -> tuple[list[AnyPredictions], int, int]:
    """Each model's rows of the images that all label the same; the numbers of others.

    Who is in an image is taken from the first that knows.
    """
    labelled = [p[(p.split == split) & _labelled(p)] for p in models]
    all_ids = np.unique(np.concatenate([p.ids for p in labelled]))
    shared = labelled[0].ids
    for p in labelled[1:]:
        shared = np.intersect1d(shared, p.ids)
    rows = [p[_find_rows(p.ids, shared)] for p in labelled]
    truths = [_truth(p) for p in rows]
    same = np.ones(len(shared), np.bool_)
    for truth in truths[1:]:
        same &= truths[0] == truth
    require_same_order(rows, same)
    if not same.any():
        raise PredictionsError(
            f"They have no image of the split {split!r} with the same id and the same label.",
            expected="predictions of several models for the same images",
            todo="check the ids: "
            + ", ".join(repr(str(p.ids[0])) for p in labelled[:3])
            + " begin the first ones",
        )
    person = next((p.person for p in rows if p.person is not None), None)
    selected = [replace(p, person=person)[same] for p in rows]
    return selected, len(all_ids) - len(shared), int(np.count_nonzero(~same))


def _find_rows(ids: NDArray[np.str_], wanted: NDArray[np.str_]) -> IndexArray:
    """The row of each wanted id, all of which are there."""
    sorted_rows = np.argsort(ids)
    return sorted_rows[np.searchsorted(ids, wanted, sorter=sorted_rows)]


def _measure_figures(p: AnyPredictions, resampling: Resample) -> dict[str, Estimate]:
    """A model's figures, on the draws on which the pairs are compared."""
    if isinstance(p, NumberAnswers):
        everyone = np.ones(len(p), np.bool_)
        return number_estimates(build_outcomes(p, 0.0), [everyone], resampling, ("mae", "rmse"))[0]
    answer, count = p.prediction, len(p.classes)

    def statistic(weight: FloatArray) -> dict[str, FloatArray]:
        confusion = metrics.confusion_matrix(p.label, answer, count, weight)
        return {
            "accuracy": metrics.accuracy_score(confusion),
            "weighted_f1": metrics.weighted_f1_score(confusion),
        }

    spec = FigureSpec("score", (np.ones(len(p), np.bool_),))
    return bootstrap(statistic, {"accuracy": spec, "weighted_f1": spec}, resampling)


def _adjust_pairs(pairs: Sequence[Comparison], rate: float, confidence: float) -> list[Comparison]:
    """The pairs with p-values adjusted over all of them, and states by these."""
    overall = holm(np.array([pair.overall.p for pair in pairs]))
    changes = adjust_changes([g for pair in pairs for g in pair.every()[1:]], rate, confidence)
    looked_at = sum(not math.isnan(g.adjusted_p) for g in changes)
    adjusted, remaining = [], iter(changes)
    for pair, p in zip(pairs, overall.tolist(), strict=True):
        classes = tuple(itertools.islice(remaining, len(pair.classes_changed)))
        groups = sorted(itertools.islice(remaining, len(pair.groups)), key=sort_key)
        adjusted.append(
            replace(
                pair,
                overall=decide_state(pair.overall, p, pair.alpha, rate / len(pairs), confidence),
                classes_changed=classes,
                groups=tuple(groups),
                looked_at=looked_at,
            )
        )
    return adjusted


def _notes(
    models: Sequence[AnyPredictions],
    names: Sequence[str],
    pair: Comparison,
    left_out: int,
    relabelled: int,
) -> Iterator[str]:
    if left_out:
        yield text.not_in_all(left_out)
    if relabelled:
        yield text.relabelled_by_some(relabelled)
    if all(map(has_row_ids, models)):
        yield text.PAIRED_BY_NUMBER
    for name, p in zip(names[1:], models[1:], strict=True):
        if p.target != models[0].target:
            yield text.targets_differ((models[0].target, p.target), (names[0], name))
    if pair.people is None:
        yield text.COMPARED_WITHOUT_PEOPLE
