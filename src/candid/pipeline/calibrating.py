"""A run's probabilities and its promise for one place: `candid calibrate RUN DATA`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from candid.data.dataset import Dataset
from candid.errors import PredictionsError
from candid.pipeline.answers import ModelAnswers
from candid.pipeline.calibrating_numbers import calibrate_number, fit_count
from candid.pipeline.external_numbers import refuse_for_number
from candid.pipeline.labelled import (
    check_name,
    choose_rows,
    describe_source,
    open_trained_run,
    predict_dataset,
)
from candid.pipeline.labelling import PredictOptions, open_labeller
from candid.pipeline.opening import Place
from candid.pipeline.provenance import utc_now
from candid.predictions import Predictions
from candid.records import Estimate, write_record
from candid.records.calibration import NumberCalibration, PlaceCalibration, calibration_path
from candid.runs import Run
from candid.settings import Config, EvaluateConfig
from candid.stats.bootstrap import sample_people
from candid.stats.exact import binomial_bounds, fewest_answers
from candid.stats.intervals import mean, wilson_shares
from candid.stats.metrics import log_losses
from candid.text import calibration as text
from candid.text import words

if TYPE_CHECKING:
    from candid.inference.classifier import Engine

_METRICS = ("log_loss", "calibration_error", "accuracy")


def calibrate(
    run: Run | Place,
    data: Dataset | Place,
    config: Config | None = None,
    *,
    name: str,
    target: str | None = None,
    split: str | None = None,
    engine: Engine = "auto",
    crop: bool = False,
    detector: Path | None = None,
    common_frame: bool = True,
    workers: int = 0,
    seed: int = 0,
    quiet: bool = True,
) -> PlaceCalibration | NumberCalibration:
    """Adapt a run's probabilities and its promise to a place, as `calibrations/<name>.json`.

    A temperature and a bias for each class are fitted on a third of the people (or pictures). The
    others set the threshold above which at most `predict.target_error` of the answers are wrong,
    guaranteed as by the audit. Of a number, the third sets a shift, the others the intervals.
    `candid.predict(run, pictures, calibration=name)` uses it.

    Parameters
    ----------
    run, data
        A finished run, and a few hundred labelled pictures of the place, loaded or their path.
    config
        How they are read (`data`) and what is promised (`predict.target_error`); None: the
        defaults, and the run's own.
    name, seed
        What to call it (one of the same name is replaced), and what decides who is fitted on.
    target, split, engine, crop, detector, common_frame, workers, quiet
        As for `candid.transfer`. The frame that the pictures have in common is kept with it.

    Raises
    ------
    DataError, PredictionsError
        Where the pictures cannot be read, are of other classes, all of one, or too few to fit on.
    """
    check_name(name)
    trained_run = open_trained_run(run, config, quiet, number=True)
    dataset = trained_run.read(data, target)
    choice = choose_rows(trained_run.run, dataset, split)
    crop = crop or detector is not None
    options: PredictOptions = {"engine": engine, "crop": crop, "detector": detector}
    options |= {"abstain_below": 0, "check": False, "common_frame": common_frame}
    if trained_run.card.number is not None:
        refuse_for_number(options)
    labeller = open_labeller(trained_run.run, quiet=quiet, number=True, **options)
    file = calibration_path(trained_run.run.path, name)
    table = file.with_suffix(".labels.parquet")
    answers = predict_dataset(labeller, dataset, choice.rows, table, workers=workers, quiet=quiet)
    record = _fit(answers, trained_run.settings, seed)
    source = describe_source(labeller, dataset, choice, answers)
    model = labeller.classifier.made_from
    record = replace(record, name=name, model=model, calibrated=utc_now(), **source)
    write_record(file, record)
    return record


def _fit(
    answers: ModelAnswers, settings: Config, seed: int
) -> PlaceCalibration | NumberCalibration:
    if answers.card.number is None:
        return _fit_place(answers.predictions, settings, seed)
    return calibrate_number(answers.numbers, answers.probability, settings, seed)


def _fit_place(p: Predictions, settings: Config, seed: int) -> PlaceCalibration:
    """Fit on a third of the people; find the rule and measure on the rest."""
    from candid.auditing.abstention import answering_rule
    from candid.stats.shift import fit_shift

    fit_part, rest = _split_people(p, seed)
    _refuse_one_class(p)
    shift = fit_shift(fit_part.probability, fit_part.label)
    calibrated = replace(rest, probability=shift.apply(rest.probability))
    confidence = settings.audit.confidence
    target_error = settings.predict.target_error
    rule, sentence = None, "Nothing was promised: predict.target_error is 0."
    if target_error:
        rule, sentence = answering_rule(calibrated, target_error, confidence, seed)
    hot = p.label[:, None] == list(range(len(p.classes)))
    losses = [log_losses(rest.label, part.probability) for part in (calibrated, rest)]
    difference = mean(losses[0] - losses[1], rest.persons(), confidence=confidence)
    absent = [c for k, c in enumerate(p.classes) if not (fit_part.label == k).any()]
    notes = [*text.effect(difference), *text.absent_from_the_fit(absent)]
    if rule is None and target_error:
        notes += _note_too_few(rest, target_error, confidence)
    return PlaceCalibration(
        name="", target=p.target, classes=p.classes, model="", data="", layout="", split="",
        cropped=False, calibrated="",
        temperature=shift.temperature,
        bias=tuple(shift.bias.tolist()),
        shares=tuple(wilson_shares(hot, None, p.persons(), confidence)),
        fitted_n=len(fit_part), fitted_people=fit_part.n_people(),
        n=len(rest), people=rest.n_people(),
        before=_measure(rest, settings.evaluate),
        after=_measure(calibrated, settings.evaluate),
        rule=rule, sentence=sentence, seed=seed,
        differences={"log_loss": difference}, notes=tuple(notes),
    )  # fmt: skip


def _refuse_one_class(p: Predictions) -> None:
    """Raise a PredictionsError where all labelled pictures bear the same label."""
    used = np.unique(p.label)
    if len(used) == 1:
        raise PredictionsError(
            f"All {len(p):,} labelled pictures that could be answered are {p.classes[used[0]]!r}.",
            expected="pictures of at least two classes, as often as they come at the place",
            todo="add pictures with another label; candid evaluate takes those of one class",
        )


def _note_too_few(rest: Predictions, target: float, confidence: float) -> Iterator[str]:
    """A note where the people (or pictures) are too few for the promise."""
    people = rest.n_people()
    n = len(rest) if people is None else people
    enough = needed = fewest_answers(0, target, confidence)
    if n >= needed:
        return
    while enough - fit_count(enough) < needed:
        enough += 1
    possible = binomial_bounds(0, n, confidence)[1]
    yield text.too_few_to_promise(n, possible, enough, target, people is not None)


def _split_people(p: Predictions, seed: int) -> tuple[Predictions, Predictions]:
    """The part to fit on and the rest, without a person in common.

    Raises PredictionsError where the fit would set more numbers than it has people (or pictures).
    """
    is_fit, people = sample_people(p.persons(), len(p), fit_count, np.random.default_rng(seed))
    if fit_count(people) < len(p.classes):
        few = f"labelled pictures of {words.persons(people)}"
        if p.persons() is None:
            few = f"{words.images(people)} with a label"
        raise PredictionsError(
            f"Only {few} could be answered.",
            expected=f"a few hundred, and {3 * len(p.classes) - 1} at the least: a third sets a "
            f"temperature and the biases of {len(p.classes)} classes, the others find a threshold",
            todo="name more labelled pictures of the place",
        )
    return p[is_fit], p[~is_fit]


def _measure(p: Predictions, config: EvaluateConfig) -> dict[str, Estimate]:
    from candid.evaluation.performance import evaluate_predictions

    as_test = replace(p, split=np.full(len(p), "test"))
    evaluation = evaluate_predictions(as_test, replace(config, examples=0)).splits[0]
    return {name: evaluation.metrics[name] for name in _METRICS}
