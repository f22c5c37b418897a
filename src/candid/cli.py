"""The verbs. Everything heavy is imported inside its verb, so that `candid --help` is quick."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click
from click.core import ParameterSource

import candid
from candid.errors import CandidError

if TYPE_CHECKING:
    from candid.config import Config
    from candid.records import Estimate, Evaluation, Exploration
    from candid.runs import RunFolder
    from candid.stages import Data

P = ParamSpec("P")
R = TypeVar("R")

_FOLDER = click.Path(path_type=Path)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 well, 1 a check failed, 2 bad input, 130 interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no name is worth a traceback
    try:
        cli.main(arguments, prog_name="candid", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("candid: interrupted; images that were packed are kept", err=True)
        sys.exit(130)
    except CandidError as error:
        _fail(error)
    except OSError as error:  # what nothing nearer to it could explain better
        _fail(
            CandidError(
                f"The system refuses: {error}",
                expected="files and folders that this user can read and write",
                todo="check the path, its permissions and the disk",
            )
        )
    sys.exit(0)


def _fail(error: CandidError) -> NoReturn:
    click.echo(f"candid: {error}", err=True)
    sys.exit(error.exit_code)


@contextlib.contextmanager
def _stoppable(go_on: str) -> Iterator[None]:
    """Whoever stops the work here is told how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\ncandid: to go on: {go_on}", err=True)
        raise


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(candid.__version__, prog_name="candid")
def cli() -> None:
    """Labelled face images in; a classifier and the whole truth about it out."""


# --- options that verbs share --------------------------------------------------------------------


_set = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="One setting; may be repeated.",
)


def _settings(verb: Callable[P, R]) -> Callable[P, R]:
    options = (
        click.option("--target", metavar="NAME", help="The label to learn: a column's name."),
        click.option("--layout", metavar="NAME", help="How the data lies; else recognised."),
        click.option("--recipe", metavar="NAME", default="plain", show_default=True,
                     help="Settings that belong together."),
        click.option("--config", "config_file", type=_FOLDER, metavar="FILE",
                     help="A TOML file with settings, such as a run's config.toml."),
        _set,
        click.option("--seed", type=int, metavar="N", help="Short for --set train.seed=N."),
    )  # fmt: skip
    return functools.reduce(lambda f, option: option(f), reversed(options), verb)


