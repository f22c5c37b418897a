"""The verb that searches settings: tune."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    settings_options,
    short_option,
    show,
)

if TYPE_CHECKING:
    from candid.pipeline.data_places import Where


@click.command("tune")
@data_argument(required=True)
@settings_options
@option("--trials", "N", "Short for --set tune.trials=N.", type=int, **short_option("tune.trials"))
@option(
    "--minutes", "M", "Short for --set tune.minutes=M.", type=float, **short_option("tune.minutes")
)
@option(
    "--search",
    "SECTION.KEY=VALUES",
    "A setting to search, such as train.learning_rate=1e-4..1e-2 or train.optimizer=adam,muon;"
    " may be repeated. Default: the usual ones.",
    multiple=True,
    **short_option("tune.search"),
)
@path_option(
    "--out",
    "FOLDER",
    "The study's folder, new or to go on with; default: runs/<date>-tune-<n>.",
)
@option(
    "--storage",
    "URL",
    "For several machines: a database (postgresql://…), or a file in a folder that they share"
    " (journal:FILE); default: study.db in --out.",
    default="",
)
@option("--study", "NAME", "The study's name in the storage.", default="candid", show_default=True)
@cache_option
@output_options
def tune_command(
    data: Where,
    out: Path | None,
    storage: str,
    study: str,
    cache: Path | None,
) -> None:
    """Search for better settings: many short trainings, judged on validation.

    The same command with the same --out goes on with a study that was stopped, and helps with one
    that is running.
    """
    from candid.pipeline.stopping import resume_hint
    from candid.pipeline.tuning import needs_optuna, study_folder
    from candid.text.console import tuning_lines

    needs_optuna()
    config = config_of_options()
    dataset = candid.load(data, config=config)
    folder = study_folder(out)
    options: dict[str, Any] = {"storage": storage, "study": study, "cache": cache}
    with resume_hint(f"the same command with --out {shlex.quote(str(folder))}"):
        result = candid.tune(dataset, config, out=folder, quiet=is_quiet(), **options)
    files = {"folder": str(folder), "best": str(folder / "best.toml")}
    places = {"settings": files["best"], "report": str(folder / "report.html")}
    show(files | {"tuning": result}, tuning_lines(result, places))
