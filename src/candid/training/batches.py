"""Batches of training images, from packed pixels or from a stream of shards.

Both yield the rows of a whole batch and this process's share of its images. Both follow from the
seed and the step's number alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candid.cores import process_cores
from candid.data import decode
from candid.data.dataset import require_sharded
from candid.data.streaming import Stream, Streamed, StreamPosition
from candid.errors import DataError, ImageError
from candid.models.forward import Images
from candid.progress import write_line
from candid.settings import TrainConfig
from candid.training.distributed import Team
from candid.training.state import Task

_AHEAD = 4  # batches that are read and decoded while another trains
_MAX_REPORTED = 5  # unreadable images that are reported by name

_Batch = tuple[NDArray[np.intp], Tensor]


@dataclass(frozen=True, eq=False)
class Packed:
    """Batches of packed pixels, in an order that is a full shuffle of the rows to train on."""

    images: Images
    rows: NDArray[np.intp]
    config: TrainConfig
    device: torch.device
    group: Team

    def batches(self, step: int) -> Generator[_Batch]:
        """Batch `step` (from 0) and all that follow it, without end.

        Yields the rows of the whole batch, and (this process's share of them, 3, side, side)
        float32 images, normalised, on the device.
        """
        for rows in row_batches(self.rows, step, self.config):
            yield rows, self.images.batch(rows[self.group.share(len(rows))], self.device)


def row_batches(
    rows: NDArray[np.intp], step: int, config: TrainConfig
) -> Iterator[NDArray[np.intp]]:
    """The rows of batch `step` (from 0) and of all that follow it, without end.

    Every epoch has each row once, in a new order, which the seed and its number decide. Batches are
    cut from one epoch after the other, so all have the same size and none is padded or dropped: one
    that begins with the end of an epoch goes on with the beginning of the next. Fewer rows than a
    batch make one smaller batch per epoch.
    """
    size = min(config.batch_size, len(rows))
    epoch, start = divmod(step * size, len(rows))

    def shuffle() -> NDArray[np.intp]:
        return np.random.default_rng([config.seed, 0, epoch]).permutation(rows)

    order = shuffle()
    while True:
        batch = order[start : start + size]
        start += size
        if start >= len(rows):
            epoch, start = epoch + 1, start - len(rows)
            order = shuffle()
            batch = np.concatenate([batch, order[:start]])
        yield batch


@dataclass(eq=False)
class FromShards:
    """Batches of a stream: read by one thread and decoded by others while the network trains.

    The stream's order is the same for any number of processes; each reads and decodes only its own
    share of every batch. Batches are cut as `iterate_rows` cuts them.

    An image that cannot be read or decoded is reported and replaced by another of the same share,
    its label with it; too many are an error (`data.max_bad_share`).
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
        """As `Packed.batches`."""
        size = min(self.config.batch_size, len(self.rows))
        share = self.group.share(size)
        count = share.stop - share.start
        encoded = self._read_share(step, size, share)
        with (
            ThreadPoolExecutor(1, "candid-read") as reader,
            ThreadPoolExecutor(
                self.streamed.config.workers or process_cores(), "candid-decode"
            ) as decoders,
        ):

            def read() -> list[tuple[int, Future[NDArray[np.uint8]]]]:
                batch = islice(encoded, count)
                return [(row, decoders.submit(self._decode, data)) for row, data in batch]

            try:
                queue = deque(reader.submit(read) for _ in range(_AHEAD))
                while True:
                    pending = queue.popleft().result()
                    queue.append(reader.submit(read))
                    rows, pixels = self._collect(pending)
                    if self.group.size > 1:  # others may have replaced images, too
                        rows = self.group.gather(torch.from_numpy(rows), size).numpy()
                    yield rows, self.images.normalised(torch.from_numpy(pixels).to(self.device))
            finally:
                reader.shutdown(cancel_futures=True)
                decoders.shutdown(cancel_futures=True)

    def _read_share(
        self, step: int, size: int, share: slice
    ) -> Iterator[tuple[int, bytes | ImageError]]:
        """The stream's images for this process, from a batch on, through all epochs."""
        source = require_sharded(self.streamed.dataset.source)
        stream = Stream(
            source,
            source.file,
            seed=self.config.seed,
            buffer=self.streamed.config.stream_buffer,
            rows=self.rows,
        )
        n = len(stream)
        epoch, position = divmod(step * size, n)
        while True:
            in_batch = (epoch * n + np.arange(n)) % size
            mask = (share.start <= in_batch) & (in_batch < share.stop)
            for _, row, data in stream.pictures(StreamPosition(epoch, position), mask):
                yield row, data
            epoch, position = epoch + 1, 0

    def _decode(self, data: bytes | ImageError) -> NDArray[np.uint8]:
        if isinstance(data, ImageError):
            raise data
        c = self.streamed.config
        return decode.decode(data, side=c.side, fit=c.fit, max_pixels=c.max_pixels).pixels

    def _collect(
        self, pending: list[tuple[int, Future[NDArray[np.uint8]]]]
    ) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Rows and (share, side, side, 3) pixels, with good images in the places of bad ones."""
        rows = np.array([row for row, _ in pending], np.intp)
        pixels: dict[int, NDArray[np.uint8]] = {}
        for i, (row, future) in enumerate(pending):
            try:
                pixels[i] = future.result()
            except ImageError as error:
                self._report_bad(row, error)
        good, source = list(pixels), np.arange(len(rows))
        if not good:
            raise self._too_many_error(f"none of {len(rows):,} in a row")
        bad = np.setdiff1d(source, good)
        source[bad] = np.resize(good, len(bad))
        return rows[source], np.stack([pixels[i] for i in source.tolist()])

    def _report_bad(self, row: int, error: ImageError) -> None:
        """Report a bad image; raise a DataError where there are too many."""
        if row in self._bad:
            return
        self._bad.add(row)
        dataset, limit = self.streamed.dataset, self.streamed.config.max_bad_share
        if not self.quiet and len(self._bad) <= _MAX_REPORTED:
            more = " (more are not told of)" if len(self._bad) == _MAX_REPORTED else ""
            write_line(f"{dataset.ids[row]}: {error.what}; another picture takes its place{more}")
        if len(self._bad) > limit * len(self.rows) / self.group.size:
            raise self._too_many_error(
                f"{dataset.ids[row]}: {error.what}, and {len(self._bad) - 1:,} more"
            )

    def _too_many_error(self, what: str) -> DataError:
        limit = self.streamed.config.max_bad_share
        return DataError(
            f"Too many training pictures cannot be read: {what}.",
            expected=f"at most data.max_bad_share = {limit:.1%} of all",
            todo="mend or remove them, or raise data.max_bad_share",
        )


def make_feed(
    task: Task, config: TrainConfig, device: torch.device, group: Team, quiet: bool
) -> Packed | FromShards:
    """The source of a task's batches: the stream where it has one, else the pack."""
    if task.streamed is None:
        return Packed(task.images, task.train, config, device, group)
    return FromShards(task.images, task.streamed, task.train, config, device, group, quiet)
