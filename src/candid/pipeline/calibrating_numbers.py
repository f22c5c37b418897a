"""Fitting the intervals of a number to one place; see `candid.calibrate`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from candid.arrays import BoolArray, FloatArray
from candid.errors import PredictionsError
from candid.inference.numbers import answers_of, calibrated_card
from candid.predictions.numbers import NumberPredictions
from candid.records import Estimate
from candid.records.calibration import NumberCalibration
from candid.records.model import NumberCard
from candid.settings import Config, EvaluateConfig
from candid.stats.bootstrap import sample_people
from candid.table import known_persons
from candid.text import calibration as text
from candid.text import words

_FIT_SHARE = 1 / 3  # of the people; the others set thresholds and intervals, which takes hundreds
_COMPARED = ("mae", "bias", "coverage", "width")


def fit_count(people: int) -> int:
    """How many of these people (or images) a calibration is fitted on."""
    return max(1, round(_FIT_SHARE * people))


def calibrate_number(
    predictions: NumberPredictions, probability: FloatArray, settings: Config, seed: int
) -> NumberCalibration:
    """A shift from a third of the people; the intervals and the figures from the others.

    `probability` (n, bins) are the distributions behind the predictions. The figures after it are
    of intervals that were made on the other half of these people. Raises PredictionsError where the
    images are too few for intervals of the run's coverage.
    """
    from candid.evaluation.external_numbers import paired_numbers

    p, rng = predictions, np.random.default_rng(seed)
    person = known_persons(p.person)
    fitted, _ = sample_people(person, len(p), fit_count, rng)
    rest, distributions = p[~fitted], probability[~fitted]
    half, _ = sample_people(known_persons(rest.person), len(rest), lambda n: n // 2, rng)
    needed = math.ceil(p.card.coverage / (1 - p.card.coverage) - 1e-9)
    if min(np.count_nonzero(half), np.count_nonzero(~half)) < needed:
        raise PredictionsError(
            f"Only {words.images(len(p), _people(p))} with a value could be answered.",
            expected=f"a few hundred, and at the least {needed} images in each third of the "
            f"people: intervals are to hold {p.card.coverage:.0%}",
            todo="name more labelled pictures of the place",
        )
    shift = float(np.median((p.value - p.predicted)[fitted]))
    shifted = replace(p.card, centres=tuple(c + shift for c in p.card.centres))
    held_out = rest
    for part in (half, ~half):
        card = _fit_intervals(shifted, rest[~part], distributions[~part])
        held_out = _with_answers(held_out, part, card, distributions[part])
    differences = paired_numbers(held_out, rest, settings.evaluate)
    return NumberCalibration(
        name="", target=p.target, model="", data="", layout="", split="", cropped=False,
        calibrated="",
        shift=shift, card=_fit_intervals(shifted, rest, distributions),
        fitted_n=int(fitted.sum()), fitted_people=_people(p[fitted]),
        n=len(rest), people=_people(rest),
        before=_figures(rest, settings.evaluate), after=_figures(held_out, settings.evaluate),
        seed=seed, differences=differences, notes=tuple(text.shift_effect(differences["mae"])),
    )  # fmt: skip


def _people(p: NumberPredictions) -> int | None:
    person = known_persons(p.person)
    return None if person is None else len(np.unique(person))


def _fit_intervals(card: NumberCard, p: NumberPredictions, probability: FloatArray) -> NumberCard:
    by_range = bool(card.reaches)
    made = calibrated_card(card, probability, p.value, card.coverage, by_range=by_range)
    return replace(made, answer=card.answer)  # which the shift is of


def _with_answers(
    p: NumberPredictions, part: BoolArray, card: NumberCard, probability: FloatArray
) -> NumberPredictions:
    """The predictions with those of a part made by another card."""
    columns = {name: getattr(p, name).copy() for name in ("predicted", "low", "high")}
    for column, values in zip(columns.values(), answers_of(card, probability), strict=True):
        column[part] = values
    return replace(p, **columns)


def _figures(p: NumberPredictions, config: EvaluateConfig) -> dict[str, Estimate]:
    from candid.evaluation.numbers import evaluate_number

    everyone = replace(p, split=np.full(len(p), "test"))
    metrics = evaluate_number(everyone, config).splits[0].metrics
    return {name: metrics[name] for name in _COMPARED}
