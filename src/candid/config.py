"""Settings as files and words: recipes, TOML and `section.key=value`, checked and written out.

Settings come from a recipe, then a TOML file (`--config`), then `--set train.learning_rate=3e-4`;
each later one wins. An unknown key is an error with the nearest known names.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from candid.errors import ConfigError, did_you_mean
from candid.settings import Config
from candid.storage.files import FORMAT, check_format, read_bytes

# The best that can be had within the image passes of the description.
DEFAULT_RECIPE = "deep"

_NUMBERS = (int, float)

# --- from TOML and the command line --------------------------------------------------------------


def recipes() -> tuple[str, ...]:
    """The names of the recipes that come with the package."""
    folder = resources.files("candid.recipes")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))


def load_config(
    *,
    recipe: str = DEFAULT_RECIPE,
    file: Path | None = None,
    overrides: Iterable[str] = (),
) -> Config:
    """A recipe, changed by a TOML file, changed by `section.key=value` words.

    Raises
    ------
    ConfigError
        For an unknown recipe, an unreadable file, an unknown key or an impossible value.
    """
    if recipe not in recipes():
        raise ConfigError(
            f"There is no recipe {recipe!r}.",
            expected=f"one of: {', '.join(recipes())}",
            todo=did_you_mean(recipe, recipes()),
        )
    text = (resources.files("candid.recipes") / f"{recipe}.toml").read_text(encoding="utf-8")
    layers = [tomllib.loads(text)]
    if file is not None:
        layers.append(_read_toml(file))
    layers += [_parse_override(word) for word in overrides]
    values: dict[str, Any] = {}
    for layer in layers:
        for section, changes in layer.items():
            before = values.get(section)
            both = isinstance(before, dict) and isinstance(changes, dict)
            values[section] = before | changes if both else changes
    # All at once: settings that hang together may be given in any order.
    return with_values(Config(), values)


def differences(one: Config, other: Config) -> list[str]:
    """The settings that two configs do not share: "train.steps (5, not 3)"."""
    found = []
    for section in dataclasses.fields(one):
        a, b = getattr(one, section.name), getattr(other, section.name)
        for f in dataclasses.fields(a):
            x, y = getattr(a, f.name), getattr(b, f.name)
            if x != y:
                found.append(f"{section.name}.{f.name} ({toml(x)}, not {toml(y)})")
    return found


def read_config(file: Path) -> Config:
    """A config file over the defaults; the inverse of `to_toml`."""
    return with_values(Config(), _read_toml(file))


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The config with some of its settings replaced: `{"train": {"steps": 100}}`."""
    sections = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    for name, changes in values.items():
        if name not in sections:
            raise ConfigError(
                f"There is no section [{name}].",
                expected=f"one of: {', '.join(sections)}",
                todo=did_you_mean(name, sections),
            )
        if not isinstance(changes, Mapping):
            raise ConfigError(
                f"[{name}] is not a section but {changes!r}.",
                expected=f"settings below [{name}], such as {_example(sections[name])}",
                todo="write it as section.key=value",
            )
        sections[name] = _replace(name, sections[name], changes)
    return Config(**sections)


def _replace(section: str, config: Any, changes: Mapping[str, Any]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(config)}
    hints = get_type_hints(type(config))
    checked = {}
    for key, value in changes.items():
        if key not in fields:
            everywhere = {f"{section}.{name}" for name in fields}
            raise ConfigError(
                f"There is no setting {section}.{key}.",
                expected=f"a setting of [{section}]",
                todo=did_you_mean(f"{section}.{key}", everywhere),
            )
        checked[key] = _check(f"{section}.{key}", value, hints[key], fields[key].metadata)
    return dataclasses.replace(config, **checked)


def _check(name: str, value: Any, kind: Any, about: Mapping[str, Any]) -> Any:
    wrong = ConfigError(
        f"{name} = {value!r} is not possible.", expected=expected(kind, about), todo=f"set {name}"
    )
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise wrong
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise wrong
    if about["choices"] and value not in about["choices"]:
        raise wrong
    if isinstance(value, int | float) and not about["low"] <= value <= about["high"]:
        raise wrong  # also NaN
    return value


def expected(kind: Any, about: Mapping[str, Any]) -> str:
    """What a setting takes, in words."""
    if about["choices"]:
        return "one of: " + ", ".join(about["choices"])
    if get_origin(kind) is tuple:
        return f"a list of {get_args(kind)[0].__name__}"
    words = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    limits = []
    if about["low"] > -math.inf:
        limits.append(f"at least {about['low']}")
    if about["high"] < math.inf:
        limits.append(f"at most {about['high']}")
    return " ".join([words[kind], " and ".join(limits)]).strip()


def _example(section: Any) -> str:
    first = dataclasses.fields(section)[0]
    return f"{first.name} = {toml(getattr(section, first.name))}"


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(read_bytes(file).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"Cannot read the settings in {file}: {error}",
            expected="a TOML file with sections such as [train]",
            todo="mend the file, or start from the config.toml of a run",
        ) from error
    check_format(file, values.pop("format", FORMAT))
    return values


def _parse_override(word: str) -> dict[str, Any]:
    name, equals, text = word.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise ConfigError(
            f"Cannot read the setting {word!r}.",
            expected="section.key=value, such as train.learning_rate=3e-4",
            todo="write it so",
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text.strip()  # a word needs no quotes on the command line
    return {section: {key: value}}


# --- to TOML -------------------------------------------------------------------------------------


def to_toml(config: Config) -> str:
    """Every setting, the defaults written out, each below its explanation."""
    parts = [f"format = {FORMAT}"]
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        lines, kinds = [f"[{section.name}]"], get_type_hints(type(values))
        for f in dataclasses.fields(values):
            takes = f" ({expected(kinds[f.name], f.metadata)})" if kinds[f.name] in _NUMBERS else ""
            lines.append(f"# {f.metadata['explanation']}{takes}")
            lines.append(f"{f.name} = {toml(getattr(values, f.name))}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def toml(value: Any) -> str:
    """A setting's value as TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return (
                '"'
                + "".join(c if " " <= c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped)
                + '"'
            )
        case tuple():
            return "[" + ", ".join(toml(v) for v in value) + "]"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")
