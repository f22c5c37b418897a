"""The verb that adapts a run to a place: calibrate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import candid
from candid.cli.options import (
    FOLDER,
    answering,
    answering_options,
    config_elsewhere,
    is_quiet,
    labels_options,
    option,
    output_options,
    show,
    with_interval,
)

if TYPE_CHECKING:
    from candid.records.calibration import PlaceCalibration


@click.command("calibrate")
@click.argument("run", type=FOLDER)
@click.argument("data", type=FOLDER)
@option("--name", "NAME", "What to call it.", required=True)
@labels_options
@option("--split", "NAME", "train, validation or test; default: all.")
@answering_options
@option("--seed", "N", "Who has a part in the fit.", type=int, default=0)
@output_options
def calibrate_command(run: Path, data: Path, **how: Any) -> None:
    """Adapt a run's probabilities and its promise to a place, from labelled pictures of it.

    A few hundred of them, in any layout. A third of the people sets a temperature and a bias for
    each class; the others find the threshold above which few answers are wrong, with a guarantee,
    where they are enough for one. It is kept in RUN; candid predict --calibration NAME uses it.
    """
    config = config_elsewhere(run, how)
    found = candid.calibrate(run, data, config, quiet=is_quiet(), **answering(how))
    show(found, _lines(found, run))


def _lines(found: PlaceCalibration, run: Path) -> Iterator[str]:
    from candid.records.calibration import calibration_path

    c = found
    yield f"temperature {c.temperature:.3g} on the run's own, fitted on {c.fitted_n:,} pictures"
    for name, bias, share in zip(c.classes, c.bias, c.shares, strict=True):
        yield f"  {name}: {share.value:.1%} ({share.low:.1%} to {share.high:.1%}), bias {bias:+.3g}"
    yield f"on the {c.n:,} others, before and after:"
    for name, before in c.before.items():
        yield f"  {name}: {before.value:.4f} → {with_interval(c.after[name])}"
    if c.rule is None:
        yield f"no promise: {c.sentence}"
    else:
        yield f"it answers at {c.rule.threshold:.4g} and above. {c.sentence}"
    yield f"in {calibration_path(run, c.name)}; to use it: --calibration {c.name}"
