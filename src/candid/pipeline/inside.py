"""The stage that looks into the network: filters, units, whom its mistakes resemble."""

from __future__ import annotations

from typing import TYPE_CHECKING

from candid.pipeline.loading import loaded
from candid.pipeline.opening import Data, needs_torch
from candid.predictions import read_predictions
from candid.records import Split, write_record
from candid.records.inside import Inside, write_inside_arrays
from candid.runs import Run
from candid.settings import Config

if TYPE_CHECKING:
    from torch import nn


def look_inside(
    run: Run,
    data: Data,
    config: Config,
    *,
    network: nn.Module | None = None,
    split: Split = "validation",
    most_training: int = 10_000,
    quiet: bool = False,
) -> Inside:
    """Look into the run's network, and write inside.json and inside.npz.

    Units and mistakes are those of one split; mistakes are what `predictions.parquet` calls so,
    where it has the split. They are compared with `most_training` training images, drawn at
    random; 0: with all. `network` is a module of the caller's own, for `network.name = "own"`.

    Raises
    ------
    RunError
        Where the run holds no trained network.
    """
    needs_torch()
    from candid.explanation.trained import look_into

    with loaded(run, config, network) as model:
        record, arrays = look_into(
            model.network,
            model.card,
            data.dataset,
            data.store,
            read_predictions(run.predictions) if run.predictions.is_file() else None,
            split=split,
            most_training=most_training,
            bfloat16=model.bfloat16,
            quiet=quiet,
        )
        write_inside_arrays(run.inside_arrays, arrays)
        write_record(run.inside, record)  # the last: it says that the stage was finished
    return record
