"""Settings as files and words: recipes, TOML and `section.key=value`, checked and written out.

Settings come from a recipe, then a TOML file (`--config`), then `--set train.learning_rate=3e-4`;
each later one wins. An unknown key is an error with the nearest known names.
"""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from candid.errors import ConfigError, did_you_mean
from candid.settings import NETWORKS, Config
from candid.settings.bounds import off_before
from candid.settings.named_parts import NAMED_PARTS, is_named_part, trust
from candid.storage.files import FORMAT, check_format, read_bytes

# The best that can be had within the image passes of the description.
DEFAULT_RECIPE = "deep"
# For networks that are trained again and again, as by `candid check`.
QUICK_RECIPE = "fast"

# What settings were called in runs and recipes of format 1.
OLD_NAMES = {
    "data.identity_column": "data.person_column",
    "network.drop": "network.drop_path",
    "network.members": "network.ensemble_size",
    "train.average": "train.ema_decay",
    "train.first_side": "train.progressive_side",
    "train.grown": "train.progressive_share",
    "train.mirrored": "train.flip_tta",
}

_KINDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}

# --- what is known of a setting ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """A setting's type, default, sentence, and the values that it may take."""

    kind: Any
    default: Any
    explanation: str
    low: float
    high: float
    choices: tuple[str, ...]
    off: Any = None  # of one that came later: what was done before

    @property
    def is_number(self) -> bool:
        """Whether it has bounds."""
        return self.kind in (int, float)

    @property
    def expected(self) -> str:
        """The values that it takes, in words."""
        if self.choices:
            return "one of: " + ", ".join(self.choices)
        if get_origin(self.kind) is tuple:
            return f"a list of {get_args(self.kind)[0].__name__}"
        bounds = f" at least {self.low} and at most {self.high}" if self.is_number else ""
        return _KINDS[self.kind] + bounds

    def checked(self, name: str, value: Any) -> Any:
        """The value, converted to its type; raises ConfigError where it is impossible."""
        if self.kind is float and type(value) is int:
            value = float(value)
        if get_origin(self.kind) is tuple:
            possible = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
        elif self.choices:
            possible = isinstance(value, str) and value in self.choices
        else:
            possible = type(value) is self.kind
        if self.is_number:  # NaN lies within no bounds
            possible = possible and self.low <= value <= self.high
        if not possible:
            raise ConfigError(
                f"{name} = {value!r} is not possible.", expected=self.expected, todo=f"set {name}"
            )
        return tuple(value) if isinstance(value, list) else value


def section_settings(section: type[Any]) -> dict[str, Setting]:
    """The settings of a section's dataclass, by name."""
    hints, settings = get_type_hints(section), {}
    for f in dataclasses.fields(section):
        kind: Any = hints[f.name]
        choices: tuple[str, ...] = ()
        if get_origin(kind) is Literal:
            kind, choices = str, get_args(kind)
        if f.name == "name":
            choices = tuple(NETWORKS)
        settings[f.name] = Setting(kind, f.default, **{**f.metadata, "choices": choices})
    return settings


@functools.cache
def all_settings() -> dict[str, dict[str, Setting]]:
    """The settings of each section; of [network], those of all networks."""
    settings = {
        f.name: section_settings(type(getattr(Config(), f.name)))
        for f in dataclasses.fields(Config)
    }
    for network in NETWORKS.values():
        for name, setting in section_settings(network).items():
            settings["network"].setdefault(name, setting)
    return settings


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

    Where one names another network, what those before it said of the network's options is left out
    if the other has no such option.

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
    words = parse_overrides(overrides)
    if "network" in words:
        words["network"] = _with_module(words["network"])
    for section, key in NAMED_PARTS:
        if is_named_part(name := words.get(section, {}).get(key)):
            trust(name)  # as the user wrote it
    values: dict[str, Any] = {}
    for layer in (tomllib.loads(text), {} if file is None else _read_user_file(file), words):
        for section, changes in layer.items():
            values[section] = _merge_section(section, values.get(section), changes)
    # All at once: settings that hang together may be given in any order.
    return with_values(Config(), values)


def _with_module(network: Mapping[str, Any]) -> dict[str, Any]:
    """A network named `package.module:function` as the network `own` of that module."""
    if not is_named_part(network.get("name")):
        return dict(network)
    return {**network, "name": "own", "module": network["name"]}


def _merge_section(section: str, previous: Any, changes: Any) -> Any:
    """A section of earlier layers with a later layer's changes."""
    if not (isinstance(previous, dict) and isinstance(changes, dict)):
        return changes
    name = changes.get("name")
    if section == "network" and isinstance(name, str) and name in NETWORKS:
        previous = {
            key: previous[key] for key in previous if key in section_settings(NETWORKS[name])
        }
    return previous | changes


def differences(config: Config, other: Config) -> list[str]:
    """The settings that two configs do not share: "train.steps (5, not 3)"."""
    changed = []
    for section in dataclasses.fields(config):
        a, b = getattr(config, section.name), getattr(other, section.name)
        for name in section_settings(type(a)):
            x, y = getattr(a, name), getattr(b, name, None)
            if x != y and hasattr(b, name):
                changed.append(f"{section.name}.{name} ({toml(x)}, not {toml(y)})")
    return changed


