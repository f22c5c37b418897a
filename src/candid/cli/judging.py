"""The verbs that judge a run: evaluate, report."""

from __future__ import annotations

from pathlib import Path

import click

from candid.cli.options import (
    FOLDER,
    cache_option,
    data_option,
    output_options,
)
from candid.cli.saying import print_json, say_evaluation


@click.command()
@click.argument("run", type=FOLDER)
@data_option
@cache_option
@output_options
def evaluate(run: Path, data: Path | None, cache: Path | None, quiet: bool, as_json: bool) -> None:
    """How well a run's model does, from its predictions; makes them where there are none."""
    from candid import stages
    from candid.records import to_plain
    from candid.runs import open_run, refuse_untrained

    folder, config = open_run(run)
    if not folder.predictions.is_file():
        refuse_untrained(folder)
        loaded = stages.reload(folder, config, cache, quiet, data)
        stages.predict(folder, loaded, config, quiet=quiet)
    evaluation = stages.evaluate(folder, config)
    if as_json:
        print_json(to_plain(evaluation))
    else:
        say_evaluation(evaluation, folder, quiet, as_json=False)


@click.command()
@click.argument("run", type=FOLDER)
@output_options
def report(run: Path, quiet: bool, as_json: bool) -> None:
    """Write the report and the model card again, from a run's files."""
    from candid import stages
    from candid.runs import open_run

    folder, config = open_run(run)
    path = stages.report(folder, config)
    if as_json:
        print_json({"report": str(path), "card": str(folder.card)})
    elif not quiet:
        click.echo(f"report: {path}")
