"""How a run begins or goes on: its data, its folder, its settings, in one process or several.

torchrun starts the same command several times, and again where a process was killed. So there the
same command goes on with a run that is there.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from candid.config import to_toml
from candid.data.dataset import Dataset, Sharded
from candid.data.source_settings import with_found
from candid.data.splits import keep_together
from candid.data.targets import of_target, outputs_of
from candid.errors import RunError, needing
from candid.pipeline.beginning import initial_weights
from candid.pipeline.changed_data import data_changes, known_of
from candid.pipeline.data_places import Places, Where, place_of, places_of
from candid.pipeline.provenance import provenance_now
from candid.pipeline.settled import resumed_settings, with_threads
from candid.records import ModelCard, Provenance, read_record
from candid.records.framing import SourceFrames
from candid.records.model import Beginning
from candid.runs import Run, claim, create, open_run, refuse_full
from candid.runs.frames import source_frames
from candid.settings import Config, DataConfig
from candid.storage.files import write_text
from candid.tables.corrections import read_corrections, write_corrections

if TYPE_CHECKING:
    from torch import nn

    from candid.data.store import Store
    from candid.data.streaming import Streamed
    from candid.training.distributed import Team

Place = str | PathLike[str]
Made = TypeVar("Made")


def needs_torch() -> None:
    """Raise a DependencyError where the libraries that train and predict are not installed."""
    with needing("Training and prediction need", "train"):
        import safetensors  # noqa: F401
        import torch  # noqa: F401


@contextmanager
def torch_ahead() -> Iterator[None]:
    """`needs_torch`, which takes a second, while the block waits for other processes."""
    with needing("Training and prediction need", "train"):
        for name in ("safetensors", "torch"):
            if importlib.util.find_spec(name) is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    with ThreadPoolExecutor(1) as aside:
        loaded = aside.submit(needs_torch)
        yield
        loaded.result()


# --- the data ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Data:
    """A data set and its packed pixels.

    `streamed` is the larger data set of which that is a part, where training streams it, else None;
    `frames` a digest of how several data sets were brought to one frame, "" where all are as they
    came.
    """

    dataset: Dataset
    store: Store
    streamed: Streamed | None = None
    frames: str = ""

    @property
    def fingerprint(self) -> str:
        """The same where pixels and annotations are."""
        return self.fingerprint_at(0)

    def fingerprint_at(self, side: int) -> str:
        """What it would be with so many pixels a side; 0: with those that there are."""
        from candid.data.exploration import data_fingerprint, streamed_fingerprint

        packed = data_fingerprint(self.dataset, self.store, side)
        if self.streamed is None:
            return packed
        return streamed_fingerprint(self.streamed.dataset, packed)

    def without_pixels(self) -> Data:
        """The same for another process, which opens the pixels for itself."""
        return replace(self, store=replace(self.store, pixels=self.store.pixels[:0]))

    def with_pixels(self) -> Data:
        """What `without_pixels` gave with the pixels of its pack, memory-mapped."""
        pixels = np.load(self.store.folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        return replace(self, store=replace(self.store, pixels=pixels))

    def of_target(self, name: str, config: DataConfig) -> Data:
        """The same for one of several labels alone."""
        stream = self.streamed
        if stream is not None:
            stream = replace(stream, dataset=of_target(stream.dataset, name, config))
        return replace(self, dataset=of_target(self.dataset, name, config), streamed=stream)


def load_packed(
    where: Dataset | Data | Where,
    config: Config,
    *,
    names: Sequence[str] = (),
    cache: Path | None = None,
    quiet: bool = False,
) -> Data:
    """The labels at a path or of a data set, and its images, packed unless that was done before.

    Of a stream, a part is packed. Where all are and the data has no split of its own, copies of a
    picture go to one side. `names` is what several data sets were called before, if they were.
    """
    from candid.data import store
    from candid.data.duplicates import find_copies
    from candid.data.joining import load_places
    from candid.data.streaming import streamed

    if isinstance(where, Data):
        return where
    about = config.data
    if isinstance(where, Path | tuple):
        where = load_places(where, about, names=names)
    stream = streamed(where, about, cache=cache, quiet=quiet)
    part = where if stream is None else stream.part()
    packed = store.pack(part, about, cache=cache, quiet=quiet)
    if stream is None and part.split_hash is not None:
        copies = find_copies(packed, quiet=quiet)
        part = keep_together(part, packed.usable, copies, about)
    return Data(part, packed, stream)


def reload(run: Run, where: Places | None = None, *, cache: Path | None = None) -> Data:
    """The data of an existing run, from where they lay when it began or where they lie now.

    Those of several data sets lie in one frame, where the run's network was trained on them so. A
    URL in a run is not followed unless it is named: a stranger may have written it. Of the folder
    of one label among several, they are the data with that label alone. Raises RunError where they
    are gone or have changed since, or are a URL that was not named.
    """
    about = read_record(run.provenance, Provenance)
    found = place_of(run, about, None if where is None else places_of(where))
    names = tuple(about.sources)
    settings = with_own_corrections(run)
    data = load_packed(found, settings, names=names, cache=cache, quiet=run.quiet)
    _refuse_other(run, about, found, data)
    if run.whole is None:
        return aligned_data(run, data)
    return data.of_target(read_record(run.model_file, ModelCard).target, run.settings.data)


def aligned_data(run: Run, data: Data) -> Data:
    """The data with all data sets in the frame of one, where a run's network is trained on them so.

    Raises RunError where the run no longer says how that was.
    """
    frames = None if data.frames else source_frames(run)
    return data if frames is None else framed_data(frames, run.source_framing, data, run)


def framed_data(frames: SourceFrames, framer: Path, data: Data, run: Run) -> Data:
    """The data in the frames that a run found; `framer` is its network that frames."""
    from candid.inference.source_frames import frames_digest, in_one_frame

    if not frames.moved:
        return data
    needs_torch()
    about = run.settings.data
    store = in_one_frame(frames, framer, data.dataset, data.store, about, quiet=run.quiet)
    return replace(data, store=store, frames=frames_digest(frames))


def _refuse_other(run: Run, about: Provenance, where: object, data: Data) -> None:
    if about.data_fingerprint != data.fingerprint:
        place = data.dataset.name
        if isinstance(where, Path | tuple):
            place = " and ".join(map(str, where)) if isinstance(where, tuple) else str(where)
        stream, known = data.streamed, known_of(run)
        all_images = (data.dataset, data.store.usable) if stream is None else (stream.dataset, None)
        raise RunError(
            f"The data in {place} are not those that the run {run.path} began with: "
            f"{data_changes(run, *all_images)}.",
            expected="the images and labels that it began with" + (known and f": {known}"),
            todo="put the data back, or start a new run",
        )


def with_own_corrections(run: Run) -> Config:
    """A run's settings with the corrections as it began with them: their file may have grown."""
    config = run.settings
    if not (config.data.corrections and run.applied.is_file()):
        return config
    return replace(config, data=replace(config.data, corrections=str(run.applied)))


