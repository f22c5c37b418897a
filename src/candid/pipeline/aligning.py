"""The step that brings the pictures of several data sets to the frame of one, before training.

Each data set was cropped by a program of its own. A network that frames learns from the pictures of
one, the reference, and says how most pictures of each other lie against those.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.data.splits import SOURCE
from candid.errors import ConfigError
from candid.pipeline.opening import Data, aligned_data, by_turns, framed_data, launched
from candid.pipeline.training import learned_framing
from candid.progress import progress
from candid.records import write_record
from candid.records.framing import DETAIL, FramingCard, SourceFrame, SourceFrames
from candid.runs import Run
from candid.runs.frames import source_frames
from candid.settings import Config
from candid.storage.files import file_digest
from candid.table import drawn_rows

if TYPE_CHECKING:
    from candid.inference.source_frames import SomePictures
    from candid.models.framing import Framing

    _Rows = dict[str, NDArray[np.intp]]  # the rows of each split


def align_sources(run: Run, data: Data) -> None:
    """Write source_framing.safetensors and, the last, source_frames.json.

    Goes on from its checkpoint. What follows is done with `aligned_data`. Raises ConfigError where
    nothing can be learned from the data set that is to be the reference.
    """
    began = time.monotonic()
    rows = _rows_by_source(data)
    reference = _reference(rows, run.settings)
    found = _found(run, data, reference, rows) if reference else SourceFrames("")
    write_record(run.source_frames, found)
    run.source_checkpoint.unlink(missing_ok=True)
    run.note("align", time.monotonic() - began)


def _found(run: Run, data: Data, reference: str, rows: dict[str, _Rows]) -> SourceFrames:
    """How the others lie against the reference, of which the network that frames is written."""
    from candid.models.framing import save_framing

    framing, card = _framing(run, data, rows[reference])
    save_framing(run.source_framing, framing)
    found = _sources(framing, data, rows, reference, run) if card.used else ()
    return SourceFrames(reference, card, file_digest(run.source_framing), found)


def align_data(run: Run, data: Data) -> Data:
    """Do the step where it is to be done, and give the data as the run trains on them.

    Of several processes, the one that leads does it, and each has the data.
    """
    from candid.training.distributed import team

    group = team()
    if group.leads and "align" in run.steps:
        run.step("align", align_sources, data)
    if not launched():
        return aligned_data(run, data)
    group.wait()
    frames = group.broadcast(lambda: source_frames(run))
    if frames is None:
        return data
    with group.copied(run.source_framing) as copy:
        framer = copy or run.source_framing
        return by_turns(group, lambda: framed_data(frames, framer, data, run))


def rows_at_home(run: Run, dataset: Dataset) -> NDArray[np.bool_]:
    """(n,) which pictures lie, as they came, as those that a run's network is trained on."""
    known, attribute = source_frames(run), dataset.attributes.get(SOURCE)
    if known is None or attribute is None:
        return np.ones(len(dataset), np.bool_)
    home = np.array([name not in known.moved for name in attribute.values])
    marks: NDArray[np.bool_] = home[attribute.data]
    return marks


# --- the reference -------------------------------------------------------------------------------


def _rows_by_source(data: Data) -> dict[str, _Rows]:
    """The readable rows of each data set by split, and of all."""
    dataset, usable = data.dataset, data.store.usable
    source = dataset.attributes[SOURCE]
    found = {}
    for code, name in enumerate(source.values):
        mine = usable & (source.data == code)
        splits = {split: dataset.rows(split, mine) for split in ("train", "validation")}
        found[name] = splits | {"": np.flatnonzero(mine)}
    return found


def _reference(rows: dict[str, _Rows], config: Config) -> str:
    """The data set to whose frame the others are brought; "" where none can be."""
    possible = [n for n, r in rows.items() if len(r["train"]) and len(r["validation"])]
    named = config.data.reference_source
    if named and named not in possible:
        raise ConfigError(
            f"data.reference_source = {named!r} has no training images, or none for validation.",
            expected="a data set with both, to learn its frame from",
            todo=f"name one of: {', '.join(possible)}" if possible else "leave it out",
        )
    return named or max(possible, key=lambda name: len(rows[name]["train"]), default="")


def _framing(run: Run, data: Data, rows: _Rows) -> tuple[Framing, FramingCard]:
    """The network that frames, of the pictures of the reference alone."""
    from candid.models.forward import Images, channel_statistics

    pixels, train = data.store.pixels, rows["train"]
    images = Images(pixels, *channel_statistics(pixels, train))
    return learned_framing(run, images, train, rows["validation"], run.source_checkpoint)


# --- the others ----------------------------------------------------------------------------------


def _sources(
    framing: Framing, data: Data, rows: dict[str, _Rows], reference: str, run: Run
) -> tuple[SourceFrame, ...]:
    from candid.inference.common_frame import FEWEST
    from candid.inference.source_frames import source_frame
    from candid.models.device import threads
    from candid.models.framing import TorchFramer

    framer, found, config = TorchFramer(framing), [], run.settings
    with (
        threads(config.train.threads),
        progress("frames", len(rows) - 1, unit="sources", quiet=run.quiet) as bar,
    ):
        home = _pictures(data, rows[reference], "validation", config)
        for name in rows:
            if name == reference:
                continue
            some = _pictures(data, rows[name], "train", config)
            few = len(some.pixels) < FEWEST
            unknown = SourceFrame(name, len(some.pixels))
            found.append(unknown if few else source_frame(name, framer, some, home))
            bar.update()
    return tuple(found)


def _pictures(data: Data, rows: _Rows, split: str, config: Config) -> SomePictures:
    """Some of a data set's pictures as a network that frames takes them.

    Those of a split, or where these are few, of all.
    """
    from candid.data.decode import decode
    from candid.inference.common_frame import FEWEST, SEEN
    from candid.inference.source_frames import SomePictures

    dataset, about = data.dataset, config.data
    some = rows[split] if len(rows[split]) >= FEWEST else rows[""]
    some = drawn_rows(some, SEEN, np.random.default_rng([config.train.seed, 4]))
    how: dict[str, Any] = {"side": about.side, "fit": about.fit, "max_pixels": about.max_pixels}
    pixels = [decode(dataset.source.read(r), detail=DETAIL, **how).pixels for r in some.tolist()]
    side = DETAIL * about.side
    return SomePictures(
        np.array(pixels, np.uint8).reshape(-1, side, side, 3), dataset.persons(some)
    )
