"""Options that verbs share, and how a verb prints its result."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from candid.errors import ConfigError
    from candid.pipeline.data_places import Where
    from candid.settings import Config

Verb = TypeVar("Verb", bound=Callable[..., Any])

FOLDER = click.Path(path_type=Path)
# candid.config.DEFAULT_RECIPE and QUICK_RECIPE, without what importing that takes.
RECIPE, QUICK = "deep", "fast"


def option(
    name: str, metavar: str, help: str, variable: str = "", **attributes: Any
) -> Callable[[Verb], Verb]:
    """An option with a value."""
    names = (name, variable) if variable else (name,)
    return click.option(*names, metavar=metavar, help=help, **attributes)


def path_option(
    name: str, metavar: str, help: str, variable: str = "", **attributes: Any
) -> Callable[[Verb], Verb]:
    """An option whose value is a path."""
    return option(name, metavar, help, variable, type=FOLDER, **attributes)


def _store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    context.meta[f"candid.{parameter.name}"] = value


def _stored(name: str) -> Any:
    return click.get_current_context().meta[f"candid.{name}"]


_SHORTCUTS = "candid.short"


def short_option(setting: str) -> dict[str, Any]:
    """Attributes of an option that is short for --set with a setting, and wins over it."""
    section, key = setting.split(".")

    def store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
            text = str(value) if isinstance(value, Path) else value
            context.meta.setdefault(_SHORTCUTS, {}).setdefault(section, {})[key] = text

    return {"callback": store, "expose_value": False}


def short_settings() -> dict[str, Any]:
    """The values of such options, by section."""
    return dict(click.get_current_context().meta.get(_SHORTCUTS, {}))


def _combine(*options: Any) -> Callable[[Verb], Verb]:
    """Several options as one, in this order."""
    return lambda verb: functools.reduce(lambda f, decorator: decorator(f), reversed(options), verb)


# --- settings ------------------------------------------------------------------------------------


_STORE: dict[str, Any] = {"callback": _store, "expose_value": False}
_SETTING = ("SECTION.KEY=VALUE", "One setting; may be repeated.", "overrides")

set_option = option("--set", *_SETTING, multiple=True)
_read_options = _combine(
    option("--target", "NAME", "The label to learn: a column's name, with classes or numbers; again"
           " for more labels in one training, '*' for all others with classes. One of several"
           " DATA that lacks it takes its layout's own if the classes are the same words; else name"
           " it with data.source_settings.", multiple=True, **_STORE),
    option("--layout", "NAME", "How the data lies; else recognised.", **_STORE),
    path_option("--image-folder", "FOLDER", "Where the pictures of a table lie; else beside it.",
                **_STORE),
    path_option("--corrections", "FILE", "Decisions to apply to the labels, as candid review"
                " writes them.", **_STORE),
)  # fmt: skip
_settings_options = _combine(
    path_option("--config", "FILE", "A TOML file with settings, such as a run's config.toml.",
                "config_file", **_STORE),
    option("--set", *_SETTING, multiple=True, **_STORE),
    option("--seed", "N", "Short for --set train.seed=N.", type=int, **short_option("train.seed")),
)  # fmt: skip


def _with_recipe(default: str) -> Callable[[Verb], Verb]:
    recipe = option("--recipe", "NAME", "Settings that belong together.", default=default,
                    show_default=True, **_STORE)  # fmt: skip
    return _combine(_read_options, recipe, _settings_options)


settings_options, quick_settings_options = _with_recipe(RECIPE), _with_recipe(QUICK)
no_explain_option = click.option(
    "--no-explain",
    flag_value=False,
    default=True,
    help="No maps and no look into the network, which candid explain can make later; short for"
    " --set explain.make=false.",
    **short_option("explain.make"),
)
seeds_option = option(
    "--seeds",
    "N",
    "Train N networks that differ in the seed alone and say how much is luck; short for --set"
    " seeds.count=N.",
    type=click.IntRange(1, 1000),
    **short_option("seeds.count"),
)
_SETTINGS = (
    *("target", "layout", "image_folder", "corrections"),
    *("recipe", "config_file", "overrides"),
)


def config_of_options() -> Config:
    """The settings that the options of `settings_options` make."""
    from candid.config import load_config, with_values

    targets, *places, recipe, file, overrides = map(_stored, _SETTINGS)
    config = load_config(recipe=recipe, file=file, overrides=overrides)
    data = dict(zip(_SETTINGS[1:], places, strict=False))
    _refuse_two_values(overrides, targets, data)
    sections: dict[str, Any] = {"data": {k: str(v) for k, v in data.items() if v}}
    if targets:  # in place of what the file says of either
        is_single = len(targets) == 1 and targets != ("*",)
        target, several = (targets[0], ()) if is_single else ("", targets)
        sections["data"] |= {"target": target, "targets": several}
    return with_values(config, sections | short_settings())


def _refuse_two_values(
    overrides: Iterable[str], targets: tuple[str, ...], values: Mapping[str, str | Path | None]
) -> None:
    """Raise a ConfigError where an option and --set name different values of a setting of [data].

    `values` are the values of options by the settings' names, `targets` those of --target.
    """
    from candid.config import parse_overrides

    data = parse_overrides(overrides).get("data", {})
    for key, value in values.items():
        if value and key in data and str(data[key]) != str(value):
            raise _two_values(f"--{key.replace('_', '-')}", str(value), key, data[key])
    for key in ("target", "targets"):
        if targets and data.get(key) and (data[key],) != targets and data[key] != [*targets]:
            raise _two_values("--target", ", ".join(targets), key, data[key])


def _two_values(option: str, value: str, key: str, other: object) -> ConfigError:
    from candid.errors import ConfigError

    return ConfigError(
        f"{option} says {value!r}, and --set data.{key} says {other!r}.",
        expected="one of them, or the same in both",
        todo="leave one out",
    )


def begin_arguments(
    data: Where | None, out: Path | None, resume: Path | None, repeat: Path | None, **rest: Any
) -> dict[str, Any]:
    """The arguments of `candid.run` and `candid.train`, after checks of the command line."""
    from candid.pipeline.opening import is_distributed

    config, name = None, _stored("recipe")
    if resume is not None:
        if repeat is not None or short_settings() or _is_given("out", *_SETTINGS):
            raise click.UsageError("--resume takes settings from the run: give no others.")
    elif repeat is not None:
        data, config, name = _repeat_settings(repeat, data)
    elif data is None:
        raise click.UsageError("Missing argument 'DATA': a folder of labelled images, or a table.")
    else:
        config = config_of_options()
    if resume is None and out is None and is_distributed():
        raise click.UsageError("With torchrun, name the run's folder with --out or --resume.")
    arguments = {"dataset": data, "config": config, "out": out, "resume": resume}
    return arguments | rest | {"name": name, "quiet": is_quiet()}


def _is_given(*names: str) -> bool:
    """Whether one of these options stands on the command line."""
    source = click.get_current_context().get_parameter_source
    return any(source(name) is ParameterSource.COMMANDLINE for name in names)


def _repeat_settings(path: Path, data: Where | None) -> tuple[Where, Config, str]:
    """Data, settings (with the changes of --set and --seed) and name for a run like this one."""
    from candid.config import load_config, with_values
    from candid.pipeline.data_places import locate_data
    from candid.records import Provenance, read_record
    from candid.runs import open_run

    if _is_given(*({*_SETTINGS} - {"overrides"})):
        raise click.UsageError(
            "--repeat takes settings from the run: change some with --set or --seed."
        )
    run = open_run(path)  # says what is wrong with it
    where = locate_data(run, read_record(run.provenance, Provenance), data)
    config = load_config(file=run.config, overrides=_stored("overrides"))
    return where, with_values(config, short_settings()), config.network.name


calibration_option = option(
    "--calibration", "NAME", "What candid calibrate made for the place of the pictures.", default=""
)

alone_option = click.option(
    "--alone",
    "common_frame",
    flag_value=False,
    default=True,
    help="Frame each picture by itself, not from the frame that most of them have in common.",
)

# --- labelled pictures from elsewhere -----------------------------------------------------------

labels_options = _combine(
    option("--target", "NAME", "DATA: its label; default: RUN's, or the layout's own."),
    option("--layout", "NAME", "DATA: how it lies; else recognised."),
    path_option("--image-folder", "FOLDER", "DATA: where the pictures of a table lie."),
    path_option("--corrections", "FILE", "DATA: decisions to apply to its labels."),
    set_option,
)
answering_options = _combine(
    click.option("--engine", type=click.Choice(["auto", "onnx", "int8", "torch"]), default="auto",
                 show_default=True, help="DATA: what computes, as for candid predict."),
    click.option("--crop", is_flag=True, help="DATA: find the faces first."),
    path_option("--detector", "ONNX",
                "DATA: a YuNet model to find them with, or the word opencv."),
    alone_option,
    click.option("--workers", type=click.IntRange(0, 1024), default=0,
                 help="DATA: threads; 0, the default: one per core."),
)  # fmt: skip


_READ = ("layout", "image_folder", "corrections")  # how labels from elsewhere are read


def config_of_labels(overrides: tuple[str, ...], **values: str | Path | None) -> Config:
    """How labels are read: the defaults, --set, and options that name settings of [data]."""
    from candid.config import load_config, with_values

    _refuse_two_values(overrides, (), values)
    section = {name: str(value) for name, value in values.items() if value}
    return with_values(load_config(overrides=overrides), {"data": section})


def labels_config(run: Path, options: dict[str, Any]) -> Config:
    """A run's settings, with how another place's labels are read."""
    from dataclasses import replace

    from candid.config import load_config
    from candid.runs import open_run

    overrides = options["overrides"]
    run_config = load_config(file=open_run(run).config, overrides=overrides)
    elsewhere = config_of_labels(overrides, **{name: options[name] for name in _READ})
    return replace(run_config, data=elsewhere.data)


def answer_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options for how pictures from elsewhere are answered, without those of settings."""
    return {k: v for k, v in options.items() if k not in (*_READ, "overrides")}


