"""The figures of a model of a number on other data, and their differences to its own test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from candid.arrays import BoolArray
from candid.evaluation.numbers import build_outcomes, choose_tolerance, evaluate_number
from candid.predictions.numbers import NumberPredictions
from candid.records import Estimate
from candid.records.external_number import NumberFigures
from candid.settings import EvaluateConfig
from candid.stats.differences import independent_difference
from candid.stats.intervals import mean, share, undefined_estimate
from candid.table import known_persons

# What is compared with home; R² is not: it depends on how far the true values spread.
COMPARED = ("mae", "rmse", "within", "bias", "coverage", "width")


def number_figures_at(
    predictions: NumberPredictions, config: EvaluateConfig, unlike: BoolArray | None = None
) -> NumberFigures:
    """The figures of one place, whatever the splits there.

    `unlike` (n,) are those flagged as unlike the training data; None where that was not checked.
    Raises PredictionsError where there is no image.
    """
    p = replace(predictions, split=np.full(len(predictions), "test"))
    evaluation = evaluate_number(p, config).splits[0]
    person, confidence = known_persons(p.person), config.confidence
    flagged, flagged_error, unflagged_error = (undefined_estimate(confidence),) * 3
    if unlike is not None:
        errors = np.abs(p.predicted - p.value)
        flagged = share(unlike, np.ones(len(p), np.bool_), person, confidence)
        flagged_error = mean(np.where(unlike, errors, np.nan), person, confidence=confidence)
        unflagged_error = mean(np.where(unlike, np.nan, errors), person, confidence=confidence)
    return NumberFigures(evaluation, flagged, flagged_error, unflagged_error)


def number_less_home(here: NumberFigures, home: NumberFigures) -> dict[str, Estimate]:
    """Figures here less those at home; the two have no person in common."""
    figures, home_figures = here.evaluation.metrics, home.evaluation.metrics
    return {name: independent_difference(figures[name], home_figures[name]) for name in COMPARED}


def same_numbers(here: NumberPredictions, home: NumberPredictions) -> bool:
    """Whether nearly all of these images are home's, by their names, with the same values."""
    value = dict(zip(home.ids.tolist(), home.value.tolist(), strict=True))
    same = [value.get(i) == x for i, x in zip(here.ids.tolist(), here.value.tolist(), strict=True)]
    return bool(same) and sum(same) >= 0.95 * len(same)


def paired_numbers(
    here: NumberPredictions, home: NumberPredictions, config: EvaluateConfig
) -> dict[str, Estimate]:
    """The paired differences of the images in both, by person."""
    home_row = {name: row for row, name in enumerate(home.ids.tolist())}
    rows = np.array([row for row, i in enumerate(here.ids.tolist()) if i in home_row], np.intp)
    home_rows = np.array([home_row[i] for i in here.ids[rows].tolist()], np.intp)
    tolerance = choose_tolerance(here.card.quartiles, config)
    outcomes, home_outcomes = (build_outcomes(p, tolerance) for p in (here[rows], home[home_rows]))
    error, home_error = np.abs(outcomes.error), np.abs(home_outcomes.error)
    within = (error <= tolerance).astype(float) - (home_error <= tolerance)
    covered = outcomes.covered.astype(float) - home_outcomes.covered
    person = known_persons(here[rows].person)
    return {
        name: mean(values, person, confidence=config.confidence)
        for name, values in (("mae", error - home_error), ("within", within), ("coverage", covered))
    }
