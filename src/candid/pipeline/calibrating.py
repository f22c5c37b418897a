"""A run's probabilities and its promise for one place: `candid calibrate RUN DATA`."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from candid.data.dataset import Dataset
from candid.errors import PredictionsError
from candid.pipeline.answered import Answered
from candid.pipeline.external_numbers import refuse_for_number
from candid.pipeline.labelled import answer, answering_run, check_name, choose_rows
from candid.pipeline.labelling import Answering, labeller
from candid.pipeline.opening import Place
from candid.predictions import Predictions
from candid.records import Estimate, write_record
from candid.records.calibration import NumberCalibration, PlaceCalibration, calibration_path
from candid.runs import Run
from candid.settings import Config, EvaluateConfig
from candid.stats.bootstrap import part_of_people
from candid.stats.exact import binomial_bounds, fewest
from candid.stats.intervals import mean, wilson_shares
from candid.stats.metrics import log_losses
from candid.text import calibration as text
from candid.text import words

if TYPE_CHECKING:
    from candid.inference.classifier import Engine

_FITTED = 1 / 3  # of the people; the others choose the threshold, which takes hundreds
_COMPARED = ("log_loss", "calibration_error", "accuracy")


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

    On a third of the people (or pictures) a temperature and a bias for each class are fitted; on
    the others the threshold is found above which at most `predict.target_error` of the answers
    are wrong, with the guarantee that the audit's thresholds have, and the figures are measured.
    Of a number, the third sets a shift, the others the intervals.
    `candid.predict(run, pictures, calibration=name)` uses it.

    Parameters
    ----------
    run
        A run whose training was finished.
    data
        A few hundred labelled pictures of the place, as `candid.load` gave them or where they lie.
    config
        Its `data` section says how they are read, `predict.target_error` what is promised; None:
        the defaults, and the run's own.
    name
        What to call it; one of the same name is replaced.
    target, split, engine, crop, detector, common_frame, workers
        As for `candid.transfer`. The frame that the pictures have in common is kept, and used
        wherever the calibration is.
    seed, quiet
        Who has a part in the fit; and no progress bar.

    Raises
    ------
    DataError
        Where the pictures cannot be read, or their classes are not the run's.
    PredictionsError
        Where all pictures bear the same label, or the people (or pictures) are too few to fit on.
    """
    check_name(name)
    asked = answering_run(run, config, quiet, number=True)
    dataset = asked.read(data, target)
    chosen = choose_rows(asked.run, dataset, split)
    face = crop or detector is not None
    how: Answering = {"engine": engine, "crop": face, "detector": detector, "abstain_below": 0}
    how |= {"check": False, "common_frame": common_frame}
    if asked.card.number is not None:
        refuse_for_number(how)
    ready = labeller(asked.run, quiet=quiet, number=True, **how)
    file = calibration_path(asked.run.path, name)
    table = file.with_suffix(".labels.parquet")
    answered = answer(ready, dataset, chosen.rows, table, workers=workers, quiet=quiet)
    made = replace(
        _fit(answered, asked.settings, seed),
        name=name,
        model=ready.classifier.made_from,
        data=dataset.origin or dataset.name,
        layout=dataset.layout,
        split=chosen.split,
        cropped=ready.finder is not None,
        calibrated=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        frame=answered.frame,
    )
    write_record(file, made)
    return made


def _fit(answered: Answered, settings: Config, seed: int) -> PlaceCalibration | NumberCalibration:
    if answered.card.number is None:
        return _calibrated(answered.predictions, settings, seed)
    from candid.pipeline.calibrating_numbers import calibrate_number

    return calibrate_number(answered.numbers, answered.probability, settings, seed)


def _calibrated(p: Predictions, settings: Config, seed: int) -> PlaceCalibration:
    """The fit on a third, the rule and the figures on the rest."""
    from candid.auditing.abstention import answering_rule
    from candid.stats.shift import fit_shift

    fitted, rest = _shared_out(p, seed)
    _refuse_one_class(p)
    shift = fit_shift(fitted.probability, fitted.label)
    after = replace(rest, probability=shift.apply(rest.probability))
    confidence = settings.audit.confidence
    target_error = settings.predict.target_error
    rule, sentence = None, "Nothing was promised: predict.target_error is 0."
    if target_error:
        rule, sentence = answering_rule(after, target_error, confidence, seed)
    hot = p.label[:, None] == list(range(len(p.classes)))
    losses = [log_losses(rest.label, one.probability) for one in (after, rest)]
    apart = mean(losses[0] - losses[1], rest.persons(), confidence=confidence)
    absent = [c for k, c in enumerate(p.classes) if not (fitted.label == k).any()]
    notes = [*text.effect(apart), *text.absent_from_the_fit(absent)]
    if rule is None and target_error:
        notes += _too_few(rest, target_error, confidence)
    return PlaceCalibration(
        name="", target=p.target, classes=p.classes, model="", data="", layout="", split="",
        cropped=False, calibrated="",
        temperature=shift.temperature,
        bias=tuple(shift.bias.tolist()),
        shares=tuple(wilson_shares(hot, None, p.persons(), confidence)),
        fitted_n=len(fitted), fitted_people=fitted.n_people(), n=len(rest), people=rest.n_people(),
        before=_figures(rest, settings.evaluate),
        after=_figures(after, settings.evaluate),
        rule=rule, sentence=sentence, seed=seed,
        differences={"log_loss": apart}, notes=tuple(notes),
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


def _too_few(rest: Predictions, target: float, confidence: float) -> Iterator[str]:
    """What follows where the people (or pictures) are too few for the promise, if they are."""
    people = rest.n_people()
    n = len(rest) if people is None else people
    total = needed = fewest(0, target, confidence)
    if n >= needed:
        return
    while total - _fitted(total) < needed:
        total += 1
    possible = binomial_bounds(0, n, confidence)[1]
    yield text.too_few_to_promise(n, possible, total, target, people is not None)


def _fitted(people: int) -> int:
    """How many of so many people (or pictures) the fit is made on."""
    return max(1, round(_FITTED * people))


def _shared_out(p: Predictions, seed: int) -> tuple[Predictions, Predictions]:
    """Two parts without a person in common.

    Raises a PredictionsError where the fit would set more numbers than it has people (or pictures).
    """
    mine, people = part_of_people(p.persons(), len(p), _fitted, np.random.default_rng(seed))
    if _fitted(people) < len(p.classes):
        known = p.persons() is not None
        few = f"labelled pictures of {words.persons(people)}"
        raise PredictionsError(
            f"Only {few if known else f'{words.images(people)} with a label'} could be answered.",
            expected=f"a few hundred, and {3 * len(p.classes) - 1} at the least: a third sets a "
            f"temperature and the biases of {len(p.classes)} classes, the others find a threshold",
            todo="name more labelled pictures of the place",
        )
    return p[mine], p[~mine]


def _figures(p: Predictions, config: EvaluateConfig) -> dict[str, Estimate]:
    from candid.evaluation.performance import evaluate_predictions

    everyone = replace(p, split=np.full(len(p), "test"))
    found = evaluate_predictions(everyone, replace(config, examples=0)).splits[0]
    return {name: found.metrics[name] for name in _COMPARED}
