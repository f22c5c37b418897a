"""The verb that examines all labels: check."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

import candid
from candid.cli.options import (
    cache_option,
    config_of_options,
    data_argument,
    is_quiet,
    option,
    output_options,
    path_option,
    quick_settings_options,
    short_option,
    show,
)

if TYPE_CHECKING:
    from candid.pipeline.data_places import Where


@click.command("check")
@data_argument(required=True)
@quick_settings_options
@option("--folds", "N", "Short for --set check.folds=N.", type=int, **short_option("check.folds"))
@option("--jobs", "N", "Networks trained at a time, in a process each.", type=int, default=1)
@path_option(
    "--out",
    "FOLDER",
    "The check's folder, new or to go on with; default: runs/<date>-check-<n>.",
)
@cache_option
@output_options
def check_command(data: Where, jobs: int, out: Path | None, cache: Path | None) -> None:
    """Examine every label: which are likely wrong, in training, too.

    Each part of the people is predicted by a network that learned from the others: all batches of
    the recipe fast, or check.steps of another one's training. candid review shows what is found.
    The same command with the same --out goes on with a check that was stopped.
    """
    from candid.pipeline.checking import check_folder
    from candid.pipeline.stopping import resume_hint
    from candid.text.label_check import check_lines

    config, folder = config_of_options(), check_folder(out)
    with resume_hint(f"the same command with --out {shlex.quote(str(folder))}"):
        check = candid.check(data, config, out=folder, jobs=jobs, cache=cache, quiet=is_quiet())
    show({"folder": str(folder), "check": check}, check_lines(check, str(folder)))
