"""What each of several data sets is called, and which settings hold for it alone."""

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

# What may hold for one of several data sets: how its labels are read.
_OF_ONE = (
    *("target", "layout", "image_folder", "encoding", "missing", "class_names"),
    *("exclude_classes", "path_column", "split_column", "person_column"),
)


def source_names(where: Sequence[Path]) -> tuple[str, ...]:
    """What to call several data sets: by their folder or file, by the folder above it, too, where
    two are called the same, and by a number where that does not tell them apart.

    Raises ConfigError where one is named twice.
    """
    paths = [_plain(path) for path in where]
    for path, times in Counter(paths).items():
        if times > 1:
            raise ConfigError(
                f"{path} was named {times} times.",
                expected="different data sets",
                todo="name it once",
            )
    names = [path.name or "data" for path in paths]
    often = Counter(names)
    names = [
        f"{path.parent.name}-{name}" if often[name] > 1 and path.parent.name else name
        for path, name in zip(paths, names, strict=True)
    ]
    found: list[str] = []
    for name in names:
        found.append(numbered_name(name, found.__contains__))
    return tuple(found)


def _plain(path: Path) -> PurePath:
    name = filesystem.name_of(path)
    near = filesystem.local(name)
    return PurePosixPath(name) if near is None else near.resolve()


def settings_of(config: DataConfig, name: str, names: Sequence[str]) -> DataConfig:
    """The settings that hold for one of several data sets.

    Raises ConfigError where `source_settings` name another data set, or what is no setting of a
    single one.
    """
    own = {key: value for of, key, value in _own_settings(config, names) if of == name}
    return with_values(replace(Config(), data=config), {"data": own}).data


def _own_settings(config: DataConfig, names: Sequence[str]) -> list[tuple[str, str, Any]]:
    """The data set, the setting and its value, of each of `source_settings`."""
    found = []
    for word in config.source_settings:
        of = max((n for n in names if word.startswith(f"{n}.")), key=len, default="")
        key, equals, text = word[len(of) + 1 :].partition("=")
        if not of or not equals or key.strip() not in _OF_ONE:
            known = _OF_ONE if of else names
            raise ConfigError(
                f"data.source_settings holds {word!r}"
                + (f", and {key.strip()!r} is no setting of one data set." if of else "."),
                expected=f"name.setting=value, such as {names[-1]}.target=gender",
                todo=did_you_mean(key.strip() if of else word.partition(".")[0], known),
            )
        value = parse_value(text)
        if isinstance(getattr(config, key.strip()), str) and not isinstance(value, str):
            value = text.strip()
        found.append((of, key.strip(), value))
    return found


def with_found(config: DataConfig, dataset: Dataset) -> DataConfig:
    """The settings with layout and target as they were found, of several data sets for each."""
    if config.targets:  # as they were asked for: the data decide what "*" is
        return replace(config, layout=dataset.layout)
    if dataset.further_targets:  # named when it was loaded
        return replace(config, layout=dataset.layout, target="", targets=dataset.targets)
    if not dataset.parts:
        one = replace(config, target=dataset.target, layout=dataset.layout)
        if not dataset.is_number:
            return one
        return replace(one, numbers=tuple(dict.fromkeys((*config.numbers, dataset.target))))
    names, words = [part.name for part in dataset.parts], []
    for part in dataset.parts:
        own = settings_of(config, part.name, names)
        own = replace(own, target=part.target, layout=part.layout)
        words += [
            f"{part.name}.{key}={toml(getattr(own, key))}"
            for key in _OF_ONE
            if key in ("target", "layout") or getattr(own, key) != getattr(config, key)
        ]
    called = (dataset.target, *(part.target for part in dataset.parts))
    numbers = (*config.numbers, *called) if dataset.is_number else config.numbers
    return replace(
        config,
        target=dataset.target,
        source_settings=tuple(words),
        numbers=tuple(dict.fromkeys(numbers)),
    )


def as_before(asked: DataConfig, found: DataConfig, names: Sequence[str]) -> DataConfig:
    """The settings with `source_settings` as they were found, where they say nothing else."""
    said = {(of, key) for of, key, _ in _own_settings(asked, names)}
    for name in names:
        new, old = (settings_of(config, name, names) for config in (asked, found))
        unsaid = {k: getattr(old, k) for k in ("target", "layout") if (name, k) not in said}
        new = replace(new, **unsaid)
        if any(getattr(new, key) != getattr(old, key) for key in _OF_ONE):
            return asked
    return replace(asked, source_settings=found.source_settings)
