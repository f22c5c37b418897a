"""The verb that answers for models: serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import candid
from candid.cli.options import (
    FOLDER,
    calibration_option,
    is_json,
    is_quiet,
    option,
    output_options,
    path_option,
    set_option,
    show,
    trust_option,
)


@click.command("serve")
@click.argument("runs", metavar="RUN [RUN]...", nargs=-1, required=True, type=FOLDER)
@option("--host", "ADDRESS", "Where to listen; default: this machine alone.")
@option("--port", "N", "Default: 8000; 0: any that is free.", type=int)
@option(
    "--abstain-below",
    "P",
    "Give no answer below this probability; default: the rule that the audit found.",
    type=float,
)
@calibration_option
@path_option("--config", "FILE", "A TOML file with settings.", "config_file")
@set_option
@trust_option
@output_options
def serve_command(
    runs: tuple[Path, ...],
    host: str | None,
    port: int | None,
    abstain_below: float | None,
    calibration: str,
    config_file: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Answer over HTTP, and show a page, for the models of some runs.

    The first RUN answers requests that name no model. Ctrl+C stops it, after it has answered what
    it took in.
    """
    from candid.config import with_values

    config = candid.load_config(file=config_file, overrides=overrides)
    addresses: dict[str, Any] = {"host": host, "port": port}
    config = with_values(config, {"serve": {k: v for k, v in addresses.items() if v is not None}})
    quiet, as_json = is_quiet(), is_json()

    def started(url: str) -> None:
        several = "models" if len(runs) > 1 else "a model"
        result = {"url": url, "runs": [str(run) for run in runs]}
        show(result, (f"serving {several} at {url} (Ctrl+C stops it)",))
        is_local = config.serve.host in ("127.0.0.1", "localhost", "::1")
        if not (is_local or quiet or as_json):
            click.echo("everyone who reaches this machine can use it", err=True)

    candid.serve(
        *runs,
        config=config,
        abstain_below=abstain_below,
        calibration=calibration,
        quiet=quiet or as_json,
        started=started,
    )
