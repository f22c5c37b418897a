"""How a run begins or goes on: its data, its folder, its settings, in one process or several.

torchrun may start the same command again where a process was killed, so there it resumes the run.
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
from candid.data.source_settings import resolve_settings
from candid.data.splits import keep_together
from candid.data.targets import outputs_of, select_target
from candid.errors import RunError, require_extra
from candid.pipeline.beginning import initial_weights
from candid.pipeline.changed_data import describe_changes, describe_original
from candid.pipeline.data_places import Places, Where, as_paths, locate_data
from candid.pipeline.provenance import collect_provenance
from candid.pipeline.resuming import resume_settings, with_threads
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
Result = TypeVar("Result")


def needs_torch() -> None:
    """Raise a DependencyError where the libraries to train and predict are missing."""
    with require_extra("Training and prediction need", "train"):
        import safetensors  # noqa: F401
        import torch  # noqa: F401


@contextmanager
def import_torch_meanwhile() -> Iterator[None]:
    """Call `needs_torch`, which takes a second, while the block waits for other processes."""
    with require_extra("Training and prediction need", "train"):
        for name in ("safetensors", "torch"):
            if importlib.util.find_spec(name) is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(needs_torch)
        yield
        future.result()


# --- the data ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Data:
    """A data set and its packed pixels.

    `streamed` is the larger data set of which it is a part, if training streams; `frames` a digest
    of how several data sets were brought to one frame, or "".
    """

    dataset: Dataset
    store: Store
    streamed: Streamed | None = None
    frames: str = ""

    @property
    def all_rows(self) -> Dataset:
        """The whole data set: of a stream, `dataset` is a part of it."""
        return self.dataset if self.streamed is None else self.streamed.dataset

    @property
    def fingerprint(self) -> str:
        """A digest of pixels and annotations."""
        return self.fingerprint_at(0)

    def fingerprint_at(self, side: int) -> str:
        """The fingerprint at another side in pixels; 0: at the present one."""
        from candid.data.exploration import data_fingerprint, streamed_fingerprint

        packed = data_fingerprint(self.dataset, self.store, side)
        if self.streamed is None:
            return packed
        return streamed_fingerprint(self.streamed.dataset, packed)

    def without_pixels(self) -> Data:
        """The data without pixels, for a process that opens them for itself."""
        return replace(self, store=replace(self.store, pixels=self.store.pixels[:0]))

    def with_pixels(self) -> Data:
        """The data with the pixels of its pack, memory-mapped; the inverse of `without_pixels`."""
        pixels = np.load(self.store.folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        return replace(self, store=replace(self.store, pixels=pixels))

    def of_target(self, name: str, config: DataConfig) -> Data:
        """The data with one of several labels alone."""
        stream = self.streamed
        if stream is not None:
            stream = replace(stream, dataset=select_target(stream.dataset, name, config))
        return replace(self, dataset=select_target(self.dataset, name, config), streamed=stream)


def load_packed(
    source: Dataset | Data | Where,
    config: Config,
    *,
    names: Sequence[str] = (),
    cache: Path | None = None,
    quiet: bool = False,
) -> Data:
    """The labels at a path or of a data set, and its images, packed unless that was done before.

    Of a stream, a part is packed. Else, if the data have no split of their own, copies of an image
    go to one split. `names` is what several data sets were called before, if they were.
    """
    from candid.data import store
    from candid.data.duplicates import find_copies
    from candid.data.joining import load_labels
    from candid.data.streaming import choose_streaming

    if isinstance(source, Data):
        return source
    data_config = config.data
    if isinstance(source, Path | tuple):
        source = load_labels(source, data_config, names=names)
    stream = choose_streaming(source, data_config, cache=cache, quiet=quiet)
    part = source if stream is None else stream.part()
    packed = store.pack(part, data_config, cache=cache, quiet=quiet)
    if stream is None and part.split_hash is not None:
        copies = find_copies(packed, quiet=quiet)
        part = keep_together(part, packed.usable, copies, data_config)
    return Data(part, packed, stream)


def reload(run: Run, where: Places | None = None, *, cache: Path | None = None) -> Data:
    """The data of an existing run, from where they lay when it began or where they lie now.

    They lie in one frame where the run trained on them so; in the folder of one of several labels
    they have that label alone. A URL is followed only where it is named: a stranger may have
    written the run. Raises RunError where they are gone, have changed, or are a URL that was not
    named.
    """
    provenance = read_record(run.provenance, Provenance)
    place = locate_data(run, provenance, None if where is None else as_paths(where))
    names = tuple(provenance.sources)
    settings = config_with_corrections(run)
    data = load_packed(place, settings, names=names, cache=cache, quiet=run.quiet)
    _refuse_other_data(run, provenance, place, data)
    if run.parent is None:
        return use_frames(run, data)
    return data.of_target(read_record(run.model_file, ModelCard).target, run.settings.data)


def use_frames(run: Run, data: Data) -> Data:
    """The data in the frame of one data set, if the run trained so; may raise RunError."""
    frames = None if data.frames else source_frames(run)
    return data if frames is None else apply_frames(frames, run.source_framing, data, run)


def apply_frames(frames: SourceFrames, framer: Path, data: Data, run: Run) -> Data:
    """The data in the frames that a run found; `framer` is the file of the network for it."""
    from candid.inference.source_frames import frames_digest, in_one_frame

    if not frames.moved:
        return data
    needs_torch()
    config = run.settings.data
    store = in_one_frame(frames, framer, data.dataset, data.store, config, quiet=run.quiet)
    return replace(data, store=store, frames=frames_digest(frames))


def _refuse_other_data(run: Run, provenance: Provenance, source: object, data: Data) -> None:
    if provenance.data_fingerprint != data.fingerprint:
        place = data.dataset.name
        if isinstance(source, Path | tuple):
            place = " and ".join(map(str, source)) if isinstance(source, tuple) else str(source)
        stream, original = data.streamed, describe_original(run)
        all_images = (data.dataset, data.store.usable) if stream is None else (stream.dataset, None)
        raise RunError(
            f"The data in {place} are not those that the run {run.path} began with: "
            f"{describe_changes(run, *all_images)}.",
            expected="the images and labels that it began with" + (original and f": {original}"),
            todo="put the data back, or start a new run",
        )


def config_with_corrections(run: Run) -> Config:
    """A run's settings with its own copy of the corrections: the file may have grown."""
    config = run.settings
    if not (config.data.corrections and run.applied.is_file()):
        return config
    return replace(config, data=replace(config.data, corrections=str(run.applied)))


