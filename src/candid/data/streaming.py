"""Images streamed from shards in random order, where a pack of them would not fit on the disk.

Shards are read from front to back, as object stores require. An epoch's order is random in three
steps, as in WebDataset: the order of the shards; a few of them are read by turns, so that shards
sorted by class are mixed; and a shuffle buffer, from which each next image is drawn. An image can
come late by any number, but early by no more than the buffer holds: two images of one shard stay
closer together than in a full shuffle, unless buffer and turns span many shards.

The order is a function of the seed and the epoch. So a stream resumes exactly where it stopped, in
the middle of an epoch: it draws the order again, and reads only the images in the buffer and those
after them.

Validation, test, and a sample of the training images, for normalisation and exploration, lie in an
ordinary pack.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candid.data import store
from candid.data.dataset import Dataset, Sharded, Source, require_sharded
from candid.data.findings import make_finding
from candid.errors import ConfigError, ImageError
from candid.progress import write_line
from candid.settings import DataConfig
from candid.text import words

BUFFER = 8192  # encoded images: about 250 MB of JPEGs of 30 kB
TURNS = 8  # shards that are read by turns
_DRAWS = 65_536  # random numbers at a time
_RUN = 64  # consecutive images of the sample, so that a store is read in ranges
_ROOM = 0.9  # the share of free space that a pack may take
_SEED = 0  # of the sample: the same for every run, as its pack is cached


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """A stream's position, for a checkpoint: the epoch, from 0, and its images yielded so far."""

    epoch: int = 0
    given: int = 0


