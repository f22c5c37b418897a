"""The verb that answers for models: serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from candid.cli.options import FOLDER, output_options, set_option
from candid.cli.saying import print_json


@click.command()
@click.argument("runs", metavar="RUN [RUN]...", nargs=-1, required=True, type=FOLDER)
@click.option("--host", metavar="ADDRESS", help="Where to listen; default: this machine alone.")
@click.option("--port", type=int, metavar="N", help="Default: 8000; 0: any that is free.")
@click.option(
    "--abstain-below",
    type=float,
    metavar="P",
    help="Give no answer below this probability; default: the rule that the audit found.",
)
@click.option(
    "--config", "config_file", type=FOLDER, metavar="FILE", help="A TOML file with settings."
)
@set_option
@output_options
def serve(
    runs: tuple[Path, ...],
    host: str | None,
    port: int | None,
    abstain_below: float | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Answer over HTTP, and show a page, for the models of some runs.

    The first RUN answers requests that name no model. Ctrl+C stops it, after it has answered what
    it took in.
    """
    from candid import stages
    from candid.config import load_config, with_values

    config = load_config(file=config_file, overrides=overrides)
    named: dict[str, Any] = {"host": host, "port": port}
    config = with_values(config, {"serve": {k: v for k, v in named.items() if v is not None}})

    def started(url: str) -> None:
        if as_json:
            print_json({"url": url, "runs": [str(run) for run in runs]})
        elif not quiet:
            several = "models" if len(runs) > 1 else "a model"
            click.echo(f"serving {several} at {url} (Ctrl+C stops it)")
            if config.serve.host not in ("127.0.0.1", "localhost", "::1"):
                click.echo("everyone who reaches this machine can use it", err=True)

    stages.serve(
        runs, config.serve, abstain_below=abstain_below, quiet=quiet or as_json, started=started
    )