def path_of(run: Run | Place) -> Path:
    """A run's folder."""
    return run.path if isinstance(run, Run) else Path(run)


def reopen_run(run: Run | Place, config: Config | None = None, quiet: bool = True) -> Run:
    """A run, opened again, with its own settings or others."""
    existing = open_run(path_of(run))
    network = run.network if isinstance(run, Run) else None
    return replace(existing, settings=config or existing.settings, network=network, quiet=quiet)


def sole_label_run(run: Run) -> Run:
    """The run of a number that was learned alone; else the run itself."""
    label_runs = run.target_runs()
    return label_runs[0] if len(label_runs) == 1 else run


# --- several processes ---------------------------------------------------------------------------


def is_distributed() -> bool:
    """Whether torchrun, or the same environment, started this process."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    return "RANK" in os.environ and (several or "TORCHELASTIC_RUN_ID" in os.environ)


def is_main_process() -> bool:
    """Whether this process writes files and output: it is the only or the first one."""
    return not is_distributed() or os.environ["RANK"] == "0"


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes where torchrun started several."""
    if not is_distributed():
        yield
        return
    needs_torch()
    from candid.training.distributed import join_group

    with join_group():
        yield


def local_main_first(group: Team, function: Callable[[], Result]) -> Result:
    """Call `function` in one process of each machine first, as it packs, then in the others."""
    result = function() if os.environ.get("LOCAL_RANK", "0") == "0" else None
    group.wait()
    return function() if result is None else result


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

    Of several processes, the main one reads and writes the folder; the others may lack it. Each
    reads and packs the images; those on one machine wait for the first of them.

    `refuse` is called before a new run has a folder, and raises where it cannot be. `data` is a
    place or what was loaded; None: where they lay when the run began. Without `config` there must
    be a run at `path`, which has its own settings. Without `path`, a new run takes the next free
    folder below runs/ with `name` in it. Raises RunError for other settings or data than the run's;
    ConfigError where the processes have different data, more threads are asked for than there are
    cores, or network and batch do not fit into memory; DataError where too few images can be read.
    """
    needs_torch()
    from candid.training.distributed import team

    group = team()
    quiet = quiet or not group.leads
    base_config, provenance, original = group.broadcast(lambda: _find_run(path, config, data))
    place = original if data is None else data
    options: dict[str, Any] = {"cache": cache, "quiet": quiet}
    options["names"] = () if provenance is None else tuple(provenance.sources)
    read_config = base_config
    if config is None and path is not None:
        read_config = config_with_corrections(Run(path, base_config))
    packed = local_main_first(group, lambda: load_packed(place, read_config, **options))
    group.check_agreed("data.stream", "never" if packed.streamed is None else "always")
    group.check_agreed("data", packed.fingerprint)

    def write_run() -> tuple[Path, Config]:
        if provenance is None or path is None:
            if refuse is not None:
                settings = replace(
                    base_config, data=resolve_settings(base_config.data, packed.dataset)
                )
                refuse(Run(path or Path(), settings, network), packed)
            run = _begin_run(path, base_config, packed, name, network)
        else:
            run = _resume(Run(path, base_config), provenance, place, packed)
        return run.path, run.settings

    folder, settings = group.broadcast(write_run)
    return Run(folder, settings, network, quiet), packed


def _find_run(
    path: Path | None, config: Config | None, data: object
) -> tuple[Config, Provenance | None, Where]:
    """Settings, provenance (None for a new run) and the place of its data."""
    if config is not None and (path is None or not Run(path).config.is_file()):
        if path is not None:
            refuse_full(path)
        return config, None, Path()
    run = open_run(path or Path())
    provenance = read_record(run.provenance, Provenance)
    settings = (
        run.settings if config is None else resume_settings(run, config, tuple(provenance.sources))
    )
    if data is None or isinstance(data, Path | tuple):
        return settings, provenance, locate_data(run, provenance, data)
    return settings, provenance, Path()


def new_provenance(data: Data, seed: int) -> Provenance:
    """The provenance of a run, or a study, on these data that begins now."""
    dataset = data.dataset
    return collect_provenance(
        seed=seed,
        data=dataset.origin or dataset.name,
        sources=dataset.origins,
        data_fingerprint=data.fingerprint,
    )


def begin(path: Path, config: Config, data: Data, initial: Beginning | None = None) -> Run:
    """A new run folder at `path`, with its full settings."""
    dataset = data.dataset
    data_config = resolve_settings(config.data, dataset)
    if isinstance(dataset.source, Sharded):
        # The disk may be fuller when the run goes on, and training must not change then.
        data_config = replace(data_config, stream="never" if data.streamed is None else "always")
    provenance = new_provenance(data, config.train.seed)
    run = create(path, replace(config, data=data_config), replace(provenance, initial=initial))
    if data_config.corrections:
        write_corrections(run.applied, read_corrections(Path(data_config.corrections)))
    return run


def _begin_run(
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


def _resume(run: Run, provenance: Provenance, source: object, data: Data) -> Run:
    """The existing run, with settings that are complete and written down."""
    _refuse_other_data(run, provenance, source, data)
    settings = run.settings if run.settings.train.threads else with_threads(run.settings)
    if settings != open_run(run.path).settings:
        write_text(run.config, to_toml(settings))
    return replace(run, settings=settings)
