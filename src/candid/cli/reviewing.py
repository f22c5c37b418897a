"""The verb with which a person looks at labels: review."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import candid
from candid.cli.options import (
    cache_option,
    config_of_labels,
    data_argument,
    data_option,
    is_quiet,
    labels_options,
    option,
    output_options,
    path_option,
    refuse_options,
    show,
)

if TYPE_CHECKING:
    from candid.pipeline.data_places import Where

_QUEUES = ["labels", "people", "slice", "strange", "copies", "unreadable"]


@click.command("review")
@data_argument(required=True, name="place")
@click.option(
    "--queue",
    "queues",
    type=click.Choice(_QUEUES),
    multiple=True,
    help="What to look at: likely wrong labels, people who contradict themselves, the worst group,"
    " pictures unlike those of training, pictures that look alike, files that cannot be read; may"
    " be repeated. Default: all.",
)
@option("--who", "NAME", "Who decides; stands in every line. Default: the user's name.")
@path_option("--out", "FILE", "Where decisions go; default: RUN's corrections.csv, of DATA"
             " corrections-NAME.csv here.")  # fmt: skip
@option("--port", "N", "Default: any that is free.", type=click.IntRange(0, 65_535), default=0)
@option("--seed", "N", "Which pictures nobody suspected are shown, too.", type=int, default=0)
@data_option
@labels_options
@cache_option
@output_options
def review_command(
    place: Where,
    queues: tuple[str, ...],
    who: str | None,
    out: Path | None,
    port: int,
    seed: int,
    data: Where | None,
    cache: Path | None,
    **options: Any,
) -> None:
    """Look at the labels that a run or a check suspects, in a browser.

    PLACE is a RUN, or DATA: of these the copies, people who contradict themselves, strange and
    unreadable pictures, and what candid check found in them, where that stands in runs/. A page of
    this machine alone shows them, without the label; every decision is a line in a file for
    --corrections. Ctrl+C stops it; the same command goes on where it stopped.
    """
    from candid.pipeline.reviewable import is_run
    from candid.text.review import next_line, started_lines, summary_lines

    if is_run(place):
        refuse_options("queues", "who", "out", "port", "seed", "data", "cache")
    elif data is not None:
        raise click.UsageError("--data says where a run's data lie now, and PLACE is no run.")

    files: list[str] = []

    def started(url: str, n_showings: int, done: int, file: str) -> None:
        files.append(file)
        for line in started_lines(url, n_showings, done, file):
            click.echo(line, err=True)  # what comes out in the end is the result

    summary = candid.review(
        place,
        who=who or _user(),
        config=config_of_labels(**options),
        out=out,
        queues=queues,
        port=port,
        data=data,
        seed=seed,
        cache=cache,
        quiet=is_quiet(),
        started=started,
    )
    hints = [next_line(file) for file in files if summary.decided]
    show(summary, [*summary_lines(summary), *hints])


def _user() -> str:
    """The user's name, if the system knows it."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "reviewer"
