"""The stages that predict, and that say how well."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from candid import runs
from candid.predictions import Predictions, read_predictions, write_predictions
from candid.records import Evaluation, write_record
from candid.runs import RunFolder
from candid.settings import Config
from candid.stages.loading import loaded
from candid.stages.starting import Data, needs_torch
from candid.stages.steps import step

if TYPE_CHECKING:
    from torch import nn


def predict(
    run: RunFolder,
    data: Data,
    config: Config,
    *,
    network: nn.Module | None = None,
    quiet: bool = False,
) -> Predictions:
    """Fit the temperature on validation, and write predictions.parquet for validation and test.

    `network` is a module of the caller's own, for `network.name = "own"`.
    """
    needs_torch()
    import numpy as np

    from candid.models.forward import Images, logits
    from candid.stats.calibration import apply_temperature, fit_temperature

    with step(run, "predict", config), loaded(run, config, network) as model:
        card, dataset, store = model.card, data.dataset, data.store
        rows = np.concatenate(
            [dataset.rows(split, store.usable) for split in ("validation", "test")]
        )
        raw = logits(
            model.network,
            Images(store.pixels, card.mean, card.std),
            rows,
            device=model.device,
            bfloat16=model.bfloat16,
            mirrored=card.mirrored,
            title="predict",
            quiet=quiet,
        ).astype(np.float64)
        fitted_on = dataset.split[rows] == "validation"
        temperature = fit_temperature(raw[fitted_on], dataset.label[rows][fitted_on])
        write_record(run.model, replace(card, temperature=temperature))
        predictions = Predictions(
            target=dataset.target,
            classes=dataset.classes,
            ids=dataset.ids[rows],
            split=dataset.split[rows],
            label=dataset.label[rows],
            probability=apply_temperature(raw, temperature),
            temperature=temperature,
            identity=None if dataset.identity is None else dataset.identity[rows],
            attributes={name: a[rows] for name, a in dataset.attributes.items()},
            provenance={
                "data": dataset.name,
                "data_fingerprint": data.fingerprint,
                "network": card.network,
                "kept": card.kept,
            },
        )
        write_predictions(run.predictions, predictions)
    return predictions


def evaluate(run: RunFolder, config: Config) -> Evaluation:
    """Write evaluation.json from predictions.parquet and history.parquet."""
    from candid.evaluation.performance import evaluate_predictions as judge

    with step(run, "evaluate", config):
        predictions = read_predictions(run.predictions)
        evaluation = judge(predictions, config.evaluate, history=runs.read_history(run))
        write_record(run.evaluation, evaluation)
    return evaluation
