"""How well a number is predicted, overall, by range of the true value and by group."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from candid.arrays import Floats, Marks
from candid.errors import PredictionsError
from candid.predictions.numbers import NumberAnswers, NumberPredictions
from candid.records import SPLITS, Split
from candid.records.number import NumberEvaluation, NumberExample, NumberGroup, NumberSplit
from candid.settings import EvaluateConfig
from candid.stats.bootstrap import Resample, resample
from candid.stats.number_metrics import NUMBER_METRICS, Judged, number_estimates
from candid.table import drawn_rows
from candid.text import number as text

_OF_GROUP = ("mae", "bias", "coverage", "width")
# Of anybody's answers, which have no intervals.
_OF_ANYBODY, _OF_THEIR_GROUP = (
    ("mae", "rmse", "r2", "within", "bias"),
    ("mae", "rmse", "r2", "bias"),
)
_RANGES = 12  # of the true value, at most
_POINTS = 2000
_YEARS = (10, 100)  # what the middle half of ages in years spans
_USUAL = 5.0  # years: the cumulative score that papers on ages tell


def tolerance_of(quartiles: tuple[float, float, float], config: EvaluateConfig) -> float:
    """How far off a prediction may be to count as near; see `evaluate.tolerance`."""
    span = quartiles[2] - quartiles[0]
    if config.tolerance:
        return config.tolerance
    return _USUAL if _YEARS[0] <= span <= _YEARS[1] else span / 3


def judged(predictions: NumberAnswers, tolerance: float, guess: float = math.nan) -> Judged:
    """The predictions as their figures need them; `guess` is the blind one of anybody's."""
    p = predictions
    if isinstance(p, NumberPredictions):
        return Judged(p.value, p.predicted, p.low, p.high, p.card.median, tolerance)
    unknown = np.full(len(p), np.nan)
    return Judged(p.value, p.predicted, unknown, unknown, guess, tolerance)


@dataclass(frozen=True, slots=True)
class _Figures:
    """Which figures there are of all images and of groups, and what some of them are held to."""

    of_all: tuple[str, ...]
    of_group: tuple[str, ...]
    tolerance: float
    median: float  # of the training values; NaN where these are not known
    notes: tuple[str, ...]


def _figures(p: NumberAnswers, config: EvaluateConfig) -> _Figures:
    if isinstance(p, NumberPredictions):
        tolerance = tolerance_of(p.card.quartiles, config)
        notes = tuple(text.number_notes(p.card))
        return _Figures(NUMBER_METRICS, _OF_GROUP, tolerance, p.card.median, notes)
    learned = p.value[p.split == "train"]
    low, middle, high = np.quantile(learned if len(learned) else p.value, (0.25, 0.5, 0.75))
    tolerance = tolerance_of((float(low), float(middle), float(high)), config)
    blind = ("median_mae", "median_rmse", "median_within") if len(learned) else ()
    by_these = not (config.tolerance or len(learned))
    return _Figures(
        tuple(name for name in NUMBER_METRICS if name in (*_OF_ANYBODY, *blind)),
        _OF_THEIR_GROUP,
        tolerance,
        float(middle) if len(learned) else math.nan,
        (text.near_by_these(tolerance),) if by_these else (),
    )


def evaluate_number(
    predictions: NumberAnswers, config: EvaluateConfig | None = None
) -> NumberEvaluation:
    """How well a number is predicted, on each split, with intervals from people drawn again.

    Anybody's answers have no intervals, and a training median only where some rows are of train.

    Raises
    ------
    PredictionsError
        Where there is no image.
    """
    config = config or EvaluateConfig()
    if not len(predictions):
        raise PredictionsError(
            f"No image has both a value and a prediction of {predictions.target!r}.",
            expected="at least one",
            todo="check the data's split",
        )
    figures, edges = _figures(predictions, config), range_edges(predictions.value)
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


def range_edges(value: Floats) -> Floats:
    """Round numbers between which the ranges of the true value lie: of ages, the decades."""
    low, high = np.quantile(value, [0.01, 0.99]).tolist()
    if not high > low:
        return np.empty(0)
    step = _round_up((high - low) / _RANGES)
    if _is_whole(value):
        step = max(step, 1.0)
    first, last = math.floor(low / step) + 1, math.ceil(high / step) - 1
    return np.arange(first, last + 1) * step


def named_ranges(value: Floats) -> Iterator[tuple[str, Marks]]:
    """The ranges of (n,) true values by name, and which of these lie in each."""
    return _ranges(value, range_edges(value))


def _round_up(x: float) -> float:
    """The least of 1, 2 and 5 times a power of ten, and of 10 times it, that is no less."""
    power = 10.0 ** math.floor(math.log10(x))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= x * (1 - 1e-9))


def _split(
    p: NumberAnswers, split: Split, figures: _Figures, edges: Floats, config: EvaluateConfig
) -> NumberSplit:
    drawing = resample(
        len(p), p.person, draws=config.draws, seed=config.seed, confidence=config.confidence
    )
    about = judged(p, figures.tolerance, figures.median)
    everyone = np.ones(len(p), np.bool_)
    off, of_group = np.abs(about.error), figures.of_group
    furthest = np.argsort(-off, kind="stable")[: config.examples]
    points = drawn_rows(np.arange(len(p)), _POINTS, np.random.default_rng(config.seed))
    return NumberSplit(
        split=split,
        n=len(p),
        people=drawing.units if drawing.by_person else None,
        metrics=number_estimates(about, [everyone], drawing, figures.of_all)[0],
        ranges=tuple(
            _groups(about, drawing, [("", *one) for one in _ranges(p.value, edges)], of_group)
        ),
        groups=tuple(_groups(about, drawing, list(_values(p)), of_group)),
        points=tuple((float(p.value[i]), float(p.predicted[i])) for i in points),
        furthest=tuple(
            NumberExample(
                str(p.ids[i]),
                *(float(x[i]) for x in (about.value, about.predicted, about.low, about.high)),
            )
            for i in furthest
        ),
    )


def _ranges(value: Floats, edges: Floats) -> Iterator[tuple[str, Marks]]:
    place = np.searchsorted(edges, value, side="right")
    for i, name in enumerate(text.range_names(edges.tolist(), whole=_is_whole(value))):
        yield name, place == i


def _is_whole(value: Floats) -> bool:
    return bool(np.all(value == np.rint(value)))


def _values(p: NumberAnswers) -> Iterator[tuple[str, str, Marks]]:
    """Every value of every attribute; numbers are cut at their quartiles."""
    for attribute in p.cut_attributes():
        for i, name in enumerate(attribute.values):
            yield attribute.name, name, attribute.data == i


def _groups(
    about: Judged,
    drawing: Resample,
    groups: list[tuple[str, str, Marks]],
    names: tuple[str, ...],
) -> Iterator[NumberGroup]:
    """The figures of those that have images."""
    some = [group for group in groups if group[2].any()]
    found = number_estimates(about, [mask for _, _, mask in some], drawing, names)
    for (attribute, value, mask), metrics in zip(some, found, strict=True):
        people = drawing.people_in(mask)
        yield NumberGroup(attribute, value, int(np.count_nonzero(mask)), people, metrics)
