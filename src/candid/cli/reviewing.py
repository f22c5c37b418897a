"""The verb with which a person looks at labels: review."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import candid
from candid.cli.options import FOLDER, data_option, option, output_options, path_option, show

if TYPE_CHECKING:
    from candid.pipeline.data_places import Where


@click.command("review")
@click.argument("run", type=FOLDER)
@click.option(
    "--queue",
    "queues",
    type=click.Choice(["labels", "people", "slice", "copies"]),
    multiple=True,
    help="What to look at: likely wrong labels, people who contradict themselves, the worst group,"
    " pictures that look alike; may be repeated. Default: all.",
)
@option("--who", "NAME", "Who decides; stands in every line. Default: the user's name.")
@path_option("--out", "FILE", "Where decisions go; default: RUN's corrections.csv.")
@option("--port", "N", "Default: any that is free.", type=click.IntRange(0, 65_535), default=0)
@option("--seed", "N", "Which pictures nobody suspected are shown, too.", type=int, default=0)
@data_option
@output_options
def review_command(
    run: Path,
    queues: tuple[str, ...],
    who: str | None,
    out: Path | None,
    port: int,
    seed: int,
    data: Where | None,
) -> None:
    """Look at the labels that a run suspects, one picture at a time, in a browser.

    A page of this machine alone shows them, without the label; every decision is a line in a file
    for --corrections. Ctrl+C stops it; the same command goes on where it stopped.
    """
    from candid.text.review import started_lines, summary_lines

    def started(url: str, shown: int, done: int, file: str) -> None:
        for line in started_lines(url, shown, done, file):
            click.echo(line, err=True)  # what comes out in the end is the result

    found = candid.review(
        run,
        who=who or _user(),
        out=out,
        queues=queues,
        port=port,
        data=data,
        seed=seed,
        started=started,
    )
    show(found, summary_lines(found))


def _user() -> str:
    """The user's name; in a container there may be none."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "reviewer"
