"""How a run begins: its data, its folder, its settings."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from candid import runs
from candid.config import differences, to_toml
from candid.errors import ConfigError, DependencyError, RunError
from candid.records import Provenance, read_record
from candid.runs import RunFolder
from candid.settings import Config, DataConfig, TrainConfig
from candid.storage.files import write_text

if TYPE_CHECKING:
    from candid.data.dataset import Dataset
    from candid.data.store import Store
    from candid.data.streaming import Streamed


Section = TypeVar("Section", DataConfig, TrainConfig)


@dataclass(frozen=True, eq=False)
class Data:
    """A data set and its packed pixels.

    Attributes
    ----------
    dataset, store
        What is packed.
    streamed
        Of which larger data set that is a part, where training streams it; else None.
    """

    dataset: Dataset
    store: Store
    streamed: Streamed | None = None

    @property
    def fingerprint(self) -> str:
        """The same where pixels and annotations are."""
        from candid.data.explore import data_fingerprint, streamed_fingerprint

        packed = data_fingerprint(self.dataset, self.store)
        if self.streamed is None:
            return packed
        return streamed_fingerprint(self.streamed.dataset, packed)


def load(path: Path, config: Config, *, cache: Path | None = None, quiet: bool = False) -> Data:
    """Read the labels at `path`, and pack the images unless that was done before."""
    from candid.data import layouts

    dataset = layouts.load(
        path,
        target=config.data.target or None,
        layout=config.data.layout or None,
        config=config.data,
    )
    return pack(dataset, config, cache=cache, quiet=quiet)


def pack(
    dataset: Dataset, config: Config, *, cache: Path | None = None, quiet: bool = False
) -> Data:
    """Pack the images of a data set unless that was done before; of a stream, a part of them.

    Where all are packed and the data has no split of its own, copies of a picture go to one side.
    """
    from candid.data import store
    from candid.data.duplicates import find_copies
    from candid.data.splits import keep_together
    from candid.data.streaming import streamed

    stream = streamed(dataset, config.data, cache=cache, quiet=quiet)
    part = dataset if stream is None else stream.part()
    packed = store.pack(part, config.data, cache=cache, quiet=quiet)
    if stream is None and part.split_hash is not None:
        copies = find_copies(packed, quiet=quiet)
        part = keep_together(part, packed.usable, copies, config.data)
    return Data(part, packed, stream)


def reload(
    run: RunFolder, config: Config, cache: Path | None, quiet: bool, data: Path | None = None
) -> Data:
    """The data of an existing run, from where they lay when it began.

    `data` is where they lie where the user named it. A URL in a run is not followed unless it is
    named: a stranger may have written it.

    Raises
    ------
    RunError
        Where they are gone or have changed since, or are a URL that was not named.
    """
    from candid.storage import places

    about = read_record(run.provenance, Provenance)
    where = data_of(run, about) if data is None else data
    if not places.found(places.name_of(where)):
        raise RunError(
            f"The data that the run {run.path} began with are gone: there is no {where}.",
            expected="the same images and labels in the same place",
            todo="put them back (a link will do), say where they lie now with --data (to go on "
            "with a run: as DATA), or start a new run",
        )
    found = load(where, config, cache=cache, quiet=quiet)
    if about.data_fingerprint != found.fingerprint:
        raise RunError(
            f"The data in {where} are not those that the run {run.path} began with.",
            expected=f"images and labels with the fingerprint {about.data_fingerprint}",
            todo="put the data back, or start a new run",
        )
    return found


def data_of(run: RunFolder, about: Provenance) -> Path:
    """Where a run's data lie on this machine.

    Raises
    ------
    RunError
        Where the run says that they lie on another one.
    """
    from candid.storage import places

    where = Path(about.data)
    # As `load` will take it, which knows a URL again that was a path.
    if places.local(name := places.name_of(where)) is None:
        raise RunError(
            f"The run {run.path} says that its data lie at {name}, which is not followed unasked: "
            "a stranger may have written it.",
            expected="data on this machine, or their place named by you",
            todo=f"add --data {shlex.quote(name)} if you trust it (to go on with a run: as DATA)",
        )
    return where


def begin(path: Path, config: Config, data: Data) -> tuple[RunFolder, Config]:
    """A new run folder at `path`, and its full settings."""
    from candid.data.dataset import Sharded

    dataset = data.dataset
    found = replace(config.data, target=dataset.target, layout=dataset.layout)
    if isinstance(dataset.source, Sharded):
        # The disk may be fuller when the run goes on, and training must not change then.
        found = replace(found, stream="never" if data.streamed is None else "always")
    config = replace(config, data=found)
    about = runs.provenance(
        seed=config.train.seed,
        data=dataset.origin or dataset.name,
        data_fingerprint=data.fingerprint,
    )
    return runs.create(path, config, about), config


def begin_training(
    path: Path | None, config: Config, data: Data, *, name: str
) -> tuple[RunFolder, Config]:
    """A new run folder to train in, at `path` or the next free one below runs/.

    Its settings hold the number of processor threads, which is part of what makes its figures the
    same to the last digit: whoever goes on with the run uses as many.

    Raises
    ------
    ConfigError
        Where more threads are asked for than there are cores, or network and batch surely do not
        fit into memory.
    DataError
        Where too few of the images can be read to train and to validate.
    """
    from candid.data.layouts.assembly import check_learnable
    from candid.training.memory import check_fits

    check_learnable(data.dataset, data.store.usable)
    check_fits(config, len(data.dataset.classes))
    config = with_threads(config)
    return begin(runs.claim(Path("runs"), name) if path is None else path, config, data)


def with_threads(config: Config) -> Config:
    """The settings with the number of processor threads that they leave open."""
    from candid.models.device import pick_threads

    asked = config.train.threads
    count = pick_threads(asked)
    if count < asked:
        raise ConfigError(
            f"train.threads = {asked} is more than the processor cores that this process may use.",
            expected=f"at most {count}, or 0: as many as others leave idle",
            todo="set train.threads",
        )
    return replace(config, train=replace(config.train, threads=count))


def reopen(path: Path) -> tuple[RunFolder, Config]:
    """An existing run to train in, and its settings: threads are chosen where only explore ran."""
    run, config = runs.open_run(path)
    if not config.train.threads:
        config = with_threads(config)
        write_text(run.config, to_toml(config))
    return run, config


def open_or_begin(
    path: Path, config: Config, where: Path, *, cache: Path | None = None, quiet: bool = False
) -> tuple[RunFolder, Config, Data]:
    """The run that lies at `path`, to go on with, or a new one there.

    Raises
    ------
    RunError
        Where the run there was begun with other settings.
    """
    if RunFolder(path).config.is_file():
        run, found = reopen(path)
        config = replace(
            config,
            data=as_found(config.data, found.data, "layout", "stream"),
            train=as_found(config.train, found.train, "threads"),
        )
        if changed := differences(config, found):
            raise RunError(
                f"{path} holds a run with other settings: {', '.join(changed)}.",
                expected="the settings that it began with, or a new folder",
                todo="name another folder with --out, or remove this one",
            )
        return run, config, reload(run, config, cache, quiet, where)
    data = load(where, config, cache=cache, quiet=quiet)
    run, config = begin_training(path, config, data, name=config.network.name)
    return run, config, data


def as_found(section: Section, found: Section, *names: str) -> Section:
    """Settings in which what was left open is as it was found when the run began."""
    unsaid = type(section)()
    left = [name for name in names if getattr(section, name) == getattr(unsaid, name)]
    return replace(section, **{name: getattr(found, name) for name in left})


def needs_torch() -> None:
    """Raise a DependencyError where the libraries that train and predict are not installed."""
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            f"Training and prediction need a library that is not installed: {error.name}.",
            expected="the extra 'train'",
            todo="pip install 'candid[train]'",
        ) from error
