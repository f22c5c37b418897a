"""The verb that adapts a run to a place: calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import candid
from candid.cli.options import (
    FOLDER,
    answer_options,
    answering_options,
    is_quiet,
    labels_config,
    labels_options,
    option,
    output_options,
    show,
    trust_option,
)


@click.command("calibrate")
@click.argument("run", type=FOLDER)
@click.argument("data", type=FOLDER)
@option("--name", "NAME", "What to call it.", required=True)
@labels_options
@option("--split", "NAME", "train, validation or test; default: all.")
@answering_options
@option("--seed", "N", "Who has a part in the fit.", type=int, default=0)
@trust_option
@output_options
def calibrate_command(run: Path, data: Path, **options: Any) -> None:
    """Adapt a run's probabilities and its promise to a place, from labelled pictures of it.

    A few hundred of them, in any layout. A third of the people sets a temperature and a bias for
    each class; the others find the threshold above which few answers are wrong, with a guarantee,
    where they are enough for one. Of a number, the third sets a shift and the others the intervals.
    It is kept in RUN; candid predict --calibration NAME uses it.
    """
    config = labels_config(run, options)
    calibration = candid.calibrate(run, data, config, quiet=is_quiet(), **answer_options(options))
    from candid.pipeline.opening import sole_label_run
    from candid.records.calibration import calibration_path
    from candid.text.calibration import calibration_lines

    folder = sole_label_run(candid.Run(run)).path
    show(
        calibration, calibration_lines(calibration, str(calibration_path(folder, calibration.name)))
    )