def _output(verb: Callable[P, R]) -> Callable[P, R]:
    options = (
        click.option("--quiet", is_flag=True, help="No progress bars and no summary."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    )
    return functools.reduce(lambda f, option: option(f), reversed(options), verb)


_out = click.option(
    "--out",
    type=_FOLDER,
    metavar="FOLDER",
    help="Where the run goes; default: runs/<date>-<recipe>-<n>.",
)
_cache = click.option(
    "--cache",
    type=_FOLDER,
    metavar="FOLDER",
    help="Where packed images are kept; default: $CANDID_CACHE, or the user's cache folder.",
)
_resume = click.option(
    "--resume", type=_FOLDER, metavar="RUN", help="Go on with a run that was stopped."
)


def _config(
    target: str | None,
    layout: str | None,
    recipe: str,
    config_file: Path | None,
    overrides: tuple[str, ...],
    seed: int | None,
) -> Config:
    from candid.config import load_config, with_values

    config = load_config(recipe=recipe, file=config_file, overrides=overrides)
    data = {"target": target, "layout": layout}
    named = {"data": {k: v for k, v in data.items() if v}}
    return with_values(config, named | ({"train": {"seed": seed}} if seed is not None else {}))


# --- the verbs -----------------------------------------------------------------------------------


@cli.command()
@click.option(
    "--out",
    type=_FOLDER,
    default=Path("candid-demo"),
    show_default=True,
    metavar="FOLDER",
    help="Where faces and run go.",
)
@click.option(
    "--images",
    type=click.IntRange(60, 1_000_000),
    default=3000,
    show_default=True,
    help="Faces to draw.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="The same seed draws the same faces."
)
@_set
@_output
def demo(
    out: Path, images: int, seed: int, overrides: tuple[str, ...], quiet: bool, as_json: bool
) -> None:
    """Draw synthetic faces and run everything on them; no data is needed."""
    from candid import stages
    from candid.config import load_config
    from candid.data.synthetic import demo_world, write_faces

    stages.needs_torch()
    settings = (f"train.seed={seed}", *_DEMO, *overrides)
    config = load_config(overrides=settings)
    world = demo_world(images, side=config.data.side, seed=seed)
    faces = write_faces(out / "synthetic-faces", world, quiet=quiet)
    run, config, data = stages.open_or_begin(
        out / "run", config, faces, cache=out / "cache", quiet=quiet
    )
    with _stoppable("the same command again"):
        evaluation = stages.everything(run, data, config, quiet=quiet)
    _say_evaluation(evaluation, run, quiet, as_json)


# Enough to learn from 3,000 drawn faces in a minute or so on two cores.
_DEMO = (
    "data.target=Face",
    "data.side=48",
    "train.steps=200",
    "train.batch_size=128",
    "train.evaluations=20",
)


@cli.command("run")
@click.argument("data", type=_FOLDER, required=False)
@_settings
@_out
@_resume
@_cache
@_output
def run_verb(
    data: Path | None,
    out: Path | None,
    resume: Path | None,
    cache: Path | None,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Explore, train, evaluate and report: the main job.

    DATA is a folder of labelled images or a table of them.
    """
    from candid import stages

    run, config, loaded = _open(data, out, resume, cache, quiet, settings)
    with _stoppable(f"candid run --resume {shlex.quote(str(run.path))}"):
        evaluation = stages.everything(run, loaded, config, quiet=quiet)
    _say_evaluation(evaluation, run, quiet, as_json)


@cli.command()
@click.argument("data", type=_FOLDER)
@_settings
@click.option("--out", type=_FOLDER, metavar="FOLDER", help="Write data.json and pictures there.")
@click.option(
    "--augmented", type=_FOLDER, metavar="PNG", help="Draw what augmentation makes of some images."
)
@_cache
@_output
def explore(
    data: Path,
    out: Path | None,
    augmented: Path | None,
    cache: Path | None,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """What is in the data: sizes, balance, people, duplicates, attributes."""
    from candid import stages
    from candid.runs import refuse_full

    config = _config(**settings)
    if out is not None:
        refuse_full(out)
    if augmented is not None:
        stages.needs_torch()
    loaded = stages.load(data, config, cache=cache, quiet=quiet)
    if augmented is not None:
        stages.draw_augmented(augmented, loaded, config)
    if out is not None:
        run, config = stages.begin(out, config, loaded)
        exploration = stages.explore(run, loaded, config, quiet=quiet)
    else:
        exploration, _ = stages.look(loaded, config, quiet=quiet)
    _say_exploration(exploration, quiet, as_json)


@cli.command()
@click.argument("data", type=_FOLDER, required=False)
@_settings
@_out
@_resume
@_cache
@_output
def train(
    data: Path | None,
    out: Path | None,
    resume: Path | None,
    cache: Path | None,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a network from scratch; no report."""
    from candid import stages
    from candid.records import to_plain

    run, config, loaded = _open(data, out, resume, cache, quiet, settings)
    with _stoppable(f"candid train --resume {shlex.quote(str(run.path))}"):
        card = stages.train(run, loaded, config, quiet=quiet)
    if as_json:
        _print_json({"run": str(run.path), "model": to_plain(card)})
    elif not quiet:
        click.echo(f"model: {run.weights} ({card.network}, step {card.step}, {card.kept} weights)")
        click.echo(f"next:  candid evaluate {run.path}")


@cli.command()
@click.argument("run", type=_FOLDER)
@_cache
@_output
def evaluate(run: Path, cache: Path | None, quiet: bool, as_json: bool) -> None:
    """How well a run's model does, from its predictions; makes them where there are none."""
    from candid import stages
    from candid.records import to_plain
    from candid.runs import open_run

    folder, config = open_run(run)
    if not folder.predictions.is_file():
        stages.predict(folder, stages.reload(folder, config, cache, quiet), config, quiet=quiet)
    evaluation = stages.evaluate(folder, config)
    if as_json:
        _print_json(to_plain(evaluation))
    else:
        _say_evaluation(evaluation, folder, quiet, as_json=False)


@cli.command()
@click.argument("run", type=_FOLDER)
@_output
def report(run: Path, quiet: bool, as_json: bool) -> None:
    """Write the report and the model card again, from a run's files."""
    from candid import stages
    from candid.runs import open_run

    folder, config = open_run(run)
    path = stages.report(folder, config)
    if as_json:
        _print_json({"report": str(path), "card": str(folder.card)})
    elif not quiet:
        click.echo(f"report: {path}")


# --- what verbs share ----------------------------------------------------------------------------


def _open(
    data: Path | None,
    out: Path | None,
    resume: Path | None,
    cache: Path | None,
    quiet: bool,
    settings: dict[str, Any],
) -> tuple[RunFolder, Config, Data]:
    """A new run on `data`, or the one to go on with, and its data."""
    from candid import stages
    from candid.runs import open_run, refuse_full

    stages.needs_torch()
    if resume is not None:
        source = click.get_current_context().get_parameter_source
        if any(source(name) is ParameterSource.COMMANDLINE for name in ("data", "out", *settings)):
            raise click.UsageError("--resume takes data and settings from the run: give no others.")
        run, config = open_run(resume)
        return run, config, stages.reload(run, config, cache, quiet)
    if data is None:
        raise click.UsageError("Missing argument 'DATA': a folder of labelled images, or a table.")
    config = _config(**settings)
    if out is not None:
        refuse_full(out)
    loaded = stages.load(data, config, cache=cache, quiet=quiet)
    run, config = stages.begin_training(out, config, loaded, name=settings["recipe"])
    return run, config, loaded


def _say_evaluation(evaluation: Evaluation, run: RunFolder, quiet: bool, as_json: bool) -> None:
    from candid.records import to_plain

    f1 = {s.split: s.metrics["weighted_f1"] for s in evaluation.splits}
    if as_json:
        plain = {split: to_plain(estimate) for split, estimate in f1.items()}
        _print_json({"run": str(run.path), "report": str(run.report), "weighted_f1": plain})
    elif not quiet:
        for split, estimate in f1.items():
            click.echo(f"weighted F1 on {split}: {_told(estimate)}")
        click.echo(f"report: {run.report}" if run.report.is_file() else f"run: {run.path}")


def _say_exploration(exploration: Exploration, quiet: bool, as_json: bool) -> None:
    from candid.records import to_plain

    if as_json:
        _print_json(to_plain(exploration))
        return
    if quiet:
        return
    people = "" if exploration.people is None else f", {exploration.people:,} people"
    click.echo(f"{exploration.name} ({exploration.layout}): {exploration.n:,} images{people}")
    for split in exploration.splits:
        click.echo(f"  {split.split}: {split.n:,} images")
        for name, share in zip(exploration.classes, split.shares, strict=True):
            click.echo(f"    labelled {name}: {100 * share.value:.1f}% "
                       f"({100 * share.low:.1f} to {100 * share.high:.1f})")  # fmt: skip
    for finding in exploration.findings:
        if finding.state == "found":
            click.echo(f"  {finding.severity}: {finding.code}: {finding.detail}")


def _told(estimate: Estimate) -> str:
    people = "" if estimate.people is None else f" of {estimate.people:,} people"
    return (
        f"{estimate.value:.4f} ({100 * estimate.confidence:g}% interval {estimate.low:.4f} to "
        f"{estimate.high:.4f}; {estimate.n:,} images{people}; {estimate.method})"
    )


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, allow_nan=False))  # ASCII, so that any terminal can show it
