"""The search space: names of settings, and the values that each may take.

The space is data. `default_space` makes the usual one around the settings that a user starts
from; `read_space` reads a user's own from words such as `train.learning_rate=1e-4..1e-2` and
`train.optimizer=adam,muon`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from candid.config import Setting, all_settings, parse_value, section_settings, with_values
from candid.errors import ConfigError, did_you_mean
from candid.settings import NETWORKS, Config

Value = int | float | str | bool

# Settings of these sections decide how a model is trained; the others decide what is measured.
_SECTIONS = ("network", "augment", "train")
# Settings that change nothing that is learned, or the metric itself.
_FIXED = {
    *("train.seed", "train.evaluations", "train.checkpoints", "train.checkpoint_seconds"),
    *("train.device", "train.threads", "train.keep", "train.steps", "train.patience"),
}
_LOGARITHMIC_FROM = 10.0  # a range whose ends are this many times apart is searched in logarithms


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`; only `whole` ones, or evenly spread over their `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (", in logarithms" if self.log else "")


@dataclass(frozen=True, slots=True)
class Choices:
    """A few values."""

    values: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return any(type(value) is type(v) and value == v for v in self.values)

    def __str__(self) -> str:
        return ", ".join(str(v) for v in self.values)


Space = dict[str, Range | Choices]


def value_of(config: Config, name: str) -> Any:
    """The value of the setting "section.key"; the default of an option of another network."""
    section, _, key = name.partition(".")
    values = getattr(config, section)
    return getattr(values, key) if hasattr(values, key) else _settings()[name].default


def with_changes(base: Config, values: Mapping[str, Value]) -> Config:
    """The base with these settings, trained on the same number of images.

    Where the batch size changes, the number of steps does, so that no trial sees more than another.
    Options that the network does not have are left out.

    Raises ConfigError for settings that do not go together.
    """
    sections: dict[str, dict[str, Any]] = {"network": {}, "train": {}}
    for name, value in values.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    network, train = sections["network"], sections["train"]
    if kind := NETWORKS.get(network.get("name", base.network.name)):
        sections["network"] = {k: v for k, v in network.items() if k in section_settings(kind)}
    size = train.get("batch_size", base.train.batch_size)
    if size != base.train.batch_size:
        train["steps"] = max(1, round(base.train.steps * base.train.batch_size / size))
    return with_values(base, sections)


def combinations(space: Space) -> float:
    """How many combinations there are; infinite where a number is not whole."""
    sizes = (
        len(kind.values)
        if isinstance(kind, Choices)
        else kind.high - kind.low + 1
        if kind.whole
        else math.inf
        for kind in space.values()
    )
    return math.prod(sizes)


# --- the default space ---------------------------------------------------------------------------


def default_space(base: Config) -> Space:
    """Learning rate, batch size, optimiser, schedule, augmentation, network and width.

    The settings of `base` lie in it.

    Raises ConfigError where the network is not trained in steps, so that none of these matters.
    """
    if base.network.name not in _WIDTHS:
        raise ConfigError(
            f"There is no usual search for the network {base.network.name!r}.",
            expected=f"one of: {', '.join(_WIDTHS)}",
            todo="name what is to be searched with --search, or set network.name",
        )
    names = ("plain", "deep") if base.network.name in ("plain", "deep") else (base.network.name,)
    space: Space = {
        "train.learning_rate": Range(1e-4, 2e-2, log=True),
        "train.batch_size": Choices((64, 128, 256, 512)),
        "train.optimizer": Choices(_settings()["train.optimizer"].choices),
        "train.schedule": Choices(_settings()["train.schedule"].choices),
        "augment.rotation_degrees": Range(0.0, 15.0),
        "augment.perspective_shift": Range(0.0, 0.15),
        "augment.erase": Range(0.0, 1.0),
        "network.name": Choices(names),
        "network.width": Choices((0, *_WIDTHS[base.network.name])),
    }
    widened = {name: _widen(kind, value_of(base, name)) for name, kind in space.items()}
    return {n: k for n, k in widened.items() if not isinstance(k, Choices) or len(k.values) > 1}


# Widths about each network's own, which 0 stands for.
_WIDTHS: dict[str, tuple[int, ...]] = {
    "plain": (16, 24, 48),  # of "deep", which is searched beside it
    "deep": (16, 24, 48),
    "vit": (96, 128, 256),
}


def _settings() -> dict[str, Setting]:
    every = all_settings()
    return {f"{s}.{name}": about for s in _SECTIONS for name, about in every[s].items()}


def _widen(kind: Range | Choices, value: Any) -> Range | Choices:
    """The values, with this one."""
    if value in kind:
        return kind
    if isinstance(kind, Choices):
        values = (*kind.values, value)
        return Choices(values if isinstance(value, str) else tuple(sorted(values)))
    if kind.log and value <= 0:
        return kind
    return dataclasses.replace(kind, low=min(kind.low, value), high=max(kind.high, value))


# --- a custom space ------------------------------------------------------------------------------


def read_space(words: Iterable[str], base: Config) -> Space:
    """The space that words such as "augment.erase=0..1" describe; the default for none.

    "low..high" is a range, searched in logarithms where both ends are positive and the higher is
    ten times the lower or more; "a,b,c" are choices.

    Raises ConfigError for a word that cannot be read, a setting that cannot be searched, an
    impossible value.
    """
    space: Space = {}
    for word in words:
        name, separator, text = (part.strip() for part in word.partition("="))
        if not (separator and text):
            raise _unreadable(word)
        if name not in _settings() or name in _FIXED:
            raise ConfigError(
                f"{name} cannot be searched.",
                expected=f"a setting of {', '.join(f'[{s}]' for s in _SECTIONS)} that changes what "
                "is learned from the same number of images",
                todo=did_you_mean(name, _settings().keys() - _FIXED),
            )
        setting = _settings()[name]
        kind = (
            _to_range(text, setting.kind, word) if ".." in text else _to_choices(text, setting.kind)
        )
        for value in (kind.low, kind.high) if isinstance(kind, Range) else kind.values:
            is_whole = isinstance(kind, Range) and kind.whole
            value = setting.checked(name, int(value) if is_whole else value)
            with_changes(base, {name: value})  # raises where it contradicts another setting
        space[name] = kind
    return space or default_space(base)


def _to_range(text: str, kind: type, word: str) -> Range:
    low, high = (parse_value(end) for end in text.split("..", 1))
    is_possible = kind in (int, float) and _is_number(low) and _is_number(high) and low < high
    if not is_possible or (kind is int and not (type(low) is type(high) is int)):
        raise _unreadable(word)
    log = low > 0 and high >= _LOGARITHMIC_FROM * low
    return Range(kind(low), kind(high), log=log, whole=kind is int)


def _to_choices(text: str, kind: type) -> Choices:
    values = [parse_value(part) for part in text.strip("[]").split(",")]
    converted = [float(v) if kind is float and _is_number(v) else v for v in values]
    return Choices(tuple(dict.fromkeys(converted)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unreadable(word: str) -> ConfigError:
    return ConfigError(
        f"Cannot read the search {word!r}.",
        expected="section.key=low..high with low below high, or section.key=value,value,…",
        todo="write it as train.learning_rate=1e-4..1e-2 or train.optimizer=adam,muon",
    )
