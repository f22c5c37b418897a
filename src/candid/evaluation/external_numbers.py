"""How a model of a number does away from home, beside its own test pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from candid.arrays import Marks
from candid.evaluation.numbers import evaluate_number, judged, tolerance_of
from candid.predictions.numbers import NumberPredictions
from candid.records import Estimate
from candid.records.external_number import NumberFigures
from candid.settings import EvaluateConfig
from candid.stats.differences import independent_difference
from candid.stats.intervals import mean, share, unknown
from candid.table import known_persons

# What is compared with home; R² is not: it depends on how far the true values spread.
COMPARED = ("mae", "rmse", "within", "bias", "coverage", "width")


def number_figures_at(
    predictions: NumberPredictions, config: EvaluateConfig, unlike: Marks | None = None
) -> NumberFigures:
    """The figures of one place, whatever the splits there.

    `unlike` (n,) says which were flagged as unlike the training data; None where nobody looked.
    Raises PredictionsError where there is no image.
    """
    p = replace(predictions, split=np.full(len(predictions), "test"))
    found = evaluate_number(p, config).splits[0]
    person, sure = known_persons(p.person), config.confidence
    flagged, there, others = (unknown(sure),) * 3
    if unlike is not None:
        off = np.abs(p.predicted - p.value)
        flagged = share(unlike, np.ones(len(p), np.bool_), person, sure)
        there = mean(np.where(unlike, off, np.nan), person, confidence=sure)
        others = mean(np.where(unlike, np.nan, off), person, confidence=sure)
    return NumberFigures(found, flagged, there, others)


def number_less_home(here: NumberFigures, home: NumberFigures) -> dict[str, Estimate]:
    """Figures here less those at home; the two have no person in common."""
    one, other = here.evaluation.metrics, home.evaluation.metrics
    return {name: independent_difference(one[name], other[name]) for name in COMPARED}


def same_numbers(here: NumberPredictions, home: NumberPredictions) -> bool:
    """Whether nearly all of these images are home's, by their names, with the same values."""
    known = dict(zip(home.ids.tolist(), home.value.tolist(), strict=True))
    same = [known.get(i) == x for i, x in zip(here.ids.tolist(), here.value.tolist(), strict=True)]
    return bool(same) and sum(same) >= 0.95 * len(same)


def paired_numbers(
    here: NumberPredictions, home: NumberPredictions, config: EvaluateConfig
) -> dict[str, Estimate]:
    """The differences of the images that stand in both, paired, by person."""
    place = {name: row for row, name in enumerate(home.ids.tolist())}
    mine = np.array([row for row, i in enumerate(here.ids.tolist()) if i in place], np.intp)
    theirs = np.array([place[i] for i in here.ids[mine].tolist()], np.intp)
    tolerance = tolerance_of(here.card.quartiles, config)
    one, other = judged(here[mine], tolerance), judged(home[theirs], tolerance)
    off, before = np.abs(one.error), np.abs(other.error)
    near = (off <= tolerance).astype(float) - (before <= tolerance)
    held = one.held.astype(float) - other.held
    person = known_persons(here[mine].person)
    return {
        name: mean(values, person, confidence=config.confidence)
        for name, values in (("mae", off - before), ("within", near), ("coverage", held))
    }
