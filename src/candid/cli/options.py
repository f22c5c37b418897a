"""Options that verbs share, and what they mean."""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from candid.config import DEFAULT_RECIPE

if TYPE_CHECKING:
    from candid.runs import RunFolder
    from candid.settings import Config
    from candid.stages import Data

P = ParamSpec("P")
R = TypeVar("R")

FOLDER = click.Path(path_type=Path)


set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="One setting; may be repeated.",
)


def _one_target(_context: Any, _option: Any, names: tuple[str, ...]) -> str | None:
    from candid.errors import ConfigError

    if len(names) > 1:
        raise ConfigError(
            f"--target was given {len(names)} times: {', '.join(names)}.",
            expected="one label to learn; the other columns are attributes to audit",
            todo="name one, and make a run for each",
        )
    return names[0] if names else None


def settings_options(verb: Callable[P, R]) -> Callable[P, R]:
    """The options that decide the settings of a new run."""
    options = (
        click.option("--target", metavar="NAME", multiple=True, callback=_one_target,
                     help="The label to learn: a column's name."),
        click.option("--layout", metavar="NAME", help="How the data lies; else recognised."),
        click.option("--image-folder", type=FOLDER, metavar="FOLDER",
                     help="Where the pictures of a table lie; else beside it."),
        click.option("--recipe", metavar="NAME", default=DEFAULT_RECIPE, show_default=True,
                     help="Settings that belong together."),
        click.option("--config", "config_file", type=FOLDER, metavar="FILE",
                     help="A TOML file with settings, such as a run's config.toml."),
        set_option,
        click.option("--seed", type=int, metavar="N", help="Short for --set train.seed=N."),
    )  # fmt: skip
    return functools.reduce(lambda f, option: option(f), reversed(options), verb)


def output_options(verb: Callable[P, R]) -> Callable[P, R]:
    """--quiet and --json."""
    options = (
        click.option("--quiet", is_flag=True, help="No progress and no summary."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    )
    return functools.reduce(lambda f, option: option(f), reversed(options), verb)


out_option = click.option(
    "--out",
    type=FOLDER,
    metavar="FOLDER",
    help="Where the run goes; default: runs/<date>-<recipe>-<n>.",
)
cache_option = click.option(
    "--cache",
    type=FOLDER,
    metavar="FOLDER",
    help="Where packed images are kept; default: $CANDID_CACHE, or the user's cache folder.",
)
data_option = click.option(
    "--data",
    type=FOLDER,
    metavar="PLACE",
    help="Where RUN's data lie now; default: where they lay, unless that is a URL.",
)
resume_option = click.option(
    "--resume", type=FOLDER, metavar="RUN", help="Go on with a run that was stopped."
)


def config_of(
    target: str | None,
    layout: str | None,
    image_folder: Path | None,
    recipe: str,
    config_file: Path | None,
    overrides: tuple[str, ...],
    seed: int | None,
) -> Config:
    """The settings that these options make."""
    from candid.config import load_config, with_values

    config = load_config(recipe=recipe, file=config_file, overrides=overrides)
    folder = image_folder and str(image_folder)
    data = {"target": target, "layout": layout, "image_folder": folder}
    named = {"data": {k: v for k, v in data.items() if v}}
    return with_values(config, named | ({"train": {"seed": seed}} if seed is not None else {}))


def refuse_settings(settings: dict[str, Any]) -> None:
    """Raise a UsageError where settings are given for a run that has its own."""
    source = click.get_current_context().get_parameter_source
    if any(source(name) is ParameterSource.COMMANDLINE for name in ("out", *settings)):
        raise click.UsageError("--resume takes settings from the run: give no others.")


def open_or_start(
    data: Path | None,
    out: Path | None,
    resume: Path | None,
    cache: Path | None,
    quiet: bool,
    settings: dict[str, Any],
) -> tuple[RunFolder, Config, Data]:
    """A new run on `data`, or the one to go on with, and its data, which may lie there now.

    Where torchrun started this process, --out goes on with a run that is there.
    """
    from candid import stages
    from candid.runs import refuse_full

    stages.needs_torch()
    together = functools.partial(stages.open_together, cache=cache, quiet=quiet)
    if resume is not None:
        refuse_settings(settings)
        if stages.launched():
            return together(resume, None, data)
        run, config = stages.reopen(resume)
        return run, config, stages.reload(run, config, cache, quiet, data)
    if data is None:
        raise click.UsageError("Missing argument 'DATA': a folder of labelled images, or a table.")
    config = config_of(**settings)
    if stages.launched():
        if out is None:
            raise click.UsageError("With torchrun, name the run's folder with --out or --resume.")
        return together(out, config, data)
    if out is not None:
        refuse_full(out)
    loaded = stages.load(data, config, cache=cache, quiet=quiet)
    run, config = stages.begin_training(out, config, loaded, name=settings["recipe"])
    return run, config, loaded


def resuming(verb: str, run: RunFolder, data: Path | None) -> str:
    """What to type to go on with a run; a URL is followed only where it is named."""
    from candid.storage import places

    name = "" if data is None else places.name_of(data)
    far = [name] if places.is_url(name) else []
    return shlex.join(["candid", verb, *far, "--resume", str(run.path)])


@contextlib.contextmanager
def stoppable(go_on: str) -> Iterator[None]:
    """Whoever stops the work here is told how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\ncandid: to go on: {go_on}", err=True)
        raise
