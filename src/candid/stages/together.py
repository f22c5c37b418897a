"""Several processes that work on one run: how they begin it, and which of them speaks.

torchrun starts the same command several times, and again where a process was killed. So here the
same command goes on with a run that is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from candid import runs
from candid.config import differences
from candid.errors import RunError
from candid.records import Provenance, read_record
from candid.runs import RunFolder
from candid.settings import Config
from candid.stages.starting import (
    Data,
    as_found,
    begin_training,
    data_of,
    load,
    needs_torch,
    reopen,
)


def launched() -> bool:
    """Whether torchrun, or whoever sets the same environment, started this process."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    return "RANK" in os.environ and (several or "TORCHELASTIC_RUN_ID" in os.environ)


@contextmanager
def together() -> Iterator[bool]:
    """Meet the other processes where torchrun started several; yields whether this one speaks."""
    if not launched():
        yield True
        return
    needs_torch()
    from candid.training.distributed import joined

    with joined() as us:
        yield us.leads


def open_together(
    path: Path, config: Config | None, where: Path | None, *, cache: Path | None, quiet: bool
) -> tuple[RunFolder, Config, Data]:
    """The run at `path` to train in, for each of the processes: the one there, or a new one.

    Only the process that leads reads and writes the folder; the others may be on machines that do
    not have it. Each reads and packs the images; those on one machine wait for the first of them.

    Parameters
    ----------
    path
        The run's folder.
    config, where
        Settings and data of a new run; None: there must be a run to go on with.
    cache, quiet
        As in `load`; processes that do not lead are always quiet.

    Raises
    ------
    RunError
        Where the run there was begun with other settings or data.
    ConfigError
        Where the processes have different data.
    """
    from candid.training.distributed import team

    us = team()
    quiet = quiet or not us.leads
    run = RunFolder(path)
    config, where, about = us.told(lambda: _found(run, config, where))
    packs = os.environ.get("LOCAL_RANK", "0") == "0"  # the first on its machine
    data = load(where, config, cache=cache, quiet=quiet) if packs else None
    us.wait()
    data = data or load(where, config, cache=cache, quiet=quiet)
    us.check_agreed("data.stream", "never" if data.streamed is None else "always")
    us.check_agreed("data", data.fingerprint)
    return run, us.told(lambda: _begun(run, config, data, about)), data


def _found(
    run: RunFolder, config: Config | None, where: Path | None
) -> tuple[Config, Path, Provenance | None]:
    """Settings and data of the run that is there, or those of the command for a new one."""
    if config is not None and where is not None and not run.config.is_file():
        runs.refuse_full(run.path)
        return config, where, None
    _, found = reopen(run.path)
    about = read_record(run.provenance, Provenance)
    if config is not None:
        data = as_found(config.data, found.data, "layout", "target", "stream")
        train = as_found(config.train, found.train, "threads")
        changed = differences(replace(config, data=data, train=train), found)
        if changed:
            raise RunError(
                f"{run.path} holds a run with other settings: {', '.join(changed)}.",
                expected="the settings that it began with, or a new folder",
                todo="name another folder with --out, or remove this one",
            )
    return found, where or data_of(run, about), about


def _begun(run: RunFolder, config: Config, data: Data, about: Provenance | None) -> Config:
    if about is None:
        return begin_training(run.path, config, data, name="")[1]
    if about.data_fingerprint != data.fingerprint:
        raise RunError(
            f"The data are not those that the run {run.path} began with.",
            expected=f"images and labels with the fingerprint {about.data_fingerprint}",
            todo=f"put back what was in {about.data}, or start a new run",
        )
    return config
