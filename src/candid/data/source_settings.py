"""The names of several data sets, and settings for one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from candid.config import parse_value, toml, with_values
from candid.data.dataset import Dataset
from candid.errors import ConfigError, did_you_mean
from candid.settings import Config, DataConfig
from candid.storage import filesystem
from candid.storage.files import numbered_name

# The settings that one of several data sets may have.
_PER_SOURCE = (
    *("target", "layout", "image_folder", "encoding", "missing", "class_names"),
    *("exclude_classes", "path_column", "split_column", "person_column"),
)


def source_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """A name for each data set: its folder or file, with the folder above it where two are the
    same, and with a number where that is not enough.

    Raises ConfigError where one is named twice.
    """
    resolved = [_resolve(path) for path in paths]
    for path, times in Counter(resolved).items():
        if times > 1:
            raise ConfigError(
                f"{path} was named {times} times.",
                expected="different data sets",
                todo="name it once",
            )
    names = [path.name or "data" for path in resolved]
    counts = Counter(names)
    names = [
        f"{path.parent.name}-{name}" if counts[name] > 1 and path.parent.name else name
        for path, name in zip(resolved, names, strict=True)
    ]
    unique: list[str] = []
    for name in names:
        unique.append(numbered_name(name, unique.__contains__))
    return tuple(unique)


def _resolve(path: Path) -> PurePath:
    name = filesystem.name_of(path)
    local = filesystem.local_path(name)
    return PurePosixPath(name) if local is None else local.resolve()


def settings_of(config: DataConfig, name: str, names: Sequence[str]) -> DataConfig:
    """The settings of one of several data sets.

    Raises ConfigError where `source_settings` name another data set, or no setting of a single one.
    """
    own = {key: value for s, key, value in _parse(config, names) if s == name}
    return with_values(replace(Config(), data=config), {"data": own}).data


def _parse(config: DataConfig, names: Sequence[str]) -> list[tuple[str, str, Any]]:
    """(data set, setting, value) for each of `source_settings`."""
    settings = []
    for word in config.source_settings:
        source = max((n for n in names if word.startswith(f"{n}.")), key=len, default="")
        key, equals, text = word[len(source) + 1 :].partition("=")
        if not source or not equals or key.strip() not in _PER_SOURCE:
            choices = _PER_SOURCE if source else names
            raise ConfigError(
                f"data.source_settings holds {word!r}"
                + (f", and {key.strip()!r} is no setting of one data set." if source else "."),
                expected=f"name.setting=value, such as {names[-1]}.target=gender",
                todo=did_you_mean(key.strip() if source else word.partition(".")[0], choices),
            )
        value = parse_value(text)
        if isinstance(getattr(config, key.strip()), str) and not isinstance(value, str):
            value = text.strip()
        settings.append((source, key.strip(), value))
    return settings


def resolve_settings(config: DataConfig, dataset: Dataset) -> DataConfig:
    """The settings with the detected layout and target, for each of several data sets."""
    if config.targets:  # left as they are: the data decide what "*" is
        return replace(config, layout=dataset.layout)
    if dataset.further_targets:  # named when it was loaded
        return replace(config, layout=dataset.layout, target="", targets=dataset.targets)
    if not dataset.parts:
        single = replace(config, target=dataset.target, layout=dataset.layout)
        if not dataset.is_number:
            return single
        return replace(single, numbers=tuple(dict.fromkeys((*config.numbers, dataset.target))))
    names, words = [part.name for part in dataset.parts], []
    for part in dataset.parts:
        settings = settings_of(config, part.name, names)
        settings = replace(settings, target=part.target, layout=part.layout)
        words += [
            f"{part.name}.{key}={toml(getattr(settings, key))}"
            for key in _PER_SOURCE
            if key in ("target", "layout") or getattr(settings, key) != getattr(config, key)
        ]
    targets = (dataset.target, *(part.target for part in dataset.parts))
    numbers = (*config.numbers, *targets) if dataset.is_number else config.numbers
    return replace(
        config,
        target=dataset.target,
        source_settings=tuple(words),
        numbers=tuple(dict.fromkeys(numbers)),
    )


def as_before(config: DataConfig, resolved: DataConfig, names: Sequence[str]) -> DataConfig:
    """The settings with `source_settings` as resolved by `resolve_settings`, unless they differ."""
    explicit = {(of, key) for of, key, _ in _parse(config, names)}
    for name in names:
        new, old = (settings_of(c, name, names) for c in (config, resolved))
        implicit = {k: getattr(old, k) for k in ("target", "layout") if (name, k) not in explicit}
        new = replace(new, **implicit)
        if any(getattr(new, key) != getattr(old, key) for key in _PER_SOURCE):
            return config
    return replace(config, source_settings=resolved.source_settings)
