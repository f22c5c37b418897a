"""Data sets whose pack would not fit on the disk: what is packed of them, and what is streamed.

Training reads every training picture from its shard, in every epoch anew (`data.streaming`). What
else a run looks at lies in an ordinary pack: validation, test, and a sample of the training
pictures, by which colours are normalised and in which what is explored is found.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candid.data import store
from candid.data.dataset import Dataset, Sharded, sharded
from candid.progress import say
from candid.records import Finding
from candid.settings import DataConfig

_RUN = 64  # neighbours of the sample, so that a store is read in ranges
_ROOM = 0.9  # of the free space that a pack may take
_SEED = 0  # of the sample: the same for every run, as its pack is kept


@dataclass(frozen=True, eq=False)
class Streamed:
    """A data set that training streams.

    Attributes
    ----------
    dataset
        All of it.
    kept
        Its rows that are packed, ascending.
    config
        How pictures become pixels, and how they are buffered.
    """

    dataset: Dataset
    kept: NDArray[np.intp]
    config: DataConfig

    def part(self) -> Dataset:
        """The data set that is packed, which says of itself that it is a sample."""
        part = self.dataset.take(self.kept)
        some, of = (int(np.count_nonzero(d.split == "train")) for d in (part, self.dataset))
        if some == of:
            return part
        told = Finding(
            code="TRAINING-SAMPLED",
            title="Training pictures are a sample here",
            state="found",
            severity="note",
            detail=f"Training reads all {of:,} training pictures from their shards, and all are "
            f"counted. What else is told of training pictures here is of {some:,} of them, in runs "
            f"of {_RUN} neighbours drawn at random, and so is what is looked for between splits.",
            count=some,
            of=of,
        )
        return replace(part, findings=(*part.findings, told))


def streamed(
    dataset: Dataset, config: DataConfig, *, cache: Path | None = None, quiet: bool = False
) -> Streamed | None:
    """The data set as training is to stream it; None where it is to be packed.

    `data.stream` decides; "auto" streams shards whose pack would take more than nine tenths of what
    is free where the cache lies, and says so on standard error.

    Raises
    ------
    ConfigError
        Where pictures are always to be streamed and do not lie in shards.
    """
    if config.stream == "never":
        return None
    if config.stream == "always":
        sharded(dataset.source)
    elif not isinstance(dataset.source, Sharded) or not len(dataset):
        return None
    else:
        size, free = store.size_of(len(dataset), config.side), _free(cache)
        if size <= _ROOM * free or store.is_begun(dataset, config, cache=cache):
            return None
        say(
            f"A pack of {len(dataset):,} pictures would take {_bytes(size)} of the "
            f"{_bytes(free)} that are free, so training reads them from their shards.",
            quiet=quiet,
        )
    return Streamed(dataset, _kept(dataset, config.stream_sample), config)


def _kept(dataset: Dataset, most: int) -> NDArray[np.intp]:
    """The rows to pack: all but of training, and a sample of training in runs of neighbours."""
    train = np.flatnonzero(dataset.split == "train")
    runs = np.arange(0, len(train), _RUN)
    drawn = np.random.default_rng(_SEED).permutation(runs)[: max(1, most // _RUN)]
    places = (drawn[:, None] + np.arange(_RUN)).ravel()
    sample = train if most >= len(train) else train[np.sort(places[places < len(train)])]
    return np.sort(np.concatenate([np.flatnonzero(dataset.split != "train"), sample]))


def _free(cache: Path | None) -> int:
    """Bytes that are free where the cache lies or would lie."""
    folder = (store.default_cache() if cache is None else cache).absolute()
    there = next(f for f in (folder, *folder.parents) if f.is_dir())
    return shutil.disk_usage(there).free


def _bytes(size: float) -> str:
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, int(np.log10(max(size, 1)) // 3))
    return f"{size / 1000**power:.3g} {units[power]}"
