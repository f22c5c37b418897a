"""The step that brings the images of several data sets to the frame of one, before training.

A network that frames learns from the images of one, the reference, and finds how most images of
each other data set lie against those.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.arrays import BoolArray, IndexArray
from candid.data.dataset import Dataset
from candid.data.splits import SOURCE
from candid.errors import ConfigError
from candid.pipeline.opening import Data, apply_frames, is_distributed, local_main_first, use_frames
from candid.pipeline.training import fit_framing
from candid.progress import progress
from candid.records import write_record
from candid.records.framing import DETAIL, SourceFrame, SourceFrames
from candid.runs import Run
from candid.runs.frames import source_frames
from candid.settings import Config
from candid.storage.files import file_digest
from candid.table import sample_rows

if TYPE_CHECKING:
    from candid.inference.source_frames import ImageSample
    from candid.models.framing import Framing

    _Rows = dict[str, IndexArray]  # the rows of each split


def align_sources(run: Run, data: Data) -> None:
    """Write source_framing.safetensors and, the last, source_frames.json; go on from a checkpoint.

    Raises ConfigError where nothing can be learned from the reference data set.
    """
    start_time = time.monotonic()
    rows = _rows_by_source(data)
    reference = _choose_reference(rows, run.settings)
    frames = _measure_frames(run, data, reference, rows) if reference else SourceFrames("")
    write_record(run.source_frames, frames)
    run.source_checkpoint.unlink(missing_ok=True)
    run.mark_done("align", time.monotonic() - start_time)


def _measure_frames(run: Run, data: Data, reference: str, rows: dict[str, _Rows]) -> SourceFrames:
    """Measure the others against the reference; writes its framing network."""
    from candid.models.forward import Images, channel_statistics
    from candid.models.framing import save_framing

    pixels, train = data.store.pixels, rows[reference]["train"]
    images = Images(pixels, *channel_statistics(pixels, train))
    validation = rows[reference]["validation"]
    framing, card = fit_framing(run, images, train, validation, run.source_checkpoint)
    save_framing(run.source_framing, framing)
    sources = _list_sources(framing, data, rows, reference, run) if card.used else ()
    return SourceFrames(reference, card, file_digest(run.source_framing), sources)


def align_data(run: Run, data: Data) -> Data:
    """Do the step (in the main process) where it is due; the data as the run trains on them."""
    from candid.training.distributed import team

    group = team()
    if group.leads and "align" in run.steps:
        run.step("align", align_sources, data)
    if not is_distributed():
        return use_frames(run, data)
    group.wait()
    frames = group.broadcast(lambda: source_frames(run))
    if frames is None:
        return data
    with group.copied(run.source_framing) as copy:
        framer = copy or run.source_framing
        return local_main_first(group, lambda: apply_frames(frames, framer, data, run))


def reference_rows(run: Run, dataset: Dataset) -> BoolArray:
    """(n,) which images come in the frame that a run's network is trained on."""
    frames, attribute = source_frames(run), dataset.attributes.get(SOURCE)
    if frames is None or attribute is None:
        return np.ones(len(dataset), np.bool_)
    is_reference = np.array([name not in frames.moved for name in attribute.values])
    marks: BoolArray = is_reference[attribute.data]
    return marks


# --- the reference -------------------------------------------------------------------------------


def _rows_by_source(data: Data) -> dict[str, _Rows]:
    """The readable rows of each data set by split, and of all."""
    dataset, usable = data.dataset, data.store.usable
    source = dataset.attributes[SOURCE]
    rows = {}
    for code, name in enumerate(source.values):
        mask = usable & (source.data == code)
        splits = {split: dataset.rows(split, mask) for split in ("train", "validation")}
        rows[name] = splits | {"": np.flatnonzero(mask)}
    return rows


def _choose_reference(rows: dict[str, _Rows], config: Config) -> str:
    """The data set to whose frame the others are brought; "" where none can be."""
    candidates = [n for n, r in rows.items() if len(r["train"]) and len(r["validation"])]
    source = config.data.reference_source
    if source and source not in candidates:
        raise ConfigError(
            f"data.reference_source = {source!r} has no training images, or none for validation.",
            expected="a data set with both, to learn its frame from",
            todo=f"name one of: {', '.join(candidates)}" if candidates else "leave it out",
        )
    return source or max(candidates, key=lambda name: len(rows[name]["train"]), default="")


# --- the others ----------------------------------------------------------------------------------


def _list_sources(
    framing: Framing, data: Data, rows: dict[str, _Rows], reference: str, run: Run
) -> tuple[SourceFrame, ...]:
    from candid.inference.common_frame import MIN_IMAGES
    from candid.inference.source_frames import source_frame
    from candid.models.device import threads
    from candid.models.framing import TorchFramer

    framer, frames, config = TorchFramer(framing), [], run.settings
    with (
        threads(config.train.threads),
        progress("frames", len(rows) - 1, unit="sources", quiet=run.quiet) as bar,
    ):
        home = _sample_pictures(data, rows[reference], "validation", config)
        for name in rows:
            if name == reference:
                continue
            pictures = _sample_pictures(data, rows[name], "train", config)
            too_few = len(pictures.pixels) < MIN_IMAGES
            unknown = SourceFrame(name, len(pictures.pixels))
            frames.append(unknown if too_few else source_frame(name, framer, pictures, home))
            bar.update()
    return tuple(frames)


def _sample_pictures(data: Data, rows: _Rows, split: str, config: Config) -> ImageSample:
    """A sample of a split's images, or where these are few, of all, for a framing network."""
    from candid.data.decode import decode
    from candid.inference.common_frame import MAX_IMAGES, MIN_IMAGES
    from candid.inference.source_frames import ImageSample

    dataset, c = data.dataset, config.data
    sample = rows[split] if len(rows[split]) >= MIN_IMAGES else rows[""]
    sample = sample_rows(sample, MAX_IMAGES, np.random.default_rng([config.train.seed, 4]))
    options: dict[str, Any] = {"side": c.side, "fit": c.fit, "max_pixels": c.max_pixels}
    options["detail"] = DETAIL
    pixels = [decode(dataset.source.read(r), **options).pixels for r in sample.tolist()]
    side = DETAIL * c.side
    return ImageSample(
        np.array(pixels, np.uint8).reshape(-1, side, side, 3), dataset.persons(sample)
    )
