"""How well a number is predicted, overall, by range of the true value and by group."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from candid.arrays import BoolArray, FloatArray
from candid.errors import PredictionsError
from candid.predictions.numbers import NumberAnswers, NumberPredictions
from candid.records import SPLITS, Split
from candid.records.number import NumberEvaluation, NumberExample, NumberGroup, NumberSplit
from candid.settings import EvaluateConfig
from candid.stats.bootstrap import Resample, resample
from candid.stats.number_metrics import NUMBER_METRICS, NumberOutcomes, number_estimates
from candid.table import sample_rows
from candid.text import number as text

_PER_GROUP = ("mae", "bias", "coverage", "width")
# Of other models' answers, which have no intervals.
_OF_ANY_MODEL, _OF_ANY_GROUP = (
    ("mae", "rmse", "r2", "within", "bias"),
    ("mae", "rmse", "r2", "bias"),
)
_RANGES = 12  # of the true value, at most
_POINTS = 2000
_YEARS_SPAN = (10, 100)  # what the middle half of ages in years spans
_YEARS_TOLERANCE = 5.0  # years: the cumulative score that papers on ages tell


def choose_tolerance(quartiles: tuple[float, float, float], config: EvaluateConfig) -> float:
    """How far off a prediction may be to count as near; see `evaluate.tolerance`."""
    span = quartiles[2] - quartiles[0]
    if config.tolerance:
        return config.tolerance
    return _YEARS_TOLERANCE if _YEARS_SPAN[0] <= span <= _YEARS_SPAN[1] else span / 3


def build_outcomes(
    p: NumberAnswers, tolerance: float, baseline: float = math.nan
) -> NumberOutcomes:
    """The predictions as their figures need them; `baseline` where the run knows none."""
    if isinstance(p, NumberPredictions):
        return NumberOutcomes(p.value, p.predicted, p.low, p.high, p.card.median, tolerance)
    unknown = np.full(len(p), np.nan)
    return NumberOutcomes(p.value, p.predicted, unknown, unknown, baseline, tolerance)


@dataclass(frozen=True, slots=True)
class _Figures:
    """The figures of all images and of groups, with tolerance and baseline."""

    of_all: tuple[str, ...]
    of_group: tuple[str, ...]
    tolerance: float
    median: float  # of the training values; NaN where these are not known
    notes: tuple[str, ...]


def _choose_figures(p: NumberAnswers, config: EvaluateConfig) -> _Figures:
    if isinstance(p, NumberPredictions):
        tolerance = choose_tolerance(p.card.quartiles, config)
        notes = tuple(text.number_notes(p.card))
        return _Figures(NUMBER_METRICS, _PER_GROUP, tolerance, p.card.median, notes)
    train = p.value[p.split == "train"]
    quartiles = np.quantile(train if len(train) else p.value, (0.25, 0.5, 0.75))
    low, median, high = quartiles.tolist()
    tolerance = choose_tolerance((low, median, high), config)
    baseline = ("median_mae", "median_rmse", "median_within") if len(train) else ()
    is_from_values = not (config.tolerance or len(train))
    return _Figures(
        tuple(name for name in NUMBER_METRICS if name in (*_OF_ANY_MODEL, *baseline)),
        _OF_ANY_GROUP,
        tolerance,
        median if len(train) else math.nan,
        (text.near_by_these(tolerance),) if is_from_values else (),
    )


def evaluate_number(
    predictions: NumberAnswers, config: EvaluateConfig | None = None
) -> NumberEvaluation:
    """How well a number is predicted, on each split, with intervals from people drawn again.

    Other models' answers have no intervals, and a training median only where rows are of train.

    Raises PredictionsError where there is no image.
    """
    config = config or EvaluateConfig()
    if not len(predictions):
        raise PredictionsError(
            f"No image has both a value and a prediction of {predictions.target!r}.",
            expected="at least one",
            todo="check the data's split",
        )
    figures, edges = _choose_figures(predictions, config), range_edges(predictions.value)
    present: list[Split] = [s for s in SPLITS if (predictions.split == s).any()]
    card = predictions.card if isinstance(predictions, NumberPredictions) else None
    return NumberEvaluation(
        target=predictions.target,
        answer="" if card is None else card.answer,
        median=figures.median,
        coverage=math.nan if card is None else card.coverage,
        tolerance=figures.tolerance,
        splits=tuple(
            _split(predictions[predictions.split == s], s, figures, edges, config) for s in present
        ),
        notes=figures.notes,
    )


def range_edges(value: FloatArray) -> FloatArray:
    """Round numbers between which the ranges of the true value lie: of ages, the decades."""
    low, high = np.quantile(value, [0.01, 0.99]).tolist()
    if not high > low:
        return np.empty(0)
    step = _round_up((high - low) / _RANGES)
    if _is_whole(value):
        step = max(step, 1.0)
    first, last = math.floor(low / step) + 1, math.ceil(high / step) - 1
    return np.arange(first, last + 1) * step


def named_ranges(value: FloatArray) -> Iterator[tuple[str, BoolArray]]:
    """The ranges of (n,) true values by name, and which of these lie in each."""
    return _iterate_ranges(value, range_edges(value))


def _round_up(x: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is not below x."""
    power = 10.0 ** math.floor(math.log10(x))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= x * (1 - 1e-9))


