"""Dynamic batching: images of many requests are classified together.

A model is faster on several images at once than on one after the other. So a worker takes the
images that have queued while it was busy, or waits a moment for more, up to a full batch. Models
take turns, so that one under load does not delay another. Everything runs on one event loop; only
the model runs in threads, with one switch each way for a whole batch.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

Picture = TypeVar("Picture")
Result = TypeVar("Result")
Observe = Callable[[str, int, float], None]  # model, images, seconds

_MAX_RETRY_AFTER = 60  # seconds


class Refused(Exception):
    """A request that was not accepted; it may be retried after `retry_after` seconds."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Full(Refused):
    """The queue is full."""


class Closing(Refused):
    """The server is stopping: it answers accepted requests, and accepts no more."""


@dataclass(eq=False, slots=True)
class _Request:
    """The images of a request to one model, and their results."""

    pictures: Sequence[Any]
    done: asyncio.Future[list[Any]]
    start: float
    n_left: int
    results: list[Any] = field(default_factory=list)


# A queued image: its request, and its index there.
_Slot = tuple[_Request, int]


class Batcher(Generic[Picture, Result]):
    """Answers requests for images in batches; use as `async with`.

    Parameters
    ----------
    answers
        By model's name, a function from images, in any form, to a result for each. It is called in
        a thread, by several at once where `workers` is above 1.
    batch
        The largest number of images in one call.
    wait
        Seconds that an image waits for more while a worker is free.
    queue
        The largest number of waiting images, of all models together.
    workers
        Concurrent calls.
    observe
        Called after every call, with the model, the number of images, and seconds.
    """

    def __init__(
        self,
        answers: Mapping[str, Callable[[list[Picture]], Sequence[Result]]],
        *,
        batch: int,
        wait: float,
        queue: int,
        workers: int = 1,
        observe: Observe = lambda model, pictures, seconds: None,
    ) -> None:
        self._answers = dict(answers)
        self._batch, self._wait, self._queue, self._workers = batch, wait, queue, workers
        self._observe = observe
        # A dict keeps the order and removes any slot in constant time.
        self._queues: dict[str, dict[_Slot, None]] = {name: {} for name in self._answers}
        self._turns = list(self._answers)  # whose turn it is, the next first
        self._waiting = 0
        self._wake_up = asyncio.Event()
        self._closing = False
        self._seconds_per_picture = math.nan  # lately
        self._tasks: list[asyncio.Task[None]] = []
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="candid-model")

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run_worker()) for _ in range(self._workers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """The number of waiting images, of all models."""
        return self._waiting

    @property
    def retry_after(self) -> int:
        """Estimated seconds until the waiting images are done."""
        seconds = self._waiting * self._seconds_per_picture / self._workers
        return min(max(1, math.ceil(seconds)), _MAX_RETRY_AFTER) if math.isfinite(seconds) else 1

    async def ask(self, model: str, pictures: Sequence[Picture]) -> list[Result]:
        """The results of a request's images, in their order.

        If the caller is cancelled, its images are removed from the queue.

        Raises Full where the queue has no room for all of them; Closing where the server is
        stopping.
        """
        if self._closing:
            raise Closing("the server is stopping", self.retry_after)
        if self._waiting + len(pictures) > self._queue:
            raise Full(f"{self._waiting} pictures wait already", self.retry_after)
        if not len(pictures):
            return []
        line = self._queues[model]
        request = _Request(
            pictures,
            asyncio.get_running_loop().create_future(),
            time.monotonic(),
            len(pictures),
            [None] * len(pictures),
        )
        previous = len(line)
        slots = [(request, i) for i in range(len(pictures))]
        line.update(dict.fromkeys(slots))
        self._waiting += len(slots)
        # A worker sleeps until the first in a line is due; it need not wake up for each image.
        if previous == 0 or previous < self._batch <= len(line):
            self._wake_up.set()
        try:
            return await request.done
        finally:
            for slot in slots:
                if line.pop(slot, self) is None:
                    self._waiting -= 1

    async def close(self, seconds: float = 30) -> None:
        """Accept no more, answer what waits, and stop the workers.

        Requests that are not done after `seconds` are refused as Closing.
        """
        self._closing = True
        self._wake_up.set()
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=seconds)
            for task in unfinished:
                task.cancel()
            for line in self._queues.values():
                for request in {request for request, _ in line}:
                    _fail(request, Closing("the server was stopped", 1))
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks = []
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- workers ---------------------------------------------------------------------------------

    async def _run_worker(self) -> None:
        loop = asyncio.get_running_loop()
        while (batch := await self._next_batch()) is not None:
            model, slots = batch
            start = time.monotonic()
            try:
                pictures = [request.pictures[i] for request, i in slots]
                results = await loop.run_in_executor(self._pool, self._answers[model], pictures)
            except Exception as error:
                for request in {request for request, _ in slots}:
                    _fail(request, error)
                continue
            except asyncio.CancelledError:
                for request in {request for request, _ in slots}:
                    _fail(request, Closing("the server was stopped", 1))
                raise
            seconds = time.monotonic() - start
            self._update_pace(seconds / len(slots))
            self._observe(model, len(slots), seconds)
            for (request, i), result in zip(slots, results, strict=True):
                _fill(request, i, result)

    async def _next_batch(self) -> tuple[str, list[_Slot]] | None:
        """The next batch, when there is one; None after closing, when all is done."""
        while True:
            now = time.monotonic()
            for model in self._turns:
                line = self._queues[model]
                if len(line) >= self._batch or (line and self._due_time(line) <= now):
                    self._turns.remove(model)
                    self._turns.append(model)
                    return model, self._pop(line)
            if self._closing and not self._waiting:
                return None
            due_times = (self._due_time(line) for line in self._queues.values() if line)
            due = min(due_times, default=math.inf)
            self._wake_up.clear()
            try:
                async with asyncio.timeout(None if due == math.inf else max(0, due - now)):
                    await self._wake_up.wait()
            except TimeoutError:
                continue

    def _due_time(self, line: dict[_Slot, None]) -> float:
        """When the first in a line has waited for `wait` seconds."""
        if self._closing:
            return -math.inf
        request, _ = next(iter(line))
        return request.start + self._wait

    def _pop(self, line: dict[_Slot, None]) -> list[_Slot]:
        slots = [slot for slot, _ in zip(line, range(self._batch), strict=False)]
        for slot in slots:
            del line[slot]
        self._waiting -= len(slots)
        return slots

    def _update_pace(self, seconds: float) -> None:
        old = self._seconds_per_picture
        self._seconds_per_picture = seconds if math.isnan(old) else 0.9 * old + 0.1 * seconds


def _fill(request: _Request, i: int, result: Any) -> None:
    request.results[i] = result
    request.n_left -= 1
    if request.n_left == 0 and not request.done.done():
        request.done.set_result(request.results)


def _fail(request: _Request, error: Exception) -> None:
    if not request.done.done():
        request.done.set_exception(error)
