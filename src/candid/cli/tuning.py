"""The verb that searches settings: tune."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from candid.cli.options import (
    FOLDER,
    cache_option,
    config_of,
    output_options,
    settings_options,
    stoppable,
)
from candid.cli.saying import print_json, told

if TYPE_CHECKING:
    from candid.records.tuning import Tuning
    from candid.settings import Config

_MOST_ROWS = 10


@click.command()
@click.argument("data", type=FOLDER)
@settings_options
@click.option("--trials", type=int, metavar="N", help="Short for --set tune.trials=N.")
@click.option("--minutes", type=float, metavar="M", help="Short for --set tune.minutes=M.")
@click.option(
    "--search",
    multiple=True,
    metavar="SECTION.KEY=VALUES",
    help="A setting to search, such as train.learning_rate=1e-4..1e-2 or train.optimizer=adam,muon;"
    " may be repeated. Default: the usual ones.",
)
@click.option(
    "--out",
    type=FOLDER,
    metavar="FOLDER",
    help="The study's folder, new or to go on with; default: runs/<date>-tune-<n>.",
)
@click.option(
    "--storage",
    metavar="URL",
    default="",
    help="For several machines: a database (postgresql://…), or a file in a folder that they share"
    " (journal:FILE); default: study.db in --out.",
)
@click.option(
    "--study",
    metavar="NAME",
    default="candid",
    show_default=True,
    help="The study's name in the storage.",
)
@cache_option
@output_options
def tune(
    data: Path,
    trials: int | None,
    minutes: float | None,
    search: tuple[str, ...],
    out: Path | None,
    storage: str,
    study: str,
    cache: Path | None,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Search for better settings: many short trainings, judged on validation.

    The same command with the same --out goes on with a study that was stopped, and helps with one
    that is running.
    """
    from candid import stages

    stages.needs_optuna()
    config = _with_budget(config_of(**settings), trials, minutes, search)
    loaded = stages.load(data, config, cache=cache, quiet=quiet)
    folder = stages.study_folder(out)
    with stoppable(f"the same command with --out {shlex.quote(str(folder))}"):
        result = stages.tune(folder, loaded, config, storage=storage, name=study, quiet=quiet)
    if as_json:
        _print(result, folder)
    elif not quiet:
        _say(result, folder)


def _with_budget(
    config: Config, trials: int | None, minutes: float | None, search: tuple[str, ...]
) -> Config:
    from candid.config import with_values

    named = {"trials": trials, "minutes": minutes, "search": search or None}
    return with_values(config, {"tune": {k: v for k, v in named.items() if v is not None}})


def _print(result: Tuning, folder: Path) -> None:
    from candid.records import to_plain

    print_json(
        {"folder": str(folder), "best": str(folder / "best.toml"), "tuning": to_plain(result)}
    )


def _say(result: Tuning, folder: Path) -> None:
    """The best trials as a table, the finalists, and what the winner reached."""
    ranked = sorted(
        (t for t in result.trials if math.isfinite(t.f1)),
        key=lambda t: (t.state != "finished", -t.f1),
    )
    names = list(result.space)
    head = ["trial", "F1", "ended", *(n.partition(".")[2] for n in names)]
    rows = [
        [str(t.number), f"{t.f1:.4f}", "early" if t.state == "stopped" else "", *(
            _brief(t.settings.get(n, "")) for n in names
        )]
        for t in ranked[:_MOST_ROWS]
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        click.echo("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)))
    if len(ranked) > _MOST_ROWS:
        click.echo(f"… and {len(ranked) - _MOST_ROWS} more")
    for finalist in result.finalists:
        if finalist.f1:
            name = "where it began" if finalist.is_start else f"trial {finalist.number}"
            seeds = ", ".join(f"{f1:.4f}" for f1 in finalist.f1)
            click.echo(f"{name}, fresh seeds: {seeds}; mean {finalist.mean.value:.4f}")
    best = result.best
    name = "where it began" if best.is_start else f"trial {best.number}"
    mean = f"mean {best.mean.value:.4f} over fresh seeds" if best.f1 else "one seed"
    click.echo(f"winner: {name}, {mean}; best/ is its training with seed {result.seed}")
    for split, estimate in (("validation", result.validation), ("test", result.test)):
        if estimate is not None:
            click.echo(f"weighted F1 of best/ on {split}: {told(estimate)}")
    click.echo("chosen on validation, which flatters that figure; test was looked at this once")
    click.echo(f"settings: {folder / 'best.toml'}")
    click.echo(f"report: {folder / 'report.html'}")


def _brief(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
