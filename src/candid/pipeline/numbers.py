"""The steps of a label that is a number: predict, evaluate, report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import softmax

from candid import runs
from candid.pipeline.opening import Data
from candid.predictions.numbers import (
    NumberPredictions,
    read_number_predictions,
    write_number_predictions,
)
from candid.records import ModelCard, Provenance, read_record, write_record
from candid.records.audit import Audit
from candid.records.explanation import Explanation, read_explanation_arrays
from candid.records.external_number import NumberTransfer
from candid.records.inside import Inside, read_inside_arrays
from candid.records.number import NumberEvaluation
from candid.runs import Run
from candid.storage.files import write_text
from candid.tables.numbers import to_numbers


def write_number(run: Run, card: ModelCard, data: Data, rows: Any, logits: Any) -> None:
    """Write model.json, with mean or median and the intervals chosen on validation, and
    predictions.parquet, from (rows, bins) logits.
    """
    from candid.inference.numbers import answers_of, calibrated_card

    dataset, predict_config = data.dataset, run.settings.predict
    value = to_numbers(dataset.classes)[dataset.label[rows]]
    probability = softmax(np.asarray(logits, np.float64), axis=1)
    is_calibration = dataset.split[rows] == "validation"
    if card.number is None:
        raise ValueError(f"{card.target!r} is no number")
    number = calibrated_card(
        card.number,
        probability[is_calibration],
        value[is_calibration],
        predict_config.coverage,
        by_range=predict_config.coverage_by == "range",
    )
    predicted, low, high = answers_of(number, probability)
    predictions = NumberPredictions(
        target=dataset.target,
        card=number,
        ids=dataset.ids[rows],
        split=dataset.split[rows],
        value=value,
        predicted=predicted,
        low=low,
        high=high,
        person=None if dataset.person is None else dataset.person[rows],
        attributes={name: a[rows] for name, a in dataset.attributes.items()},
        provenance={"data": dataset.name, "network": card.network, "kept": card.kept},
    )
    write_record(run.model_file, replace(card, number=number))
    write_number_predictions(run.predictions_file, predictions)


def evaluate_number_run(run: Run) -> NumberEvaluation:
    """Write evaluation.json from predictions.parquet."""
    from candid.evaluation.numbers import evaluate_number

    answers = read_number_predictions(run.predictions_file)
    evaluation = evaluate_number(answers, run.settings.evaluate)
    write_record(run.evaluation, evaluation)
    return evaluation


def write_number_report(run: Run) -> None:
    """Write report.html and the model card from the files of the run."""
    from candid.reporting.number import NumberInput, number_card, render_number

    inputs = NumberInput(
        config=run.settings,
        provenance=read_record(run.provenance, Provenance),
        evaluation=read_record(run.evaluation, NumberEvaluation),
        model=read_record(run.model_file, ModelCard),
        history=runs.read_history(run),
        audit=read_record(run.audit, Audit) if run.audit.is_file() else None,
        transfer=read_record(run.transfer, NumberTransfer) if run.transfer.is_file() else None,
        **read_explanations(run),
    )
    write_text(run.report, render_number(inputs))
    write_text(run.card, number_card(inputs))


def read_explanations(run: Run) -> dict[str, Any]:
    """The explanations of a run and their arrays, if any, by the names of a report's inputs."""
    inputs: dict[str, Any] = {}
    if run.explanation.is_file():
        inputs["explanation"] = read_record(run.explanation, Explanation)
        if run.explanation_arrays.is_file():
            inputs["maps"] = read_explanation_arrays(run.explanation_arrays)
    if run.inside.is_file():
        inputs["inside"] = read_record(run.inside, Inside)
        if run.inside_arrays.is_file():
            inputs["inside_pictures"] = read_inside_arrays(run.inside_arrays)
    return inputs
