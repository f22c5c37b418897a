"""The verbs that show runs: as a table here, or where others keep theirs: runs, log."""

from __future__ import annotations

from pathlib import Path

import click

import candid
from candid.cli.options import FOLDER, is_quiet, output_options, show, trackers

_ORDERS = ("started", "run", "f1", "accuracy", "worst", "seconds", "size")


@click.command("runs")
@click.argument("folder", type=FOLDER, default=Path("runs"))
@click.option(
    "--sort",
    "order",
    type=click.Choice(_ORDERS),
    default="started",
    show_default=True,
    help="The latest, the best, the widest gap or the largest first; run: by name.",
)
@output_options
def runs_command(folder: Path, order: str) -> None:
    """The runs below FOLDER (default: runs) as a table: what each learned, how well, at what price.

    Accuracy and weighted F1 with their intervals, of the test images where there are some; the
    group that the audit found furthest behind the rest in accuracy, in points; seconds of all its
    steps; the size of its files. A run that is unfinished or damaged is listed as such.
    """
    from candid.text.listing import run_lines

    found = candid.list_runs(folder, order=order)  # type: ignore[arg-type]
    show(found, run_lines(found))


@click.command("log")
@click.argument("run", type=FOLDER)
@click.option(
    "--to",
    type=trackers,
    metavar="TRACKER",
    multiple=True,
    required=True,
    help="tensorboard, mlflow, wandb or trackio; may be repeated.",
)
@output_options
def log_command(run: Path, to: tuple[str, ...]) -> None:
    """Log a run that is there to TensorBoard, MLflow, Weights & Biases or Trackio.

    Its settings, the history of its training, and the figures of its evaluation with their
    intervals; what was logged of it before is replaced. candid run --log does so as they come.
    """
    from candid.text.listing import logged_line

    done = candid.log_run(run, to, quiet=is_quiet())
    show(done, [logged_line(str(run), to, done["steps"], done["figures"])])