@dataclasses.dataclass(frozen=True, slots=True)
class ChangedSetting:
    """A setting that is not at its default."""

    name: str
    value: str
    default: str
    explanation: str


def changed_settings(
    config: Config, shown: Mapping[str, str] | None = None
) -> list[ChangedSetting]:
    """The settings that differ from the defaults; `shown` replaces values, by name."""
    changed, plain = [], Config()
    for section in dataclasses.fields(config):
        values, defaults = getattr(config, section.name), getattr(plain, section.name)
        for name, setting in section_settings(type(values)).items():
            value, default = getattr(values, name), getattr(defaults, name, setting.default)
            if value != default:
                full = f"{section.name}.{name}"
                text = (shown or {}).get(full, _format_value(value))
                words = (text, _format_value(default), setting.explanation)
                changed.append(ChangedSetting(full, *words))
    return changed


def _format_value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "(none)"
    return str(value) if value != "" else "(none)"


def read_config(file: Path) -> Config:
    """A run's settings over the defaults; the inverse of `to_toml`.

    Raises ConfigError for an unreadable file or a wrong key or value; RunError for another
    release's.
    """
    values = _read_toml(file)
    check_format(file, values.pop("format", None))
    defaults = Config()
    off = {f.name: off_before(getattr(defaults, f.name)) for f in dataclasses.fields(defaults)}
    return with_values(with_values(defaults, off), values)


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The config with some settings replaced, `{"train": {"steps": 100}}`, or another network."""
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


def _replace(section: str, old: Any, changes: Mapping[str, Any]) -> Any:
    settings = section_settings(type(old))
    if section == "network":
        changes = _with_module(changes)
        kind = NETWORKS[settings["name"].checked("network.name", changes.get("name", old.name))]
        settings = section_settings(kind)
        old = kind(**{k: getattr(old, k) for k in settings if k != "name" and hasattr(old, k)})
        # What another network has, and what does not differ from its default, means nothing here.
        unused = {k: s.default for k, s in all_settings()["network"].items() if k not in settings}
        changes = {k: v for k, v in changes.items() if k not in unused or v != unused[k]}
    for key in changes:
        if (name := f"{section}.{key}") in OLD_NAMES:
            raise ConfigError(
                f"{name} is called {OLD_NAMES[name]} now.",
                expected=f"a setting of [{section}]",
                todo=f"write {OLD_NAMES[name]}",
            )
        if key not in settings:
            raise ConfigError(
                f"There is no setting {section}.{key}"
                + (f" of the network {old.name}." if section == "network" else "."),
                expected=f"a setting of [{section}]",
                todo=did_you_mean(f"{section}.{key}", {f"{section}.{name}" for name in settings}),
            )
    checked = {key: settings[key].checked(f"{section}.{key}", v) for key, v in changes.items()}
    return dataclasses.replace(old, **checked)


def _example(section: Any) -> str:
    first = dataclasses.fields(section)[0]
    return f"{first.name} = {toml(getattr(section, first.name))}"


def _read_user_file(file: Path) -> dict[str, Any]:
    """The settings of a user's file; one of an older format is read like any other."""
    values = _read_toml(file)
    if (number := values.pop("format", FORMAT)) not in range(1, FORMAT):
        check_format(file, number)
    return values


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bytes(file).decode())
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no file {file} to read settings from.",
            expected="a TOML file with sections such as [train]",
            todo="check the path, or start from the config.toml of a run",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"Cannot read the settings in {file}: {reason}",
            expected="a TOML file with sections such as [train]",
            todo="mend the file, or start from the config.toml of a run",
        ) from error


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """The values of `section.key=value` words, by section; the last wins. May raise ConfigError."""
    values: dict[str, Any] = {}
    for word in words:
        section, key, value = _parse_override(word)
        values.setdefault(section, {})[key] = value
    return values


def _parse_override(word: str) -> tuple[str, str, Any]:
    name, equals, text = word.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise ConfigError(
            f"Cannot read the setting {word!r}.",
            expected="section.key=value, such as train.learning_rate=3e-4",
            todo="write it so",
        )
    return section, key, parse_value(text)


def parse_value(text: str) -> Any:
    """A value as TOML writes it; a word needs no quotes."""
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text.strip()


# --- to TOML -------------------------------------------------------------------------------------


# Sections that are left out where nothing in them is set.
_OPTIONAL = ("seeds",)


def to_toml(config: Config, shown: Mapping[str, str] | None = None) -> str:
    """Every setting below its explanation, defaults too; `shown` replaces values, by name."""
    parts, defaults = [f"format = {FORMAT}"], Config()
    for section in dataclasses.fields(config):
        is_optional = section.name in _OPTIONAL
        if is_optional and getattr(config, section.name) == getattr(defaults, section.name):
            continue
        values, lines = getattr(config, section.name), [f"[{section.name}]"]
        for name, setting in section_settings(type(values)).items():
            bounds = f" ({setting.expected})" if setting.is_number else ""
            value = (shown or {}).get(f"{section.name}.{name}", getattr(values, name))
            lines += [f"# {setting.explanation}{bounds}", f"{name} = {toml(value)}"]
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
            plain = (c if " " <= c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped)
            return f'"{"".join(plain)}"'
        case tuple():
            return "[" + ", ".join(toml(v) for v in value) + "]"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")