def refuse_options(*allowed: str) -> None:
    """Raise a UsageError for an option that needs DATA, where there are none."""
    context = click.get_current_context()
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if isinstance(parameter, click.Option)
        and parameter.name not in (*allowed, "quiet", "as_json", "trust")
        and context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{given[0]} is for DATA: name some.")


# --- places --------------------------------------------------------------------------------------


def _join_paths(
    context: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]
) -> Where | None:
    """None, a path, or several paths that are one data set."""
    return paths if len(paths) > 1 else paths[0] if paths else None


def data_argument(*, required: bool, name: str = "data") -> Callable[[Verb], Verb]:
    """DATA: one data set, or several that are joined."""
    return click.argument(name, type=FOLDER, nargs=-1, required=required, callback=_join_paths)


cache_option = path_option(
    "--cache",
    "FOLDER",
    "Where packed images are kept; default: $CANDID_CACHE, or the user's cache folder.",
)
data_option = path_option(
    "--data",
    "PLACE",
    "Where RUN's data lie now; of several data sets, once for each, in their order. Default: where"
    " they lay, unless that is a URL.",
    multiple=True,
    callback=_join_paths,
)


trackers = click.Choice(("tensorboard", "mlflow", "wandb", "trackio"))


def _trust_all(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    from candid.settings.named_parts import ALL_PARTS, distrust, trust

    if value:
        trust(ALL_PARTS)
        context.call_on_close(lambda: distrust(ALL_PARTS))


trust_option = click.option(
    "--trust",
    is_flag=True,
    callback=_trust_all,
    expose_value=False,
    help="Import and run code that is no part of Candid, which a run or a file of settings names.",
)


# What `begin_arguments` reads, and where else a training looks and tells.
begin_options = _combine(
    data_argument(required=False),
    settings_options,
    path_option("--out", "FOLDER", "Where the run goes; default: runs/<date>-<recipe>-<n>."),
    path_option("--resume", "RUN", "Go on with a run that was stopped."),
    path_option("--repeat", "RUN", "Begin anew with the settings and the data of a run; --set and"
                " --seed change some."),
    path_option("--from", "RUN|FILE", "Begin with the weights of the same network: of a run, or of"
                " a .safetensors file.", "initial", **short_option("train.initial")),
    click.option("--log", type=trackers, metavar="TRACKER", multiple=True,
                 help="Send settings, curves and figures to tensorboard, mlflow, wandb or trackio"
                 " as they come; may be repeated."),
    cache_option,
    trust_option,
)  # fmt: skip


# --- what is printed -----------------------------------------------------------------------------

output_options = _combine(
    click.option("--quiet", is_flag=True, help="No progress and no summary.", **_STORE),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.", **_STORE),
)


# Of a verb that works on a run's own data.
run_options = _combine(data_option, cache_option, trust_option, output_options)


def is_quiet() -> bool:
    """Whether --quiet was given."""
    return bool(_stored("quiet"))


def is_json() -> bool:
    """Whether --json was given."""
    return bool(_stored("as_json"))


def show(
    result: Any, lines: Iterable[str] = (), *, plain: Callable[[Any], Any] | None = None
) -> None:
    """Print a result as --json or --quiet demand, or these lines; undefined figures are null."""
    import json

    from candid.records import to_plain
    from candid.storage.files import STDOUT, writing

    if is_json():  # in ASCII, so that any terminal can show it
        lines = [json.dumps((plain or to_plain)(result), allow_nan=False)]
    elif is_quiet():
        return
    for line in lines:
        with writing(STDOUT):
            click.echo(line)