def _split(
    p: NumberAnswers, split: Split, figures: _Figures, edges: FloatArray, config: EvaluateConfig
) -> NumberSplit:
    resampling = resample(
        len(p), p.person, draws=config.draws, seed=config.seed, confidence=config.confidence
    )
    outcomes = build_outcomes(p, figures.tolerance, figures.median)
    everyone = np.ones(len(p), np.bool_)
    columns = (outcomes.value, outcomes.predicted, outcomes.low, outcomes.high)
    ranges = [("", name, mask) for name, mask in _iterate_ranges(p.value, edges)]
    errors, of_group = np.abs(outcomes.error), figures.of_group
    furthest = np.argsort(-errors, kind="stable")[: config.examples]
    points = sample_rows(np.arange(len(p)), _POINTS, np.random.default_rng(config.seed))
    return NumberSplit(
        split=split,
        n=len(p),
        people=resampling.units if resampling.by_person else None,
        metrics=number_estimates(outcomes, [everyone], resampling, figures.of_all)[0],
        ranges=tuple(_measure_groups(outcomes, resampling, ranges, of_group)),
        groups=tuple(_measure_groups(outcomes, resampling, list(_iterate_values(p)), of_group)),
        points=tuple((float(p.value[i]), float(p.predicted[i])) for i in points),
        furthest=tuple(
            NumberExample(str(p.ids[i]), *(float(x[i]) for x in columns)) for i in furthest
        ),
    )


def _iterate_ranges(value: FloatArray, edges: FloatArray) -> Iterator[tuple[str, BoolArray]]:
    range_index = np.searchsorted(edges, value, side="right")
    for i, name in enumerate(text.range_names(edges.tolist(), whole=_is_whole(value))):
        yield name, range_index == i


def _is_whole(value: FloatArray) -> bool:
    return bool(np.all(value == np.rint(value)))


def _iterate_values(p: NumberAnswers) -> Iterator[tuple[str, str, BoolArray]]:
    """Every value of every attribute; numbers are cut at their quartiles."""
    for attribute in p.cut_attributes():
        for i, name in enumerate(attribute.values):
            yield attribute.name, name, attribute.data == i


def _measure_groups(
    outcomes: NumberOutcomes,
    resampling: Resample,
    groups: list[tuple[str, str, BoolArray]],
    names: tuple[str, ...],
) -> Iterator[NumberGroup]:
    """The figures of those that have images."""
    present = [group for group in groups if group[2].any()]
    figures = number_estimates(outcomes, [mask for _, _, mask in present], resampling, names)
    for (attribute, value, mask), metrics in zip(present, figures, strict=True):
        people = resampling.count_people(mask)
        yield NumberGroup(attribute, value, int(np.count_nonzero(mask)), people, metrics)
