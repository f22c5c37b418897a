"""A run's settings as it begins or goes on: complete, and its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeVar

from candid.config import differences
from candid.errors import ConfigError, RunError
from candid.runs import STEPS, Run
from candid.settings import Config, DataConfig, TrainConfig

Section = TypeVar("Section", DataConfig, TrainConfig)


def resume_settings(run: Run, config: Config, names: Sequence[str]) -> Config:
    """The settings to go on with, if training reads the run's own; `names` of its data sets."""
    from candid.data.source_settings import as_before

    original = run.settings
    names_target = config.data.target or config.data.targets
    open_settings = () if names_target else ("target", "targets")
    data = _fill_from_run(config.data, original.data, "layout", "stream", "numbers", *open_settings)
    data = as_before(data, original.data, names) if names else data
    train = _fill_from_run(config.train, original.train, "threads")
    resumed = replace(config, data=data, train=train)
    trained = STEPS["train"].settings
    rest = {f.name: getattr(original, f.name) for f in fields(original) if f.name not in trained}
    if changed := differences(replace(resumed, **rest), original):
        raise RunError(
            f"{run.path} holds a run with other settings: {', '.join(changed)}.",
            expected="the settings that it began with, or a new folder",
            todo="name another folder with --out, or remove this one",
        )
    return resumed


def _fill_from_run(section: Section, original: Section, *names: str) -> Section:
    """Settings with what they leave open as the run found it."""
    defaults = type(section)()
    open_names = [name for name in names if getattr(section, name) == getattr(defaults, name)]
    return replace(section, **{name: getattr(original, name) for name in open_names})


def with_threads(config: Config) -> Config:
    """The settings with a number of threads; the run keeps it, as the last digits depend on it."""
    from candid.models.device import pick_threads

    n = config.train.threads
    count = pick_threads(n)
    if count < n:
        raise ConfigError(
            f"train.threads = {n} is more than the processor cores that this process may use.",
            expected=f"at most {count}, or 0: as many as others leave idle",
            todo="set train.threads",
        )
    return replace(config, train=replace(config.train, threads=count))
