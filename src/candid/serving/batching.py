"""Pictures of many requests are worked on together: a queue with an end, and its workers.

A model does several pictures at once in less time than one after the other. So a worker takes what
has gathered while it was busy, or waits a moment for company, up to a full batch. Models take
turns, so that one under load does not keep another waiting. Everything here runs on one event loop;
only the work itself is done in threads, which cost one hand-over each way for a whole batch.
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
Found = TypeVar("Found")
Observe = Callable[[str, int, float], None]  # model, pictures, seconds

_LONGEST_ADVICE = 60  # seconds: who waits longer than this should not be told to wait


class Refused(Exception):
    """A request that was not taken in, nothing done; another try is worth it in `retry_after` s."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Full(Refused):
    """As many pictures wait as may wait."""


class Closing(Refused):
    """The server is stopping: it answers what it took in, and takes no more."""


@dataclass(eq=False, slots=True)
class _Request:
    """Pictures of one model that belong together, and their answers as they come."""

    pictures: Sequence[Any]
    done: asyncio.Future[list[Any]]
    since: float
    left: int
    found: list[Any] = field(default_factory=list)


# A picture in a line: its request, and which of its pictures it is.
_Place = tuple[_Request, int]


class Batcher(Generic[Picture, Found]):
    """Answers requests for pictures in batches; use as `async with`.

    Parameters
    ----------
    answers
        For each model's name, a function from pictures, in any form, to something for each. It is
        called in a thread, by several at once where `workers` is above 1.
    batch
        Most pictures in one call.
    wait
        Seconds that a picture waits for company while a worker is free.
    queue
        Most pictures that wait, of all models together.
    workers
        Calls at the same time.
    observe
        Told of every call: the model, how many pictures, how many seconds.
    """

    def __init__(
        self,
        answers: Mapping[str, Callable[[list[Picture]], Sequence[Found]]],
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
        # A dict keeps the order and forgets a place in no time, wherever in the line it stands.
        self._lines: dict[str, dict[_Place, None]] = {name: {} for name in self._answers}
        self._turns = list(self._answers)  # whose turn it is, the next first
        self._waiting = 0
        self._news = asyncio.Event()
        self._closing = False
        self._seconds_per_picture = math.nan  # lately
        self._tasks: list[asyncio.Task[None]] = []
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="candid-model")

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """Pictures that wait now, of all models."""
        return self._waiting

    @property
    def retry_after(self) -> int:
        """Seconds until what waits now should be done, at the pace of late."""
        seconds = self._waiting * self._seconds_per_picture / self._workers
        return min(max(1, math.ceil(seconds)), _LONGEST_ADVICE) if math.isfinite(seconds) else 1

    async def ask(self, model: str, pictures: Sequence[Picture]) -> list[Found]:
        """What was found for each picture of one request, in their order.

        Whoever gives up waiting (cancels) leaves the line at once.

        Raises
        ------
        Full
            Where the line has no room for all of them: nothing is done by halves.
        Closing
            Where the server is stopping.
        """
        if self._closing:
            raise Closing("the server is stopping", self.retry_after)
        if self._waiting + len(pictures) > self._queue:
            raise Full(f"{self._waiting} pictures wait already", self.retry_after)
        if not len(pictures):
            return []
        line = self._lines[model]
        request = _Request(
            pictures,
            asyncio.get_running_loop().create_future(),
            time.monotonic(),
            len(pictures),
            [None] * len(pictures),
        )
        before = len(line)
        places = [(request, i) for i in range(len(pictures))]
        line.update(dict.fromkeys(places))
        self._waiting += len(places)
        # A worker sleeps until the first in a line is due; it need not hear of each that joins.
        if before == 0 or before < self._batch <= len(line):
            self._news.set()
        try:
            return await request.done
        finally:
            for place in places:
                if line.pop(place, self) is None:
                    self._waiting -= 1

    async def close(self, seconds: float = 30) -> None:
        """Answer what waits, take no more, and end the workers.

        What is not done after so many seconds is refused as Closing.
        """
        self._closing = True
        self._news.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            for line in self._lines.values():
                for request in {request for request, _ in line}:
                    _fail(request, Closing("the server was stopped", 1))
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks = []
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- workers ---------------------------------------------------------------------------------

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while (taken := await self._take()) is not None:
            model, places = taken
            start = time.monotonic()
            try:
                pictures = [request.pictures[i] for request, i in places]
                found = await loop.run_in_executor(self._pool, self._answers[model], pictures)
            except Exception as error:
                for request in {request for request, _ in places}:
                    _fail(request, error)
                continue
            except asyncio.CancelledError:
                for request in {request for request, _ in places}:
                    _fail(request, Closing("the server was stopped", 1))
                raise
            seconds = time.monotonic() - start
            self._note_pace(seconds / len(places))
            self._observe(model, len(places), seconds)
            for (request, i), one in zip(places, found, strict=True):
                _fill(request, i, one)

    async def _take(self) -> tuple[str, list[_Place]] | None:
        """The next batch, when there is one; None when all is done and no more comes."""
        while True:
            now = time.monotonic()
            for model in self._turns:
                line = self._lines[model]
                if len(line) >= self._batch or (line and self._due(line) <= now):
                    self._turns.remove(model)
                    self._turns.append(model)
                    return model, self._pop(line)
            if self._closing and not self._waiting:
                return None
            due = min((self._due(line) for line in self._lines.values() if line), default=math.inf)
            self._news.clear()
            try:
                async with asyncio.timeout(None if due == math.inf else max(0, due - now)):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _due(self, line: dict[_Place, None]) -> float:
        """When the first in a line has waited long enough."""
        if self._closing:
            return -math.inf
        request, _ = next(iter(line))
        return request.since + self._wait

    def _pop(self, line: dict[_Place, None]) -> list[_Place]:
        places = [place for place, _ in zip(line, range(self._batch), strict=False)]
        for place in places:
            del line[place]
        self._waiting -= len(places)
        return places

    def _note_pace(self, seconds: float) -> None:
        old = self._seconds_per_picture
        self._seconds_per_picture = seconds if math.isnan(old) else 0.9 * old + 0.1 * seconds


def _fill(request: _Request, i: int, one: Any) -> None:
    request.found[i] = one
    request.left -= 1
    if request.left == 0 and not request.done.done():
        request.done.set_result(request.found)


def _fail(request: _Request, error: Exception) -> None:
    if not request.done.done():
        request.done.set_exception(error)
