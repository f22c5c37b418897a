"""Pictures of shards as a stream in random order, where a pack of them would not fit on the disk.

Shards are read from front to back, because an object store is quick at nothing else. So an epoch's
order is random in three steps, as in WebDataset: the shards come in random order; a few of them are
read by turns, so that shards sorted by class do not come class by class; and a buffer of pictures
stands between reading and giving, of which each next one is drawn at random. A picture can come
late by any number, but early by no more than the buffer holds: two pictures of one shard stay
closer together than in a full shuffle, unless buffer and turns span many shards.

All of it follows from the seed and the epoch alone, and nothing has to be read to know it. So a
stream goes on exactly where it stopped, in the middle of an epoch: it draws the order again, and
reads only the pictures that stood in the buffer and those after them.

What else a run looks at lies in an ordinary pack: validation, test, and a sample of the training
pictures, by which colours are normalised and in which what is explored is found.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candid.data import store
from candid.data.dataset import Dataset, Sharded, Source, sharded
from candid.data.findings import make_finding
from candid.errors import ConfigError, ImageError
from candid.progress import say
from candid.settings import DataConfig
from candid.text import words

BUFFER = 8192  # encoded pictures: about 250 MB of JPEGs of 30 kB
TURNS = 8  # shards that are read by turns
_DRAWN = 65_536  # random numbers at a time
_RUN = 64  # neighbours of the sample, so that a store is read in ranges
_ROOM = 0.9  # of the free space that a pack may take
_SEED = 0  # of the sample: the same for every run, as its pack is kept


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Where a stream stands, for a checkpoint: the epoch, from 0, and its pictures given so far."""

    epoch: int = 0
    given: int = 0


class Stream:
    """The pictures of a source, each once per epoch, in an order that the seed decides.

    `shard` (n,) says which shard holds each picture; pictures of one shard ascend in it with their
    rows. So many pictures as `buffer` are held in memory, encoded, and so many shards as `turns`
    read at the same time. `rows` are those of the source that count; None: all. Raises ConfigError
    for a buffer or turns below 1.
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
        """(n,) the rows of an epoch as they are given; nothing is read for it."""
        return self._reading(epoch)[self._drawn(epoch)]

    def pictures(
        self, place: StreamPosition = StreamPosition(), mine: NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[StreamPosition, int, bytes | ImageError]]:
        """An epoch's pictures from a place on: where the stream then stands, the row, its bytes.

        A picture that cannot be read comes as the error that says why. `mine` (n,) marks which of
        the epoch's places are given and read at all; None: each. Raises DataError where a store
        cannot be reached.
        """
        reading, drawn = self._reading(place.epoch), self._drawn(place.epoch)
        wanted = np.arange(len(self)) >= place.given
        if mine is not None:
            wanted &= mine
        read_at_all = np.zeros(len(self), np.bool_)
        read_at_all[drawn[wanted]] = True
        held: dict[int, bytes | ImageError] = {}
        entering = 0
        for given in np.flatnonzero(wanted).tolist():
            until = min(len(self), given + self.buffer)
            for index in (entering + np.flatnonzero(read_at_all[entering:until])).tolist():
                held[index] = self._read(int(reading[index]))
            entering = max(entering, until)
            index = int(drawn[given])
            yield StreamPosition(place.epoch, given + 1), int(reading[index]), held.pop(index)

    def _read(self, row: int) -> bytes | ImageError:
        try:
            return self.source.read(row)
        except ImageError as error:
            return error

    def _reading(self, epoch: int) -> NDArray[np.intp]:
        """(n,) the rows of an epoch as they are read."""
        shards, index, sizes = np.unique(self._shard, return_inverse=True, return_counts=True)
        place = np.empty(len(shards), np.int64)  # of each shard in the epoch's order
        place[np.random.default_rng((self.seed, epoch, 0)).permutation(len(shards))] = np.arange(
            len(shards)
        )
        # The how manieth of its shard each picture is.
        by_shard = np.argsort(index, kind="stable")
        number = np.empty(len(index), np.int64)
        number[by_shard] = np.arange(len(index)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        mine = place[index]
        return self.rows[np.lexsort((mine, number, mine // self.turns))]

    def _drawn(self, epoch: int) -> NDArray[np.int64]:
        """(n,) the order of reading, drawn through the buffer."""
        return np.fromiter(self._draws(epoch), np.int64, len(self))

    def _draws(self, epoch: int) -> Iterator[int]:
        n = len(self)
        rng = np.random.default_rng((self.seed, epoch, 1))
        buffer = list(range(min(n, self.buffer)))
        entering = len(buffer)
        for start in range(0, n, _DRAWN):
            for u in rng.random(min(_DRAWN, n - start)).tolist():
                at = int(u * len(buffer))
                yield buffer[at]
                if entering < n:
                    buffer[at] = entering
                    entering += 1
                else:
                    buffer[at] = buffer[-1]
                    buffer.pop()


# --- what is streamed, and what is packed --------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Streamed:
    """A data set that training streams; `kept` are its rows that are packed, ascending."""

    dataset: Dataset
    kept: NDArray[np.intp]
    config: DataConfig

    def part(self) -> Dataset:
        """The data set that is packed, which says of itself that it is a sample."""
        part = self.dataset.take(self.kept)
        some, of = (int(np.count_nonzero(d.split == "train")) for d in (part, self.dataset))
        if some == of:
            return part
        told = make_finding("TRAINING-SAMPLED", count=some, of=of, state="found", run=_RUN)
        return replace(part, findings=(*part.findings, told))


def streamed(
    dataset: Dataset, config: DataConfig, *, cache: Path | None = None, quiet: bool = False
) -> Streamed | None:
    """The data set as training is to stream it; None where it is to be packed.

    `data.stream` decides; "auto" streams shards whose pack would take more than nine tenths of what
    is free where the cache lies, and says so on standard error. Raises ConfigError where pictures
    are always to be streamed and do not lie in shards.
    """
    if config.stream == "never":
        return None
    if config.stream == "always":
        sharded(dataset.source)
    elif not isinstance(dataset.source, Sharded) or not len(dataset):
        return None
    else:
        size, free = store.pack_size(len(dataset), config.side), _free(cache)
        if size <= _ROOM * free or store.is_begun(dataset, config, cache=cache):
            return None
        say(
            f"A pack of {len(dataset):,} pictures would take {words.size(size)} of the "
            f"{words.size(free)} that are free, so training reads them from their shards.",
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