def path_of(run: Run | Place) -> Path:
    """A run's folder."""
    return run.path if isinstance(run, Run) else Path(run)


def run_at(run: Run | Place, config: Config | None = None, quiet: bool = True) -> Run:
    """A run with its own settings or others."""
    found = open_run(path_of(run))
    network = run.network if isinstance(run, Run) else None
    return replace(found, settings=config or found.settings, network=network, quiet=quiet)


def only_label(run: Run) -> Run:
    """The folder of a number that a run learned alone; else the run itself."""
    alone = run.of_targets()
    return alone[0] if len(alone) == 1 else run


# --- several processes ---------------------------------------------------------------------------


def launched() -> bool:
    """Whether torchrun, or whoever sets the same environment, started this process."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    return "RANK" in os.environ and (several or "TORCHELASTIC_RUN_ID" in os.environ)


def leads() -> bool:
    """Whether this process writes files and speaks: it is alone, or the first of several."""
    return not launched() or os.environ["RANK"] == "0"


@contextmanager
def together() -> Iterator[None]:
    """Meet the other processes where torchrun started several."""
    if not launched():
        yield
        return
    needs_torch()
    from candid.training.distributed import joined

    with joined():
        yield


def by_turns(group: Team, make: Callable[[], Made]) -> Made:
    """What `make` gives, which is first done by one process of each machine, as it packs."""
    made = make() if os.environ.get("LOCAL_RANK", "0") == "0" else None
    group.wait()
    return make() if made is None else made


# --- the run -------------------------------------------------------------------------------------


def begin_or_resume(
    data: Dataset | Data | Where | None,
    config: Config | None,
    path: Path | None,
    *,
    name: str = "",
    network: nn.Module | None = None,
    refuse: Callable[[Run, Data], object] | None = None,
    cache: Path | None = None,
    quiet: bool = False,
) -> tuple[Run, Data]:
    """The run to train in, new or to go on with, and its data.

    Of several processes, the one that leads reads and writes the folder; the others may be on
    machines that do not have it. Each reads and packs the images; those on one machine wait for
    the first of them.

    `refuse` is asked before a new run has a folder, with its settings as they were found, and
    raises where it cannot be. `data` is where they lie, or what was loaded; None: where they lay
    when the run began. Without `config` there must be a run at `path`, which has its own settings.
    Without `path`, a new run takes the next free folder below runs/ with `name` in it. Raises
    RunError where the run there was trained with other settings, or on other data; ConfigError
    where the processes have different data, more threads are asked for than there are cores, or
    network and batch surely do not fit into memory; DataError where too few of the images can be
    read to train and to validate.
    """
    needs_torch()
    from candid.training.distributed import team

    group = team()
    quiet = quiet or not group.leads
    found, about, where = group.broadcast(lambda: _found(path, config, data))
    place = where if data is None else data
    how: dict[str, Any] = {"cache": cache, "quiet": quiet}
    how["names"] = () if about is None else tuple(about.sources)
    read = found if config is not None or path is None else with_own_corrections(Run(path, found))
    loaded = by_turns(group, lambda: load_packed(place, read, **how))
    group.check_agreed("data.stream", "never" if loaded.streamed is None else "always")
    group.check_agreed("data", loaded.fingerprint)

    def written() -> tuple[Path, Config]:
        if about is None or path is None:
            if refuse is not None:
                settings = replace(found, data=with_found(found.data, loaded.dataset))
                refuse(Run(path or Path(), settings, network), loaded)
            run = _begin_training(path, found, loaded, name, network)
        else:
            run = _go_on(Run(path, found), about, place, loaded)
        return run.path, run.settings

    folder, settings = group.broadcast(written)
    return Run(folder, settings, network, quiet), loaded


def _found(
    path: Path | None, config: Config | None, data: object
) -> tuple[Config, Provenance | None, Where]:
    """Settings, provenance and place of the data of the run that is there or is to be."""
    nowhere = Path()
    if config is not None and (path is None or not Run(path).config.is_file()):
        if path is not None:
            refuse_full(path)
        return config, None, nowhere
    run = open_run(path or nowhere)
    about = read_record(run.provenance, Provenance)
    settings = (
        run.settings if config is None else resumed_settings(run, config, tuple(about.sources))
    )
    if data is None or isinstance(data, Path | tuple):
        return settings, about, place_of(run, about, data)
    return settings, about, nowhere


def provenance_of(data: Data, seed: int) -> Provenance:
    """Where a run, or a study, on these data comes from that begins now."""
    dataset = data.dataset
    return provenance_now(
        seed=seed,
        data=dataset.origin or dataset.name,
        sources=dataset.origins,
        data_fingerprint=data.fingerprint,
    )


def begin(path: Path, config: Config, data: Data, initial: Beginning | None = None) -> Run:
    """A new run folder at `path`, with its full settings."""
    dataset = data.dataset
    found = with_found(config.data, dataset)
    if isinstance(dataset.source, Sharded):
        # The disk may be fuller when the run goes on, and training must not change then.
        found = replace(found, stream="never" if data.streamed is None else "always")
    about = provenance_of(data, config.train.seed)
    run = create(path, replace(config, data=found), replace(about, initial=initial))
    if found.corrections:
        write_corrections(run.applied, read_corrections(Path(found.corrections)))
    return run


def _begin_training(
    path: Path | None, config: Config, data: Data, name: str, network: nn.Module | None
) -> Run:
    from candid.data.layouts.assembly import check_learnable
    from candid.training.memory import check_fits
    from candid.training.own_parts import check_parts

    check_learnable(data.dataset, data.store.usable)
    check_parts(config)
    check_fits(config, len(outputs_of(data.dataset)))
    config = with_threads(config)
    initial = initial_weights(config, data.dataset, network)
    name = name or config.network.name
    folder = claim(Path("runs"), name) if path is None else path
    return begin(folder, config, data, None if initial is None else initial[1])


def _go_on(run: Run, about: Provenance, where: object, data: Data) -> Run:
    """The run that is there, with settings that are complete and written down."""
    _refuse_other(run, about, where, data)
    settings = run.settings if run.settings.train.threads else with_threads(run.settings)
    if settings != open_run(run.path).settings:
        write_text(run.config, to_toml(settings))
    return replace(run, settings=settings)
