"""The verb that searches settings: tune."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
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
    show,
    with_interval,
)

if TYPE_CHECKING:
    from candid.pipeline.data_places import Where
    from candid.records.tuning import Tuning

_MOST_ROWS = 10


@click.command("tune")
@data_argument(required=True)
@settings_options
@option("--trials", "N", "Short for --set tune.trials=N.", type=int)
@option("--minutes", "M", "Short for --set tune.minutes=M.", type=float)
@option(
    "--search",
    "SECTION.KEY=VALUES",
    "A setting to search, such as train.learning_rate=1e-4..1e-2 or train.optimizer=adam,muon;"
    " may be repeated. Default: the usual ones.",
    multiple=True,
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
    trials: int | None,
    minutes: float | None,
    search: tuple[str, ...],
    out: Path | None,
    storage: str,
    study: str,
    cache: Path | None,
) -> None:
    """Search for better settings: many short trainings, judged on validation.

    The same command with the same --out goes on with a study that was stopped, and helps with one
    that is running.
    """
    from candid.config import with_values
    from candid.pipeline.opening import stoppable
    from candid.pipeline.tuning import needs_optuna, study_folder

    needs_optuna()
    named = {"trials": trials, "minutes": minutes, "search": search or None}
    asked = {k: v for k, v in named.items() if v is not None}
    config = with_values(config_of_options(), {"tune": asked})
    dataset = candid.load(data, config=config)
    folder = study_folder(out)
    how: dict[str, Any] = {"storage": storage, "study": study, "cache": cache, "quiet": is_quiet()}
    with stoppable(f"the same command with --out {shlex.quote(str(folder))}"):
        result = candid.tune(dataset, config, out=folder, **how)
    files = {"folder": str(folder), "best": str(folder / "best.toml")}
    show(files | {"tuning": result}, _lines(result, folder))


def _lines(result: Tuning, folder: Path) -> Iterator[str]:
    """The best trials as a table, the finalists, and what the winner reached."""
    from candid.text.tuning import finalist_name

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
        yield "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True))
    if len(ranked) > _MOST_ROWS:
        yield f"… and {len(ranked) - _MOST_ROWS} more"
    for finalist in result.finalists:
        if finalist.f1:
            name = finalist_name(finalist.number, finalist.is_start)
            seeds = ", ".join(f"{f1:.4f}" for f1 in finalist.f1)
            yield f"{name}, fresh seeds: {seeds}; mean {finalist.mean.value:.4f}"
    best = result.best
    name = finalist_name(best.number, best.is_start)
    mean = f"mean {best.mean.value:.4f} over fresh seeds" if best.f1 else "one seed"
    yield f"winner: {name}, {mean}; best/ is its training with seed {result.seed}"
    for split, estimate in (("validation", result.validation), ("test", result.test)):
        if estimate is not None:
            yield f"weighted F1 of best/ on {split}: {with_interval(estimate)}"
    yield "chosen on validation, which flatters that figure; test was looked at this once"
    yield f"settings: {folder / 'best.toml'}"
    yield f"report: {folder / 'report.html'}"


def _brief(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