class Stream:
    """The images of a source, each once per epoch, in a random order.

    `shard` (n,) is the shard of each image, in which rows ascend. `buffer` encoded images are held
    in memory, and `turns` shards are read at the same time. `rows` are those of the source to use;
    None: all. Raises ConfigError for a buffer or turns below 1.
    """

    def __init__(
        self,
        source: Source,
        shard: NDArray[np.int64],
        *,
        seed: int,
        buffer: int = BUFFER,
        turns: int = TURNS,
        rows: NDArray[np.intp] | None = None,
    ) -> None:
        if buffer < 1 or turns < 1:
            raise ConfigError(
                f"A stream with a buffer of {buffer} and {turns} turns is not possible.",
                expected="at least 1 of each",
                todo="name more",
            )
        self.source = source
        self.rows = np.arange(len(source)) if rows is None else np.asarray(rows)
        self._shard = np.asarray(shard)[self.rows]
        self.seed, self.buffer, self.turns = seed, buffer, turns

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, epoch: int) -> NDArray[np.intp]:
        """(n,) the rows of an epoch in order, without reading."""
        return self._read_order(epoch)[self._shuffle(epoch)]

    def pictures(
        self, place: StreamPosition = StreamPosition(), mine: NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[StreamPosition, int, bytes | ImageError]]:
        """An epoch's images from a position on: the next position, the row, its bytes.

        An image that cannot be read comes as its error. `mine` (n,) marks the positions of the
        epoch that are yielded; None: all. Raises DataError where a store cannot be reached.
        """
        rows, order = self._read_order(place.epoch), self._shuffle(place.epoch)
        mask = np.arange(len(self)) >= place.given
        if mine is not None:
            mask &= mine
        needed = np.zeros(len(self), np.bool_)
        needed[order[mask]] = True
        buffer: dict[int, bytes | ImageError] = {}
        n_read = 0
        for position in np.flatnonzero(mask).tolist():
            stop = min(len(self), position + self.buffer)
            for index in (n_read + np.flatnonzero(needed[n_read:stop])).tolist():
                buffer[index] = self._read(int(rows[index]))
            n_read = max(n_read, stop)
            index = int(order[position])
            yield StreamPosition(place.epoch, position + 1), int(rows[index]), buffer.pop(index)

    def _read(self, row: int) -> bytes | ImageError:
        try:
            return self.source.read(row)
        except ImageError as error:
            return error

    def _read_order(self, epoch: int) -> NDArray[np.intp]:
        """(n,) the rows of an epoch in the order of reading."""
        shards, index, sizes = np.unique(self._shard, return_inverse=True, return_counts=True)
        rank = np.empty(len(shards), np.int64)  # of each shard in the epoch's order
        rank[np.random.default_rng((self.seed, epoch, 0)).permutation(len(shards))] = np.arange(
            len(shards)
        )
        # The position of each image in its shard.
        by_shard = np.argsort(index, kind="stable")
        position = np.empty(len(index), np.int64)
        position[by_shard] = np.arange(len(index)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rank_of_image = rank[index]
        return self.rows[np.lexsort((rank_of_image, position, rank_of_image // self.turns))]

    def _shuffle(self, epoch: int) -> NDArray[np.int64]:
        """(n,) the indices into `_read_order` as they leave the shuffle buffer."""
        return np.fromiter(self._draw(epoch), np.int64, len(self))

    def _draw(self, epoch: int) -> Iterator[int]:
        n = len(self)
        rng = np.random.default_rng((self.seed, epoch, 1))
        buffer = list(range(min(n, self.buffer)))
        n_entered = len(buffer)
        for start in range(0, n, _DRAWS):
            for u in rng.random(min(_DRAWS, n - start)).tolist():
                i = int(u * len(buffer))
                yield buffer[i]
                if n_entered < n:
                    buffer[i] = n_entered
                    n_entered += 1
                else:
                    buffer[i] = buffer[-1]
                    buffer.pop()


# --- the rows to stream and to pack --------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Streamed:
    """A data set that training streams; `kept` are the rows to pack, ascending."""

    dataset: Dataset
    kept: NDArray[np.intp]
    config: DataConfig

    def part(self) -> Dataset:
        """The data set to pack, with a finding that it is a sample."""
        part = self.dataset.take(self.kept)
        n, total = (int(np.count_nonzero(d.split == "train")) for d in (part, self.dataset))
        if n == total:
            return part
        finding = make_finding("TRAINING-SAMPLED", count=n, of=total, state="found", run=_RUN)
        return replace(part, findings=(*part.findings, finding))


def choose_streaming(
    dataset: Dataset, config: DataConfig, *, cache: Path | None = None, quiet: bool = False
) -> Streamed | None:
    """The data set for streaming; None where it is to be packed.

    `data.stream` decides; "auto" streams shards whose pack would take more than nine tenths of the
    cache's free space, and prints so to standard error. Raises ConfigError where images are always
    to be streamed and do not lie in shards.
    """
    if config.stream == "never":
        return None
    if config.stream == "always":
        require_sharded(dataset.source)
    elif not isinstance(dataset.source, Sharded) or not len(dataset):
        return None
    else:
        size, free = store.pack_size(len(dataset), config.side), _free_bytes(cache)
        if size <= _ROOM * free or store.is_begun(dataset, config, cache=cache):
            return None
        write_line(
            f"A pack of {len(dataset):,} pictures would take {words.size(size)} of the "
            f"{words.size(free)} that are free, so training reads them from their shards.",
            quiet=quiet,
        )
    return Streamed(dataset, _rows_to_pack(dataset, config.stream_sample), config)


def _rows_to_pack(dataset: Dataset, most: int) -> NDArray[np.intp]:
    """The rows to pack: validation, test, and a sample of training in consecutive runs."""
    train = np.flatnonzero(dataset.split == "train")
    runs = np.arange(0, len(train), _RUN)
    starts = np.random.default_rng(_SEED).permutation(runs)[: max(1, most // _RUN)]
    rows = (starts[:, None] + np.arange(_RUN)).ravel()
    sample = train if most >= len(train) else train[np.sort(rows[rows < len(train)])]
    return np.sort(np.concatenate([np.flatnonzero(dataset.split != "train"), sample]))


def _free_bytes(cache: Path | None) -> int:
    """The free bytes at the cache's folder, which need not exist."""
    folder = (store.default_cache() if cache is None else cache).absolute()
    existing = next(f for f in (folder, *folder.parents) if f.is_dir())
    return shutil.disk_usage(existing).free
