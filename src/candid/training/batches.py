"""Where training takes its batches from: packed pixels, or a stream of shards.

Both give the same thing, so that there is one loop: the rows of a whole batch, and of its pictures
those that fall to this process. Both follow from the seed and the step's number alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candid.cores import own_cores
from candid.data import decode
from candid.data.dataset import sharded
from candid.data.streaming import Stream, Streamed, StreamPosition
from candid.errors import DataError, ImageError
from candid.models.forward import Images
from candid.progress import say
from candid.settings import TrainConfig
from candid.training.distributed import Team
from candid.training.state import Task

_AHEAD = 4  # batches that are read and decoded while another trains
_TOLD = 5  # pictures that could not be read and are told of by name

_Batch = tuple[NDArray[np.intp], Tensor]


class Feed(Protocol):
    """Gives batches."""

    def batches(self, step: int) -> Generator[_Batch]:
        """Batch `step` (from 0) and all that follow it, without end.

        Yields the rows of the whole batch, and (this process's share of them, 3, side, side)
        float32 pictures, normalised, on the device.
        """
        ...


@dataclass(frozen=True, eq=False)
class Packed:
    """Batches of packed pixels, in an order that is a full shuffle of the rows to train on."""

    images: Images
    rows: NDArray[np.intp]
    config: TrainConfig
    device: torch.device
    group: Team

    def batches(self, step: int) -> Generator[_Batch]:
        """As `Feed.batches`."""
        for rows in orders(self.rows, step, self.config):
            yield rows, self.images.batch(rows[self.group.share(len(rows))], self.device)


def orders(rows: NDArray[np.intp], step: int, config: TrainConfig) -> Iterator[NDArray[np.intp]]:
    """The rows of batch `step` (from 0) and of all that follow it, without end.

    Every epoch has each row once, in a new order, which the seed and its number decide. Batches are
    cut from one epoch after the other, so all have the same size and none is padded or dropped: one
    that begins with the end of an epoch goes on with the beginning of the next. Fewer rows than a
    batch make one smaller batch per epoch.
    """
    size = min(config.batch_size, len(rows))
    epoch, place = divmod(step * size, len(rows))

    def shuffled() -> NDArray[np.intp]:
        return np.random.default_rng([config.seed, 0, epoch]).permutation(rows)

    order = shuffled()
    while True:
        batch = order[place : place + size]
        place += size
        if place >= len(rows):
            epoch, place = epoch + 1, place - len(rows)
            order = shuffled()
            batch = np.concatenate([batch, order[:place]])
        yield batch


@dataclass(eq=False)
class FromShards:
    """Batches of a stream: read by one thread and decoded by others while the network trains.

    The stream's order is the same for any number of processes; each reads and decodes its own share
    of every batch, and no other picture. Batches are cut as `orders` cuts them.

    A picture that cannot be read or decoded is replaced by another of the same share, its label
    with it, and told of; too many are an error (`data.max_bad_share`).
    """

    images: Images
    streamed: Streamed
    rows: NDArray[np.intp]
    config: TrainConfig
    device: torch.device
    group: Team
    quiet: bool = False
    _bad: set[int] = field(default_factory=set)

    def batches(self, step: int) -> Generator[_Batch]:
        """As `Feed.batches`."""
        size = min(self.config.batch_size, len(self.rows))
        share = self.group.share(size)
        own = share.stop - share.start
        encoded = self._encoded(step, size, share)
        with (
            ThreadPoolExecutor(1, "candid-read") as reader,
            ThreadPoolExecutor(
                self.streamed.config.workers or own_cores(), "candid-decode"
            ) as decoders,
        ):

            def read() -> list[tuple[int, Future[NDArray[np.uint8]]]]:
                some = islice(encoded, own)
                return [(row, decoders.submit(self._decoded, data)) for row, data in some]

            try:
                ahead = deque(reader.submit(read) for _ in range(_AHEAD))
                while True:
                    coming = ahead.popleft().result()
                    ahead.append(reader.submit(read))
                    rows, pixels = self._whole(coming)
                    if self.group.size > 1:  # others may have replaced pictures, too
                        rows = self.group.gather(torch.from_numpy(rows), size).numpy()
                    yield rows, self.images.normalised(torch.from_numpy(pixels).to(self.device))
            finally:
                reader.shutdown(cancel_futures=True)
                decoders.shutdown(cancel_futures=True)

    def _encoded(
        self, step: int, size: int, share: slice
    ) -> Iterator[tuple[int, bytes | ImageError]]:
        """What this process has of the stream, from a batch on, through all epochs."""
        source = sharded(self.streamed.dataset.source)
        stream = Stream(
            source,
            source.file,
            seed=self.config.seed,
            buffer=self.streamed.config.stream_buffer,
            rows=self.rows,
        )
        n = len(stream)
        epoch, given = divmod(step * size, n)
        while True:
            in_batch = (epoch * n + np.arange(n)) % size
            mine = (share.start <= in_batch) & (in_batch < share.stop)
            for _, row, data in stream.pictures(StreamPosition(epoch, given), mine):
                yield row, data
            epoch, given = epoch + 1, 0

    def _decoded(self, data: bytes | ImageError) -> NDArray[np.uint8]:
        if isinstance(data, ImageError):
            raise data
        how = self.streamed.config
        return decode.decode(data, side=how.side, fit=how.fit, max_pixels=how.max_pixels).pixels

    def _whole(
        self, coming: list[tuple[int, Future[NDArray[np.uint8]]]]
    ) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Rows and (share, side, side, 3) pixels, with others in the places of bad ones."""
        rows = np.array([row for row, _ in coming], np.intp)
        pixels: dict[int, NDArray[np.uint8]] = {}
        for place, (row, found) in enumerate(coming):
            try:
                pixels[place] = found.result()
            except ImageError as error:
                self._note(row, error)
        good, taken = list(pixels), np.arange(len(rows))
        if not good:
            raise self._too_many(f"none of {len(rows):,} in a row")
        bad = np.setdiff1d(taken, good)
        taken[bad] = np.resize(good, len(bad))
        return rows[taken], np.stack([pixels[place] for place in taken.tolist()])

    def _note(self, row: int, error: ImageError) -> None:
        """Tell of a bad picture; raise a DataError where there are too many."""
        if row in self._bad:
            return
        self._bad.add(row)
        dataset, most = self.streamed.dataset, self.streamed.config.max_bad_share
        if not self.quiet and len(self._bad) <= _TOLD:
            more = " (more are not told of)" if len(self._bad) == _TOLD else ""
            say(f"{dataset.ids[row]}: {error.what}; another picture takes its place{more}")
        if len(self._bad) > most * len(self.rows) / self.group.size:
            raise self._too_many(
                f"{dataset.ids[row]}: {error.what}, and {len(self._bad) - 1:,} more"
            )

    def _too_many(self, which: str) -> DataError:
        most = self.streamed.config.max_bad_share
        return DataError(
            f"Too many training pictures cannot be read: {which}.",
            expected=f"at most data.max_bad_share = {most:.1%} of all",
            todo="mend or remove them, or raise data.max_bad_share",
        )


def feed_of(
    task: Task, config: TrainConfig, device: torch.device, group: Team, quiet: bool
) -> Feed:
    """Where a task's batches come from: the pack, or the stream where it has one."""
    if task.streamed is None:
        return Packed(task.images, task.train, config, device, group)
    return FromShards(task.images, task.streamed, task.train, config, device, group, quiet)
